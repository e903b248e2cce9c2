"""From a description to its plan: layers are lowered to steps, and what a network may not be is refused.

By the place of the layer, and before any work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.window import Grid, Window, shown
from ntk_fast.lower.steps import (
    Arrange,
    Attend,
    Convolve,
    Map,
    Mix,
    Multiply,
    Normalise,
    Plan,
    Pool,
    Promote,
    Step,
    joined,
)

#: Layers that compile within seconds: those of `kernels.LARGEST_DEPTH`, and some more.
MOST_LAYERS = 11_000


@dataclass(frozen=True)
class LoweredLayer:
    """A layer and the node that holds its output, for tables."""

    layer: Layer
    level: int  # how many layers it lies in
    node: int


@dataclass(frozen=True)
class Node:
    """Where a layer's output is, and what the next layer must know of it."""

    index: int
    is_gaussian: bool  # an activation's dual is an expectation over Gaussians
    is_centred: bool  # of mean zero over the random parameters that precede it
    origins: frozenset[int]  # the Dense layers, or the rows (0), that its units are made of, one by one
    grid: Grid = ()  # positions along each dimension; (): none
    activation: ActivationLayer | None = None  # whose output this is

    @property
    def gain(self) -> Fraction | float:
        """E[sigma(z)^2] of the activation whose output this is, else 1: for He scaling."""
        return 1 if self.activation is None else self.activation.gain


#: The rows themselves: numbers, and no Gaussians.
ROWS = Node(0, is_gaussian=False, is_centred=False, origins=frozenset({0}))


