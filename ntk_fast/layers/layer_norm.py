"""LayerNorm: units scaled to second moment 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.layer import Layer

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Units divided by the root of their mean square: S and T are divided by sqrt(q q').

    In the limit of infinite width the statistics are those of the whole layer, so nothing else is learnt or kept. A row
    whose units are all zero stays zero.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Sequential(layers.LayerNorm(), layers.Dense())
    Sequential(LayerNorm(), Dense())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.normalise(node)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return graph.then(units, RootMeanSquare(units.count))


@dataclass(frozen=True)
class RootMeanSquare:
    """Units y = u / r, with r^2 the sum of their squares over a count; dy = (du - y (y . du) / count) / r."""

    count: int

    def value(self, *units: Reals) -> Reals:
        return self._normalised(units[0])[0]

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        y, inverse = self._normalised(units[0])
        return (tangents[0] - y * ((y * tangents[0]).sum(axis=-1, keepdims=True) / self.count)) * inverse

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        return (self.pushed(units, (cotangent,)),)  # the derivative is symmetric

    def _normalised(self, u: Reals) -> tuple[Reals, Reals]:
        """Return y and 1 / r, which is 0 where all units are; nothing overflows."""
        largest = np.abs(u).max(axis=-1, keepdims=True, initial=0.0)
        some = largest > 0
        scaled = u / np.where(some, largest, 1.0)
        inverse = 1 / np.where(some, np.sqrt((scaled * scaled).sum(axis=-1, keepdims=True) / self.count), 1.0)
        return scaled * inverse, np.where(some, inverse / np.where(some, largest, 1.0), 0.0)
