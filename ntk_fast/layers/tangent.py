"""Tangent: what makes a factor of a tangent kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntk_fast.layers.layer import Layer

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class Tangent(Layer):
    """The tangent of the layers before as a covariance, with nothing to train: S becomes T, and T becomes 0.

    No layer of a network of finite width: a Gaussian process that has another network's tangent kernel. Products of
    kernels are made with it.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> from ntk_fast import layers
    >>> tangent = layers.Sequential(*ntk.NTK(depth=2).network.layers, layers.Tangent())
    >>> bool(ntk.NNGP(network=tangent)([[3.0, 4.0]]) == ntk.NTK(depth=2)([[3.0, 4.0]]))
    True
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.promote(node)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        raise ValueError("network: Tangent has no counterpart of finite width, and neither have products of NTKs.")