class Builder:
    """Collects the steps of a network while its layers are lowered; knows at which layer it is."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._places: list[str] = []
        self.has_parameters = False
        self.lowered: list[LoweredLayer] = []
        self.variances: list[tuple[Fraction, Fraction]] = []  # of each layer with weights: theirs, the bias'

    def lower(self, layer: Layer, node: Node, place: str) -> Node:
        """Lower a layer within another, named by its place: "layer 2 of 5"."""
        if len(self.lowered) == MOST_LAYERS:
            raise ValueError(f"network must not have more than {MOST_LAYERS} layers.")
        self._places.append(f"{place}, {layer.name}")
        position = len(self.lowered)
        node = layer.lower(self, node)
        self.lowered.insert(position, LoweredLayer(layer, len(self._places), node.index))
        self._places.pop()
        return node

    def refuse(self, reason: str) -> ValueError:
        """Return the error that names the layer being lowered."""
        return ValueError(": ".join(["network", *filter(None, [", ".join(self._places)]), reason]))

    def _add(self, step: Step) -> int:
        self._steps.append(step)
        return len(self._steps)

    def mix(
        self,
        nodes: Sequence[Node],
        weights: Sequence[Fraction],
        bias: Fraction = Fraction(0),
        *,
        adds_own: bool = False,
        is_dense: bool = False,
        is_gaussian: bool,
        is_centred: bool,
    ) -> Node:
        """Add a sum of nodes with weights, and a bias; `is_dense`: of all units, with weights drawn anew."""
        self.has_parameters |= is_dense
        grid = self._common_grid(nodes)
        index = self._add(Mix(tuple(node.index for node in nodes), tuple(weights), bias, adds_own))
        origins = frozenset({index}) if is_dense else frozenset().union(*(node.origins for node in nodes))
        return Node(index, is_gaussian, is_centred, origins, grid)

    def _common_grid(self, nodes: Sequence[Node]) -> Grid:
        """Return the positions that all nodes have."""
        grids = list(dict.fromkeys(node.grid for node in nodes))
        if len(grids) > 1:
            each = " and ".join(shown(grid) if grid else "none" for grid in grids)
            raise self.refuse(f"branches that meet must have the same positions; got {each}.")
        return grids[0]

    def arrange(self, node: Node, shape: tuple[int, ...]) -> Node:
        """Add the rows, as numbers at positions; wherever they are taken, they are arranged alike."""
        if node.index != 0:
            raise self.refuse("Input says what the rows are: it must be the first layer.")
        index = next((k for k, step in enumerate(self._steps, start=1) if isinstance(step, Arrange)), 0)
        if not index:
            index = self._add(Arrange(0, shape))
        elif self._steps[index - 1] != Arrange(0, shape):
            raise self.refuse(f"the same rows are {shown(shape)} here and of another shape in another branch.")
        return replace(node, index=index, grid=shape[:-1])

    def _positions_of(self, node: Node) -> Grid:
        """Return the positions of a node, which has some."""
        if not node.grid:
            hint = (
                "it must come before Flatten and global pools"
                if any(isinstance(step, Arrange) for step in self._steps)
                else "begin the network with Input(height, width, channels) or Input(length, channels)"
            )
            raise self.refuse(f"there are no positions here: {hint}.")
        return node.grid

    def window(self, node: Node, sizes: Grid, strides: Grid | None, dilation: Grid | None, padding: str) -> Window:
        """Return windows on a node's positions; strides and dilation are 1 where they are not given."""
        grid = self._positions_of(node)
        given = {"windows": sizes, "strides": strides, "dilation": dilation}
        for name, numbers in given.items():
            if numbers is not None and len(numbers) != len(grid):
                raise self.refuse(
                    f"{name} of {numbers} are for {len(numbers)} dimensions; there are {shown(grid)} positions."
                )
        ones = (1,) * len(grid)
        try:
            return Window.padded(grid, sizes, strides or ones, dilation or ones, padding)
        except ValueError as error:
            raise self.refuse(str(error)) from None

    def convolve(self, node: Node, window: Window, weight: Fraction, bias: Fraction, *, adds_own: bool) -> Node:
        """Add a convolution, with weights drawn anew."""
        if window.is_one_position:
            return self.mix([node], [weight], bias, adds_own=adds_own, is_dense=True, is_gaussian=True, is_centred=True)
        self.has_parameters = True
        index = self._add(Convolve(node.index, window, weight, bias, adds_own))
        return Node(index, True, True, frozenset({index}), window.output)

    def flatten(self, node: Node) -> Node:
        """Add the units of all positions side by side."""
        window = Window.whole(self._positions_of(node))
        index = self._add(Convolve(node.index, window, Fraction(1), Fraction(0), False))
        return Node(index, False, node.is_centred, node.origins)

    def pool(self, node: Node, window: Window, weight: Fraction) -> Node:
        """Add sums over windows, times the root of a weight."""
        index = self._add(Pool(node.index, window, weight))
        return Node(index, node.is_gaussian, node.is_centred, node.origins, window.output)

    def global_pool(self, node: Node, *, averages: bool) -> Node:
        """Add the average, or the sum, over all positions."""
        window = Window.whole(self._positions_of(node))
        return self.pool(node, window, Fraction(1, window.n_taps**2) if averages else Fraction(1))

    def add_own(self, node: Node) -> Node:
        """Add S to T."""
        return replace(node, index=self._add(Mix((node.index,), (Fraction(1),), Fraction(0), True)))

    def attend(self, node: Node, zeta: str, scale: Fraction) -> Node:
        """Add sums over all positions, by weights that each row has of its own."""
        self._positions_of(node)
        return replace(node, index=self._add(Attend(node.index, zeta, scale)), is_gaussian=False, activation=None)

    def correlate(self, node: Node) -> Node:
        """Add S times the sum of all S^2: what attention with the scaling d^-1/2 has between positions."""
        self._positions_of(node)
        square = replace(node, index=self._add(Multiply((node.index, node.index))))
        total = self.global_pool(square, averages=False)
        return replace(node, index=self._add(Multiply((total.index, node.index))), is_gaussian=False, activation=None)

    def refuse_dependent(self, nodes: Sequence[Node], what: str) -> None:
        """Refuse branches that are not independent: that are made, unit by unit, of the same ones."""
        seen: frozenset[int] = frozenset()
        for node in nodes:
            if seen & node.origins:
                raise self.refuse(
                    f"the branches of a {what} must be independent: at most one may pass its input on, and what an "
                    "activation or a LayerNorm makes of it does; a Dense at the end of a branch makes it independent."
                )
            seen |= node.origins

    def map(self, node: Node, activation: ActivationLayer) -> Node:
        """Add an activation."""
        if not node.is_gaussian:
            raise self.refuse(
                "an activation needs a Dense, a Conv or an Attention before it: the rows as they are, what another "
                "activation made, products and concatenations of them, what Flatten made, and sums with any of these, "
                "are not Gaussian."
            )
        step = Map(node.index, activation, ", ".join(self._places))
        return Node(self._add(step), False, activation.parity == -1, node.origins, node.grid, activation)

    def normalise(self, node: Node) -> Node:
        """Add a normalisation of each row's variance to 1, at every position."""
        return replace(node, index=self._add(Normalise(node.index)), activation=None)

    def promote(self, node: Node) -> Node:
        """Add a node whose S is another's T: units drawn anew."""
        index = self._add(Promote(node.index))
        return Node(index, is_gaussian=False, is_centred=True, origins=frozenset({index}), grid=node.grid)

    def multiply(self, nodes: Sequence[Node]) -> Node:
        """Add a product of independent nodes."""
        self.refuse_dependent(nodes, "product")
        grid = self._common_grid(nodes)
        step = Multiply(tuple(node.index for node in nodes))
        origins = frozenset().union(*(node.origins for node in nodes))
        return Node(self._add(step), False, any(node.is_centred for node in nodes), origins, grid)

    def plan(self, output: Node) -> Plan:
        """Return the plan, in which sums of sums are one."""
        if math.prod(output.grid) != 1:
            raise ValueError(
                f"network: its output still has {shown(output.grid)} positions: a Flatten, a GlobalAveragePool or a "
                "GlobalSumPool must come before the last Dense."
            )
        return Plan(joined(self._steps, output.index))

    @property
    def steps(self) -> Plan:
        """All steps so far, one by one, as `lowered` counts them."""
        return Plan(tuple(self._steps))


def variances_of(network: Layer) -> list[tuple[Fraction, Fraction]]:
    """Return the variances of weights and of biases of each Dense, in order, names such as "he" as numbers."""
    builder = Builder()
    network.lower(builder, ROWS)
    return builder.variances


@lru_cache(maxsize=1024)
def plan_of(network: Layer) -> Plan:
    """Return the plan of a network on rows.

    Raises
    ------
    ValueError
        If the network is none, naming the layer and its place.
    """
    builder = Builder()
    plan = builder.plan(network.lower(builder, ROWS))
    if not builder.has_parameters:
        raise ValueError("network must have a Dense, a Conv or an Attention: without parameters it has no kernel.")
    return plan
