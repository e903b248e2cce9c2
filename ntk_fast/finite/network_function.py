"""What a network of finite width computes at rows: values, features, derivatives, and kernels made of these."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.directional import directional
from ntk_fast.finite.empirical import GramFunction, hidden_gram, tangent_gram
from ntk_fast.finite.graph import Affine, Graph, Weights
from ntk_fast.finite.products import Reals
from ntk_fast.finite.propagation import FEWER_ROWS, Propagation
from ntk_fast.layers.layer import Layer
from ntk_fast.lazy import lazy
from ntk_fast.lower.plan import plan_of
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.schedule.threads import choose_n_threads
from ntk_fast.schedule.tiling import ranges
from ntk_fast.validation import check_rows, check_vector, refuse_not_finite, refuse_overflown

#: Entries (rows times units) of a pass; more rows than that take several passes, so that they need no more memory.
PASS_ENTRIES = 2**25
FLOAT = np.dtype(np.float64)


class NetworkFunction:
    """A description, a width and parameters, as a function of rows; :class:`Network` checks and holds them."""

    parameters: Reals
    n_features: int
    width: int
    network: Layer
    fixed: Reals | None

    @property
    def n_parameters(self) -> int:
        """The number of trained parameters; of the short form d + d p + (L - 1) d^2."""
        return self.graph.n_parameters[True]

    @property
    def n_fixed(self) -> int:
        """The number of parameters that are not trained."""
        return self.graph.n_parameters[False]

    @lazy
    def graph(self) -> Graph:
        """The network as matrix products and what happens between them."""
        return Graph(self.network, self.n_features, self.width)

    @lazy
    def weights(self) -> Weights:
        """The parameters as matrices and biases, read-only views: ``weights.hidden`` and ``weights.readout``."""
        return self.split(self.parameters)

    def split(self, parameters: Reals) -> Weights:
        """Return views of a flat vector of trained parameters as matrices, with the fixed ones among them."""
        return self.graph.split(parameters, self.fixed)

    def check_rows(self, X: ArrayLike, name: str = "X") -> Reals:
        """Return rows as float64, of this network's number of features and finite.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Or images or sequences, if the network begins with `Input`.
        name : str, default "X"
            What sentences call them.

        Returns
        -------
        ndarray of float64 of shape (n, n_features)

        Raises
        ------
        TypeError, ValueError
            If they are no such rows.
        """
        shape = plan_of(self.network).shape
        rows = np.asarray(check_rows(X, name, np.dtype(np.float64), shape), dtype=np.float64)
        if rows.shape[1] != self.n_features:
            raise ValueError(f"{name} must have n_features = {self.n_features} columns; got {rows.shape[1]}.")
        refuse_not_finite(rows, name)
        return rows

    def passes(self, X: Reals, n_threads: int) -> Iterator[tuple[slice, Propagation]]:
        """Yield chunks of rows, each with the passes over it."""
        for rows in self._chunks(len(X)):
            yield rows, Propagation(X[rows], self.graph, n_threads)

    def _chunks(self, n_rows: int) -> Iterator[slice]:
        return ranges(n_rows, max(1, PASS_ENTRIES // self.graph.most_units))

    def __call__(self, X: ArrayLike, *, n_threads: int | None = None) -> Reals:
        """Return f(x) of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        n_threads : int >= 1, optional
            As in :func:`ntk_fast.gram`.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        TypeError, ValueError
            If the rows do not fit the network, or the result would overflow.
        """
        values, threads = self.check_rows(X), choose_n_threads(n_threads)
        outputs = np.empty(len(values))
        for rows, passes in self.passes(values, threads):
            passes.forward(self.weights)
            outputs[rows] = passes.outputs(self.weights)
        refuse_overflown(outputs, "The network's output")
        return outputs

    def hidden_features(self, X: ArrayLike, *, n_threads: int | None = None) -> Reals:
        """Return sigma(h_L) / sqrt(width), shape (n, width): f is their product with beta.

        Of any description, what the weights of the last Dense multiply; its bias is what f has besides.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        n_threads : int >= 1, optional
            As in :func:`ntk_fast.gram`.

        Returns
        -------
        ndarray of shape (n, width)

        Raises
        ------
        TypeError, ValueError
            If the rows do not fit the network, or the result would overflow.
        MemoryError
            If they do not fit in the free memory.

        Examples
        --------
        >>> from ntk_fast import finite
        >>> network = finite.Network([1.0, -1.0, 2.0, 3.0], n_features=1, width=2)  # W_1, then beta
        >>> network.hidden_features([[2.0]]).round(4)  # max(0, (2, -2)) / sqrt(2)
        array([[1.4142, 0.    ]])
        """
        values, threads = self.check_rows(X), choose_n_threads(n_threads)
        shape = len(values), self.graph.readout.source.n_units
        refuse_too_large(shape, FLOAT, what="hidden features", advice=FEWER_ROWS)
        features = np.empty(shape)
        for rows, passes in self.passes(values, threads):
            passes.forward(self.weights)
            features[rows] = passes.inputs(self.graph.readout)
        refuse_overflown(features, "A hidden feature")
        return features

    def gradient(self, X: ArrayLike, cotangent: ArrayLike | None = None, *, n_threads: int | None = None) -> Reals:
        """Return the gradient of ``sum_i cotangent[i] f(x_i)`` by the parameters, by backpropagation.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        cotangent : array-like of shape (n,), optional
            None: ones.
        n_threads : int >= 1, optional

        Returns
        -------
        ndarray of shape (n_parameters,)

        Raises
        ------
        TypeError, ValueError
            If the rows do not fit the network, or the result would overflow.

        Examples
        --------
        >>> from ntk_fast import finite
        >>> finite.Network([1.0, 3.0], n_features=1, width=1).gradient([[2.0]])  # beta x, max(0, w x)
        array([6., 2.])
        """
        values, threads = self.check_rows(X), choose_n_threads(n_threads)
        weight = np.ones(len(values)) if cotangent is None else check_vector(cotangent, "cotangent", len(values))
        total = np.zeros(self.n_parameters)
        part = np.empty(self.n_parameters)
        for rows, passes in self.passes(values, threads):
            passes.gradient(self.weights, self.graph.split(part), weight[rows])
            total += part
        refuse_overflown(total, "The gradient")
        return total

    def directional_derivatives(
        self, X: ArrayLike, direction: ArrayLike, *, n_threads: int | None = None
    ) -> tuple[Reals, Reals, Reals]:
        """Return f(x) and its derivative along a direction, split: (f, by the last Dense, by all others).

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        direction : array-like of shape (n_parameters,)
        n_threads : int >= 1, optional

        Returns
        -------
        tuple of three ndarrays of shape (n,)

        Raises
        ------
        TypeError, ValueError
            If the rows do not fit the network, or the result would overflow.

        Examples
        --------
        >>> from ntk_fast import finite
        >>> network = finite.Network([1.0, 3.0], n_features=1, width=1)  # f = 3 max(0, x) at w = 1, beta = 3
        >>> network.directional_derivatives([[2.0]], [1.0, 1.0])  # f, x by beta, beta x by w
        (array([6.]), array([2.]), array([6.]))
        """
        values, threads = self.check_rows(X), choose_n_threads(n_threads)
        along = self.graph.split(check_vector(direction, "direction", self.n_parameters))
        result = np.empty((3, len(values)))
        for rows in self._chunks(len(values)):
            result[:, rows] = directional(self.graph, self.weights, along, values[rows], threads)
        refuse_overflown(result, "The derivative")
        return result[0], result[1], result[2]

    @np.errstate(over="ignore", invalid="ignore")
    def tangent_features(self, X: ArrayLike) -> Reals:
        """Return the gradient of f by the parameters at each row: for small cases, and to check what avoids them.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_parameters)

        Raises
        ------
        MemoryError
            If they do not fit in the free memory.
        """
        values = self.check_rows(X)
        n = len(values)
        advice = f"{FEWER_ROWS}, or empirical_ntk, which needs none of them"
        refuse_too_large((n, self.n_parameters), FLOAT, what="tangent features", advice=advice)
        features = np.empty((n, self.n_parameters))
        passes = Propagation(values, self.graph, choose_n_threads(None))
        passes.forward(self.weights)
        readout = self.graph.readout
        if readout.is_trained:
            _put_features(features, readout, np.ones((n, 1)), passes.inputs(readout))
        passes.turn(self.weights, np.ones(n))
        for _, affine, delta, inputs in passes.backward(self.weights):
            _put_features(features, affine, delta, inputs)
        refuse_overflown(features, "A tangent feature")
        return features

    def empirical_ntk(self, X: ArrayLike, Y: ArrayLike | None = None, *, n_threads: int | None = None) -> Reals:
        """Return the finite-width tangent kernel, the Gram matrix of the tangent features, without forming them.

        Layer by layer it is the Hadamard product of a forward Gram matrix, of a_{l-1}, and a backward one, of delta_l;
        the limit of their sum is Eq. 6. Memory: the result, and (depth + 17/16) (n + m) width numbers; of any
        description, instead of the depth, the number of Dense layers, of branches that meet, and of both that feed
        several branches.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        Y : array-like of shape (m, n_features), optional
            None: the rows of X; then half of the matrix is computed.
        n_threads : int >= 1, optional
            The result is the same to the last bit for every number.

        Returns
        -------
        ndarray of shape (n, n) or (n, m)

        Raises
        ------
        TypeError, ValueError
            If the rows do not fit the network, or the result would overflow.
        MemoryError
            If the result does not fit in the free memory.

        Examples
        --------
        >>> import numpy as np
        >>> from ntk_fast import finite
        >>> network = finite.Network.initialize(n_features=2, width=4096, rng=0)
        >>> gram = network.empirical_ntk(np.eye(2))
        >>> bool(np.abs(gram - [[1, 0.159], [0.159, 1]]).max() < 0.05)  # Eq. 6: 1 and 1 / (2 pi)
        True
        """
        return self._gram(tangent_gram, X, Y, n_threads)

    def empirical_nngp(self, X: ArrayLike, Y: ArrayLike | None = None, *, n_threads: int | None = None) -> Reals:
        """Return the Gram matrix of the last hidden layer, ``a_L . a_L'``, whose limit is Eq. 1.

        It is the kernel of the first linear approximation; of any description, with the bias variance of the last
        Dense, ``a . a' + b``: the covariance of f over its parameters. Parameters and result as for
        :meth:`empirical_ntk`.

        Returns
        -------
        ndarray of shape (n, n) or (n, m)

        Raises
        ------
        TypeError, ValueError, MemoryError
            As for :meth:`empirical_ntk`.

        Examples
        --------
        >>> from ntk_fast import finite
        >>> network = finite.Network([1.0, 3.0], n_features=1, width=1)
        >>> network.empirical_nngp([[2.0], [-1.0]])  # max(0, x) max(0, x')
        array([[4., 0.],
               [0., 0.]])
        """
        return self._gram(hidden_gram, X, Y, n_threads)

    def _gram(self, function: GramFunction, X: ArrayLike, Y: ArrayLike | None, n_threads: int | None) -> Reals:
        x = self.check_rows(X)
        y = None if Y is None else self.check_rows(Y, "Y")
        refuse_too_large((len(x), len(x if y is None else y)), FLOAT, advice=FEWER_ROWS)
        rows = x if y is None else np.concatenate([x, y])
        passes = Propagation(rows, self.graph, choose_n_threads(n_threads))
        gram = function(passes, self.weights, None if y is None else len(x))
        refuse_overflown(gram, "The kernel")
        return gram


def _put_features(features: Reals, affine: Affine, delta: Reals, inputs: Reals) -> None:
    """Write the gradients by the parameters of a Dense, row by row, among the tangent features."""
    stop = affine.start + affine.n_weights
    block = features[:, affine.start : stop].reshape(len(features), *affine.matrix_shape)
    if delta.ndim == 3:
        np.matmul(np.swapaxes(delta, 1, 2), inputs, out=block)
        delta = delta.sum(axis=1)
    else:
        np.multiply(delta[:, :, None], inputs[:, None, :], out=block)
    if affine.bias_variance:
        np.multiply(delta, affine.shift, out=features[:, stop : stop + affine.n_units])
