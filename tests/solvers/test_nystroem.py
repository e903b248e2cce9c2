"""Centres: least squares on them, and the matrix that is never stored."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.schedule import tiling
from ntk_fast.solvers import Cholesky, Nystroem, streamed
from ntk_fast.solvers.nystroem import independent_centres


@pytest.mark.parametrize("is_weighted", [False, True])
def test_errors_of_rows_left_out_where_the_centres_stay(is_weighted, data):
    rows, targets = data
    weights = 10 ** np.random.default_rng(1).uniform(-1, 1, 300) if is_weighted else None
    prior, options = ntk.NTK(2, bias_variance=0.1), Nystroem(n_centres=40, tolerance=1e-10)
    found = options.solve(prior, rows, targets, ridge=0.3, weights=weights, leave_one_out=True)
    plain = options.solve(prior, rows, targets, ridge=0.3, weights=weights)
    features, inner = prior(rows, found.rows), prior(found.rows)
    np.testing.assert_allclose(features @ found.coefficients, features @ plain.coefficients, atol=1e-5)
    assert found.n_iterations <= 3  # the preconditioner is exact
    w = np.ones(300) if weights is None else weights
    for left_out in (0, 17, 299):
        kept = np.delete(np.arange(300), left_out)
        normal = features[kept].T @ (w[kept, None] * features[kept]) + 0.3 * inner
        expected = features[left_out] @ np.linalg.solve(normal, features[kept].T @ (w[kept, None] * targets[kept]))
        np.testing.assert_allclose(found.leave_one_out[left_out], targets[left_out] - expected, atol=1e-6)


@pytest.mark.parametrize("dtype_of_rows", [np.float64, np.float32])
@pytest.mark.parametrize("most_blocks", [64, 3])
def test_streamed_products(dtype_of_rows, most_blocks, monkeypatch):
    monkeypatch.setattr("ntk_fast.solvers.streamed.ROWS_AT_A_TIME", 64)
    monkeypatch.setattr("ntk_fast.solvers.streamed.MOST_BLOCKS", most_blocks)
    monkeypatch.setattr("ntk_fast.solvers.streamed.CACHED_NUMBERS", 1000)
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((1000, 4)).astype(dtype_of_rows)
    prior, centres, vectors = ntk.NTK(2, bias_variance=0.1), rows[:70].astype(np.float64), generator.random((70, 2))
    K = prior(rows, centres, dtype=np.float64)
    results = [
        streamed.StreamedMatrix(prior, rows, centres, n_threads).sum(streamed.NormalProduct(vectors), 2)
        for n_threads in (1, 2, 5)
    ]
    np.testing.assert_allclose(results[0], K.T @ (K @ vectors), rtol=1e-12)
    for result in results[1:]:
        np.testing.assert_array_equal(results[0], result)
    targets = generator.random((1000, 3))
    transposed = streamed.StreamedMatrix(prior, rows, centres).sum(streamed.TransposedProduct(targets), 3)
    np.testing.assert_allclose(transposed, K.T @ targets, rtol=1e-12)


def test_nystroem_is_least_squares_on_its_centres(data):
    rows, targets = data
    prior = ntk.NTK(2, bias_variance=0.1)
    solution = Nystroem(n_centres=40, tolerance=1e-12, seed=3).solve(prior, rows, targets, ridge=0.5)
    K_nm, K_mm = prior(rows, solution.rows), prior(solution.rows)
    expected = np.linalg.solve(K_nm.T @ K_nm + 0.5 * K_mm, K_nm.T @ targets)
    np.testing.assert_allclose(K_nm @ solution.coefficients, K_nm @ expected, atol=1e-6)


def test_repeated_centres_count_once():
    rows = np.repeat(np.random.default_rng(0).standard_normal((6, 3)), 5, axis=0)
    centres, factor = independent_centres(ntk.NTK(2), rows)
    assert len(centres) == 6
    np.testing.assert_allclose(factor.T @ factor, ntk.NTK(2)(centres), atol=1e-12)
    solution = Nystroem(n_centres=30).solve(ntk.NTK(2), rows, rows[:, :1], ridge=0.1)
    direct = Cholesky().solve(ntk.NTK(2), rows, rows[:, :1], ridge=0.1)
    ours, theirs = (ntk.NTK(2)(rows, found.rows) @ found.coefficients for found in (solution, direct))
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_more_centres_than_rows(data):
    with pytest.raises(ValueError, match="n_centres must not exceed the number of rows; got 301 for 300 rows"):
        Nystroem(n_centres=301).solve(ntk.NTK(2), *data, ridge=0.1)


def test_a_streamed_product_stops_within_its_tile(monkeypatch):
    """Of thousands of rows each of which may take a hundredth of a second."""
    monkeypatch.setattr(streamed, "CACHED_NUMBERS", 1)
    rows = np.random.default_rng(0).standard_normal((2 * streamed.ROWS_AT_A_TIME, 2))
    matrix = streamed.StreamedMatrix(ntk.NTK(1), rows, rows[:5], n_threads=2)
    is_inside, blocks = threading.Event(), []

    def product(block, start):
        if start < streamed.ROWS_AT_A_TIME:
            is_inside.wait()
            raise ValueError("the run stops here")
        is_inside.set()
        tiling._worker.stop.wait()
        blocks.append(start)
        return np.zeros((5, 1))

    with pytest.raises(ValueError, match="the run stops here"):
        matrix.sum(product, 1)
    assert blocks == [streamed.ROWS_AT_A_TIME], "the block that it was at, and no other"
