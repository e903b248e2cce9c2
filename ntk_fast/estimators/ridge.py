"""Kernel ridge regression and classification with any of the solvers.

The model is f(x) = kernel(x, X) @ dual_coef with (K + ridge I) dual_coef = targets. Nothing is centred or scaled: a
kernel without bias has no intercept, so targets far from zero want ``bias_variance`` or a target transformer.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntk_fast.checked_rows import validate_data
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.parameters import KernelParameters, choose_kernel, choose_report
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.targets import FLOATS, checked_classification, checked_regression
from ntk_fast.kernels import Kernel
from ntk_fast.memory import available_bytes
from ntk_fast.solvers.base import Report, Solution, Solver, without_iterations
from ntk_fast.solvers.cholesky import Cholesky
from ntk_fast.solvers.conjugate_gradient import ConjugateGradient
from ntk_fast.solvers.nystroem import Nystroem
from ntk_fast.solvers.spectral import RidgePath, Spectral
from ntk_fast.validation import check_finite_number, check_not_negative, check_whole_number

SOLVERS = ("auto", "cholesky", "cg", "nystroem")
LEAVE_ONE_OUT = "loo"

#: With solver="auto": up to so many rows factorise, if the matrix fits in half of the free memory ...
MOST_ROWS_TO_FACTORISE = 15_000
#: ... up to so many solve exactly without the matrix, and beyond use centres.
MOST_ROWS_TO_ITERATE = 50_000


def choose_solver(solver: str, n_rows: int) -> str:
    """Return the name of the solver to use."""
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))}; got {solver!r}.")
    if solver != "auto":
        return solver
    available = available_bytes()
    fits = available is None or 8 * n_rows**2 <= available / 2
    if n_rows <= MOST_ROWS_TO_FACTORISE and fits:
        return "cholesky"
    return "cg" if n_rows <= MOST_ROWS_TO_ITERATE else "nystroem"


class _KernelRidge(SavedEstimator, KernelParameters):
    """What regression and classification share."""

    def __init__(
        self,
        kernel: Kernel | None = None,
        ridge: float | str = 1.0,
        solver: str = "auto",
        *,
        n_centres: int | None = None,
        rank: int = 750,
        tolerance: float = 1e-8,
        max_iterations: int = 1000,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.ridge = ridge
        self.solver = solver
        self.n_centres = n_centres
        self.rank = rank
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.random_state = random_state
        self.n_threads = n_threads

    def _solve(self, X: NDArray[np.floating], targets: NDArray[np.float64], report: Report) -> None:
        """Fit targets of shape (n, n_targets). Attributes are set at the end: an interrupted fit leaves none."""
        kernel = choose_kernel(self.kernel)
        name = choose_solver(self.solver, len(X))
        path = RidgePath(np.empty(0), np.empty(0))
        if isinstance(self.ridge, str):
            solution, path = self._solve_by_leave_one_out(kernel, name, X, targets, report)
            ridge = path.best
        else:
            ridge = check_not_negative(self.ridge, "ridge")
            solver = self._make_solver(name)
            solution = solver.solve(kernel, X, targets, ridge, n_threads=self.n_threads, report=report)
        self.kernel_ = kernel
        self.ridge_ = ridge
        self.path_ridges_, self.path_errors_ = path.ridges, path.errors
        self.solver_ = "spectral" if isinstance(self.ridge, str) else name
        self.X_fit_ = np.array(solution.rows, order="C")
        self.dual_coef_ = solution.coefficients
        self.n_iter_ = solution.n_iterations
        self.residuals_ = solution.residuals

    def _solve_by_leave_one_out(
        self, kernel: Kernel, name: str, X: NDArray[np.floating], targets: NDArray[np.float64], report: Report
    ) -> tuple[Solution, RidgePath]:
        if self.ridge != LEAVE_ONE_OUT:
            raise ValueError(f"ridge must be a number >= 0 or {LEAVE_ONE_OUT!r}; got {self.ridge!r}.")
        if name != "cholesky":
            raise ValueError(
                f"ridge='loo' decomposes the {len(X)} x {len(X)} kernel matrix, and solver {name!r} is for those too "
                "large for it: pass solver='cholesky', or choose the ridge on some of the rows and pass its value."
            )
        decomposition = Spectral().decompose(kernel, X, n_threads=self.n_threads, report=report)
        path = decomposition.ridge_path(targets)
        return without_iterations(X, decomposition.coefficients(targets, path.best)), path

    def _make_solver(self, name: str) -> Solver:
        tolerance = check_finite_number(self.tolerance, "tolerance")
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance must lie between 0 and 1; got {self.tolerance!r}.")
        max_iterations = check_whole_number(self.max_iterations, "max_iterations", 1)
        rank = check_whole_number(self.rank, "rank", 0)
        n_centres = None if self.n_centres is None else check_whole_number(self.n_centres, "n_centres", 1)
        if name == "cholesky":
            return Cholesky()
        generator = check_random_state(self.random_state)
        seed = int(generator.randint(np.iinfo(np.int32).max))
        if name == "cg":
            return ConjugateGradient(tolerance=tolerance, max_iterations=max_iterations, rank=rank, seed=seed)
        return Nystroem(n_centres=n_centres, tolerance=tolerance, max_iterations=max_iterations, seed=seed)

    def _function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return f of rows, (m, n_targets)."""
        check_is_fitted(self, "dual_coef_")
        rows = validate_data(self, X, reset=False, dtype=FLOATS)
        return kernel_expansion(self.kernel_, rows, self.X_fit_, self.dual_coef_, self.n_threads)


