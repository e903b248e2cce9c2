"""Pools: averages and sums over windows, and over all positions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from ntk_fast.layers.layer import Layer
from ntk_fast.layers.positions import check_padding, check_sizes, check_steps, for_each_dimension
from ntk_fast.layers.window import Grid, Window

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class _Pool(Layer, abstract=True):
    """A pool over windows."""

    window: int | tuple[int, ...]
    strides: int | tuple[int, ...] | None = None
    padding: str = "VALID"

    averages: ClassVar[bool]

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", check_sizes(self.window, "window"))
        if self.strides is not None:
            object.__setattr__(self, "strides", check_steps(self.strides, "strides"))
        object.__setattr__(self, "padding", check_padding(self.padding))

    def lower(self, builder: Builder, node: Node) -> Node:
        window = builder.window(node, *self._numbers(node.grid), None, self.padding)
        return builder.pool(node, window, Fraction(1, window.n_taps**2) if self.averages else Fraction(1))

    def _numbers(self, grid: Grid) -> tuple[Grid, Grid]:
        """Return the sizes and strides along each dimension."""
        sizes = for_each_dimension(self.window, grid)
        return sizes, sizes if self.strides is None else for_each_dimension(self.strides, grid)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        ones = (1,) * len(units.grid)
        window = Window.padded(units.grid, *self._numbers(units.grid), ones, self.padding)
        return graph.pooled(units, window, averages=self.averages)


class AveragePool(_Pool):
    """The average over each window: S and T become their means over both windows, all pairs of positions.

    Parameters
    ----------
    window : int >= 1, or one for each dimension
    strides : int >= 1, or one for each dimension, optional
        None: the window, so that windows do not overlap.
    padding : {"SAME", "VALID", "CIRCULAR"}, default "VALID"
        As for :class:`ntk_fast.layers.Conv`; the zeros that "SAME" puts around count in the average.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.AveragePool((2, 2))
    AveragePool(window=(2, 2))
    """

    averages = True


class SumPool(_Pool):
    """The sum over each window: S and T become their sums over both windows, all pairs of positions.

    Parameters
    ----------
    window, strides, padding
        As for :class:`ntk_fast.layers.AveragePool`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.SumPool(2, strides=1)
    SumPool(window=2, strides=1)
    """

    averages = False


@dataclass(frozen=True, repr=False)
class GlobalAveragePool(Layer):
    """The average over all positions: S and T become their means over all pairs of them.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Sequential(layers.Input(8, 8, 3), layers.Conv((3, 3)), layers.GlobalAveragePool())
    Sequential(Input(8, 8, 3), Conv(filter_shape=(3, 3)), GlobalAveragePool())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.global_pool(node, averages=True)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return graph.pooled(units, Window.whole(units.grid), averages=True)


@dataclass(frozen=True, repr=False)
class GlobalSumPool(Layer):
    """The sum over all positions: S and T become their sums over all pairs of them.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.GlobalSumPool()
    GlobalSumPool()
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.global_pool(node, averages=False)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return graph.pooled(units, Window.whole(units.grid), averages=False)
