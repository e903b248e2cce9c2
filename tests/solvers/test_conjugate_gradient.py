"""Conjugate gradients and their preconditioner: when they end, and what they say then."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.solvers import ConjugateGradient, ConvergenceWarning, Nystroem
from ntk_fast.solvers.conjugate_gradient import conjugate_gradients
from ntk_fast.solvers.pivoted_cholesky import LowRankPreconditioner, pivoted_cholesky


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


@pytest.mark.parametrize("ridge", [0.0, 1e-13])
def test_conjugate_gradients_on_a_singular_matrix_stay_sane_and_suggest_a_ridge(data, ridge):
    rows, targets = np.repeat(data[0], 2, axis=0), np.random.default_rng(0).standard_normal((2 * len(data[0]), 1))
    with pytest.warns(ConvergenceWarning, match=r"may be singular: raise ridge, to [0-9.e-]+ for one") as caught:
        solution = ConjugateGradient(rank=100).solve(ntk.NTK(2), rows, targets, ridge)
    assert solution.residuals[-1].max() <= 1, "no worse than zero"
    assert np.abs(ntk.NTK(2)(rows) @ solution.coefficients).max() < 10
    suggested = float(str(caught[0].message).split("to ")[-1].split()[0])
    assert ConjugateGradient(rank=100).solve(ntk.NTK(2), rows, targets, suggested).converged


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