class NTKRegressor(MultiOutputMixin, RegressorMixin, _KernelRidge):
    """Kernel ridge regression: see the module.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK, optional
        By default ``NTK(depth=3)``.
    ridge : float >= 0 or "loo", default 1.0
        Added to the diagonal of the kernel matrix. "loo": the one with the smallest mean squared leave-one-out error,
        by an eigendecomposition (about twenty times the work of the Cholesky solver).
    solver : {"auto", "cholesky", "cg", "nystroem"}, default "auto"
        "cholesky" stores and factorises the kernel matrix. "cg" solves the same system by preconditioned conjugate
        gradients and never forms it. "nystroem" restricts the model to kernels at `n_centres` of the rows. "auto" takes
        the first up to 15 000 rows (if they fit in half of the free memory), the second up to 50 000, then the third.
    n_centres : int >= 1, optional
        For "nystroem"; at most the number of rows. By default 5 sqrt(n).
    rank : int >= 0, default 750
        For "cg": the rank of the pivoted-Cholesky preconditioner, which costs ``8 n rank`` bytes; 0 for none.
    tolerance : float, default 1e-8
        For "cg" and "nystroem": they stop at this residual, relative to the targets.
    max_iterations : int >= 1, default 1000
        For "cg" and "nystroem".
    random_state : int, RandomState or None, default None
        For "cg" and "nystroem": the draw of pivots or centres.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.

    Attributes
    ----------
    X_fit_ : ndarray of shape (n_centres, n_features)
        The training rows, or the centres.
    dual_coef_ : ndarray of shape (n_centres, n_targets)
    ridge_ : float
    solver_ : {"cholesky", "cg", "nystroem", "spectral"}
        The last is what ``ridge="loo"`` takes.
    n_iter_ : int
        0 for "cholesky".
    residuals_ : ndarray of shape (n_iter_ + 1, n_targets)
        The relative residuals before the first iteration and after each.
    path_ridges_, path_errors_ : ndarrays of shape (n_ridges,)
        The mean squared leave-one-out error along the path of ridges; empty unless ``ridge="loo"``.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> X = np.random.default_rng(0).standard_normal((200, 3))
    >>> model = NTKRegressor(ntk.NTK(depth=2, bias_variance=0.1), ridge="loo").fit(X, np.sin(X[:, 0]))
    >>> round(model.score(X, np.sin(X[:, 0])), 2)
    1.0
    """

    def fit(self, X: ArrayLike, y: ArrayLike, *, report: Report | None = None) -> Self:
        """Fit.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,) or (n, n_targets)
        report : callable, optional
            Called with what is being done and the share of it that is done, from 0 to 1 (None: it cannot be known).

        Returns
        -------
        The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, `X` or `y` is not as above, or the kernel matrix with its ridge is singular.
        MemoryError
            If the kernel matrix is to be stored and does not fit in the free memory.

        Warns
        -----
        ntk_fast.solvers.ConvergenceWarning
            If an iteration stops short of its tolerance.
        """
        rows, targets = checked_regression(self, X, y)
        self._solve(rows, targets.reshape(len(targets), -1), choose_report(report))
        self.single_target_ = targets.ndim == 1
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return predictions.

        Parameters
        ----------
        X : array-like of shape (m, n_features)

        Returns
        -------
        ndarray of shape (m,) or (m, n_targets)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        values = self._function(X)
        return values[:, 0] if self.single_target_ else values


class NTKClassifier(ClassifierMixin, _KernelRidge):
    """Kernel ridge classification: one-versus-rest regression on centred one-hot targets.

    A row's target is 1 - 1/n_classes for its class and -1/n_classes for the others; the class of the largest prediction
    wins. Such predictions are no probabilities, and none are made up.

    Parameters
    ----------
    kernel, ridge, solver, n_centres, rank, tolerance, max_iterations, random_state, n_threads
        As for :class:`NTKRegressor`; the leave-one-out error is that of the targets.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    X_fit_, dual_coef_, ridge_, solver_, n_iter_, residuals_, path_ridges_, path_errors_, n_features_in_
        As for :class:`NTKRegressor`; of two classes there is one target, the second one's.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = NTKClassifier(ntk.NTK(depth=3)).fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.95
    True
    """

    def fit(self, X: ArrayLike, y: ArrayLike, *, report: Report | None = None) -> Self:
        """Fit.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,)
            Labels, at least two different ones.
        report : callable, optional
            Called with what is being done and the share of it that is done, from 0 to 1 (None: it cannot be known).

        Returns
        -------
        The estimator itself.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`NTKRegressor.fit`, and if all labels are the same.
        """
        rows, y = checked_classification(self, X, y)
        classes, labels = np.unique(y, return_inverse=True)
        n_classes = len(classes)
        if n_classes < 2:
            raise ValueError(f"y must hold at least two classes; got one class, {classes.tolist()[0]!r}.")
        targets = (labels[:, None] == np.arange(n_classes)) - 1 / n_classes
        # of two classes' targets one is the other's negative
        self._solve(rows, targets if n_classes > 2 else targets[:, 1:], choose_report(report))
        self.classes_ = classes
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the predicted targets: of each class, or of two classes the second one's.

        Parameters
        ----------
        X : array-like of shape (m, n_features)

        Returns
        -------
        ndarray of shape (m, n_classes), or (m,) for two classes
        """
        values = self._function(X)
        return values if len(self.classes_) > 2 else values[:, 0]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the classes of the largest predicted targets.

        Parameters
        ----------
        X : array-like of shape (m, n_features)

        Returns
        -------
        ndarray of shape (m,)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        values = self.decision_function(X)
        return self.classes_[values.argmax(axis=1) if values.ndim == 2 else (values > 0).astype(int)]
