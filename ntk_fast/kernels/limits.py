"""The kernels themselves: ArcCosine, NNGP and NTK, as limits of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar, Self

from ntk_fast.kernels.algebra import NetworkKernel
from ntk_fast.kernels.kernel import Kernel
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import RectifiedMonomial, Step
from ntk_fast.layers.dense import Dense, with_variances
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.names import activation_named, name_of
from ntk_fast.layers.relu import Relu
from ntk_fast.layers.sequential import Sequential
from ntk_fast.lazy import lazy
from ntk_fast.lower.plan import plan_of, variances_of
from ntk_fast.validation import (
    check_variances,
    check_whole_number,
)

#: Names the weight variances that keep the diagonal of Sigma at every depth.
HE = "he"
#: Layers that compile within seconds.
LARGEST_DEPTH = 5000


class _OfANetwork(Kernel):
    """Whose sums and products are kernels of networks, too."""

    @staticmethod
    def _from_network(found: NetworkKernel) -> NNGP | NTK:
        return (NTK if found.has_tangent else NNGP)(network=found.network)


@dataclass(frozen=True, repr=False, eq=False)
class ArcCosine(_OfANetwork):
    """The arc-cosine kernel of order n: the infinite-width limit of hidden units max(0, z)^n with unit variances.

    ``E[h(w.x) h(w.x')]`` over w ~ N(0, 1), h(z) = z^n where z > 0; order 1, depth 1 is Eq. 1. Cho & Saul (2009) define
    their k_n as twice this expectation; deeper, the kernel is applied to itself as they do in their section 2.3, each
    layer with its factor 1/2. ``ArcCosine(order=1, depth=L)`` is ``NNGP(depth=L)``.

    Parameters
    ----------
    order : {0, 1, 2}, default 1
    depth : int from 1 to 5000, default 1
        Number of hidden layers.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> ntk.ArcCosine(order=0)([[1.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]])  # (pi - angle) / (2 pi)
    array([[0.25, 0.5 ]])
    """

    order: int = 1
    depth: int = 1

    def __post_init__(self) -> None:
        order = check_whole_number(self.order, "order", 0)
        if order > 2:
            raise ValueError(f"order must be 0, 1 or 2; got {order}.")
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "depth", check_whole_number(self.depth, "depth", 1, LARGEST_DEPTH))

    has_tangent: ClassVar[bool] = False

    @property
    def _parameters(self) -> dict[str, Any]:
        return {"order": self.order, "depth": self.depth}

    @lazy
    def network(self) -> Layer:
        hidden = (Step(), Relu(), RectifiedMonomial(2))[self.order]
        return Sequential(*(Dense(), hidden) * self.depth)


@dataclass(frozen=True, repr=False, eq=False)
class _NetworkKernel(_OfANetwork):
    """A limiting kernel of a network: fully connected, by its depth, or any, by its description."""

    depth: int | None = None
    activation: str | ActivationLayer | None = None
    weight_variance: float | tuple[float, ...] | str | None = None
    bias_variance: float | tuple[float, ...] | None = None
    network: InitVar[Layer | None] = None

    def __post_init__(self, network: Layer | None) -> None:
        short = {name: getattr(self, name) for name in ("depth", "activation", "weight_variance", "bias_variance")}
        if network is not None:
            given = [name for name, value in short.items() if value is not None]
            if given:
                raise ValueError(f"network says it all: {given[0]} must not be given beside it.")
            if not isinstance(network, Layer):
                raise TypeError(f"network must be a layer of ntk_fast.layers; got a {type(network).__name__}.")
            plan_of(network)
            object.__setattr__(self, "network", network)
            return
        depth = check_whole_number(1 if self.depth is None else self.depth, "depth", 1, LARGEST_DEPTH)
        activation = activation_named("relu" if self.activation is None else self.activation)
        weights: Any = 1.0 if self.weight_variance is None else self.weight_variance
        if not (isinstance(weights, str) and weights == HE):
            weights = check_variances(weights, "weight_variance", depth, or_else=f", or {HE!r}")
        biases = check_variances(0.0 if self.bias_variance is None else self.bias_variance, "bias_variance", depth)
        each_weight = weights if isinstance(weights, tuple) else (1.0 if weights == HE else weights, *[weights] * depth)
        each_bias = biases if isinstance(biases, tuple) else (biases,) * (depth + 1)
        first, *others = (Dense(weight, bias) for weight, bias in zip(each_weight, each_bias, strict=True))
        network = Sequential(first, *(layer for dense in others for layer in (activation, dense)))
        plan_of(network)
        for name, value in (
            ("depth", depth),
            ("activation", name_of(activation)),
            ("weight_variance", weights),
            ("bias_variance", biases),
            ("network", network),
        ):
            object.__setattr__(self, name, value)

    @lazy
    def variances(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The variances of the weights, and of the biases, of each Dense of the network in order, as numbers."""
        weights, biases = zip(*variances_of(self.network), strict=True)
        return tuple(map(float, weights)), tuple(map(float, biases))

    def with_variances(self, weights: Sequence[float], biases: Sequence[float]) -> Self:
        """Return the same kernel with other variances, one of each for each Dense.

        Parameters
        ----------
        weights, biases : sequences of float >= 0
            In the order of the Dense layers, the input's first.

        Returns
        -------
        The kernel

        Raises
        ------
        TypeError, ValueError
            If they are not one for each Dense.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1).with_variances([1.0, 2.0], [0.1, 0.0])
        NTK(depth=1, weight_variance=(1.0, 2.0), bias_variance=(0.1, 0.0))
        """
        if self.depth is None:
            return type(self)(network=with_variances(self.network, weights, biases))
        variances = {"weight_variance": tuple(map(float, weights)), "bias_variance": tuple(map(float, biases))}
        return type(self)(**{**self._parameters, **variances})

    @property
    def _parameters(self) -> dict[str, Any]:
        names = ("network",) if self.depth is None else ("depth", "activation", "weight_variance", "bias_variance")
        return {name: getattr(self, name) for name in names}

    @property
    def _named(self) -> dict[str, Any]:
        return {} if self.activation is None else {"activation": activation_named(self.activation)}

    def __repr__(self) -> str:
        defaults = {"activation": "relu", "weight_variance": 1.0, "bias_variance": 0.0}
        shown = [f"{k}={v!r}" for k, v in self._parameters.items() if k not in defaults or v != defaults[k]]
        return f"{type(self).__name__}({', '.join(shown)})"


class NNGP(_NetworkKernel):
    """The Gaussian-process kernel of an infinitely wide network at initialisation, Sigma_L (Lee et al., 2018; Eq. 1).

    ``Sigma_0 = v_0 x.x' + b_0``, ``Sigma_l = v_l E[sigma(u) sigma(v)] + b_l`` with (u, v) Gaussian of covariance
    Sigma_{l-1}.

    Parameters
    ----------
    depth : int from 1 to 5000, default 1
        Number of hidden layers L.
    activation : {"relu", "leaky_relu", "abs"} or Activation, default "relu"
        ``ntk_fast.leaky_relu(slope)`` for a slope other than 0.01.
    weight_variance : float >= 0, sequence of depth + 1, or "he", default 1.0
        Input layer first, then one per following layer. "he" is 1 in the first and ``1 / E[sigma(z)^2]`` in the others,
        ``(1, 2, 2, ...)`` for ReLU, which keeps ``Sigma_l(x, x)`` the same at every depth (He et al., 2015).
    bias_variance : float >= 0 or sequence of depth + 1, default 0.0

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Notes
    -----
    neural-tangents' ``Dense(W_std, b_std)`` is weight variance W_std^2 / n_features in the input layer, W_std^2 in the
    others, bias variance b_std^2. A zero row has kernel value 0 with every row unless there is a bias.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> ntk.NNGP(depth=2, weight_variance=(1, 2, 2), bias_variance=0.1)
    NNGP(depth=2, weight_variance=(1.0, 2.0, 2.0), bias_variance=0.1)
    >>> ntk.NNGP(depth=50, weight_variance="he").diag([[3.0, 4.0]])
    array([25.])
    """

    has_tangent = False


class NTK(_NetworkKernel):
    """The Neural Tangent Kernel Theta_L (Jacot et al., 2018; Eq. 6 is depth 1).

    ``Theta_0 = Sigma_0``, ``Theta_l = Sigma_l + v_l E[sigma'(u) sigma'(v)] Theta_{l-1}``, with Sigma as in
    :class:`NNGP`, all layers and all weights trained.

    Parameters
    ----------
    depth, activation, weight_variance, bias_variance
        As for :class:`NNGP`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> X = np.array([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    >>> ntk.NTK(depth=3)(X).round(4)
    array([[0.5   , 0.3948, 0.1714],
           [0.3948, 1.    , 0.2396],
           [0.1714, 0.2396, 2.    ]])
    """

    has_tangent = True
