"""Preconditioned conjugate gradients, many right-hand sides at once, on a Gram matrix that is never formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ntk_fast.caller import warn_caller
from ntk_fast.kernels import Kernel
from ntk_fast.operator import KernelOperator
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.solvers.base import (
    Report,
    Solution,
    convergence_warning,
    power_of_two,
    refuse_extreme,
    scaled_back,
    silent,
)
from ntk_fast.solvers.cholesky import suggested_ridge
from ntk_fast.solvers.pivoted_cholesky import precondition
from ntk_fast.solvers.weighted import roots_of

Columns = NDArray[np.floating]

#: A residual this large, relative to the targets, is that of a singular matrix. (Residuals may well rise by a million
#: and fall again: with a condition number of 1e14 they do.)
HOPELESS = 1e12


#: Vectors of signs z that the diagonal of A^-1 is estimated with, as the mean of z * A^-1 z (Hutchinson, 1990). They
#: share the kernel's entries with the targets: 16 columns take 1.2 times as long as one.
N_PROBES = 16


@dataclass(frozen=True, eq=False)
class Iteration:
    """What conjugate gradients found; `residuals` as in :class:`Solution`."""

    solution: Columns
    residuals: NDArray[np.float64]
    converged: bool

    @property
    def n_iterations(self) -> int:
        return len(self.residuals) - 1


def conjugate_gradients(
    multiply: Callable[[Columns], Columns],
    targets: Columns,
    *,
    tolerance: float,
    max_iterations: int,
    precondition: Callable[[Columns], Columns] = lambda columns: columns,
    start: Columns | None = None,
    report: Report = silent,
) -> Iteration:
    """Solve A x = targets for every column of targets, each to its own relative residual (Hestenes & Stiefel, 1952).

    Columns share the products with A and nothing else; one that has converged is left out of further products. The
    residual that the iteration carries along drifts from the true one, so it is computed anew when it looks small
    enough, and the iteration goes on from there if it is not; if that does not halve it, rounding errors do not allow
    for more, and the iteration ends without having converged. What is returned is the best of what was found, column by
    column: with a singular A a residual may rise without end after it has fallen.

    Parameters
    ----------
    multiply : callable
        Returns A times columns, (n, any number), for a symmetric positive definite A.
    targets : ndarray of shape (n, n_targets)
    tolerance : float
    max_iterations : int
    precondition : callable, optional
        Returns an approximation of A^-1, up to a constant, times columns.
    start : ndarray of shape (n, n_targets), optional
        An approximation of the solution; by default zeros.
    report : callable, optional

    Examples
    --------
    >>> A = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> found = conjugate_gradients(lambda v: A @ v, np.array([[1.0], [0.0]]), tolerance=1e-12, max_iterations=10)
    >>> found.solution.ravel().round(6), len(found.residuals) - 1
    (array([ 0.6, -0.2]), 2)
    """
    norms = np.linalg.norm(targets, axis=0)
    norms[norms == 0] = 1.0
    solution = np.zeros_like(targets) if start is None else start.copy()
    residual = targets.copy() if start is None else targets - multiply(start)
    true_residual = np.linalg.norm(residual, axis=0) / norms
    residuals = [true_residual]
    best, best_residual = solution.copy(), true_residual
    active = np.flatnonzero(true_residual > tolerance)
    converged = True
    while active.size and converged:
        found, record = _iterate(
            multiply, residual[:, active], norms[active], tolerance, max_iterations - len(residuals) + 1,
            precondition, report,
        )  # fmt: skip
        solution[:, active] += found
        for step in record:
            residuals.append(residuals[-1].copy())
            residuals[-1][active] = step
        residual[:, active] = targets[:, active] - multiply(solution[:, active])
        before, true_residual = true_residual, np.linalg.norm(residual, axis=0) / norms
        residuals[-1] = true_residual
        improved = true_residual < best_residual
        best[:, improved], best_residual = solution[:, improved], np.minimum(best_residual, true_residual)
        active = np.flatnonzero(true_residual > tolerance)
        progress = (true_residual[active] <= before[active] / 2).all()
        converged = not active.size or bool(progress and len(residuals) <= max_iterations)
    residuals[-1] = best_residual
    return Iteration(best, np.array(residuals), converged)


def _iterate(
    multiply: Callable[[Columns], Columns],
    residual: Columns,
    norms: NDArray[np.float64],
    tolerance: float,
    max_iterations: int,
    precondition: Callable[[Columns], Columns],
    report: Report,
) -> tuple[Columns, list[NDArray[np.float64]]]:
    """Iterate from a solution of zero; returns the solution, and the relative residuals after each iteration."""
    solution, best = np.zeros_like(residual), np.zeros_like(residual)
    direction = precondition(residual)
    square = (residual * direction).sum(axis=0)  # in the norm of the preconditioner
    relative = np.linalg.norm(residual, axis=0) / norms
    record: list[NDArray[np.float64]] = []
    active = np.flatnonzero(relative > tolerance)
    residual, direction = residual[:, active], direction[:, active]
    start, least = float(relative.max()), relative.copy()
    while active.size and len(record) < max_iterations:
        product = multiply(direction)
        curvature = (direction * product).sum(axis=0)
        positive = (curvature > 0) & (square[active] > 0)  # if not, rounding errors are all that is left
        step = np.where(positive, square[active] / np.where(positive, curvature, 1.0), 0.0)
        solution[:, active] += step * direction
        residual = residual - step * product
        relative = relative.copy()
        relative[active] = np.linalg.norm(residual, axis=0) / norms[active]
        record.append(relative)
        improved = active[relative[active] < least[active]]
        best[:, improved], least[improved] = solution[:, improved], relative[improved]
        worst = max(float(relative.max()), tolerance)
        report(f"Iteration {len(record)}, residual {worst:.1e}", _share_done(worst, start, tolerance))
        keep = positive & (relative[active] > tolerance) & (relative[active] < HOPELESS)
        active, residual, direction = active[keep], residual[:, keep], direction[:, keep]
        preconditioned = precondition(residual)
        before = square[active]
        square[active] = (residual * preconditioned).sum(axis=0)
        direction = preconditioned + square[active] / before * direction
    return best, record


def _share_done(residual: float, start: float, tolerance: float) -> float:
    """How far a residual has come on its way to the tolerance, on a logarithmic scale."""
    if start <= tolerance or residual <= 0:
        return 1.0
    if tolerance <= 0:
        return 0.0
    return min(1.0, max(0.0, math.log(start / residual) / math.log(start / tolerance)))


@dataclass(frozen=True)
class ConjugateGradient:
    """Solve (K + ridge I) coefficients = targets without K: memory for ``n (rank + a few n_targets)`` numbers.

    Parameters
    ----------
    tolerance : float, default 1e-8
        The residual to stop at, relative to each column of the targets.
    max_iterations : int, default 1000
    rank : int, default 750
        Of the pivoted-Cholesky preconditioner; 0 for none.
    seed : int, default 0
        For the draw of its pivots.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> rows = np.random.default_rng(0).standard_normal((300, 5))
    >>> targets = np.sin(rows[:, :2])
    >>> solution = ConjugateGradient(rank=100).solve(ntk.NTK(depth=2), rows, targets, ridge=0.01)
    >>> A = ntk.KernelOperator(ntk.NTK(depth=2), rows, ridge=0.01)
    >>> bool(np.abs(A @ solution.coefficients - targets).max() < 1e-6), solution.converged
    (True, True)
    """

    is_direct: ClassVar[bool] = False
    tolerance: float = 1e-8
    max_iterations: int = 1000
    rank: int = 750
    seed: int = 0

    def solve(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        targets: NDArray[np.float64],
        ridge: float,
        *,
        weights: NDArray[np.float64] | None = None,
        leave_one_out: bool = False,
        n_threads: int | None = None,
        report: Report = silent,
        client: Any = None,
    ) -> Solution:
        """See :class:`ntk_fast.solvers.base.Solver`. Warns if it stops short of the tolerance.

        Errors of `leave_one_out` are estimates: the diagonal that they need is the preconditioner's, corrected with
        `N_PROBES` vectors of signs.
        """
        operator = KernelOperator(kernel, rows, dtype=np.float64, n_threads=n_threads, client=client)
        diagonal = kernel.diag(rows, dtype=np.float64)
        largest = refuse_extreme(diagonal)
        roots = roots_of(weights, len(rows))
        with limited_blas(n_threads):
            preconditioner = precondition(kernel, rows, ridge, self.rank, self.seed, n_threads, report, weights)
        scale = power_of_two(targets)
        columns = roots * (targets / scale)
        signs = np.empty((len(rows), 0))
        if leave_one_out:
            signs = np.random.default_rng(self.seed).choice([-1.0, 1.0], (len(rows), N_PROBES))

        def multiply(v: Columns) -> Columns:
            product: Columns = roots * operator.matmat(roots * v) + ridge * v
            return product

        with limited_blas(n_threads):
            found = self._iterate(multiply, np.column_stack([columns, signs]), preconditioner.apply, report)
        if not found.converged:
            suggested = suggested_ridge(len(rows) * largest)
            advice = (
                f"the kernel matrix may be singular: raise ridge, to {suggested:.0e} for one "
                f"({suggested / diagonal.mean():.0e} of the mean diagonal, in which models measure it)"
                if ridge < np.finfo(np.float64).eps * len(rows) * largest
                else "raise ridge, rank or max_iterations, or use the Cholesky solver"
            )
            warn_of_stall(found, self.tolerance, advice)
        n_targets = targets.shape[1]
        solution, solved_signs = found.solution[:, :n_targets], found.solution[:, n_targets:]
        errors = None
        if leave_one_out:
            correction = (signs * (solved_signs - preconditioner.apply(signs) / preconditioner.shift)).mean(axis=1)
            estimate = preconditioner.diagonal() + correction
            # 1 / A_ii <= (A^-1)_ii <= 1 / ridge
            least, most = 1 / (roots[:, 0] ** 2 * diagonal + ridge), 1 / ridge if ridge else np.inf
            errors = scaled_back(solution / (roots * np.clip(estimate, least, most)[:, None]), scale)
        coefficients = scaled_back(roots * solution, scale)
        return Solution(rows, coefficients, found.residuals[:, :n_targets], found.converged, errors)

    def _iterate(
        self,
        multiply: Callable[[Columns], Columns],
        targets: Columns,
        precondition: Callable[[Columns], Columns],
        report: Report,
    ) -> Iteration:
        """Solve with the preconditioner, and go on without it if it stalls."""
        options: dict[str, Any] = {"tolerance": self.tolerance, "report": report}
        found = conjugate_gradients(
            multiply, targets, max_iterations=self.max_iterations, precondition=precondition, **options
        )
        left = self.max_iterations - found.n_iterations
        if found.converged or left <= 0 or not self.rank:
            return found
        plain = conjugate_gradients(multiply, targets, max_iterations=left, start=found.solution, **options)
        if plain.converged:
            warn_caller(
                f"Conjugate gradients stalled at a relative residual of {found.residuals[-1].max():.1e} and went on "
                "without their preconditioner: pass another rank or seed.",
                convergence_warning(),
            )
        return Iteration(plain.solution, np.vstack([found.residuals, plain.residuals[1:]]), plain.converged)


def warn_of_stall(found: Iteration, tolerance: float, advice: str) -> None:
    """Say where conjugate gradients stopped, and what to do."""
    warn_caller(
        f"Conjugate gradients stopped after {found.n_iterations} iterations at a relative residual of "
        f"{found.residuals[-1].max():.1e}, above the tolerance of {tolerance:g}: {advice}.",
        convergence_warning(),
    )
