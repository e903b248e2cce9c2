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

from functools import partial
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ntk_fast.checked_rows import validate_data
from ntk_fast.estimators.expansion import kernel_expansion
from ntk_fast.estimators.parameters import choose_kernel, choose_report
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.targets import FLOATS, checked_regression
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.solvers.base import Report
from ntk_fast.solvers.spectral import Spectral
from ntk_fast.threads import aside
from ntk_fast.validation import check_not_negative, check_positive

REGIMES = ("all", "last")


class GradientFlowRegressor(SavedEstimator, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Mean and covariance of the infinite ensemble of networks trained by gradient flow: see the module.

    Parameters
    ----------
    kernel : NTK or NNGP, optional
        Either one says what the network is: its depth, activation and variances. By default ``NTK(depth=3)``.
    time : float >= 0, optional
        How long the networks are trained; None: to convergence.
    learning_rate : float > 0, default 1.0
        Multiplies `time`.
    ridge : float >= 0, default 0.0
        Added to the diagonal of the trained kernel: training that is regularised towards the initial parameters.
    trained_layers : {"all", "last"}, default "all"
        Whether all layers are trained, or only the last one, the others staying as they were initialised.

    Attributes
    ----------
    X_fit_ : ndarray of shape (n, n_features)
    dual_coef_ : ndarray of shape (n,) or (n, n_targets)
        The mean is ``trained_kernel_(x, X_fit_) @ dual_coef_``.
    response_ : ndarray of shape (n, n)
        f(T) above.
    trained_kernel_, initial_kernel_ : the kernels Theta and Sigma
    target_noise_ : float
        The variance of each network's noise on its targets: `ridge` if only the last layer is trained.
    n_features_in_ : int

    Notes
    -----
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
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        time: float | None = None,
        learning_rate: float = 1.0,
        ridge: float = 0.0,
        trained_layers: str = "all",
    ) -> None:
        self.kernel = kernel
        self.time = time
        self.learning_rate = learning_rate
        self.ridge = ridge
        self.trained_layers = trained_layers

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
        decomposition = Spectral().decompose(trained, rows, report=report)
        speed = None if time is None else learning_rate * time / targets.size
        spectrum = _response(decomposition.eigenvalues, ridge, speed)
        vectors = decomposition.eigenvectors
        response = aside(lambda: (vectors * spectrum) @ vectors.T, partial(report, "Response", None))
        # set at the end: an interrupted fit leaves none of them
        self.trained_kernel_, self.initial_kernel_ = trained, initial
        self.target_noise_ = ridge if self.trained_layers == "last" else 0.0
        self.X_fit_ = np.array(rows, order="C")
        self.response_ = response
        self.dual_coef_ = np.ascontiguousarray(response @ targets)
        return self

    def _kernels(self) -> tuple[NTK | NNGP, NNGP]:
        """Return Theta and Sigma of the network that `kernel` stands for."""
        kernel = choose_kernel(self.kernel)
        if not isinstance(kernel, NTK | NNGP):
            raise TypeError(f"kernel must be an NTK or an NNGP, which describe a network; got {kernel!r}.")
        if self.trained_layers not in REGIMES:
            raise ValueError(f"trained_layers must be 'all' or 'last'; got {self.trained_layers!r}.")
        network = (kernel.depth, kernel.activation, kernel.weight_variance, kernel.bias_variance)
        initial = NNGP(*network)
        return (NTK(*network) if self.trained_layers == "all" else initial), initial

    def predict(
        self, X: ArrayLike, return_cov: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean of the ensemble, and on request its covariance, which all targets share.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
        return_cov : bool, default False

        Returns
        -------
        mean : ndarray of shape (m,) or (m, n_targets)
        covariance : ndarray of shape (m, m)
            Only with `return_cov`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            Before `fit`; if `X` is not as it was there.
        """
        check_is_fitted(self, "dual_coef_")
        rows = validate_data(self, X, reset=False, dtype=FLOATS)
        coefficients = self.dual_coef_.reshape(len(self.X_fit_), -1)
        expansion = kernel_expansion(self.trained_kernel_, rows, self.X_fit_, coefficients)
        mean = expansion.reshape(len(rows), *self.dual_coef_.shape[1:])
        if not return_cov:
            return mean
        trained = self.trained_kernel_(rows, self.X_fit_, dtype=np.float64)
        weights = aside(lambda: trained @ self.response_)  # A
        cross = self.initial_kernel_(rows, self.X_fit_, dtype=np.float64)
        start = self.initial_kernel_(self.X_fit_, dtype=np.float64)
        start.flat[:: len(start) + 1] += self.target_noise_
        half = aside(lambda: weights @ (start @ (weights.T / 2) - cross.T))
        return mean, self.initial_kernel_(rows, dtype=np.float64) + half + half.T


def _response(eigenvalues: NDArray[np.float64], ridge: float, speed: float | None) -> NDArray[np.float64]:
    """Return f of the eigenvalues of T; `speed` is learning_rate * time / Y.size, None for infinite time."""
    rounding = len(eigenvalues) * np.finfo(np.float64).eps * max(float(eigenvalues[-1]), 0.0)
    rates = np.where(eigenvalues > rounding, eigenvalues, 0.0) + ridge
    with np.errstate(divide="ignore", invalid="ignore"):
        if speed is None:
            return np.where(rates > 0, 1 / rates, 0.0)
        return np.where(rates * speed > 0, -np.expm1(-rates * speed) / rates, speed)
