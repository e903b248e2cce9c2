"""Every solver solves the same system; what each one promises besides."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.exceptions

import ntk_fast as ntk
from ntk_fast.schedule import memory, tiling
from ntk_fast.solvers import Cholesky, ConjugateGradient, ConvergenceWarning, Nystroem, Spectral, streamed
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix
from ntk_fast.solvers.conjugate_gradient import conjugate_gradients
from ntk_fast.solvers.nystroem import independent_centres
from ntk_fast.solvers.pivoted_cholesky import LowRankPreconditioner, pivoted_cholesky
from ntk_fast.solvers.spectral import SpectralDecomposition
from ntk_fast.solvers.weighted import WeightedTargets

PRIORS = {"ntk": ntk.NTK(3), "ntk-bias": ntk.NTK(2, bias_variance=0.1), "arccos": ntk.ArcCosine(0)}
SOLVERS = {
    "cholesky": Cholesky(),
    "spectral": Spectral(),
    "cg": ConjugateGradient(tolerance=1e-12, rank=100),
    "cg-plain": ConjugateGradient(tolerance=1e-12, rank=0),
    "nystroem-all": Nystroem(n_centres=300, tolerance=1e-11),
}


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((300, 5)) * generator.uniform(0.2, 3, (300, 1))
    return rows, np.column_stack([np.sin(rows[:, 0]), rows[:, 1] * rows[:, 2], np.ones(300)])


@pytest.mark.parametrize("dtype_of_rows", [np.float64, np.float32])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())
@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
def test_predictions_are_those_of_the_dense_system(solver, prior, dtype_of_rows, data):
    rows, targets = data[0].astype(dtype_of_rows), data[1]
    solution = solver.solve(prior, rows, targets, ridge=0.1)
    K = prior(rows, dtype=np.float64)
    expected = K @ np.linalg.solve(K + 0.1 * np.eye(len(rows)), targets)
    np.testing.assert_allclose(
        prior(rows, solution.rows, dtype=np.float64) @ solution.coefficients, expected, atol=1e-6
    )
    assert solution.converged
    assert solution.residuals.shape == (solution.n_iterations + 1, 3)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
def test_weights_are_those_of_least_squares(solver, data):
    """The minimum of sum_i w_i (y_i - f_i)^2 + ridge c^T K c over all functions that kernels at rows span."""
    rows, targets = data
    weights = 10 ** np.random.default_rng(1).uniform(-3, 2, 300)
    prior = ntk.NTK(2, bias_variance=0.1)
    solution = solver.solve(prior, rows, targets, ridge=0.3, weights=weights)
    K = prior(rows)
    f = prior(rows, solution.rows) @ solution.coefficients
    expected = K @ np.linalg.solve(K + 0.3 * np.diag(1 / weights), targets)
    np.testing.assert_allclose(f, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("solver", "accuracy"),
    [(Cholesky(), 1e-9), (Spectral(), 1e-9), (ConjugateGradient(tolerance=1e-12, rank=200), 0.15)],
    ids=["cholesky", "spectral", "cg"],
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_errors_of_rows_left_out(solver, accuracy, is_weighted, data):
    rows, targets = data
    weights = 10 ** np.random.default_rng(1).uniform(-1, 1, 300) if is_weighted else None
    prior = ntk.NTK(2, bias_variance=0.1)
    found = solver.solve(prior, rows, targets, ridge=0.3, weights=weights, leave_one_out=True)
    plain = solver.solve(prior, rows, targets, ridge=0.3, weights=weights)
    np.testing.assert_allclose(found.coefficients, plain.coefficients, atol=1e-6)
    K, w = prior(rows), np.ones(300) if weights is None else weights
    for left_out in (0, 17, 299):
        rest = np.delete(np.arange(300), left_out)
        kept = K[np.ix_(rest, rest)] + 0.3 * np.diag(1 / w[rest])
        expected = targets[left_out] - K[left_out, rest] @ np.linalg.solve(kept, targets[rest])
        np.testing.assert_allclose(found.leave_one_out[left_out], expected, rtol=accuracy, atol=accuracy)


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


@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_mean_is_left_out_too(is_weighted, data):
    rows, y = data[0][:40], data[1][:40] + 5
    weights = 10 ** np.random.default_rng(1).uniform(-1, 1, 40) if is_weighted else None
    prior, w = ntk.NTK(2, bias_variance=0.1), np.ones(40) if weights is None else weights
    problem = WeightedTargets(y - np.average(y, axis=0, weights=w), weights, is_centred=True)
    solution = Cholesky().solve(prior, rows, problem.columns, 0.3, weights=weights, leave_one_out=True)
    errors = problem.leave_one_out(solution.leave_one_out)
    for left_out in (0, 17):
        kept = np.delete(np.arange(40), left_out)
        mean = np.average(y[kept], axis=0, weights=w[kept])
        part = None if weights is None else w[kept]
        fitted = Cholesky().solve(prior, rows[kept], y[kept] - mean, 0.3, weights=part)
        predicted = mean + prior(rows[[left_out]], rows[kept]) @ fitted.coefficients
        np.testing.assert_allclose(errors[left_out], (y[left_out] - predicted)[0], atol=1e-9)
    np.testing.assert_allclose(problem.mean_square(errors), np.average((errors**2).mean(axis=1), weights=w))


def test_cholesky_overwrites_the_matrix_it_is_given(data):
    matrix = gram_matrix(ntk.NTK(2), data[0])
    original = matrix + 0.1 * np.eye(len(matrix))
    factor = CholeskyFactor.in_place(matrix, 0.1)
    assert factor.lower is matrix
    np.testing.assert_allclose(factor.lower @ factor.lower.T, original, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(factor.log_determinant, np.linalg.slogdet(original)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.lower @ factor.whiten(data[1]), data[1], atol=1e-12)
    np.testing.assert_allclose(factor.inverse_in_place() @ original, np.eye(300), atol=1e-9)
    assert factor.lower is matrix


@pytest.mark.parametrize("ridge", [0.0, 1e-15])
def test_a_singular_matrix_is_refused_with_a_ridge_that_works(ridge, data):
    rows, targets = np.vstack([data[0], data[0][:2]]), np.vstack([data[1], data[1][:2]])
    with pytest.raises(ValueError, match=r"singular to working precision .* such as") as caught:
        Cholesky().solve(ntk.NTK(2), rows, targets, ridge)
    suggested, share = (float(part) for part in re.findall(r"\d[\d.]*e-\d+", str(caught.value))[-2:])
    assert share == pytest.approx(suggested / ntk.NTK(2).diag(rows).mean(), rel=0.5)
    assert np.isfinite(Cholesky().solve(ntk.NTK(2), rows, targets, suggested).coefficients).all()


def test_leave_one_out_is_what_refitting_without_each_row_gives(data):
    rows, targets = data[0][:40], data[1][:40]
    prior, ridges = ntk.NTK(2), np.array([1e-3, 0.1, 10.0])
    decomposition = Spectral().decompose(prior, rows)
    residuals = decomposition.leave_one_out_residuals(targets, ridges)
    for ridge, residual in zip(ridges, residuals, strict=True):
        for row in range(40):
            others = np.arange(40) != row
            solution = Cholesky().solve(prior, rows[others], targets[others], ridge)
            prediction = prior(rows[row : row + 1], rows[others]) @ solution.coefficients
            np.testing.assert_allclose(residual[row], targets[row] - prediction[0], rtol=1e-7, atol=1e-9)
    path = decomposition.ridge_path(targets, ridges)
    np.testing.assert_allclose(path.errors, (residuals**2).mean(axis=(1, 2)))
    assert path.best == ridges[np.argmin(path.errors)]


def test_the_default_path_brackets_its_best_ridge(data):
    generator = np.random.default_rng(1)
    noisy = data[1] + 0.3 * generator.standard_normal(data[1].shape)
    path = Spectral().decompose(ntk.NTK(2), data[0]).ridge_path(noisy)
    assert (np.diff(path.ridges) > 0).all()
    best = int(np.argmin(path.errors))
    assert 0 < best < len(path.ridges) - 1
    assert path.ridges[best + 1] / path.ridges[best - 1] < 1.3


def test_spectral_decomposition_of_a_matrix_of_zeros():
    path = SpectralDecomposition.in_place(np.zeros((4, 4))).ridge_path(np.ones((4, 1)))
    np.testing.assert_allclose(path.errors, 1)


def test_pivoted_cholesky_leaves_a_positive_rest(data):
    prior = ntk.NTK(3)
    K = prior(data[0])
    shares = []
    for rank in (0, 30, 150, 300):
        factor, rest = pivoted_cholesky(prior, data[0], rank, seed=0)
        assert factor.shape == (300, rank)
        residual = K - factor @ factor.T
        np.testing.assert_allclose(rest, residual.diagonal(), atol=1e-10 * K.max())
        assert np.linalg.eigvalsh(residual)[0] > -1e-10 * np.trace(K)
        shares.append(rest.sum() / np.trace(K))
    assert shares[0] == 1
    assert shares[1] < 0.3
    assert shares[3] < 1e-10


def test_pivoted_cholesky_stops_at_the_rank_of_the_matrix():
    rows = np.repeat(np.random.default_rng(0).standard_normal((7, 3)), 20, axis=0)
    factor, _ = pivoted_cholesky(ntk.NTK(2), rows, 100, seed=0)
    assert factor.shape[1] == 7
    factor, rest = pivoted_cholesky(ntk.NTK(2), np.zeros((5, 3)), 3, seed=0)
    assert factor.shape == (5, 0)
    assert (rest == 0).all()


def test_preconditioner_inverts_low_rank_plus_shift(data):
    factor = np.random.default_rng(0).standard_normal((300, 20)) * np.geomspace(1e2, 1e-3, 20)
    apply = LowRankPreconditioner.of(factor, shift=0.01).apply
    columns = data[1]
    expected = 0.01 * np.linalg.solve(factor @ factor.T + 0.01 * np.eye(300), columns)
    np.testing.assert_allclose(apply(columns), expected, atol=1e-6)


def test_preconditioning_cuts_iterations_to_a_fifth(data):
    plain, preconditioned = (
        ConjugateGradient(rank=rank).solve(ntk.NTK(3), data[0], data[1], ridge=1e-3) for rank in (0, 200)
    )
    assert preconditioned.n_iterations <= plain.n_iterations / 5


def test_columns_do_not_disturb_each_other(data):
    """Each column stops at its own residual; a column of zeros at once."""
    rows, targets = data[0], np.column_stack([data[1], np.zeros(300), 1e-12 * data[1][:, :1]])
    together = ConjugateGradient(rank=50).solve(ntk.NTK(2), rows, targets, ridge=0.1)
    assert (together.residuals[-1] <= 1e-8).all()
    assert (together.coefficients[:, 3] == 0).all()
    np.testing.assert_allclose(together.coefficients[:, 4], 1e-12 * together.coefficients[:, 0], rtol=1e-6)
    for column in range(3):
        alone = ConjugateGradient(rank=50).solve(ntk.NTK(2), rows, targets[:, [column]], ridge=0.1)
        np.testing.assert_allclose(together.coefficients[:, [column]], alone.coefficients, atol=1e-6)


def test_the_record_ends_with_the_true_residual(data):
    rows, targets = data
    solution = ConjugateGradient(rank=50).solve(ntk.NTK(2), rows, targets, ridge=0.1)
    left = targets - (ntk.NTK(2)(rows) + 0.1 * np.eye(300)) @ solution.coefficients
    relative = np.linalg.norm(left, axis=0) / np.linalg.norm(targets, axis=0)
    np.testing.assert_allclose(solution.residuals[-1], relative, rtol=1e-3)
    np.testing.assert_array_equal(solution.residuals[0], 1)


@pytest.mark.parametrize(
    ("solver", "advice"),
    [
        (
            ConjugateGradient(max_iterations=3, rank=0),
            "raise ridge, rank or max_iterations, or use the Cholesky solver",
        ),
        (Nystroem(n_centres=50, max_iterations=1), "raise ridge, tolerance or max_iterations, or choose fewer centres"),
    ],
)
def test_a_stall_warns_and_says_what_to_do(solver, advice, data):
    with pytest.warns(ConvergenceWarning, match=f"relative residual of .* above the tolerance of 1e-08: {advice}"):
        solution = solver.solve(ntk.NTK(3), *data, ridge=1e-3)
    assert not solution.converged
    assert solution.n_iterations == solver.max_iterations


def test_a_tolerance_beyond_rounding_ends_without_converging():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 50)))
    matrix = rotation @ np.diag(np.geomspace(1, 1e8, 50)) @ rotation.T
    found = conjugate_gradients(lambda v: matrix @ v, np.ones((50, 1)), tolerance=1e-13, max_iterations=20_000)
    assert not found.converged
    assert len(found.residuals) < 10_000
    np.testing.assert_allclose(matrix @ found.solution, 1, atol=1e-7)


def test_an_indefinite_matrix_ends_without_converging():
    matrix = np.diag([1.0, -1.0])
    found = conjugate_gradients(lambda v: matrix @ v, np.ones((2, 1)), tolerance=1e-8, max_iterations=100)
    assert not found.converged
    assert np.isfinite(found.solution).all()


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


def test_rows_may_be_memory_mapped(data, tmp_path):
    np.save(tmp_path / "rows.npy", data[0])
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for solver in (Cholesky(), ConjugateGradient(rank=50), Nystroem(n_centres=50)):
        ours, theirs = (solver.solve(ntk.NTK(2), rows, data[1], 0.1).coefficients for rows in (mapped, data[0]))
        np.testing.assert_array_equal(ours, theirs)


def test_more_centres_than_rows(data):
    with pytest.raises(ValueError, match="n_centres must not exceed the number of rows; got 301 for 300 rows"):
        Nystroem(n_centres=301).solve(ntk.NTK(2), *data, ridge=0.1)


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(rank=20), Nystroem(n_centres=50)])
def test_reports_go_from_nothing_to_all(solver, data):
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver.solve(ntk.NTK(2), *data, ridge=0.1, report=lambda what, share: said.append((what, share)))
    assert said
    assert all(share is None or 0 <= share <= 1 for _, share in said)
    assert max(share for _, share in said if share is not None) == 1


@pytest.mark.parametrize("ridge", [0.0, 1e-13])
def test_conjugate_gradients_on_a_singular_matrix_stay_sane_and_suggest_a_ridge(data, ridge):
    rows, targets = np.repeat(data[0], 2, axis=0), np.random.default_rng(0).standard_normal((2 * len(data[0]), 1))
    with pytest.warns(ConvergenceWarning, match=r"may be singular: raise ridge, to [0-9.e-]+ for one") as caught:
        solution = ConjugateGradient(rank=100).solve(ntk.NTK(2), rows, targets, ridge)
    assert solution.residuals[-1].max() <= 1, "no worse than zero"
    assert np.abs(ntk.NTK(2)(rows) @ solution.coefficients).max() < 10
    suggested = float(str(caught[0].message).split("to ")[-1].split()[0])
    assert ConjugateGradient(rank=100).solve(ntk.NTK(2), rows, targets, suggested).converged


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e305])
@pytest.mark.parametrize("solver", [Cholesky(), Spectral(), ConjugateGradient(rank=20), Nystroem(n_centres=50)])
def test_targets_of_any_size(solver, data, scale):
    expected = solver.solve(ntk.NTK(2), *data, ridge=0.1).coefficients
    found = solver.solve(ntk.NTK(2), data[0], scale * data[1], ridge=0.1).coefficients
    np.testing.assert_allclose(found / scale, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("solver", [Cholesky(), Spectral(), ConjugateGradient(), Nystroem(n_centres=5)])
def test_extreme_kernels_are_refused_and_zero_kernels_predict_zero(solver, data):
    for scale in (1e-60, 1e60):
        with pytest.raises(ValueError, match=r"must lie between 1e-100 and 1e\+100 to solve with it: scale the rows"):
            solver.solve(ntk.NTK(2), scale * data[0], data[1], ridge=0.1)
    solution = solver.solve(ntk.NTK(2), 0 * data[0], data[1], ridge=0.1)
    np.testing.assert_array_equal(ntk.NTK(2)(data[0], solution.rows) @ solution.coefficients, 0)


def test_what_does_not_fit_in_memory_is_refused_with_what_to_do(data, monkeypatch):
    monkeypatch.setattr(memory, "SMALL_RESULT", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e6)
    for solver in (Spectral(), Nystroem(n_centres=300)):
        with pytest.raises(MemoryError, match=r"The 300 x 300 kernel matrix .* solver='cg' or 'nystroem'"):
            solver.solve(ntk.NTK(2), *data, ridge=0.1)


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


@pytest.mark.parametrize("decades", [8, 12])
def test_conjugate_gradients_go_on_where_residuals_rise_before_they_fall(decades):
    values = np.logspace(0, -decades, 50)[:, None]
    targets = np.random.default_rng(0).standard_normal((50, 2))
    found = conjugate_gradients(lambda v: values * v, targets, tolerance=1e-8, max_iterations=5000)
    assert found.converged
    np.testing.assert_allclose(values * found.solution, targets, atol=1e-6)


def test_conjugate_gradients_to_the_last_bit():
    found = conjugate_gradients(lambda v: 2 * v, np.ones((5, 1)), tolerance=0.0, max_iterations=10)
    np.testing.assert_array_equal(found.solution, 0.5)


@pytest.mark.parametrize("solver", [Cholesky(), Spectral(), ConjugateGradient(rank=20), Nystroem(n_centres=50)])
def test_coefficients_that_overflow_are_refused(solver, data):
    with pytest.raises(ValueError, match=r"targets reach .*, and coefficients of theirs overflow: scale the targets"):
        solver.solve(ntk.NTK(2), 1e-3 * data[0], 1e306 * data[1], ridge=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_a_preconditioner_is_never_worse_than_none(seed):
    """A rank below and above the number of rows, with and without a ridge, at any condition number."""
    generator = np.random.default_rng(seed)
    n, n_features, rank = np.round(10 ** generator.uniform((0.3, 0, 0), (2.5, 1.5, 2.8))).astype(int)
    scale, bias, ridge = 10 ** generator.uniform((-3, -6, -12), (3, 3, 2))
    prior = ntk.NTK(int(generator.integers(1, 5)), bias_variance=bias)
    rows, targets = scale * generator.standard_normal((n, n_features)), generator.standard_normal((n, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found, plain = (
            ConjugateGradient(rank=r).solve(prior, rows, targets, ridge * (seed % 3 > 0)) for r in (int(rank), 0)
        )
    assert found.residuals[-1].max() <= max(plain.residuals[-1].max(), 1e-8)


@pytest.mark.parametrize("rank", [100, 750])
def test_a_preconditioner_of_full_rank_is_the_inverse(rank):
    rows = np.random.default_rng(0).standard_normal((100, 3))
    found = ConjugateGradient(rank=rank).solve(ntk.NTK(2, bias_variance=0.1), rows, np.sin(rows[:, :1]), ridge=0.0)
    assert found.n_iterations <= 2
    assert found.residuals[-1].max() <= 1e-10


def test_a_preconditioner_that_stalls_is_dropped(data, monkeypatch):
    """As one that is far from positive definite would."""
    monkeypatch.setattr(LowRankPreconditioner, "apply", lambda self, columns: columns[::-1].copy())
    with pytest.warns(ConvergenceWarning, match="stalled at a relative residual of .* went on without"):
        found = ConjugateGradient(rank=20).solve(ntk.NTK(2), *data, ridge=0.1)
    assert found.converged
    K = ntk.NTK(2)(data[0]) + 0.1 * np.eye(300)
    assert np.abs(K @ found.coefficients - data[1]).max() <= 1e-6


def test_warnings_point_at_the_line_of_the_caller(data):
    model = ntk.NTKRegressor(ntk.NTK(3), solver="cg", ridge=1e-6, rank=0, max_iterations=2)
    for call in (
        lambda: ConjugateGradient(max_iterations=2, rank=0).solve(ntk.NTK(3), *data, ridge=1e-3),
        lambda: model.fit(*data),
    ):
        with pytest.warns(ConvergenceWarning) as caught:
            call()
        assert {Path(warning.filename).resolve() for warning in caught if "stopped" in str(warning.message)} == {
            Path(__file__).resolve()
        }


def test_convergence_warnings_are_those_of_scikit_learn_without_importing_it():
    assert issubclass(ConvergenceWarning, sklearn.exceptions.ConvergenceWarning)
    assert issubclass(ConvergenceWarning, RuntimeWarning)
    assert pickle.loads(pickle.dumps(ConvergenceWarning("x"))).args == ("x",)
    code = "import sys, ntk_fast.solvers; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    without = """
import sys
sys.modules["sklearn"] = sys.modules["sklearn.exceptions"] = None
from ntk_fast.solvers import ConvergenceWarning
print(ConvergenceWarning.__mro__[1].__name__)
"""
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True)
    assert done.stdout == "RuntimeWarning\n"
