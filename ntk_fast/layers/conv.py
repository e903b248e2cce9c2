"""Conv: an affine map of what a filter sees around each position."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ntk_fast.layers.dense import check_weight_variance, exact_weight_variance
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.positions import check_padding, check_sizes, check_steps, for_each_dimension
from ntk_fast.layers.window import Grid, Window
from ntk_fast.validation import check_flag, check_not_negative

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class Conv(Layer):
    """A convolution: S[i, i'] becomes v / |F| sum_d S[s i + d, s i' + d] + b, and T likewise plus the new S.

    The sum is over the |F| taps d of the filter; S is 0 where a tap lies outside the image (Novak et al. 2019, Arora et
    al. 2019).

    Parameters
    ----------
    filter_shape : int >= 1, or one for each dimension
    strides : int >= 1, or one for each dimension, default 1
    padding : {"SAME", "VALID", "CIRCULAR"}, default "SAME"
        "SAME": ceil(n / stride) positions remain, with zeros around, the odd one after (as XLA and TensorFlow have it);
        "VALID": only where the whole filter lies inside; "CIRCULAR": as "SAME", but the opposite side lies around.
    weight_variance : float >= 0 or "he", default 1.0
        Of each weight, times the size of the filter and the number of channels before (in the layer that sees the
        images: times the size of the filter alone). "he": as for :class:`ntk_fast.layers.Dense`.
    bias_variance : float >= 0, default 0.0
    dilation : int >= 1, or one for each dimension, default 1
        How far apart neighbouring taps of the filter are.
    trained : bool, default True
        False: the layer stays as it was drawn, and the new S is not added to T.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from ntk_fast import layers
    >>> network = layers.Sequential(
    ...     layers.Input(8, 8, 1), layers.Conv((3, 3)), layers.Relu(), layers.Flatten(), layers.Dense()
    ... )
    >>> images = np.random.default_rng(0).random((5, 8, 8, 1))
    >>> ntk.NTK(network=network)(images).shape
    (5, 5)
    """

    filter_shape: int | tuple[int, ...]
    strides: int | tuple[int, ...] = 1
    padding: str = "SAME"
    weight_variance: float | str = 1.0
    bias_variance: float = 0.0
    dilation: int | tuple[int, ...] = 1
    trained: bool = True

    def __post_init__(self) -> None:
        for name, value in (
            ("filter_shape", check_sizes(self.filter_shape, "filter_shape")),
            ("strides", check_steps(self.strides, "strides")),
            ("padding", check_padding(self.padding)),
            ("weight_variance", check_weight_variance(self.weight_variance)),
            ("bias_variance", check_not_negative(self.bias_variance, "bias_variance")),
            ("dilation", check_steps(self.dilation, "dilation")),
            ("trained", check_flag(self.trained, "trained")),
        ):
            object.__setattr__(self, name, value)

    def lower(self, builder: Builder, node: Node) -> Node:
        window = builder.window(node, *self._numbers(node.grid), self.padding)
        weight, bias = exact_weight_variance(self.weight_variance, node), Fraction(self.bias_variance)
        builder.variances.append((weight, bias))
        return builder.convolve(node, window, weight, bias, adds_own=self.trained)

    def _numbers(self, grid: Grid) -> tuple[Grid, Grid, Grid]:
        """Return the sizes, strides and dilation along each dimension."""
        sizes, strides, dilation = (
            for_each_dimension(numbers, grid) for numbers in (self.filter_shape, self.strides, self.dilation)
        )
        return sizes, strides, dilation

    @property
    def passes_units(self) -> bool:
        return False

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        """A Dense of the units that the filter sees, sqrt(v / (|F| n)) W u + sqrt(b) beta."""
        window = Window.padded(units.grid, *self._numbers(units.grid), self.padding)
        return graph.dense(graph.patches(units, window), n_units, self.trained)
