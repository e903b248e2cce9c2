"""Gaussian-process regression with an infinite-width kernel as its prior (Rasmussen & Williams, 2006, algorithm 2.1).

With A = K + noise_variance I = L L^T, the noiseless function at x has the posterior mean K(x, X) A^-1 y and covariance
K(x, x) - K(x, X) A^-1 K(X, x); a mean that is fitted, and so not quite known, adds r(x)^2 / 1^T A^-1 1 to it, with
r(x) = 1 - K(x, X) A^-1 1. The variances of the kernel and of the noise maximise the `marginal_likelihood`, in
`standard_units`; depths are compared by the maxima that they reach. Of many rows it goes through some (`fitc`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ntk_fast import lapack
from ntk_fast.caller import warns_once
from ntk_fast.derivatives import LogParameters
from ntk_fast.estimators.exact_process import ExactProcess
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.fit_warnings import warn_of_labels
from ntk_fast.estimators.fitc import ProcessThroughCentres
from ntk_fast.estimators.marginal_likelihood import FITTED, NOISE, Model
from ntk_fast.estimators.parameters import KernelParameters, choose_kernel, choose_report, within_its_threads
from ntk_fast.estimators.posterior_spread import PosteriorSpread
from ntk_fast.estimators.process_parameters import (
    check_fitted,
    check_noise,
    choose_process_solver,
    depths_of,
    scaling_of_columns,
    scaling_of_targets,
    with_unit_of_rows,
)
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.scaling import ColumnScaling
from ntk_fast.estimators.standard_units import Search, StandardUnits
from ntk_fast.estimators.targets import FLOATS, checked_regression
from ntk_fast.estimators.unmasked_score import UnmaskedScore
from ntk_fast.kernels import Kernel
from ntk_fast.rows.sklearn_check import validate_data
from ntk_fast.solvers.base import Report
from ntk_fast.solvers.cholesky import CholeskyFactor
from ntk_fast.validation import check_flag, check_not_negative, check_whole_number

Reals = NDArray[np.floating]


class NTKGaussianProcessRegressor(UnmaskedScore, MultiOutputMixin, RegressorMixin, SavedEstimator, KernelParameters):
    """Gaussian-process regression: see the module.

    Parameters
    ----------
    kernel : NTK, NNGP or ArcCosine, optional
        The prior covariance, and where fitting starts: for rows in units of their root mean square norm and targets
        in units of their deviation, so that a fit does not depend on units. By default the estimators' default kernel.
    noise_variance : float >= 0 or array-like of shape (n,), default 0.01
        Of the targets around the function, and where fitting starts, in units of the targets' variance. An array is the
        known variance of each row's target (its measurement error squared), which stays as it is.
    fitted : sequence of str, default ("weight_variance", "bias_variance", "noise_variance")
        What maximises the marginal likelihood: some of these, and parameters of activations by the names of the
        kernel's `get_params`, as ``"activation__slope"`` and ``"network__1__frequency"``, whose signs stay. () keeps
        everything as given, in the units of rows and targets as they are. What is zero stays zero. Derivatives by
        parameters of activations, and by all of a network on images, take four kernel matrices each.
    per_layer : bool, default False
        Whether each layer has variances of its own to fit, or all weight variances (all bias variances) are multiplied
        by one number. Without bias only the product of the weight variances matters.
    depths : sequence of int >= 1, optional
        Depths to compare; the kernel's own if None. Each layer beyond the first takes the variances of the kernel's
        last layer.
    n_restarts : int >= 0, default 0
        How many times more fitting starts, from variances drawn log-uniformly from their bounds: 1e-5 to 1e5 times
        those that it is ready to start from.
    normalize_y : bool, optional
        True: targets are brought to mean 0 and variance 1, and kernel and noise are those of such targets. False: the
        prior has mean 0. By default (None) a mean is fitted where something is, and kernel and noise are those of the
        targets as they are. Predictions are brought back.
    scale_columns : {"auto", "deviation", "range"} or None, default "auto"
        Whether columns are centred and divided by their deviations or ranges, and all by one number more so that the
        mean squared norm of the training rows is 1; kernels are then those of such rows. "auto" is "deviation" where
        `kernel` is the default one and something is fitted, else None.
    solver : {"auto", "cholesky", "fitc"}, default "auto"
        "cholesky" is exact: n^2 numbers of memory, and n^3 multiplications some thirty times. "fitc" goes through
        centres, some of the rows (`fitc`): ``n n_centres`` numbers and ``n n_centres^2`` multiplications. "auto"
        factorises up to 10 000 rows.
    n_centres : int >= 1, optional
        Of "fitc"; by default ``5 sqrt(n)``.
    random_state : int, RandomState or None, default None
        For the restarts and the centres.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`, also of LAPACK.

    Attributes
    ----------
    kernel_ : the fitted kernel
    noise_variance_ : float or ndarray of shape (n,)
        In units of `y_scale_` squared, which are 1 unless `normalize_y` is True or no dense layer of the kernel makes
        the output and could take the targets' unit. Through centres what they leave open of the function counts as
        noise too, and this is what is left of it, often nothing; deviations with `include_noise` hold both.
    theta_ : ndarray of shape (n_parameters,)
        Logarithms of what was fitted, of parameters of activations those of their magnitudes; the noise last.
    log_marginal_likelihood_value_ : float
        Of the targets in units of `y_scale_`, summed over them.
    depth_values_ : ndarray of shape (n_depths,)
        The log marginal likelihood reached at each of `depths`.
    X_fit_ : ndarray of shape (n, n_features)
        Or the centres; scaled like `scale_columns`.
    solver_ : str
    column_scaling_, y_mean_, y_scale_
        What was done about units, and the mean of the targets.
    dual_coef_ : ndarray of shape (n, n_targets)
    factor_ : ndarray of shape (n, n)
        L above; through centres theirs, and `damped_factor_` the factor of B in `fitc`.
    mean_weights_, mean_precision_ : ndarray of shape (n,) and float
        How well a fitted mean is known: L^-1 1, or c of `fitc`, and 1^T A^-1 1; 0 if none is fitted.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> generator = np.random.default_rng(0)
    >>> X = generator.uniform(-2, 2, (60, 1))
    >>> y = np.abs(X[:, 0]) + 0.1 * generator.standard_normal(60)
    >>> process = NTKGaussianProcessRegressor(ntk.NTK(depth=3, bias_variance=0.1)).fit(X, y)
    >>> round(process.noise_variance_ ** 0.5, 1)
    0.1
    >>> mean, deviation = process.predict([[0.0], [1.5]], return_std=True)
    >>> bool((np.abs(mean - [0.0, 1.5]) < 0.1).all()), bool((deviation < 0.1).all())
    (True, True)
    """

    NOT_IN_OLD_FILES: ClassVar[dict[str, Any]] = {
        "column_scaling_": ColumnScaling(),
        "solver_": "cholesky",
        "damped_factor_": None,
        "mean_weights_": None,
        "mean_precision_": 0.0,
    }

    def __init__(
        self,
        kernel: Kernel | None = None,
        noise_variance: float | ArrayLike = 1e-2,
        *,
        fitted: Sequence[str] = FITTED,
        per_layer: bool = False,
        depths: Sequence[int] | None = None,
        n_restarts: int = 0,
        normalize_y: bool | None = None,
        scale_columns: str | None = "auto",
        solver: str = "auto",
        n_centres: int | None = None,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.noise_variance = noise_variance
        self.fitted = fitted
        self.per_layer = per_layer
        self.depths = depths
        self.n_restarts = n_restarts
        self.normalize_y = normalize_y
        self.scale_columns = scale_columns
        self.solver = solver
        self.n_centres = n_centres
        self.random_state = random_state
        self.n_threads = n_threads

    @warns_once
    @within_its_threads
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
            If the kernel matrix, twice, does not fit in the free memory; that of the centres, six times.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the maximum was not reached, or lies at a bound.
        """
        report = choose_report(report)
        n_restarts = check_whole_number(self.n_restarts, "n_restarts", 0)
        generator = check_random_state(self.random_state)
        rows, targets = checked_regression(self, X, y)
        warn_of_labels(targets)
        models = self._models(len(rows))
        solver, n_centres = choose_process_solver(self.solver, self.n_centres, len(rows))
        fits = bool(models[0].names)
        single_target = targets.ndim == 1
        normalize = None if self.normalize_y is None else check_flag(self.normalize_y, "normalize_y")
        columns = scaling_of_columns(self.scale_columns, rows, fits and self.kernel is None)
        columns, row_square = with_unit_of_rows(columns, rows, models[0])
        rows = columns.apply(rows)
        scaling, square = scaling_of_targets(targets.reshape(len(targets), -1), normalize, models[0])
        targets = scaling.apply(targets.reshape(len(targets), -1))
        units = StandardUnits(row_square, square)
        models = [replace(model, fits_mean=fits and normalize is None) for model in models]
        search = Search(n_restarts, generator, report)
        if solver == "cholesky":
            problem: ExactProcess | ProcessThroughCentres = ExactProcess(rows, targets, units, self.n_threads)
        else:
            problem = ProcessThroughCentres(rows, targets, units, n_centres, generator, self.n_threads)
        fitted = [problem.fit(model, search) if fits or len(models) > 1 else (0.0, model) for model in models]
        values = np.array([value for value, _ in fitted]) - targets.size * np.log(units.target_square) / 2
        best = int(np.argmax(values))
        model = fitted[best][1]
        posterior = problem.posterior(model, report)
        values[best] = posterior.log_likelihood
        # set at the end: an interrupted fit leaves none of them
        self.single_target_, self.column_scaling_, self.solver_ = single_target, columns, solver
        mean = scaling.mean + posterior.mean * scaling.scale
        self.y_mean_, self.y_scale_ = (np.full(targets.shape[1], part) for part in (mean, scaling.scale))
        self.depth_values_, self.log_marginal_likelihood_value_ = values, float(values[best])
        self.kernel_, self.noise_variance_, self.theta_ = model.kernel, model.noise_variance, model.theta
        self.X_fit_ = np.array(posterior.rows, order="C")
        self.y_fit_ = targets - posterior.mean if solver == "cholesky" else None
        self.factor_, self.damped_factor_ = posterior.lower, posterior.damped
        self.mean_weights_, self.mean_precision_ = posterior.ones, posterior.ones_square if model.fits_mean else 0.0
        self.dual_coef_ = np.ascontiguousarray(posterior.coefficients)
        return self

    def _models(self, n_rows: int) -> list[Model]:
        """Return where fitting starts, at each depth."""
        kernels = depths_of(choose_kernel(self.kernel), self.depths)
        noise: Any = self.noise_variance
        is_array = np.ndim(noise) > 0
        noise = check_noise(noise, n_rows) if is_array else check_not_negative(noise, NOISE)
        per_layer = check_flag(self.per_layer, "per_layer")
        names = check_fitted(self.fitted, kernels, (NOISE,))
        fits_noise = NOISE in names and not is_array and noise > 0
        return [Model(LogParameters(k, per_layer, names), noise, fits_noise) for k in kernels]

    @warns_once
    @within_its_threads
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

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; after a fit through centres, which keeps no rows; if `theta` is not as above.
        """
        check_is_fitted(self, "dual_coef_")
        if self.y_fit_ is None:
            raise ValueError(
                "log_marginal_likelihood needs a model with solver='cholesky': one through centres does not keep its "
                "rows; at the variances fitted it is log_marginal_likelihood_value_."
            )
        start = self._models(len(self.X_fit_))[0]
        parameters = replace(start.parameters, kernel=self.kernel_)
        model = replace(start, parameters=parameters, noise_variance=self.noise_variance_)
        model = model if theta is None else model.at(theta)
        value, gradient = model.log_likelihood(self.X_fit_, self.y_fit_, eval_gradient, self.n_threads)
        return (value, gradient) if eval_gradient else value

    @warns_once
    @within_its_threads
    def predict(
        self, X: ArrayLike, return_std: bool = False, return_cov: bool = False, include_noise: bool = False
    ) -> Reals | tuple[Reals, Reals]:
        """Return the posterior mean, and on request the deviation or covariance, of the function or of observations.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        return_std, return_cov : bool, default False
            At most one of them.
        include_noise : bool, default False
            Whether the deviation or covariance is that of new targets, noise included: in mean +- 1.645 deviations lie
            90 % of them. Without it, it is that of the function that the noise is added to.

        Returns
        -------
        mean : ndarray of shape (m,) or (m, n_targets)
        deviation : ndarray of shape (m,) or (m, n_targets)
            Only with `return_std`: of the noiseless function, or with `include_noise` of a new target.
        covariance : ndarray of shape (m, m) or (m, m, n_targets)
            Only with `return_cov`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there; if both `return_std` and `return_cov` are true; with
            `include_noise` if each training row had a noise of its own.
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov cannot both be true.")
        check_is_fitted(self, "dual_coef_")
        noise = self._noise_of_new_targets() if check_flag(include_noise, "include_noise") else 0.0
        rows = self.column_scaling_.apply(validate_data(self, X, reset=False, dtype=FLOATS))
        expansion = kernel_expansion(self.kernel_, rows, self.X_fit_, self.dual_coef_, self.n_threads)
        mean = self._shaped(expansion * self.y_scale_ + self.y_mean_)
        if return_cov:
            covariance = self._spread().covariance(rows)
            covariance.flat[:: len(covariance) + 1] += noise
            return mean, self._shaped(covariance[:, :, None] * self.y_scale_**2)
        if return_std:
            deviation = np.sqrt(np.maximum(self._spread().variance(rows), 0) + noise)
            return mean, self._shaped(deviation[:, None] * self.y_scale_)
        return mean

    def _noise_of_new_targets(self) -> float:
        if np.ndim(self.noise_variance_):
            raise ValueError(
                "include_noise must be False where noise_variance was given for each row: add the variances of the new "
                "rows' own noise to the squared deviations."
            )
        return float(self.noise_variance_)

    def _spread(self) -> PosteriorSpread:
        factor = CholeskyFactor(self.factor_)
        damped = None if self.damped_factor_ is None else CholeskyFactor(self.damped_factor_)
        mean = self.mean_weights_, self.mean_precision_
        return PosteriorSpread(self.kernel_, self.X_fit_, factor, damped, *mean, self.n_threads)

    @warns_once
    @within_its_threads
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

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            If an argument is not as above; before `fit`.
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
        normal = generator.standard_normal((mean.shape[1], len(root), n_samples))
        draws = np.stack([lapack.product(root, each) for each in normal])
        samples = mean[:, :, None] + (draws * self.y_scale_[:, None, None]).transpose(1, 0, 2)
        return samples[:, 0] if self.single_target_ else samples

    def _shaped(self, values: Reals) -> Reals:
        return values[..., 0] if self.single_target_ else values
