"""Gaussian-process regression with an infinite-width kernel as its prior (Rasmussen & Williams, 2006, algorithm 2.1).

With A = K + noise_variance I = L L^T, the noiseless function at x has the posterior mean K(x, X) A^-1 y and covariance
K(x, x) - K(x, X) A^-1 K(X, x), and the targets have the log marginal likelihood

    log p(y) = -1/2 y^T A^-1 y - 1/2 log det A - n/2 log(2 pi),   d log p(y) = 1/2 tr((a a^T - A^-1) dA),   a = A^-1 y.

The variances of the kernel and of the noise maximise it, by their logarithms (L-BFGS-B, with the derivatives of
`ntk_fast.derivatives`); depths are compared by the maxima that they reach.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ntk_fast import lapack
from ntk_fast.derivatives import VARIANCES, VarianceParameters, contracted_derivatives
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.parameters import choose_kernel, choose_report
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.solvers.base import Report, silent
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix
from ntk_fast.threads import aside, single_threaded_blas
from ntk_fast.validation import check_flag, check_not_negative, check_whole_number

Reals = NDArray[np.floating]

NOISE = "noise_variance"
FITTED = (*VARIANCES, NOISE)
#: How far below and above the least and the largest start variances are fitted; and the least and the largest noise, in
#: units of the targets' mean square.
BOUNDS = (1e-5, 1e5)
NOISE_BOUNDS = (1e-10, 1e5)
#: Of a variance.
LARGEST_LOGARITHM = 300
#: The largest logarithm of the number by which a prior is brought to the scale of the targets.
SCALES = 60.0
#: How near to a bound, in logarithms, a fitted variance is as good as at it.
AT_BOUND = 1e-3
#: Factorising so small a matrix gains nothing from BLAS's threads, and loses five times where processors are busy.
MOST_ROWS_FOR_ONE_THREAD = 500
#: Multiplications in a block of the rows that deviations are computed for: a fraction of a second.
WHITENED_AT_A_TIME = 2e10


@dataclass(frozen=True)
class _Model:
    """A kernel and a noise variance, as a vector of the logarithms that are fitted: theta, the noise last."""

    variances: VarianceParameters
    noise_variance: float
    fits_noise: bool

    @property
    def kernel(self) -> Kernel:
        return self.variances.kernel

    @property
    def names(self) -> list[str]:
        """Of the entries of theta."""
        layers = len(self.kernel.recursion.weight_variances)
        shown = [
            name if len(group) > 1 or layers == 1 else f"{name}[{group[0]}]" for name, group in self.variances.groups
        ]
        return [*shown, *([NOISE] if self.fits_noise else [])]

    @property
    def theta(self) -> Reals:
        noise = [math.log(self.noise_variance)] if self.fits_noise else []
        return np.append(self.variances.theta, noise)

    def at(self, theta: ArrayLike) -> _Model:
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != self.theta.shape:
            raise ValueError(f"theta must have shape {self.theta.shape}; got {theta.shape}.")
        if not (np.abs(theta) <= LARGEST_LOGARITHM).all():
            raise ValueError(
                f"theta must hold logarithms from -{LARGEST_LOGARITHM} to {LARGEST_LOGARITHM}; got {theta}."
            )
        n_variances = len(self.variances.groups)
        noise = math.exp(theta[-1]) if self.fits_noise else self.noise_variance
        kernel = self.variances.kernel_at(theta[:n_variances])
        return replace(self, variances=replace(self.variances, kernel=kernel), noise_variance=noise)

    def factorise(self, X: NDArray[np.floating], report: Report = silent) -> CholeskyFactor:
        return CholeskyFactor.in_place(gram_matrix(self.kernel, X, None, report, copies=2), self.noise_variance, report)

    def log_likelihood(
        self, X: NDArray[np.floating], targets: Reals, with_gradient: bool, report: Report = silent
    ) -> tuple[float, Reals]:
        """Return log p(targets), summed over their columns, and its gradient with respect to theta (or zeros)."""
        factor = self.factorise(X, report)
        coefficients = factor.solve(targets)
        n, n_targets = targets.shape
        value = (
            -np.vdot(targets, coefficients) / 2 - n_targets * (factor.log_determinant + n * math.log(2 * math.pi)) / 2
        )
        gradient = np.zeros_like(self.theta)
        if with_gradient and len(gradient):
            weights = factor.inverse_in_place(report)
            weights *= -n_targets / 2
            weights += coefficients @ (coefficients.T / 2)
            n_variances = len(self.variances.groups)
            if n_variances:
                gradient[:n_variances] = contracted_derivatives(
                    self.variances, X, weights, progress=lambda done, total: report("Derivatives", done / total)
                )
            if self.fits_noise:
                gradient[-1] = self.noise_variance * np.trace(weights)
        return float(value), gradient


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
        rows, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=[np.float64, np.float32])
        targets = np.asarray(y, dtype=np.float64)
        single_target = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        mean, scale = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
        if check_flag(self.normalize_y, "normalize_y"):
            mean, deviation = targets.mean(axis=0), targets.std(axis=0)
            scale = np.where(deviation > 0, deviation, 1.0)
        targets = (targets - mean) / scale
        fitted = [_maximise(model, rows, targets, n_restarts, generator, report) for model in models]
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

    def _models(self) -> list[_Model]:
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
        kernels = [kernel] if self.depths is None else [_at_depth(kernel, depth) for depth in self.depths]
        if not kernels:
            raise ValueError("depths must hold at least one depth; got none.")
        return [_Model(VarianceParameters(k, per_layer, variances), noise, fits_noise) for k in kernels]

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
        rows = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
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


def _at_depth(kernel: Kernel, depth: Any) -> Kernel:
    """Return the same kernel with another number of layers, further ones like its last."""
    depth = check_whole_number(depth, "depths", 1)
    if not isinstance(kernel, NTK | NNGP):
        return replace(kernel, depth=depth)  # type: ignore[type-var]
    recursion = kernel.recursion
    changes = {
        name: (layers + layers[-1:] * depth)[: depth + 1]
        for name, layers in (
            ("weight_variance", recursion.weight_variances),
            ("bias_variance", recursion.bias_variances),
        )
    }
    return replace(kernel, depth=depth, **changes)


def _maximise(
    model: _Model, X: NDArray[np.floating], targets: Reals, n_restarts: int, generator: Any, report: Report
) -> tuple[float, _Model]:
    """Return the largest log marginal likelihood found, and the model that has it."""
    start = model.theta
    if not len(start):
        return model.log_likelihood(X, targets, with_gradient=False, report=report)[0], model
    evaluations = itertools.count(1)

    def evaluate(theta: Reals, with_gradient: bool) -> tuple[float, Reals]:
        number = next(evaluations)

        def report_within(stage: str, share: float | None) -> None:
            report(f"Depth {model.kernel.recursion.depth}, likelihood {number}: {stage}", share)

        return model.at(theta).log_likelihood(X, targets, with_gradient, report_within)

    size = float((targets**2).mean()) or 1.0
    starts = [start, _scaled_start(model, X, size)]
    bounds = np.array([np.min(starts, axis=0) + np.log(BOUNDS[0]), np.max(starts, axis=0) + np.log(BOUNDS[1])])
    if model.fits_noise:
        bounds[:, -1] = np.log(size * np.array(NOISE_BOUNDS))
    starts = [np.clip(theta, *bounds) for theta in starts]
    starts += [generator.uniform(*bounds) for _ in range(n_restarts)]

    def objective(theta: Reals) -> tuple[float, Reals]:
        try:
            value, gradient = evaluate(theta, with_gradient=True)
        except ValueError:  # singular here: the line search turns back
            return np.inf, np.zeros_like(theta)
        return -value, -gradient

    with single_threaded_blas() if len(X) <= MOST_ROWS_FOR_ONE_THREAD else nullcontext():
        evaluate(start, with_gradient=False)  # a start that is singular is the caller's to hear of
        found = [minimize(objective, theta, jac=True, method="L-BFGS-B", bounds=bounds.T) for theta in starts]
    best = min(found, key=lambda result: result.fun)
    if not best.success:
        warnings.warn(
            f"The variances of {model.kernel!r} were not fitted to the end: {best.message}; scale the rows and the "
            "targets to about 1, pass normalize_y=True, or start elsewhere.",
            ConvergenceWarning,
            stacklevel=3,
        )
    at_bound = np.flatnonzero(np.abs(best.x - bounds).min(axis=0) < AT_BOUND)
    if len(at_bound):
        names = [model.names[parameter] for parameter in at_bound]
        values = ", ".join(f"{name} = {np.exp(best.x[k]):.2g}" for name, k in zip(names, at_bound, strict=True))
        warnings.warn(
            f"The likelihood is largest at a bound of what was fitted: {values}. Scale the rows and the targets to "
            "about 1, start elsewhere, or leave out of `fitted` what the data do not determine.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return -float(best.fun), model.at(best.x)


def _scaled_start(model: _Model, X: NDArray[np.floating], size: float) -> Reals:
    """Return the theta where variances are multiplied by one number so that the prior has the targets' size.

    Bias variances by its power if that is less: they must not come to outweigh the rows.
    """
    theta = model.theta.copy()
    groups = model.variances.groups
    is_bias = np.array([name == "bias_variance" for name, _ in groups], dtype=bool)
    n_layers = model.kernel.recursion.depth + 1

    def moved(shift: float) -> Reals:
        result = theta.copy()
        result[: len(groups)] += np.where(is_bias, min(shift, n_layers * shift), shift)
        return result

    def excess(shift: float) -> float:
        diagonal = model.at(moved(shift)).kernel.diag(X, dtype=np.float64)
        return math.log(max(float(diagonal.mean()), 1e-300) / size)

    low, high = -SCALES / n_layers, SCALES / n_layers
    if len(groups) and excess(low) < 0 < excess(high):
        theta = moved(brentq(excess, low, high, xtol=1e-2))
    if model.fits_noise:
        theta[-1] = math.log(size / 10)
    return theta
