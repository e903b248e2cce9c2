"""Attention: every position sums over all positions, in proportions that the input decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ntk_fast.layers.layer import Layer
from ntk_fast.layers.rowwise import Reals
from ntk_fast.validation import check_finite_number, check_flag, check_not_negative

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node

#: By scaling of the products of queries and keys, what can be made of them.
ZETAS = {"d^-1": ("softmax", "identity", "relu"), "d^-0.5": ("identity",)}


@dataclass(frozen=True, repr=False)
class Attention(Layer):
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

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

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

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        """As many heads as the width, each of ceil(sqrt(width)) units; queries are keys where the scaling is d^-1."""
        n_heads, size = graph.width, math.isqrt(graph.width - 1) + 1
        n_kinds = 2 if self.scaling == "d^-1" else 3  # queries, keys, values
        kinds = [graph.affine(units, n_heads * size, 1.0, 0.0, self.trained) for _ in range(n_kinds)]
        scale = self.query_key_scale / (size if self.scaling == "d^-1" else math.sqrt(size))
        heads = graph.join(kinds, Heads(n_heads, scale, self.zeta), n_heads * size)
        return graph.dense(heads, n_units, self.trained)


@dataclass(frozen=True)
class Heads:
    """zeta(scale Q K^T) V of each head, side by side: of queries, which are keys, and values; or of all three."""

    n_heads: int
    scale: float
    zeta: str

    def value(self, *units: Reals) -> Reals:
        queries, keys, values = self._split(units)
        return self._joined(self._weights(queries, keys) @ values)

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        queries, keys, values = self._split(units)
        moved_queries, moved_keys, moved_values = self._split(tangents)
        weights = self._weights(queries, keys)
        products = moved_queries @ _transposed(keys) + queries @ _transposed(moved_keys)
        return self._joined(self._moved(weights, products * self.scale) @ values + weights @ moved_values)

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        queries, keys, values = self._split(units)
        (by_heads,) = self._heads([cotangent])
        weights = self._weights(queries, keys)
        # the derivative of zeta is symmetric
        by_products = self._moved(weights, by_heads @ _transposed(values)) * self.scale
        by_queries, by_keys = by_products @ keys, _transposed(by_products) @ queries
        by_values = self._joined(_transposed(weights) @ by_heads)
        if len(units) == 2:
            return self._joined(by_queries + by_keys), by_values
        return self._joined(by_queries), self._joined(by_keys), by_values

    def _heads(self, units: Sequence[Reals]) -> list[Reals]:
        """Return units as (n_rows, n_heads, n_positions, n_units of a head)."""
        return [
            np.swapaxes(each.reshape(*each.shape[:2], self.n_heads, each.shape[2] // self.n_heads), 1, 2)
            for each in units
        ]

    def _split(self, units: Sequence[Reals]) -> tuple[Reals, Reals, Reals]:
        """Return queries, keys and values."""
        heads = self._heads(units)
        return heads[0], heads[-2], heads[-1]

    def _joined(self, heads: Reals) -> Reals:
        n_rows, n_heads, n_positions, size = heads.shape
        return np.swapaxes(heads, 1, 2).reshape(n_rows, n_positions, n_heads * size)

    def _weights(self, queries: Reals, keys: Reals) -> Reals:
        products = queries @ _transposed(keys) * self.scale
        if self.zeta == "softmax":
            products = np.exp(products - products.max(axis=-1, keepdims=True))
            return np.asarray(products / products.sum(axis=-1, keepdims=True))
        return np.maximum(products, 0) if self.zeta == "relu" else products

    def _moved(self, weights: Reals, products: Reals) -> Reals:
        """Return how the weights move when the products of queries and keys do."""
        if self.zeta == "softmax":
            return np.asarray(weights * (products - (weights * products).sum(axis=-1, keepdims=True)))
        return products * (weights > 0) if self.zeta == "relu" else products


def _transposed(matrices: Reals) -> Reals:
    return np.swapaxes(matrices, -1, -2)
