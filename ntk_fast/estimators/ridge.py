"""Kernel ridge regression with any of the solvers: what regression and classification share.

The model is f(x) = mean + scale kernel(x, X) @ dual_coef, where the columns of x and X are scaled and the targets are
centred (see `scaling`), and dual_coef minimises sum_i w_i (y_i - f(x_i))^2 + ridge |f|^2 (see `solvers.weighted`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntk_fast.caller import warns_once, without
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.fit_warnings import warn_of_a_kernel_of_zeros, warn_of_a_large_ridge
from ntk_fast.estimators.parameters import KernelParameters, choose_kernel, within_its_threads
from ntk_fast.estimators.ridge_choice import choose_scaling, fit_at, fit_choosing_the_ridge, fit_of_zeros
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.scaling import ColumnScaling, TargetScaling
from ntk_fast.estimators.targets import FLOATS
from ntk_fast.kernels import Kernel
from ntk_fast.rows.sklearn_check import validate_data
from ntk_fast.schedule.memory import available_bytes
from ntk_fast.solvers.base import Report, Solver, refuse_client
from ntk_fast.solvers.cholesky import Cholesky
from ntk_fast.solvers.conjugate_gradient import ConjugateGradient
from ntk_fast.solvers.nystroem import Nystroem
from ntk_fast.solvers.weighted import WeightedTargets
from ntk_fast.validation import (
    UnderflowWarning,
    check_finite_number,
    check_flag,
    check_not_negative,
    check_whole_number,
)

SOLVERS = ("auto", "cholesky", "cg", "nystroem")
LEAVE_ONE_OUT = "loo"

#: With solver="auto": up to so many rows factorise, if the matrix fits in half of the free memory ...
MOST_ROWS_TO_FACTORISE = 15_000
#: ... up to so many solve exactly without the matrix, and beyond use centres.
MOST_ROWS_TO_ITERATE = 50_000


def check_client(client: Any) -> None:
    from ntk_fast.cluster import check_client as check

    check(client)


def choose_solver(solver: str, n_rows: int, client: Any = None) -> str:
    """Return the name of the solver to use; with a client one whose products workers share."""
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))}; got {solver!r}.")
    if client is not None:
        check_client(client)
        if solver == "cholesky":
            refuse_client(client)
    if solver != "auto":
        return solver
    available = available_bytes()
    fits = available is None or 8 * n_rows**2 <= available / 2
    if n_rows <= MOST_ROWS_TO_FACTORISE and fits and client is None:
        return "cholesky"
    return "cg" if n_rows <= MOST_ROWS_TO_ITERATE else "nystroem"


class KernelRidge(SavedEstimator, KernelParameters):
    """What regression and classification share."""

    #: What fits of earlier releases, which scaled nothing, have none of.
    NOT_IN_OLD_FILES: ClassVar[dict[str, Any]] = {
        "column_scaling_": ColumnScaling(),
        "target_scaling_": TargetScaling(),
        "leave_one_out_predictions_": None,
    }

    def __init__(
        self,
        kernel: Kernel | None = None,
        ridge: float | str = LEAVE_ONE_OUT,
        solver: str = "auto",
        *,
        scale_columns: str | None = "auto",
        fit_intercept: bool = True,
        leave_one_out: bool = True,
        n_centres: int | None = None,
        rank: int = 750,
        tolerance: float = 1e-4,
        max_iterations: int = 1000,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.ridge = ridge
        self.solver = solver
        self.scale_columns = scale_columns
        self.fit_intercept = fit_intercept
        self.leave_one_out = leave_one_out
        self.n_centres = n_centres
        self.rank = rank
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state
        self.n_threads = n_threads

    @warns_once
    @within_its_threads
    @without(UnderflowWarning)
    def _solve(
        self,
        rows: NDArray[np.floating],
        targets: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        scale_targets: Callable[[NDArray[np.float64], NDArray[np.float64] | None, bool], TargetScaling],
        report: Report,
        client: Any = None,
    ) -> NDArray[np.float64] | None:
        """Fit targets of shape (n, n_targets), and return predictions of rows left out, where they were asked for.

        Attributes are set at the end: an interrupted fit leaves none.
        """
        kernel = choose_kernel(self.kernel)
        is_chosen, relative_ridge = self._checked_ridge()
        is_centred = check_flag(self.fit_intercept, "fit_intercept")
        leaves_out = check_flag(self.leave_one_out, "leave_one_out") or is_chosen
        counts = np.ones(len(rows), dtype=bool) if weights is None else weights > 0
        all_rows, all_targets = rows, targets
        if not counts.all():
            assert weights is not None
            rows, targets, weights = rows[counts], targets[counts], weights[counts]
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        name = choose_solver(self.solver, len(rows), client)
        solver = self._make_solver(name, len(rows), seed)
        target_scaling = scale_targets(targets, weights, is_centred)
        problem = WeightedTargets(target_scaling.apply(targets), weights, is_centred)
        column_scaling, decomposed = choose_scaling(
            self.scale_columns, kernel, rows, problem, seed, self.n_threads, report
        )
        rows = column_scaling.apply(rows)
        mean_diagonal = float(np.average(kernel.diag(rows, dtype=np.float64), weights=weights))
        if mean_diagonal == 0:
            warn_of_a_kernel_of_zeros(kernel, rows)
            fit = fit_of_zeros(rows, problem, relative_ridge)
        elif is_chosen:
            fit = fit_choosing_the_ridge(
                kernel, rows, problem, solver, seed, self.n_threads, report, decomposed, client
            )
        else:
            warn_of_a_large_ridge(relative_ridge)
            ridge = relative_ridge * mean_diagonal
            fit = fit_at(kernel, rows, problem, solver, ridge, leaves_out, self.n_threads, report, client=client)
        left_out = None
        if fit.errors is not None:
            left_out = np.empty(all_targets.shape)
            left_out[counts] = target_scaling.undo(problem.values - fit.errors)
        self.kernel_ = kernel
        self.column_scaling_, self.target_scaling_ = column_scaling, target_scaling
        self.ridge_, self.relative_ridge_ = fit.ridge, fit.ridge / (mean_diagonal or 1.0)
        self.path_ridges_, self.path_errors_ = fit.path.ridges, fit.path.errors
        self.solver_ = "spectral" if fit.is_spectral else name
        self.X_fit_ = np.array(fit.solution.rows, order="C")
        self.dual_coef_ = fit.solution.coefficients
        self.n_iter_ = fit.solution.n_iterations
        self.residuals_ = fit.solution.residuals
        self.leave_one_out_is_estimate_ = fit.is_estimate
        if left_out is not None and not counts.all():  # rows of weight 0 are left out of every fit
            left_out[~counts] = self._values(all_rows[~counts])
        return left_out

    def _checked_ridge(self) -> tuple[bool, float]:
        """Return whether the ridge is to be chosen, and otherwise what it is."""
        if not isinstance(self.ridge, str):
            return False, check_not_negative(self.ridge, "ridge")
        if self.ridge != LEAVE_ONE_OUT:
            raise ValueError(f"ridge must be a number >= 0 or {LEAVE_ONE_OUT!r}; got {self.ridge!r}.")
        return True, 0.0

    def _make_solver(self, name: str, n_rows: int, seed: int) -> Solver:
        tolerance = check_finite_number(self.tolerance, "tolerance")
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance must lie between 0 and 1; got {self.tolerance!r}.")
        max_iterations = check_whole_number(self.max_iterations, "max_iterations", 1)
        rank = check_whole_number(self.rank, "rank", 0)
        n_centres = None if self.n_centres is None else check_whole_number(self.n_centres, "n_centres", 1)
        if name == "cholesky":
            return Cholesky()
        if name == "cg":
            return ConjugateGradient(tolerance=tolerance, max_iterations=max_iterations, rank=rank, seed=seed)
        if n_centres is not None and n_centres > n_rows:
            raise ValueError(f"n_centres must not exceed the number of rows; got {n_centres} for {n_rows} rows.")
        return Nystroem(n_centres=n_centres, tolerance=tolerance, max_iterations=max_iterations, seed=seed)

    def _function(self, X: ArrayLike, client: Any = None) -> NDArray[np.float64]:
        """Return f of rows, (m, n_targets)."""
        check_is_fitted(self, "dual_coef_")
        if client is not None:
            check_client(client)
        return self._values(validate_data(self, X, reset=False, dtype=FLOATS), client)

    @warns_once
    def _values(self, rows: NDArray[np.floating], client: Any = None) -> NDArray[np.float64]:
        if not self.dual_coef_.any():
            return self.target_scaling_.undo(np.zeros((len(rows), self.dual_coef_.shape[1])))
        scaled = self.column_scaling_.apply(rows)
        values = kernel_expansion(self.kernel_, scaled, self.X_fit_, self.dual_coef_, self.n_threads, client)
        return self.target_scaling_.undo(values)
