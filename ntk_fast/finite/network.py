"""Networks of finite width, of any description: immutable, with one flat vector of parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.antisymmetric import make_antisymmetric
from ntk_fast.finite.graph import Graph
from ntk_fast.finite.linearization import Linearization
from ntk_fast.finite.network_function import FLOAT, NetworkFunction
from ntk_fast.finite.products import Reals
from ntk_fast.kernels import NTK
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.layer import Layer
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.validation import (
    check_flag,
    check_rng,
    check_vector,
    check_whole_number,
)


@dataclass(frozen=True, eq=False, repr=False)
class Network(NetworkFunction):
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

    def with_parameters(self, parameters: ArrayLike) -> Network:
        """Return the same network with other parameters.

        Parameters
        ----------
        parameters : array-like of shape (n_parameters,)

        Returns
        -------
        Network

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

    def linearize(self) -> Linearization:
        """Return the first-order Taylor expansion in the parameters about the present ones (Eq. 3).

        Returns
        -------
        Linearization

        Examples
        --------
        >>> import numpy as np
        >>> from ntk_fast import finite
        >>> network = finite.Network.initialize(n_features=2, width=8, rng=0)
        >>> lin = network.linearize()
        >>> bool(np.allclose(lin(np.eye(2), network.parameters), network(np.eye(2))))
        True
        """
        return Linearization(self)

    def __repr__(self) -> str:
        kind = f"network={self.network!r}"
        if self.depth is not None:
            kind = f"depth={self.depth}, activation={self.activation!r}"
        return f"Network(n_features={self.n_features}, width={self.width}, {kind}, n_parameters={self.n_parameters})"
