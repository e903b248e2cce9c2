"""LayerNorm: units scaled to second moment 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntk_fast.layers.layer import Layer

if TYPE_CHECKING:
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
