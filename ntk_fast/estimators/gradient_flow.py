"""Infinite ensembles of infinitely wide networks, trained by gradient flow for some time or for ever.

With Theta the kernel of the parameters that are trained (NTK: all of them; NNGP: the last layer's), Sigma the NNGP
kernel of the network at initialisation, T = Theta(X, X) + ridge I, and loss 1/2 mean((f - Y)^2) over all numbers in Y,

    A = Theta(x, X) f(T),   f(T) = (I - exp(-T learning_rate time / Y.size)) T^-1
    mean        A Y
    covariance  Sigma(x, x) + A Sigma(X, X) A^T - A Sigma(X, x) - Sigma(x, X) A^T

Trained in the last layer only, Theta = Sigma and each network sees targets with noise of its own, of variance ridge:
Sigma(X, X) + ridge I stands for Sigma(X, X) in the covariance, which in infinite time becomes that of the Gaussian
process with this noise ("sample then optimize", Matthews et al., 2017). neural-tangents has the same two conventions.

(Jacot et al., 2018; Lee et al., "Wide neural networks of any depth evolve as linear models", 2019, Eqs. 14-16.)
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ntk_fast import lapack
from ntk_fast.caller import warns_once
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.fit_warnings import warn_of_labels
from ntk_fast.estimators.parameters import KernelParameters, choose_kernel, choose_report
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.targets import FLOATS, checked_regression
from ntk_fast.estimators.unmasked_score import UnmaskedScore
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.rows.sklearn_check import validate_data
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.schedule.tiling import ranges
from ntk_fast.solvers.base import Report, power_of_two, scaled_back
from ntk_fast.solvers.cholesky import gram_matrix
from ntk_fast.solvers.spectral import Spectral
from ntk_fast.validation import check_flag, check_not_negative, check_positive

Reals = NDArray[np.float64]

REGIMES = ("all", "last")
#: Rows whose deviations are computed at a time.
ROWS_AT_A_TIME = 1024


class GradientFlowRegressor(UnmaskedScore, SavedEstimator, MultiOutputMixin, RegressorMixin, KernelParameters):
    """Mean and covariance of the infinite ensemble of networks trained by gradient flow: see the module.

    Parameters
    ----------
    kernel : NTK or NNGP, optional
        Either one says what the network is: its depth, activation and variances. By default
        ``NNGP(depth=3, weight_variance="he", bias_variance=0.5)``.
    time : float >= 0, optional
        How long the networks are trained; None: to convergence.
    learning_rate : float > 0, default 1.0
        Multiplies `time`.
    ridge : float >= 0, default 0.0
        Added to the diagonal of the trained kernel: training that is regularised towards the initial parameters.
    trained_layers : {"all", "last"}, default "all"
        Whether all layers are trained, or only the last one, the others staying as they were initialised.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.

    Attributes
    ----------
    X_fit_ : ndarray of shape (n, n_features)
    dual_coef_ : ndarray of shape (n,) or (n, n_targets)
        The mean is ``trained_kernel_(x, X_fit_) @ dual_coef_``.
    eigenvalues_, eigenvectors_ : ndarrays of shape (n,) and (n, n)
        Of Theta(X, X): all that depends on the time is a function of them.
    y_fit_ : ndarray of shape (n, n_targets)
    trained_kernel_, initial_kernel_ : the kernels Theta and Sigma
    target_noise_ : float
        The variance of each network's noise on its targets: `ridge` if only the last layer is trained.
    n_features_in_ : int

    Notes
    -----
    Rows and targets are taken in the units that they have, as in the equations. With a bias, and the default kernel has
    one, scale the rows first, to a mean squared norm of about 1.

    Training to convergence interpolates what the kernel can represent: with ``ridge=0`` and a singular kernel matrix
    the limit of infinite time is its pseudo-inverse, which is what is computed.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> X, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 3.0])
    >>> flow = GradientFlowRegressor(ntk.NTK(depth=2, weight_variance=(1, 2, 2))).fit(X, y)
    >>> mean, covariance = flow.predict(X, return_cov=True)
    >>> mean.round(6), bool(np.allclose(covariance, 0))
    (array([1., 3.]), True)
    >>> flow.predict(X, times=[0.0, 1.0, np.inf]).round(2)  # in the course of training
    array([[0.  , 0.  ],
           [1.  , 2.37],
           [1.  , 3.  ]])
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        time: float | None = None,
        learning_rate: float = 1.0,
        ridge: float = 0.0,
        trained_layers: str = "all",
        n_threads: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.time = time
        self.learning_rate = learning_rate
        self.ridge = ridge
        self.trained_layers = trained_layers
        self.n_threads = n_threads

    @warns_once
    def fit(self, X: ArrayLike, y: ArrayLike, *, report: Report | None = None) -> Self:
        """Train.

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
            If a parameter, `X` or `y` is not as above.
        MemoryError
            If the kernel matrix, three times, does not fit in the free memory.
        """
        (trained, initial), report = self._kernels(), choose_report(report)
        time = None if self.time is None else check_not_negative(self.time, "time")
        ridge = check_not_negative(self.ridge, "ridge")
        learning_rate = check_positive(self.learning_rate, "learning_rate")
        rows, targets = checked_regression(self, X, y)
        warn_of_labels(targets)
        decomposition = Spectral().decompose(trained, rows, n_threads=self.n_threads, report=report)
        columns = targets.reshape(len(targets), -1)
        scale = power_of_two(columns)
        with limited_blas(self.n_threads):
            speed = np.inf if time is None else learning_rate * time / targets.size
            spectrum = _response(decomposition.eigenvalues, ridge, speed)
            coefficients = scaled_back(decomposition.apply(spectrum, columns / scale), scale)
        # set at the end: an interrupted fit leaves none of them
        self.trained_kernel_, self.initial_kernel_ = trained, initial
        self.ridge_, self.time_, self.learning_rate_ = ridge, time, learning_rate
        self.target_noise_ = ridge if self.trained_layers == "last" else 0.0
        self.X_fit_, self.y_fit_ = np.array(rows, order="C"), columns
        self.eigenvalues_, self.eigenvectors_ = decomposition.eigenvalues, decomposition.eigenvectors
        self.dual_coef_ = coefficients.reshape(targets.shape)
        return self

    def _kernels(self) -> tuple[NTK | NNGP, NNGP]:
        """Return Theta and Sigma of the network that `kernel` stands for."""
        kernel = choose_kernel(self.kernel)
        if not isinstance(kernel, NTK | NNGP):
            raise TypeError(f"kernel must be an NTK or an NNGP, which describe a network; got {kernel!r}.")
        if self.trained_layers not in REGIMES:
            raise ValueError(f"trained_layers must be 'all' or 'last'; got {self.trained_layers!r}.")
        network = kernel.get_params(deep=False)
        initial = NNGP(**network)
        return (NTK(**network) if self.trained_layers == "all" else initial), initial

    @warns_once
    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        return_cov: bool = False,
        *,
        times: ArrayLike | None = None,
    ) -> Reals | tuple[Reals, Reals]:
        """Return the mean of the ensemble, and on request its deviation or covariance, which all targets share.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        return_std, return_cov : bool, default False
            At most one of them.
        times : float or array-like of shape (n_times,), optional
            Look at networks that are trained for so long instead of `time`, infinity included; nothing is fitted anew.
            What is returned has one more axis, the first, for a sequence of them.

        Returns
        -------
        mean : ndarray of shape (m,) or (m, n_targets)
        deviation : ndarray of shape (m,)
            Only with `return_std`.
        covariance : ndarray of shape (m, m)
            Only with `return_cov`; symmetric, and with no negative number on its diagonal.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            Before `fit`; if `X` is not as it was there; if `times` holds anything but numbers >= 0; if both
            `return_std` and `return_cov` are true.
        """
        check_is_fitted(self, "dual_coef_")
        if check_flag(return_std, "return_std") & check_flag(return_cov, "return_cov"):
            raise ValueError("return_std and return_cov cannot both be true.")
        spectra = self._spectra(times)
        rows = validate_data(self, X, reset=False, dtype=FLOATS)
        shape = np.shape(times) if times is not None else ()
        with limited_blas(self.n_threads):
            mean = self._mean(rows, spectra if times is not None else None)
            mean = mean.reshape(*shape, len(rows), *self.dual_coef_.shape[1:])
            if return_cov:
                return mean, self._covariances(rows, spectra).reshape(*shape, len(rows), len(rows))
            if return_std:
                return mean, np.sqrt(self._variances(rows, spectra)).reshape(*shape, len(rows))
        return mean

    def _spectra(self, times: ArrayLike | None) -> list[Reals]:
        """Return f of the eigenvalues at each of the times, by default at the one that was fitted."""
        if not hasattr(self, "eigenvectors_"):  # models of earlier releases keep f(T) itself, `response_`
            if times is not None:
                raise ValueError("times needs a model fitted by this release of ntk_fast: fit it again.")
            return [np.empty(0)]
        values = np.asarray(np.inf if self.time_ is None else self.time_) if times is None else np.asarray(times)
        if values.dtype.kind not in "fiu" or values.ndim > 1 or not values.size:
            raise TypeError(f"times must be a number or a vector of numbers; got {times!r}.")
        wrong = values[~(values >= 0)]
        if wrong.size:
            raise ValueError(f"times must be >= 0, infinity included; got {wrong.flat[0]}.")
        return [
            _response(self.eigenvalues_, self.ridge_, self.learning_rate_ * time / self.y_fit_.size)
            for time in values.ravel().tolist()
        ]

    def _mean(self, rows: NDArray[np.floating], spectra: list[Reals] | None) -> Reals:
        """Return the mean at each time, (n_times, m, n_targets), or (m, n_targets) at the one that was fitted."""
        if spectra is None:
            coefficients = self.dual_coef_.reshape(len(self.dual_coef_), -1)
            return kernel_expansion(self.trained_kernel_, rows, self.X_fit_, coefficients, self.n_threads)
        scale = power_of_two(self.y_fit_)
        projected = lapack.product(self.eigenvectors_.T, self.y_fit_ / scale)
        columns = np.concatenate([spectrum[:, None] * projected for spectrum in spectra], axis=1)
        coefficients = lapack.product(self.eigenvectors_, columns)
        found = kernel_expansion(self.trained_kernel_, rows, self.X_fit_, coefficients, self.n_threads)
        return scaled_back(found.reshape(len(rows), len(spectra), -1).transpose(1, 0, 2), scale)

    def _kernels_of(self, rows: NDArray[np.floating]) -> tuple[Reals, Reals]:
        """Return Theta(x, X) and Sigma(x, X)."""
        options: dict[str, Any] = {"dtype": np.float64, "n_threads": self.n_threads}
        trained = self.trained_kernel_(rows, self.X_fit_, **options)
        same = self.trained_kernel_ == self.initial_kernel_
        return trained, trained if same else self.initial_kernel_(rows, self.X_fit_, **options)

    def _start(self) -> Reals:
        """Return Sigma(X, X), with the noise of each network's targets."""
        start = gram_matrix(self.initial_kernel_, self.X_fit_, self.n_threads)
        start.flat[:: len(start) + 1] += self.target_noise_
        return start

    def _weights(self, trained: Reals, spectrum: Reals) -> Reals:
        """Return A of rows, from Theta(x, X)."""
        if not hasattr(self, "eigenvectors_"):
            return lapack.product(trained, self.response_)
        return lapack.product(lapack.product(trained, self.eigenvectors_) * spectrum, self.eigenvectors_.T)

    def _covariances(self, rows: NDArray[np.floating], spectra: list[Reals]) -> Reals:
        """Return the covariance at each time, (n_times, m, m)."""
        prior = self.initial_kernel_(rows, dtype=np.float64, n_threads=self.n_threads)
        (trained, cross), start = self._kernels_of(rows), self._start()
        found = np.empty((len(spectra), *prior.shape))
        for covariance, spectrum in zip(found, spectra, strict=True):
            weights = self._weights(trained, spectrum)
            half = lapack.product(lapack.product(weights, start) / 2 - cross, weights.T)
            covariance[...] = prior + (half + half.T)  # in this order it is symmetric to the last bit
            diagonal = np.einsum("ii->i", covariance)
            np.maximum(diagonal, 0.0, out=diagonal)
        return found

    def _variances(self, rows: NDArray[np.floating], spectra: list[Reals]) -> Reals:
        """Return the diagonal of the covariance at each time, (n_times, m)."""
        start, prior = self._start(), self.initial_kernel_.diag(rows, dtype=np.float64)
        found = np.empty((len(spectra), len(rows)))
        for block in ranges(len(rows), ROWS_AT_A_TIME):
            trained, cross = self._kernels_of(rows[block])
            for variance, spectrum in zip(found, spectra, strict=True):
                weights = self._weights(trained, spectrum)
                change = np.einsum("ij,ij->i", weights, lapack.product(weights, start) - 2 * cross)
                variance[block] = np.maximum(prior[block] + change, 0.0)
        return found


def _response(eigenvalues: Reals, ridge: float, speed: float) -> Reals:
    """Return f of the eigenvalues of T; `speed` is learning_rate * time / Y.size."""
    rounding = len(eigenvalues) * np.finfo(np.float64).eps * max(float(eigenvalues[-1]), 0.0)
    rates = np.where(eigenvalues > rounding, eigenvalues, 0.0) + ridge
    with np.errstate(divide="ignore", invalid="ignore"):
        if np.isinf(speed):
            return np.where(rates > 0, 1 / rates, 0.0)
        return np.where(rates * speed > 0, -np.expm1(-rates * speed) / rates, speed)
