"""Flatten: the units of all positions side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntk_fast.layers.layer import Layer
from ntk_fast.layers.window import Window

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """The units of all positions side by side: S and T become their means over equal positions, i = i'.

    Only these pairs of positions are then computed.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Sequential(layers.Input(8, 8, 3), layers.Conv((3, 3)), layers.Flatten())
    Sequential(Input(8, 8, 3), Conv(filter_shape=(3, 3)), Flatten())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.flatten(node)

    @property
    def passes_units(self) -> bool:
        return False

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return graph.patches(units, Window.whole(units.grid))
