"""Every solver solves the same system, and refuses the same things."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.exceptions

import ntk_fast as ntk
from ntk_fast.schedule import memory
from ntk_fast.solvers import Cholesky, ConjugateGradient, ConvergenceWarning, Nystroem, Spectral
from ntk_fast.solvers.weighted import WeightedTargets

PRIORS = {"ntk": ntk.NTK(3), "ntk-bias": ntk.NTK(2, bias_variance=0.1), "arccos": ntk.ArcCosine(0)}
SOLVERS = {
    "cholesky": Cholesky(),
    "spectral": Spectral(),
    "cg": ConjugateGradient(tolerance=1e-12, rank=100),
    "cg-plain": ConjugateGradient(tolerance=1e-12, rank=0),
    "nystroem-all": Nystroem(n_centres=300, tolerance=1e-11),
}


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


def test_rows_may_be_memory_mapped(data, tmp_path):
    np.save(tmp_path / "rows.npy", data[0])
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for solver in (Cholesky(), ConjugateGradient(rank=50), Nystroem(n_centres=50)):
        ours, theirs = (solver.solve(ntk.NTK(2), rows, data[1], 0.1).coefficients for rows in (mapped, data[0]))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(rank=20), Nystroem(n_centres=50)])
def test_reports_go_from_nothing_to_all(solver, data):
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver.solve(ntk.NTK(2), *data, ridge=0.1, report=lambda what, share: said.append((what, share)))
    assert said
    assert all(share is None or 0 <= share <= 1 for _, share in said)
    assert max(share for _, share in said if share is not None) == 1


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


@pytest.mark.parametrize("solver", [Cholesky(), Spectral(), ConjugateGradient(rank=20), Nystroem(n_centres=50)])
def test_coefficients_that_overflow_are_refused(solver, data):
    with pytest.raises(ValueError, match=r"targets reach .*, and coefficients of theirs overflow: scale the targets"):
        solver.solve(ntk.NTK(2), 1e-3 * data[0], 1e306 * data[1], ridge=1e-9)


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
