"""Gaussian-process classification: a latent function for each class, one against the rest, by `laplace`.

The classes share the kernel, whose variances maximise the mean of their approximate log marginal likelihoods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntk_fast.caller import warns_once
from ntk_fast.derivatives import VARIANCES, LogParameters
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.laplace import averaged_logistic
from ntk_fast.estimators.laplace_process import LaplaceProcess
from ntk_fast.estimators.marginal_likelihood import Model
from ntk_fast.estimators.parameters import KernelParameters, choose_kernel, choose_report, within_its_threads
from ntk_fast.estimators.posterior_spread import rows_at_a_time
from ntk_fast.estimators.process_parameters import (
    check_fitted,
    depths_of,
    scaling_of_columns,
    with_unit_of_rows,
)
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.standard_units import Search, StandardUnits
from ntk_fast.estimators.targets import FLOATS, checked_classification
from ntk_fast.estimators.unmasked_score import UnmaskedScore
from ntk_fast.kernels import Kernel
from ntk_fast.rows.sklearn_check import validate_data
from ntk_fast.schedule.tiling import ranges
from ntk_fast.solvers.base import Report, silent
from ntk_fast.solvers.cholesky import CholeskyFactor
from ntk_fast.validation import check_flag, check_whole_number

Reals = NDArray[np.float64]

#: The mean square of latent functions where a fit starts: probabilities from 1 to 99 %.
LATENT_SQUARE = 4.0


class NTKGaussianProcessClassifier(UnmaskedScore, ClassifierMixin, SavedEstimator, KernelParameters):
    """Gaussian-process classification with probabilities: see the module.

    With one kernel it gives the numbers of scikit-learn's ``GaussianProcessClassifier``, which fits one to each class.

    Parameters
    ----------
    kernel : NTK, NNGP or ArcCosine, optional
        The prior covariance of the latent functions, and where fitting starts, for rows in units of their root mean
        square norm. By default the estimators' default kernel.
    fitted : sequence of str, default ("weight_variance", "bias_variance")
        What maximises the marginal likelihood: some of these, and parameters of activations, as for
        :class:`NTKGaussianProcessRegressor`; () keeps the kernel as given. What is zero stays zero.
    per_layer : bool, default False
        Whether each layer has variances of its own to fit, or all weight variances (all bias variances) are multiplied
        by one number.
    depths : sequence of int >= 1, optional
        Depths to compare; the kernel's own if None.
    n_restarts : int >= 0, default 0
        How many times more fitting starts, from variances drawn log-uniformly from their bounds.
    scale_columns : {"auto", "deviation", "range"} or None, default "auto"
        As for :class:`ntk_fast.NTKGaussianProcessRegressor`.
    max_iterations : int >= 1, default 100
        Of Newton's method for the most likely latent function; about six are needed.
    random_state : int, RandomState or None, default None
        For the restarts.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`, also of LAPACK.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    kernel_ : the fitted kernel
    theta_ : ndarray of shape (n_parameters,)
        Logarithms of what was fitted.
    log_marginal_likelihood_value_ : float
        Laplace's approximation of it, the mean over classes.
    depth_values_ : ndarray of shape (n_depths,)
    X_fit_ : ndarray of shape (n, n_features)
        Scaled like `scale_columns`; `column_scaling_` says how.
    dual_coef_ : ndarray of shape (n, n_latents)
        t - pi of each class, or of two classes the second one's.
    root_weights_, factor_ : ndarrays of shape (n, n_latents) and (n_latents, n, n)
        W^1/2 and L.
    n_features_in_ : int

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NTKGaussianProcessClassifier(ntk.NTK(depth=2, bias_variance=0.1)).fit(X[::2], y[::2])
    >>> model.score(X[1::2], y[1::2]) > 0.9
    True
    >>> model.predict_proba(X[:1]).shape
    (1, 3)
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        fitted: Sequence[str] = VARIANCES,
        per_layer: bool = False,
        depths: Sequence[int] | None = None,
        n_restarts: int = 0,
        scale_columns: str | None = "auto",
        max_iterations: int = 100,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.fitted = fitted
        self.per_layer = per_layer
        self.depths = depths
        self.n_restarts = n_restarts
        self.scale_columns = scale_columns
        self.max_iterations = max_iterations
        self.random_state = random_state
        self.n_threads = n_threads

    @warns_once
    @within_its_threads
    def fit(self, X: ArrayLike, y: ArrayLike, *, report: Report | None = None) -> Self:
        """Fit the variances, compare the depths, and find the most likely latent functions.

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
            If a parameter, `X` or `y` is not as above.
        MemoryError
            If the kernel matrix, three times and once more for each class, does not fit in the free memory.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the maximum was not reached, or lies at a bound.
        """
        report = choose_report(report)
        models = self._models()
        n_restarts = check_whole_number(self.n_restarts, "n_restarts", 0)
        max_iterations = check_whole_number(self.max_iterations, "max_iterations", 1)
        generator = check_random_state(self.random_state)
        rows, y = checked_classification(self, X, y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least two classes; got one class, {classes.tolist()[0]!r}.")
        latents = np.arange(len(classes)) if len(classes) > 2 else np.array([1])
        is_one = labels == latents[:, None]
        fits = bool(models[0].names)
        columns = scaling_of_columns(self.scale_columns, rows, fits and self.kernel is None)
        columns, row_square = with_unit_of_rows(columns, rows, models[0])
        rows = columns.apply(rows)
        units = StandardUnits(row_square, 1.0)
        process = LaplaceProcess(rows, is_one, max_iterations, self.n_threads)
        search = Search(n_restarts, generator, report)
        found = [search.fit(model, rows, units, LATENT_SQUARE, process.log_likelihood) for model in models]
        posteriors = [process.posteriors(model.kernel, report) for _, model in found]
        values = np.array([np.mean([posterior.log_likelihood for posterior in each]) for each in posteriors])
        best = int(np.argmax(values))
        model, posterior = found[best][1], posteriors[best]
        # set at the end: an interrupted fit leaves none of them
        self.classes_, self.column_scaling_ = classes, columns
        self.kernel_, self.theta_ = model.kernel, model.theta
        self.depth_values_, self.log_marginal_likelihood_value_ = values, float(values[best])
        self.X_fit_, self.labels_ = np.array(rows, order="C"), is_one
        self.dual_coef_ = np.column_stack([each.residual for each in posterior])
        self.root_weights_ = np.column_stack([each.root_weights for each in posterior])
        self.factor_ = np.array([each.factor for each in posterior])
        return self

    def _models(self) -> list[Model]:
        """Return where fitting starts, at each depth."""
        kernels = depths_of(choose_kernel(self.kernel), self.depths)
        per_layer = check_flag(self.per_layer, "per_layer")
        names = check_fitted(self.fitted, kernels)
        return [Model(LogParameters(kernel, per_layer, names), 0.0, False) for kernel in kernels]

    @warns_once
    @within_its_threads
    def log_marginal_likelihood(
        self, theta: ArrayLike | None = None, eval_gradient: bool = False
    ) -> float | tuple[float, Reals]:
        """Return Laplace's log marginal likelihood of the labels, the mean over classes, and on request its gradient.

        Parameters
        ----------
        theta : array-like of shape (n_parameters,), optional
            Logarithms of what `fitted` names; by default those that were fitted.
        eval_gradient : bool, default False

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_parameters,)
            Only with `eval_gradient`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `theta` is not as above.
        """
        check_is_fitted(self, "dual_coef_")
        start = self._models()[0]
        model = Model(LogParameters(self.kernel_, start.parameters.per_layer, start.parameters.fitted), 0.0, False)
        model = model if theta is None else model.at(theta)
        process = LaplaceProcess(self.X_fit_, self.labels_, self.max_iterations, self.n_threads)
        value, gradient = process.log_likelihood(model, eval_gradient, silent)
        return (value, gradient) if eval_gradient else value

    @warns_once
    @within_its_threads
    def predict_proba(self, X: ArrayLike) -> Reals:
        """Return the probabilities of the classes.

        Each class's against the rest, averaged over its latent function; of three classes and more they are divided by
        their sum.

        Parameters
        ----------
        X : array-like of shape (m, n_features)

        Returns
        -------
        ndarray of shape (m, n_classes)

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        rows = self._checked(X)
        mean = kernel_expansion(self.kernel_, rows, self.X_fit_, self.dual_coef_, self.n_threads)
        variance = np.repeat(self.kernel_.diag(rows, dtype=np.float64)[:, None], mean.shape[1], axis=1)
        for part in ranges(len(rows), rows_at_a_time(len(self.X_fit_), mean.shape[1])):
            across = self.kernel_(self.X_fit_, rows[part], dtype=np.float64, n_threads=self.n_threads)
            for latent, factor in enumerate(self.factor_):
                whitened = CholeskyFactor(factor).whiten(self.root_weights_[:, latent, None] * across)
                variance[part, latent] -= np.einsum("ij,ij->j", whitened, whitened)
        shares = averaged_logistic(mean, np.maximum(variance, 0))
        if len(self.classes_) == 2:
            return np.column_stack([1 - shares[:, 0], shares[:, 0]])
        return shares / shares.sum(axis=1, keepdims=True)

    @warns_once
    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable classes.

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
        check_is_fitted(self, "dual_coef_")
        if len(self.classes_) > 2:
            return self.classes_[self.predict_proba(X).argmax(axis=1)]
        mean = kernel_expansion(self.kernel_, self._checked(X), self.X_fit_, self.dual_coef_, self.n_threads)
        return self.classes_[(mean[:, 0] > 0).astype(int)]

    def _checked(self, X: ArrayLike) -> NDArray[np.floating]:
        check_is_fitted(self, "dual_coef_")
        return self.column_scaling_.apply(validate_data(self, X, reset=False, dtype=FLOATS))
