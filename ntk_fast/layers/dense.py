"""Dense: an affine map of all units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ntk_fast.layers.layer import Layer
from ntk_fast.validation import check_flag, check_not_negative

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


def check_weight_variance(value: Any) -> float | str:
    """Return a weight variance: a number, or "he"."""
    if value == "he":
        return "he"
    if isinstance(value, str):
        raise ValueError(f"weight_variance must be a number >= 0 or 'he'; got {value!r}.")
    return check_not_negative(value, "weight_variance")


def exact_weight_variance(value: float | str, node: Node) -> Fraction:
    """Return it as a number, after a node."""
    return 1 / Fraction(node.gain) if isinstance(value, str) else Fraction(value)


def with_variances(network: Layer, weight_variances: Sequence[float], bias_variances: Sequence[float]) -> Layer:
    """Return a network with other variances: those of each layer with weights, in order."""
    pairs = zip(weight_variances, bias_variances, strict=True)

    def changed(layer: Any) -> Layer:
        weight, bias = next(pairs)
        return replace(layer, weight_variance=weight, bias_variance=bias)

    return _with_each(network, changed)


def frozen(network: Layer) -> Layer:
    """Return a network of which nothing is trained: T is 0."""
    return _with_each(network, lambda layer: replace(layer, trained=False))


def _with_each(value: Any, change: Callable[[Any], Layer]) -> Any:
    """Return a network, or a field of one, with every layer that has weights changed, in order."""
    if hasattr(value, "weight_variance"):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_with_each(part, change) for part in value)
    if isinstance(value, Layer):
        values = {field.name: getattr(value, field.name) for field in fields(value)}
        return type(value).of_fields({name: _with_each(part, change) for name, part in values.items()})
    return value


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """A fully connected layer: S becomes v S + b and T becomes v T + the new S, with v, b the variances (Jacot 2018).

    Parameters
    ----------
    weight_variance : float >= 0 or "he", default 1.0
        Of each weight, times the number of units before (in the layer that sees the rows: not so). "he" keeps the
        second moment: 1 over the gain E[sigma(z)^2] of the activation just before, 1 after anything else; 2 after ReLU.
    bias_variance : float >= 0, default 0.0
    trained : bool, default True
        False: the layer stays as it was drawn, and T becomes v T alone.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Dense(weight_variance=2.0, bias_variance=0.1)
    Dense(weight_variance=2.0, bias_variance=0.1)
    """

    weight_variance: float | str = 1.0
    bias_variance: float = 0.0
    trained: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight_variance", check_weight_variance(self.weight_variance))
        object.__setattr__(self, "bias_variance", check_not_negative(self.bias_variance, "bias_variance"))
        object.__setattr__(self, "trained", check_flag(self.trained, "trained"))

    def lower(self, builder: Builder, node: Node) -> Node:
        weight, bias = exact_weight_variance(self.weight_variance, node), Fraction(self.bias_variance)
        builder.variances.append((weight, bias))
        return builder.mix(
            [node],
            [weight],
            bias,
            adds_own=self.trained,
            is_gaussian=True,
            is_dense=True,
            is_centred=True,
        )

    @property
    def passes_units(self) -> bool:
        return False

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        """sqrt(v / n) W u + sqrt(b) beta, of n units u."""
        return graph.dense(units, n_units, self.trained)
