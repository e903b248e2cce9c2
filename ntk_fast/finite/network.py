"""Networks of finite width, of any description: immutable, with one flat vector of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.antisymmetric import make_antisymmetric
from ntk_fast.finite.directional import directional
from ntk_fast.finite.empirical import GramFunction, hidden_gram, tangent_gram
from ntk_fast.finite.graph import Affine, Graph, Weights
from ntk_fast.finite.linearization import Linearization
from ntk_fast.finite.products import Reals
from ntk_fast.finite.propagation import FEWER_ROWS, Propagation
from ntk_fast.kernels import NTK
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.layer import Layer
from ntk_fast.lazy import lazy
from ntk_fast.lower.plan import plan_of
from ntk_fast.memory import refuse_too_large
from ntk_fast.threads import choose_n_threads
from ntk_fast.validation import (
    check_flag,
    check_rng,
    check_rows,
    check_vector,
    check_whole_number,
    refuse_not_finite,
    refuse_overflown,
)

#: Entries (rows times units) of a pass; more rows than that take several passes, so that they need no more memory.
PASS_ENTRIES = 2**25
FLOAT = np.dtype(np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A network of finite width, in the parameterisation whose limit the kernels are (Eq. 2).

    Short form, a fully connected network without biases: ``f(x) = beta . sigma(h_L) / sqrt(width)``, ``h_1 = W_1 x``,
    ``h_{l+1} = W_{l+1} sigma(h_l) / sqrt(width)``. With standard normal parameters its tangent kernel converges to
    ``ntk_fast.NTK(depth, activation)`` as the width grows.

    Of any description, with as many units in every layer, its limit is ``ntk_fast.NTK(network=network)``:

    * Dense is ``sqrt(v / n) W u + sqrt(b) beta`` of n units u, and ``sqrt(v) W x + sqrt(b) beta`` of rows x, with the
      variances v, b and standard normal W, beta; one with ``trained=False`` has its parameters in `fixed`.
    * Concatenate gives each branch its share of the units; one that passes units on has a share of them.
    * LayerNorm divides by the root of the mean square of the units, and rows by their length.
    * Where rows as they are meet a branch in a Sum, a Residual or a Product, or have a share of a Concatenate, they are
      embedded by ``Dense(trained=False)``, as their number of features is not the width: the limit stays. So is what
      Flatten makes.
    * Images and sequences have as many units at every position. Conv is a Dense of all that its filter sees, with the
      same W, beta at every position.
    * Attention has `width` heads of ceil(sqrt(width)) units, side by side zeta(c Q K^T / d) V, or / sqrt(d), which a
      Dense of the variances v, b takes. Q, K, V are Dense layers of variance 1; with "d^-1", K is Q.
    * f is one number. A network that does not end in a Dense is read out by ``Dense(trained=False)``: the limit stays.
    * Branches of a Sum, Residual or Product must not be made of the units of one and the same Dense.

    Everything is computed in float64.

    Parameters
    ----------
    parameters : array-like of shape (n_parameters,)
        Of each trained Dense in order, W row by row, and then beta if it has biases. For the short form
        ``width + width * n_features + (depth - 1) * width**2`` numbers: W_1, ..., W_L, then the readout's. Copied.
    n_features, width : int >= 1
    depth : int >= 1, default 1
        Number of hidden layers L.
    activation : str or activation of ntk_fast.layers, or finite.softplus(t), default "relu"
        As for :class:`ntk_fast.NTK`.
    network : Layer, optional
        A description, in place of depth and activation: see :mod:`ntk_fast.layers`.
    fixed : array-like of shape (n_fixed,), optional
        The parameters that are not trained, likewise; needed if there are any.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> from ntk_fast import finite
    >>> network = finite.Network([1.0, 0.0, 0.0, 2.0, 3.0, 4.0], n_features=2, width=2)
    >>> network([[1.0, 1.0]]).round(4)  # (3 * max(0, 1) + 4 * max(0, 2)) / sqrt(2)
    array([7.7782])
    """

    parameters: Reals
    n_features: int
    width: int
    depth: int | None = None
    activation: str | ActivationLayer | None = None
    network: Layer = None  # type: ignore[assignment]
    fixed: Reals | None = None

    def __post_init__(self) -> None:
        for name in ("n_features", "width"):
            object.__setattr__(self, name, check_whole_number(getattr(self, name), name, 1))
        kernel = NTK(depth=self.depth, activation=self.activation, network=self.network)
        for name in ("depth", "activation", "network"):
            object.__setattr__(self, name, getattr(kernel, name))
        fixed = np.zeros(0) if self.fixed is None and not self.n_fixed else self.fixed
        for name, values, length in (
            ("parameters", self.parameters, self.n_parameters),
            ("fixed", fixed, self.n_fixed),
        ):
            vector = check_vector(values, name, length).copy()
            vector.flags.writeable = False
            object.__setattr__(self, name, vector)

    @classmethod
    def initialize(
        cls,
        n_features: int,
        width: int,
        depth: int | None = None,
        activation: str | ActivationLayer | None = None,
        rng: np.random.Generator | int | None = None,
        antisymmetric: bool = False,
        *,
        network: Layer | None = None,
    ) -> Network:
        """Return a network with standard normal parameters.

        Parameters
        ----------
        n_features, width, depth, activation, network
            As for :class:`Network`.
        rng : numpy.random.Generator or int, optional
            A generator or a seed; None draws differently every time.
        antisymmetric : bool, default False
            Pair each hidden unit i < width / 2 with unit i + width / 2, of equal activation and opposite influence:
            W_1 = [A; A], W_l = [[A, B], [B, A]], beta = [b; -b]; the last Dense has bias 0. Each other parameter is
            still standard normal and the tangent kernel has the same limit, but f and term (0) of Eq. 4 vanish for
            every x, up to rounding. Without it neither vanishes as the width grows: f converges to a Gaussian process
            with the kernel of Eq. 1.

        Returns
        -------
        Network

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or `antisymmetric` is true and units cannot be paired.

        Examples
        --------
        >>> from ntk_fast import finite, layers
        >>> finite.Network.initialize(n_features=3, width=64, depth=2, rng=0)
        Network(n_features=3, width=64, depth=2, activation='relu', n_parameters=4352)
        >>> block = layers.Residual(layers.Gelu(), layers.Dense())
        >>> net = layers.Sequential(layers.Dense(bias_variance=0.1), block, layers.Gelu(), layers.Dense())
        >>> finite.Network.initialize(n_features=3, width=64, rng=0, network=net).n_parameters
        4416
        """
        n_features, width = (
            check_whole_number(value, name, 1) for value, name in ((n_features, "n_features"), (width, "width"))
        )
        generator = check_rng(rng)
        check_flag(antisymmetric, "antisymmetric")
        graph = Graph(NTK(depth=depth, activation=activation, network=network).network, n_features, width)
        count, n_fixed = (graph.n_parameters[is_trained] for is_trained in (True, False))
        advice = "use a smaller width or depth"
        refuse_too_large((count + n_fixed,), FLOAT, copies=2, what="vector of parameters", advice=advice)
        parameters, fixed = generator.standard_normal(count), generator.standard_normal(n_fixed)
        if antisymmetric:
            make_antisymmetric(graph, graph.split(parameters, fixed))
        return cls(parameters, n_features, width, depth, activation, network, fixed)  # type: ignore[arg-type]

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

    def with_parameters(self, parameters: ArrayLike) -> Network:
        """Return the same network with other parameters.

        Raises
        ------
        ValueError
            If `parameters` is not a finite vector of ``n_parameters`` numbers.

        Examples
        --------
        >>> from ntk_fast import finite
        >>> network = finite.Network.initialize(n_features=2, width=4, rng=0)
        >>> network.with_parameters(0 * network.parameters)([[1.0, 2.0]])
        array([0.])
        """
        kind = {"depth": self.depth, "activation": self.activation} if self.depth else {"network": self.network}
        return Network(np.asarray(parameters), self.n_features, self.width, fixed=self.fixed, **kind)

    def check_rows(self, X: ArrayLike, name: str = "X") -> Reals:
        """Return rows as float64, of this network's number of features and finite."""
        shape = plan_of(self.network).shape
        rows = np.asarray(check_rows(X, name, np.dtype(np.float64), shape), dtype=np.float64)
        if rows.shape[1] != self.n_features:
            raise ValueError(f"{name} must have n_features = {self.n_features} columns; got {rows.shape[1]}.")
        refuse_not_finite(rows, name)
        return rows

    def passes(self, X: Reals, n_threads: int) -> Iterator[tuple[slice, Propagation]]:
        """Yield chunks of rows, each with the passes over it."""
        chunk = max(1, PASS_ENTRIES // self.graph.most_units)
        for start in range(0, len(X), chunk):
            rows = slice(start, start + chunk)
            yield rows, Propagation(X[rows], self.graph, n_threads)

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
        """
        values, threads = self.check_rows(X), choose_n_threads(n_threads)
        along = self.graph.split(check_vector(direction, "direction", self.n_parameters))
        result = np.empty((3, len(values)))
        chunk = max(1, PASS_ENTRIES // self.graph.most_units)
        for start in range(0, len(values), chunk):
            rows = slice(start, start + chunk)
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

    def linearize(self) -> Linearization:
        """Return the first-order Taylor expansion in the parameters about the present ones (Eq. 3)."""
        return Linearization(self)

    def __repr__(self) -> str:
        kind = f"network={self.network!r}"
        if self.depth is not None:
            kind = f"depth={self.depth}, activation={self.activation!r}"
        return f"Network(n_features={self.n_features}, width={self.width}, {kind}, n_parameters={self.n_parameters})"


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
