"""The network as a linear model of its parameters: the first-order Taylor expansion of Eqs. 3 to 5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast import lapack
from ntk_fast.finite.network_function import NetworkFunction
from ntk_fast.finite.products import Reals
from ntk_fast.validation import check_not_negative, check_vector

#: Numbers of tangent features that `fit` decomposes: their singular values are twice as exact as the kernel's.
MOST_FEATURES = 2**26


@dataclass(frozen=True, eq=False)
class Linearization:
    """``lin(X, parameters) = f(X; theta0) + grad f(X; theta0) . (parameters - theta0)`` (Eq. 3), at any depth.

    Made by :meth:`Network.linearize`. The tangent features are never formed to evaluate it: a derivative along one
    direction costs two forward passes.

    Parameters
    ----------
    network : Network
        At theta0.

    Examples
    --------
    >>> import numpy as np
    >>> from ntk_fast import finite
    >>> network = finite.Network.initialize(n_features=2, width=512, rng=0)
    >>> lin = network.linearize()
    >>> X, y = np.eye(2), np.array([1.0, -1.0])
    >>> lin(X, lin.fit(X, y)).round(6)
    array([ 1., -1.])
    """

    network: NetworkFunction

    def __call__(self, X: ArrayLike, parameters: ArrayLike, *, n_threads: int | None = None) -> Reals:
        """Return the linear model of each row, shape (n,), at a flat parameter vector.

        Raises
        ------
        TypeError, ValueError
            If the rows or the parameters do not fit the network.
        """
        return np.sum(self._parts(X, parameters, n_threads), axis=0)

    def split(self, X: ArrayLike, parameters: ArrayLike, *, n_threads: int | None = None) -> tuple[Reals, Reals]:
        """Return the two terms of Eq. 5: the fixed-hidden-layer approximation, and the correction to it.

        The first is ``sum_i beta_i sigma(w_i(0).x) / sqrt(width)``; the second is linear in the change of the hidden
        weights, ``sum_i beta_i(0) sigma'(w_i(0).x) x.(w_i - w_i(0)) / sqrt(width)``. Deeper, likewise: all changes of
        hidden layers are in the correction.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        parameters : array-like of shape (n_parameters,)
        n_threads : int >= 1, optional

        Returns
        -------
        fixed_hidden_layer, correction : ndarray of shape (n,)

        Raises
        ------
        TypeError, ValueError
            If the rows or the parameters do not fit the network.
        """
        outputs, by_readout, by_hidden = self._parts(X, parameters, n_threads)
        return outputs + by_readout, by_hidden

    def term_zero(self, X: ArrayLike, *, n_threads: int | None = None) -> Reals:
        """Return what holds no learnable parameter, ``f(x; theta0) - grad f(x; theta0) . theta0``: Eq. 4's term (0).

        For ReLU it is ``-depth * f(x; theta0)``. It does not vanish as the width grows, but converges to a Gaussian
        process (for ReLU at depth 1, with the kernel of Eq. 1); under an antisymmetric initialisation it is zero.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        n_threads : int >= 1, optional

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        TypeError, ValueError
            If the rows do not fit the network.

        Examples
        --------
        >>> import numpy as np
        >>> from ntk_fast import finite
        >>> network = finite.Network.initialize(n_features=2, width=8, rng=0)
        >>> bool(np.allclose(network.linearize().term_zero(np.eye(2)), -network(np.eye(2))))
        True
        """
        return self(X, np.zeros(self.network.n_parameters), n_threads=n_threads)

    def fit(self, X: ArrayLike, y: ArrayLike, ridge: float = 0.0, *, n_threads: int | None = None) -> Reals:
        """Return the parameters that minimise ``|y - lin(X, theta)|^2 + ridge |theta - theta0|^2``.

        Without ridge, those of the minimisers that are nearest to theta0: what gradient descent from theta0 converges
        to. They are found through the singular values of the tangent features J where those are few enough to be
        stored (half a gigabyte), else through the eigenvalues of the empirical kernel,
        ``theta0 + J^T (J J^T + ridge)^-1 (y - f)``. These are the squares of J's singular values, and rounding hides
        the ones below about 1e-8 of the largest: directions in which the model hardly moves are left alone then.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,)
        ridge : float >= 0, default 0
        n_threads : int >= 1, optional

        Returns
        -------
        ndarray of shape (n_parameters,)

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above.
        """
        network = self.network
        rows = network.check_rows(X)
        target = check_vector(y, "y", len(rows))
        ridge = check_not_negative(ridge, "ridge")
        residual = target - network(rows, n_threads=n_threads)
        if network.n_parameters <= len(rows) or network.n_parameters * len(rows) <= MOST_FEATURES:
            features = network.tangent_features(rows)
            left, singular, right = lapack.svd(features)
            change = right @ (_filtered(singular, ridge, len(rows)) * (left.T @ residual))
        else:
            kernel = network.empirical_ntk(rows, n_threads=n_threads)
            eigenvalues = lapack.eigh_in_place(kernel)
            vectors = kernel.T
            singular = np.sqrt(np.maximum(eigenvalues, 0.0))
            # the kernel's rounding errors hide singular values below the square root of its own
            weight = _filtered(singular, ridge, len(rows) / np.sqrt(np.finfo(np.float64).eps))
            dual = vectors @ (np.divide(weight, singular, where=weight > 0, out=weight) * (vectors.T @ residual))
            change = network.gradient(rows, dual, n_threads=n_threads)
        return network.parameters + change

    def _parts(self, X: ArrayLike, parameters: ArrayLike, n_threads: int | None) -> tuple[Reals, Reals, Reals]:
        theta = check_vector(parameters, "parameters", self.network.n_parameters)
        return self.network.directional_derivatives(X, theta - self.network.parameters, n_threads=n_threads)


def _filtered(singular: Reals, ridge: float, noise: float) -> Reals:
    """Return s / (s^2 + ridge); 0 for singular values that are rounding errors, below noise * eps * the largest."""
    kept = singular > noise * np.finfo(np.float64).eps * singular.max(initial=0.0)
    return np.divide(singular, singular**2 + ridge, where=kept, out=np.zeros_like(singular))
