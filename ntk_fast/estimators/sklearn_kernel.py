"""An infinite-width kernel as a kernel of scikit-learn's Gaussian processes, for whatever takes one of those.

`SVC(kernel=ntk.NTK(depth=3))` works as it is: SVMs call a kernel on matrices of rows. `KernelRidge`, `KernelPCA` and
other users of `pairwise_kernels` call a plain function on one pair of rows at a time, which kernels bear and takes
a millisecond a pair, but an object of this class on matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.gaussian_process.kernels import Hyperparameter
from sklearn.gaussian_process.kernels import Kernel as SklearnKernel

from ntk_fast.caller import warns_once
from ntk_fast.derivatives import VARIANCES, LogParameters, gram_derivatives
from ntk_fast.estimators.parameters import with_kernel_changed
from ntk_fast.estimators.process_parameters import check_fitted
from ntk_fast.kernels import Kernel
from ntk_fast.validation import check_positive


class GaussianProcessKernel(SklearnKernel):
    """A kernel with scikit-learn's interface: `theta`, `bounds`, gradients, sums and products with other kernels.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    per_layer : bool, default False
        Whether each layer has a weight and a bias variance of its own in `theta`, or all weight variances (all bias
        variances) are multiplied by one number, which moves their geometric mean. Variances of zero are not in `theta`.
    bounds_of_variances : pair of floats > 0, default (1e-5, 1e5)
        Of all that is in `theta`.
    fitted : sequence of str, default ("weight_variance", "bias_variance")
        What is in `theta`: some of these, and parameters of activations by the names of the kernel's `get_params`, as
        ``"activation__slope"``, of which `theta` has the logarithms of the magnitudes; the signs stay.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.kernel_ridge import KernelRidge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> kernel = GaussianProcessKernel(ntk.NTK(depth=2, bias_variance=0.1))
    >>> kernel.theta.round(2)
    array([ 0. , -2.3])
    >>> model = KernelRidge(alpha=0.1, kernel=kernel).fit(X, y)
    """

    def __init__(
        self,
        kernel: Kernel,
        per_layer: bool = False,
        bounds_of_variances: tuple[float, float] = (1e-5, 1e5),
        fitted: Sequence[str] = VARIANCES,
    ) -> None:
        self.kernel = kernel
        self.per_layer = per_layer
        self.bounds_of_variances = bounds_of_variances
        self.fitted = fitted

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, with `deep` those of the kernel too, as ``kernel__depth`` etc.

        Parameters
        ----------
        deep : bool, default True

        Returns
        -------
        dict
        """
        parameters: dict[str, Any] = super().get_params(deep)
        if deep and isinstance(self.kernel, Kernel):
            parameters |= {f"kernel__{name}": value for name, value in self.kernel.get_params().items()}
        return parameters

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``kernel__depth=2`` puts another kernel in the place of the one that is there.

        Parameters
        ----------
        **params
            Values by name.

        Returns
        -------
        The kernel itself.

        Raises
        ------
        TypeError, ValueError
            If there is no parameter of that name, or it does not take the value.
        """
        kernel = params.get("kernel", self.kernel)
        super().set_params(**(with_kernel_changed(params, kernel) if isinstance(kernel, Kernel) else params))
        return self

    @property
    def _parameters(self) -> LogParameters:
        if not isinstance(self.kernel, Kernel):
            raise TypeError(
                f"kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got {self.kernel!r} of type "
                f"{type(self.kernel).__name__}."
            )
        return LogParameters(self.kernel, self.per_layer, check_fitted(self.fitted, [self.kernel]))

    @property
    def _checked_bounds(self) -> tuple[float, float]:
        try:
            low, high = (check_positive(bound, "bounds_of_variances") for bound in self.bounds_of_variances)
        except (TypeError, ValueError):
            low = high = 0.0
        if not low < high:
            raise ValueError(
                f"bounds_of_variances must be a pair of numbers, 0 < low < high; got {self.bounds_of_variances!r}."
            )
        return low, high

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """What is in `theta`, as scikit-learn describes hyperparameters."""
        bounds = np.array([self._checked_bounds])
        return [Hyperparameter(name, "numeric", bounds) for name in self._parameters.names]

    @property
    def theta(self) -> NDArray[np.floating]:
        """Logarithms of what is fitted, (n_parameters,)."""
        return self._parameters.theta

    @theta.setter
    def theta(self, theta: ArrayLike) -> None:
        parameters, values = self._parameters, np.asarray(theta, dtype=np.float64)
        if values.shape != parameters.theta.shape:
            raise ValueError(f"theta must have shape {parameters.theta.shape}; got {values.shape}.")
        self.kernel = parameters.kernel_at(values)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Logarithms of the bounds, (n_parameters, 2)."""
        return np.tile(np.log(self._checked_bounds), (len(self._parameters.names), 1))

    @warns_once
    def __call__(
        self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False
    ) -> NDArray[np.floating] | tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the Gram matrix and, on request, its derivatives with respect to `theta`.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        Y : array-like of shape (m, n_features), optional
        eval_gradient : bool, default False
            Only without `Y`.

        Returns
        -------
        K : ndarray of shape (n, n) or (n, m)
        gradient : ndarray of shape (n, n, n_parameters)
            Only with `eval_gradient`.
        """
        if eval_gradient and Y is not None:
            raise ValueError("eval_gradient needs Y to be None.")
        K = self.kernel(X, Y, dtype=np.float64)  # what scikit-learn solves with
        return (K, gram_derivatives(self._parameters, X).transpose(1, 2, 0)) if eval_gradient else K

    def diag(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return the diagonal of the Gram matrix of `X`.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of float64 of shape (n,)
        """
        return self.kernel.diag(X, dtype=np.float64)

    def is_stationary(self) -> bool:
        """Return False: these kernels are functions of norms and angles, not of differences."""
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kernel!r})"
