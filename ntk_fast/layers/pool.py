"""Pools: averages and sums over windows, and over all positions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from ntk_fast.layers.positions import PositionLayer, check_padding, check_sizes, check_steps, for_each_dimension

if TYPE_CHECKING:
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class _Pool(PositionLayer, abstract=True):
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
        sizes = for_each_dimension(self.window, node.grid)
        strides = sizes if self.strides is None else for_each_dimension(self.strides, node.grid)
        window = builder.window(node, sizes, strides, None, self.padding)
        return builder.pool(node, window, Fraction(1, window.n_taps**2) if self.averages else Fraction(1))


class AveragePool(_Pool):
    """The average over each window: S and T become their means over both windows, all pairs of positions.

    Parameters
    ----------
    window : int >= 1, or one for each dimension
    strides : int >= 1, or one for each dimension, optional
        None: the window, so that windows do not overlap.
    padding : {"SAME", "VALID", "CIRCULAR"}, default "VALID"
        As for :class:`ntk_fast.layers.Conv`; the zeros that "SAME" puts around count in the average.

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

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.SumPool(2, strides=1)
    SumPool(window=2, strides=1)
    """

    averages = False


@dataclass(frozen=True, repr=False)
class GlobalAveragePool(PositionLayer):
    """The average over all positions: S and T become their means over all pairs of them.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Sequential(layers.Input(8, 8, 3), layers.Conv((3, 3)), layers.GlobalAveragePool())
    Sequential(Input(8, 8, 3), Conv(filter_shape=(3, 3)), GlobalAveragePool())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.global_pool(node, averages=True)


@dataclass(frozen=True, repr=False)
class GlobalSumPool(PositionLayer):
    """The sum over all positions: S and T become their sums over all pairs of them.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.GlobalSumPool()
    GlobalSumPool()
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.global_pool(node, averages=False)
