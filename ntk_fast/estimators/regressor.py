"""NTKRegressor: kernel ridge regression. The machinery is in `ridge`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin

from ntk_fast.estimators.fit_warnings import FAR_ABOVE_THE_DIAGONAL, warn_of_a_useless_fit, warn_of_labels
from ntk_fast.estimators.parameters import choose_report
from ntk_fast.estimators.ridge import LEAVE_ONE_OUT, KernelRidge
from ntk_fast.estimators.scaling import TargetScaling
from ntk_fast.estimators.targets import checked_regression, checked_weights
from ntk_fast.estimators.unmasked_score import UnmaskedScore
from ntk_fast.solvers.base import Report


class NTKRegressor(UnmaskedScore, MultiOutputMixin, RegressorMixin, KernelRidge):
    """Kernel ridge regression with the kernel of an infinitely wide network.

    Units do not matter: columns are centred and scaled, targets are centred and brought back, and the ridge is measured
    in the kernel's own diagonal. It is chosen by the errors of rows left out, unless it is given.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK, optional
        By default ``NNGP(depth=3, weight_variance="he", bias_variance=0.5)``.
    ridge : float >= 0 or "loo", default "loo"
        Added to the diagonal of the kernel matrix, as a multiple of the mean of that diagonal. "loo": the one with the
        smallest mean squared leave-one-out error, up to 3000 rows and with centres of all rows, otherwise of 3000.
    solver : {"auto", "cholesky", "cg", "nystroem"}, default "auto"
        "cholesky" stores and factorises the kernel matrix (with ``ridge="loo"`` it decomposes it, up to 3000 rows).
        "cg" solves the same system by preconditioned conjugate gradients and never forms it. "nystroem" restricts the
        model to kernels at `n_centres` of the rows. "auto" takes the first up to 15 000 rows (if they fit in half of
        the free memory), the second up to 50 000, then the third.
    scale_columns : {"auto", "deviation", "range"} or None, default "auto"
        What centred columns are divided by; all by one number besides, so that rows have mean squared norm 1. Columns
        that are constant count for nothing. "auto": the deviation, unless the range has smaller leave-one-out errors on
        1000 of the rows; for a network that begins with Input, all columns are divided by one number, so that the
        mean squared norm of a position is 1, and nothing is subtracted. None: columns stay as they are.
    fit_intercept : bool, default True
        Whether the targets' mean is taken from them and added to predictions, or predictions are drawn to 0.
    leave_one_out : bool, default True
        Whether leave-one-out predictions are kept. With ``ridge="loo"`` they always are; with a given ridge they
        triple the work of "cholesky".
    n_centres : int >= 1, optional
        For "nystroem"; at most the number of rows. By default 5 sqrt(n).
    rank : int >= 0, default 750
        For "cg": the rank of the pivoted-Cholesky preconditioner, which costs ``8 n rank`` bytes; 0 for none.
    tolerance : float, default 1e-4
        For "cg" and "nystroem": they stop at this residual, relative to the targets. Predictions of the training rows
        are then off by no more than that share of the targets' deviation, far below any error of theirs: with 500
        centres 1e-4 (32 iterations) and 1e-8 (65) both have an R2 of 0.92547 on other rows.
    max_iterations : int >= 1, default 1000
        For "cg" and "nystroem".
    random_state : int, RandomState or None, default None
        For whatever is drawn: pivots, centres, the rows that choices are made on.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.

    Attributes
    ----------
    X_fit_ : ndarray of shape (n_centres, n_features)
        The training rows, or the centres, with their columns scaled.
    dual_coef_ : ndarray of shape (n_centres, n_targets)
        Of the scaled targets.
    kernel_ : the kernel
    column_scaling_, target_scaling_ : what is done to columns and targets
    ridge_, relative_ridge_ : float
        What was added to the diagonal, and how many times its mean that is.
    solver_ : {"cholesky", "cg", "nystroem", "spectral"}
        The last decomposes the matrix, for ``ridge="loo"``.
    n_iter_ : int
        0 where there are no iterations.
    residuals_ : ndarray of shape (n_iter_ + 1, n_targets)
        The relative residuals before the first iteration and after each.
    leave_one_out_predictions_, leave_one_out_errors_ : ndarray of shape (n,) or (n, n_targets), or None
        For each training row of the model fitted without it, mean included; target minus prediction.
    leave_one_out_score_ : float or None
        R2 of these predictions.
    leave_one_out_is_estimate_ : bool
        True with "nystroem", whose centres stay, and "cg", where the diagonal of an inverse is estimated.
    path_ridges_, path_errors_ : ndarrays of shape (n_ridges,)
        Ridges on the diagonal and mean squared leave-one-out errors, in units of the targets' variance; empty unless
        ``ridge="loo"``.
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = NTKRegressor().fit(X, y)
    >>> round(model.leave_one_out_score_, 1)
    0.5
    """

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        report: Report | None = None,
        client: Any = None,
    ) -> Self:
        """Fit.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,) or (n, n_targets)
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the rows' squared errors; a whole number counts a row so many times.
        report : callable, optional
            Called with what is being done and the share of it that is done, from 0 to 1 (None: it cannot be known).
        client : dask.distributed.Client, optional
            Its workers share the products of solvers "cg" and "nystroem", of which "auto" then takes one. The model
            keeps nothing of it.

        Returns
        -------
        The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, `X`, `y` or `sample_weight` is not as above, or the kernel matrix with its ridge is
            singular.
        MemoryError
            If the kernel matrix is to be stored and does not fit in the free memory.

        Warns
        -----
        ntk_fast.solvers.ConvergenceWarning
            If an iteration stops short of its tolerance.
        ntk_fast.estimators.FitWarning
            If the kernel is zero on all rows, the ridge far above its diagonal, the fit worse than the mean, or the
            targets look like labels.
        """
        rows, targets = checked_regression(self, X, y)
        weights, report = checked_weights(sample_weight, rows), choose_report(report)
        warn_of_labels(targets)
        columns = targets.reshape(len(targets), -1)
        left_out = self._solve(rows, columns, weights, TargetScaling.of, report, client)
        self.single_target_ = targets.ndim == 1
        self.leave_one_out_predictions_ = self.leave_one_out_errors_ = self.leave_one_out_score_ = None
        if left_out is not None:
            self.leave_one_out_predictions_ = left_out.reshape(targets.shape)
            self.leave_one_out_errors_ = _difference(targets, self.leave_one_out_predictions_)
            self.leave_one_out_score_ = _explained(columns, left_out, weights)
            if self.dual_coef_.any() and self.relative_ridge_ <= FAR_ABOVE_THE_DIAGONAL:
                warn_of_a_useless_fit(self.leave_one_out_score_, len(rows), self.ridge == LEAVE_ONE_OUT)
        return self

    def predict(self, X: ArrayLike, *, client: Any = None) -> NDArray[np.float64]:
        """Return predictions.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        client : dask.distributed.Client, optional
            Its workers share the work.

        Returns
        -------
        ndarray of shape (m,) or (m, n_targets)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        values = self._function(X, client)
        return values[:, 0] if self.single_target_ else values


def _difference(targets: NDArray[np.float64], predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        errors: NDArray[np.float64] = targets - predictions
    if np.isinf(errors).any():
        raise ValueError(f"Errors of targets up to {np.abs(targets).max():.3g} overflow float64: scale the targets.")
    return errors


def _explained(
    targets: NDArray[np.float64], predictions: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> float:
    """Return R2, the mean over targets that vary; 1 if none does."""
    scaling = TargetScaling.of(targets, weights)
    varies = (targets != targets[:1]).any(axis=0)
    errors = scaling.apply(targets) - scaling.apply(predictions)
    shares = np.average(errors**2, axis=0, weights=weights)
    return float(1 - shares[varies].mean()) if varies.any() else 1.0
