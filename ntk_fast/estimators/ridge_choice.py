"""The choices that are made from data: the ridge, at every number of rows, and what columns are divided by.

A ridge is chosen by the mean squared error of rows left out. Up to `MOST_ROWS_TO_DECOMPOSE` rows and with centres that
takes all rows into account; between, where the whole matrix would have to be decomposed, the ridge comes from some of
the rows. As a variance of noise it does not depend on their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.estimators.scaling import SPREADS, ColumnScaling, check_scale_columns
from ntk_fast.gram import image_shape
from ntk_fast.kernels import Kernel
from ntk_fast.solvers.base import Report, Solution, Solver, without_iterations
from ntk_fast.solvers.conjugate_gradient import ConjugateGradient
from ntk_fast.solvers.nystroem import Nystroem
from ntk_fast.solvers.spectral import RidgePath, Spectral, SpectralDecomposition
from ntk_fast.solvers.weighted import WeightedTargets, roots_of

#: More rows are not decomposed: 3000 take about as long as the factorisation of 8000.
MOST_ROWS_TO_DECOMPOSE = 3000
#: Rows on which the columns' scaling is chosen, and by how much the range has to be better than the deviation there:
#: small differences are noise, and were wrong more often than right.
ROWS_TO_SCALE_ON, LEAST_GAIN = 1000, 0.02
Decomposed = tuple[SpectralDecomposition, RidgePath]
NO_PATH = RidgePath(np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False)
class Fit:
    """A function fitted to targets, and how its ridge was found."""

    solution: Solution
    ridge: float
    path: RidgePath
    errors: NDArray[np.float64] | None  # of the rows left out, (n, n_targets)
    is_estimate: bool  # whether these errors are
    is_spectral: bool = False  # whether the matrix was decomposed to solve


def decompose(
    kernel: Kernel, rows: NDArray[np.floating], problem: WeightedTargets, n_threads: int | None, report: Report
) -> Decomposed:
    """Return the decomposition for all rows, and the path of ridges."""
    roots = roots_of(problem.weights, len(rows))
    decomposition = Spectral().decompose(kernel, rows, weights=problem.weights, n_threads=n_threads, report=report)
    path = decomposition.ridge_path(
        roots * problem.columns, error=lambda errors: problem.mean_square(problem.leave_one_out(errors / roots))
    )
    return decomposition, path


def fit_choosing_the_ridge(
    kernel: Kernel,
    rows: NDArray[np.floating],
    problem: WeightedTargets,
    solver: Solver,
    seed: int,
    n_threads: int | None,
    report: Report,
    decomposed: Decomposed | None = None,
    client: Any = None,
) -> Fit:
    """Fit with the ridge of the smallest error of rows left out."""
    if isinstance(solver, Nystroem):
        system = solver.prepare(
            kernel, rows, weights=problem.weights, n_threads=n_threads, report=report, client=client
        )
        normal = system.normal_matrix(report)
        path = system.ridge_path(problem, normal, seed, report)
        solution = system.solve(problem.columns, path.best, solver, normal=normal, leave_one_out=True, report=report)
        return _fit_of(solution, path.best, path, problem, is_estimate=True)
    if len(rows) <= MOST_ROWS_TO_DECOMPOSE:
        decomposition, path = decomposed or decompose(kernel, rows, problem, n_threads, report)
        if solver.is_direct:
            roots = roots_of(problem.weights, len(rows))
            columns = roots * problem.columns
            coefficients = roots * decomposition.coefficients(columns, path.best)
            errors = decomposition.leave_one_out_residuals(columns, [path.best])[0] / roots
            solution = without_iterations(rows, coefficients, errors)
            fit = _fit_of(solution, path.best, path, problem, is_estimate=False)
            return replace(fit, is_spectral=True)
    else:
        some = _some(len(rows), MOST_ROWS_TO_DECOMPOSE, seed)
        _, path = decompose(kernel, rows[some], problem.part(some), n_threads, report)
    ridge = path.best_of_at_least(_least_ridge(solver, kernel, rows, problem))
    return fit_at(kernel, rows, problem, solver, ridge, True, n_threads, report, path, client)


def _least_ridge(solver: Solver, kernel: Kernel, rows: NDArray[np.floating], problem: WeightedTargets) -> float:
    """Return the ridge below which rounding keeps conjugate gradients from their tolerance."""
    if not isinstance(solver, ConjugateGradient):
        return 0.0
    trace = float((kernel.diag(rows, dtype=np.float64) * roots_of(problem.weights, len(rows))[:, 0] ** 2).sum())
    return 10 * np.finfo(np.float64).eps / solver.tolerance * trace


def fit_at(
    kernel: Kernel,
    rows: NDArray[np.floating],
    problem: WeightedTargets,
    solver: Solver,
    ridge: float,
    leave_one_out: bool,
    n_threads: int | None,
    report: Report,
    path: RidgePath = NO_PATH,
    client: Any = None,
) -> Fit:
    """Fit with a given ridge."""
    columns = problem.columns if leave_one_out else problem.values
    solution = solver.solve(
        kernel,
        rows,
        columns,
        ridge,
        weights=problem.weights,
        leave_one_out=leave_one_out,
        n_threads=n_threads,
        report=report,
        client=client,
    )
    return _fit_of(solution, ridge, path, problem, is_estimate=not solver.is_direct)


def fit_of_zeros(rows: NDArray[np.floating], problem: WeightedTargets, ridge: float) -> Fit:
    """Return the fit of a kernel that is zero on all rows: nothing but the mean."""
    columns = problem.columns
    solution = without_iterations(rows[:1], np.zeros((1, columns.shape[1])), columns)
    return _fit_of(solution, ridge, NO_PATH, problem, is_estimate=False)


def _fit_of(solution: Solution, ridge: float, path: RidgePath, problem: WeightedTargets, is_estimate: bool) -> Fit:
    """Take away the column that the mean has in the solution."""
    n_targets, errors = problem.values.shape[1], solution.leave_one_out
    coefficients = np.ascontiguousarray(solution.coefficients[:, :n_targets])
    residuals = solution.residuals[:, :n_targets]
    solution = replace(solution, coefficients=coefficients, residuals=residuals)
    return Fit(solution, ridge, path, None if errors is None else problem.leave_one_out(errors), is_estimate)


def choose_scaling(
    scale_columns: Any,
    kernel: Kernel,
    rows: NDArray[np.floating],
    problem: WeightedTargets,
    seed: int,
    n_threads: int | None,
    report: Report,
) -> tuple[ColumnScaling, Decomposed | None]:
    """Return what to do with columns, as `scale_columns` says or what is better on some of the rows.

    Where these are all rows the decomposition comes with it.
    """
    scale_columns = check_scale_columns(scale_columns)
    if scale_columns is None:
        return ColumnScaling(), None
    if scale_columns != "auto":
        return ColumnScaling.of(rows, problem.weights, scale_columns), None
    shape = image_shape(kernel)
    if shape is not None and rows.shape[1] == math.prod(shape):
        return ColumnScaling.of_images(rows, shape, problem.weights), None
    scalings = [ColumnScaling.of(rows, problem.weights, spread) for spread in SPREADS]
    some = _some(len(rows), ROWS_TO_SCALE_ON, seed)
    part = problem.part(some)
    found = []
    for scaling in scalings:
        scaled = scaling.apply(rows[some])
        if not kernel.diag(scaled).any():
            return scalings[0], None
        found.append(decompose(kernel, scaled, part, n_threads, report))
    errors = [float(path.errors.min()) for _, path in found]
    best = int(errors[1] < (1 - LEAST_GAIN) * errors[0])
    return scalings[best], found[best] if len(some) == len(rows) else None


def _some(n_rows: int, most: int, seed: int) -> NDArray[np.intp]:
    """Return all rows, or so many drawn at random."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, most, replace=False))
