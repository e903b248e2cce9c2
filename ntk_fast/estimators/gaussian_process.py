"""Gaussian-process regression with an infinite-width kernel as its prior (Rasmussen & Williams, 2006, algorithm 2.1).

With A = K + noise_variance I = L L^T, the noiseless function at x has the posterior mean K(x, X) A^-1 y and covariance
K(x, x) - K(x, X) A^-1 K(X, x). The variances of the kernel and of the noise maximise the `marginal_likelihood`; depths
are compared by the maxima that they reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntk_fast import lapack
from ntk_fast.checked_rows import validate_data
from ntk_fast.derivatives import VARIANCES, VarianceParameters
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.marginal_likelihood import FITTED, NOISE, Model, at_depth, maximise
from ntk_fast.estimators.parameters import choose_kernel, choose_report
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.targets import FLOATS, checked_regression
from ntk_fast.kernels import Kernel
from ntk_fast.solvers.base import Report
from ntk_fast.solvers.cholesky import CholeskyFactor
from ntk_fast.threads import aside
from ntk_fast.validation import check_flag, check_not_negative, check_whole_number

Reals = NDArray[np.floating]

#: Multiplications in a block of the rows that deviations are computed for: a fraction of a second.
WHITENED_AT_A_TIME = 2e10


class NTKGaussianProcessRegressor(SavedEstimator, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Gaussian-process regression: see the module.

    Parameters
    ----------
    kernel : NTK, NNGP or ArcCosine, optional
        The prior covariance, and where fitting starts. By default ``NTK(depth=3)``.
    noise_variance : float >= 0, default 0.01
        Of the targets around the function, and where fitting starts.
    fitted : sequence of {"weight_variance", "bias_variance", "noise_variance"}, default all three
        What maximises the marginal likelihood; () keeps everything as given. A variance of zero stays zero.
    per_layer : bool, default False
        Whether each layer has variances of its own to fit, or all weight variances (all bias variances) are multiplied
        by one number. Without bias only the product of the weight variances matters.
    depths : sequence of int >= 1, optional
        Depths to compare; the kernel's own if None. Each layer beyond the first takes the variances of the kernel's
        last layer.
    n_restarts : int >= 0, default 0
        How many times more fitting starts, from variances drawn log-uniformly from their bounds: 1e-5 to 1e5 times
        those given, and those that bring the prior to the targets' scale, where fitting starts a second time.
    normalize_y : bool, default False
        Whether targets are brought to mean 0 and variance 1 first; predictions are brought back.
    random_state : int, RandomState or None, default None
        For the restarts.

    Attributes
    ----------
    kernel_ : the fitted kernel
    noise_variance_ : float
        In units of the normalised targets if `normalize_y`.
    theta_ : ndarray of shape (n_parameters,)
        Logarithms of what was fitted, the noise last.
    log_marginal_likelihood_value_ : float
        Summed over targets.
    depth_values_ : ndarray of shape (n_depths,)
        The log marginal likelihood reached at each of `depths`.
    X_fit_ : ndarray of shape (n, n_features)
    dual_coef_ : ndarray of shape (n, n_targets)
    factor_ : ndarray of shape (n, n)
        L above.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> generator = np.random.default_rng(0)
    >>> X = generator.uniform(-2, 2, (60, 1))
    >>> y = np.abs(X[:, 0]) + 0.1 * generator.standard_normal(60)
    >>> process = NTKGaussianProcessRegressor(ntk.NTK(depth=1, bias_variance=1.0)).fit(X, y)
    >>> round(process.noise_variance_ ** 0.5, 1)
    0.1
    >>> mean, deviation = process.predict([[0.0], [1.5]], return_std=True)
    >>> mean.round(1), bool((deviation < 0.1).all())
    (array([0. , 1.5]), True)
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        noise_variance: float = 1e-2,
        *,
        fitted: Sequence[str] = FITTED,
        per_layer: bool = False,
        depths: Sequence[int] | None = None,
        n_restarts: int = 0,
        normalize_y: bool = False,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.noise_variance = noise_variance
        self.fitted = fitted
        self.per_layer = per_layer
        self.depths = depths
        self.n_restarts = n_restarts
        self.normalize_y = normalize_y
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, *, report: Report | None = None) -> Self:
        """Fit the variances, compare the depths, and condition on the targets.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,) or (n, n_targets)
            Several targets share the kernel and are independent given it.
        report : callable, optional
            Called with what is being done and the share of it that is done, from 0 to 1 (None: it cannot be known).

        Returns
        -------
        The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, `X` or `y` is not as above, or the kernel matrix with its noise is singular.
        MemoryError
            If the kernel matrix, twice, does not fit in the free memory.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the maximum was not reached, or lies at a bound.
        """
        models, report = self._models(), choose_report(report)
        n_restarts = check_whole_number(self.n_restarts, "n_restarts", 0)
        generator = check_random_state(self.random_state)
        rows, targets = checked_regression(self, X, y)
        single_target = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        mean, scale = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
        if check_flag(self.normalize_y, "normalize_y"):
            mean, deviation = targets.mean(axis=0), targets.std(axis=0)
            scale = np.where(deviation > 0, deviation, 1.0)
        targets = (targets - mean) / scale
        fitted = [maximise(model, rows, targets, n_restarts, generator, report) for model in models]
        values = np.array([value for value, _ in fitted])
        value, model = fitted[int(np.argmax(values))]
        factor = model.factorise(rows, report)
        # set at the end: an interrupted fit leaves none of them
        self.single_target_, self.y_mean_, self.y_scale_ = single_target, mean, scale
        self.depth_values_, self.log_marginal_likelihood_value_ = values, value
        self.kernel_, self.noise_variance_, self.theta_ = model.kernel, model.noise_variance, model.theta
        self.X_fit_, self.y_fit_ = np.array(rows, order="C"), targets
        self.factor_ = factor.lower
        self.dual_coef_ = np.ascontiguousarray(factor.solve(targets))
        return self

    def _models(self) -> list[Model]:
        """Return where fitting starts, at each depth."""
        kernel = choose_kernel(self.kernel)
        noise = check_not_negative(self.noise_variance, NOISE)
        per_layer = check_flag(self.per_layer, "per_layer")
        if not isinstance(self.fitted, Iterable):
            raise TypeError(f"fitted must be a sequence of names; got {self.fitted!r}.")
        names = (self.fitted,) if isinstance(self.fitted, str) else tuple(self.fitted)
        for name in names:
            if name not in FITTED:
                raise ValueError(f"fitted must hold names out of {', '.join(map(repr, FITTED))}; got {name!r}.")
        if self.depths is not None and not isinstance(self.depths, Iterable):
            raise TypeError(f"depths must be a sequence of whole numbers >= 1, or None; got {self.depths!r}.")
        variances = tuple(name for name in VARIANCES if name in names)
        fits_noise = NOISE in names and noise > 0
        kernels = [kernel] if self.depths is None else [at_depth(kernel, depth) for depth in self.depths]
        if not kernels:
            raise ValueError("depths must hold at least one depth; got none.")
        return [Model(VarianceParameters(k, per_layer, variances), noise, fits_noise) for k in kernels]

    def log_marginal_likelihood(
        self, theta: ArrayLike | None = None, eval_gradient: bool = False
    ) -> float | tuple[float, Reals]:
        """Return the log marginal likelihood of the training targets, and on request its gradient.

        Parameters
        ----------
        theta : array-like of shape (n_parameters,), optional
            Logarithms of what `fitted` names, the noise last; by default those that were fitted.
        eval_gradient : bool, default False

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_parameters,)
            Only with `eval_gradient`.
        """
        check_is_fitted(self, "dual_coef_")
        start = self._models()[0]
        variances = replace(start.variances, kernel=self.kernel_)
        model = replace(start, variances=variances, noise_variance=self.noise_variance_)
        model = model if theta is None else model.at(theta)
        value, gradient = model.log_likelihood(self.X_fit_, self.y_fit_, eval_gradient)
        return (value, gradient) if eval_gradient else value

    def predict(self, X: ArrayLike, return_std: bool = False, return_cov: bool = False) -> Reals | tuple[Reals, Reals]:
        """Return the posterior mean of the noiseless function, and on request its deviation or covariance.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        return_std, return_cov : bool, default False
            At most one of them.

        Returns
        -------
        mean : ndarray of shape (m,) or (m, n_targets)
        deviation : ndarray of shape (m,) or (m, n_targets)
            Only with `return_std`. A new target's own deviation adds `noise_variance_` to its square.
        covariance : ndarray of shape (m, m) or (m, m, n_targets)
            Only with `return_cov`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there; if both `return_std` and `return_cov` are true.
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov cannot both be true.")
        check_is_fitted(self, "dual_coef_")
        rows = validate_data(self, X, reset=False, dtype=FLOATS)
        expansion = kernel_expansion(self.kernel_, rows, self.X_fit_, self.dual_coef_)
        mean = self._shaped(expansion * self.y_scale_ + self.y_mean_)
        if return_cov:
            whitened = np.concatenate(list(self._whitened(rows)), axis=1)
            covariance = self.kernel_(rows, dtype=np.float64) - aside(lambda: whitened.T @ whitened)
            return mean, self._shaped(covariance[:, :, None] * self.y_scale_**2)
        if return_std:
            explained = np.concatenate([np.einsum("ij,ij->j", part, part) for part in self._whitened(rows)])
            variance = self.kernel_.diag(rows, dtype=np.float64) - explained
            return mean, self._shaped(np.sqrt(np.maximum(variance, 0))[:, None] * self.y_scale_)
        return mean

    def _whitened(self, rows: NDArray[np.floating]) -> Iterator[Reals]:
        """Yield L^-1 K(X_fit_, rows), (n, some rows) at a time."""
        factor, n = CholeskyFactor(self.factor_), len(self.X_fit_)
        step = max(1, int(WHITENED_AT_A_TIME / n**2))
        for start in range(0, len(rows), step):
            yield factor.whiten(self.kernel_(rows[start : start + step], self.X_fit_, dtype=np.float64).T)

    def sample_y(self, X: ArrayLike, n_samples: int = 1, random_state: Any = 0) -> Reals:
        """Draw functions from the posterior.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        n_samples : int >= 1, default 1
        random_state : int, RandomState or None, default 0

        Returns
        -------
        ndarray of shape (m, n_samples) or (m, n_targets, n_samples)
        """
        n_samples = check_whole_number(n_samples, "n_samples", 1)
        generator = check_random_state(random_state)
        mean, covariance = self.predict(X, return_cov=True)
        if self.single_target_:
            mean, covariance = mean[:, None], covariance[:, :, None]
        # all targets' covariances are multiples of one
        vectors = np.ascontiguousarray(covariance[:, :, 0]) / self.y_scale_[0] ** 2
        values = lapack.eigh_in_place(vectors)
        root = vectors.T * np.sqrt(np.maximum(values, 0))
        draws = root @ generator.standard_normal((mean.shape[1], len(root), n_samples))
        samples = mean[:, :, None] + (draws * self.y_scale_[:, None, None]).transpose(1, 0, 2)
        return samples[:, 0] if self.single_target_ else samples

    def _shaped(self, values: Reals) -> Reals:
        return values[..., 0] if self.single_target_ else values
