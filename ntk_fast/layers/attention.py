"""Attention: every position sums over all positions, in proportions that the input decides."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ntk_fast.layers.positions import PositionLayer
from ntk_fast.validation import check_finite_number, check_flag, check_not_negative

if TYPE_CHECKING:
    from ntk_fast.lower.plan import Builder, Node

#: By scaling of the products of queries and keys, what can be made of them.
ZETAS = {"d^-1": ("softmax", "identity", "relu"), "d^-0.5": ("identity",)}


@dataclass(frozen=True, repr=False)
class Attention(PositionLayer):
    """Attention with infinitely many heads, each of infinite width (Hron et al. 2020).

    With the scaling "d^-1" the weights are those of the limit, G = zeta(c S(x, x)), a matrix over the positions of one
    image or sequence, softmax over the second:

        S = v G S G'^T + b        T = v G T G'^T + 2 (v G S G'^T) + b

    With "d^-0.5" they stay random, and there is a limit for the identity alone: with s the sum of all S[i, i']^2,

        S = c^2 v s S + b         T = c^2 v (2 sum(S T) S + s (T + 4 S)) + b

    Parameters
    ----------
    scaling : {"d^-1", "d^-0.5"}, default "d^-1"
        Of products of queries and keys, with the number d of their units.
    zeta : {"softmax", "identity", "relu"}, default "softmax"
        What is made of them.
    query_key_scale : float, default 1.0
        c: the product of the standard deviations of the weights of queries and of keys.
    weight_variance : float >= 0, default 1.0
        v: the product of the variances of the weights of values and of the output.
    bias_variance : float >= 0, default 0.0
        b, of the output.
    trained : bool, default True
        False: the layer stays as it was drawn, and T becomes v G T G'^T alone.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from ntk_fast import layers
    >>> network = layers.Sequential(layers.Input(7, 4), layers.Dense(), layers.Attention(), layers.GlobalAveragePool())
    >>> tokens = np.random.default_rng(0).standard_normal((3, 7, 4))
    >>> ntk.NNGP(network=network)(tokens).shape
    (3, 3)
    """

    scaling: str = "d^-1"
    zeta: str = "softmax"
    query_key_scale: float = 1.0
    weight_variance: float = 1.0
    bias_variance: float = 0.0
    trained: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.scaling, str) or self.scaling not in ZETAS:
            raise ValueError(f"scaling must be one of {', '.join(map(repr, ZETAS))}; got {self.scaling!r}.")
        zetas = ZETAS[self.scaling]
        if not isinstance(self.zeta, str) or self.zeta not in zetas:
            raise ValueError(
                f"zeta must be {' or '.join(map(repr, zetas))} with the scaling {self.scaling!r}; got {self.zeta!r}."
            )
        for name, value in (
            ("query_key_scale", check_finite_number(self.query_key_scale, "query_key_scale")),
            ("weight_variance", check_not_negative(self.weight_variance, "weight_variance")),
            ("bias_variance", check_not_negative(self.bias_variance, "bias_variance")),
            ("trained", check_flag(self.trained, "trained")),
        ):
            object.__setattr__(self, name, value)

    def lower(self, builder: Builder, node: Node) -> Node:
        weight, bias, scale = (
            Fraction(number) for number in (self.weight_variance, self.bias_variance, self.query_key_scale)
        )
        builder.variances.append((weight, bias))
        if self.scaling == "d^-1":
            # the sources' own S, once for the weights of the values ...
            summed = builder.attend(builder.add_own(node) if self.trained else node, self.zeta, scale)
        else:
            summed, weight = builder.correlate(node), weight * scale * scale
            for _ in range(3 if self.trained else 0):  # ... and once for queries and for keys, too
                summed = builder.add_own(summed)
        return builder.mix(
            [summed], [weight], bias, adds_own=self.trained, is_dense=True, is_gaussian=True, is_centred=True
        )

    @property
    def passes_units(self) -> bool:
        return False
