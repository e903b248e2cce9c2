"""A network of finite width as a graph: matrix products, and what happens between them row by row.

Node 0 is the rows; each operation makes the next node, whose units are kept during a pass. Layers that work on the
units of one layer (activations, LayerNorm) make no node: they are chains upon one, computed whenever they are needed.

    Affine    a Dense layer, scale W u + shift beta with W, beta ~ N(0, 1)           (the parameterisation of Eq. 2)
    Join      branches that meet; positions that do, in pools and in attention

scale = sqrt(v / n_units), shift = sqrt(b), and scale = sqrt(v) in a layer that sees the rows, whose S is a sum over
features and not a mean over units. Where the rows themselves meet a branch, their number of features is not the width:
they are embedded first, by standard normal weights that are not trained, which changes neither S nor T in the limit;
and so is what Flatten makes. A network that does not end in a Dense is read out by such weights, likewise.

Images and sequences have units at every position, arrays (n_rows, n_positions, n_units), and an Affine has the same
weights at all of them. A Conv is one whose chain ends in patches: what its filter sees, side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from ntk_fast.finite.products import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.dense import Dense
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.patches import Arranged, Patches, Pooled
from ntk_fast.layers.rowwise import Rowwise
from ntk_fast.layers.sequential import Sequential
from ntk_fast.layers.window import Grid, Window
from ntk_fast.lower.plan import plan_of, variances_of


@dataclass(frozen=True)
class Units:
    """The units of a layer: those of a node, and what was done to them since."""

    node: int
    chain: tuple[Rowwise, ...]
    n_units: int  # at each position
    count: int  # what a sum of squares over the units is divided by to be their second moment
    is_rows: bool  # made of the rows alone, without parameters
    origins: frozenset[int]  # the nodes whose random weights these units share, one to one
    grid: Grid = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the units of a row."""
        return _shape(self.grid, self.n_units)


@dataclass(frozen=True)
class Affine:
    """A Dense layer: scale W u + shift beta, at every position."""

    source: Units
    n_units: int
    scale: float
    bias_variance: float
    is_trained: bool
    start: int  # of its parameters, W row by row and then beta, among those that are trained, or that are not

    @property
    def sources(self) -> tuple[Units, ...]:
        return (self.source,)

    @property
    def grid(self) -> Grid:
        return self.source.grid

    @property
    def shape(self) -> tuple[int, ...]:
        return _shape(self.grid, self.n_units)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        return self.n_units, self.source.n_units

    @property
    def shift(self) -> float:
        return math.sqrt(self.bias_variance)

    @property
    def n_weights(self) -> int:
        return self.n_units * self.source.n_units

    @property
    def n_parameters(self) -> int:
        return self.n_weights + (self.n_units if self.bias_variance else 0)


@dataclass(frozen=True)
class Join:
    """Branches or positions that meet, by a rule for each row."""

    sources: tuple[Units, ...]
    n_units: int
    rule: Rowwise
    grid: Grid

    @property
    def shape(self) -> tuple[int, ...]:
        return _shape(self.grid, self.n_units)


def _shape(grid: Grid, n_units: int) -> tuple[int, ...]:
    return (math.prod(grid), n_units) if grid else (n_units,)


Operation = Affine | Join


class Graph:
    """The operations of a network of finite width; the last one is an Affine with one unit, the output.

    Parameters
    ----------
    network : Layer
    n_features, width : int >= 1
    """

    def __init__(self, network: Layer, n_features: int, width: int) -> None:
        shape = plan_of(network).shape  # refuses what is no network
        if shape is not None and n_features != math.prod(shape):
            numbers = " x ".join(map(str, shape))
            raise ValueError(
                f"n_features must be {math.prod(shape)}, of the network's Input {numbers}; got {n_features}."
            )
        self.width = width
        self.operations: list[Operation] = []
        self.n_parameters = {True: 0, False: 0}  # trained, and not
        self._places: list[str] = []
        self._variances = iter(variances_of(network))
        rows = Units(0, (), n_features, 1, True, frozenset())
        if _ends_in_dense(network):
            network.connect(self, rows, 1)
        else:
            self.affine(network.connect(self, rows, width), 1, 1.0, 0.0, is_trained=False)
        if self.readout.grid:  # of one position
            last = replace(self.readout, source=self.patches(self.readout.source, Window.whole(self.readout.grid)))
            self.operations[-1] = last
        #: Of each node, whether trained parameters precede it.
        self.is_trained = [False]
        for operation in self.operations:
            trained = any(self.is_trained[units.node] for units in operation.sources)
            self.is_trained.append(trained or (isinstance(operation, Affine) and operation.is_trained))
        uses = [(units.node, k) for k, operation in enumerate(self.operations) for units in operation.sources]
        #: Of each node, the first and the last operation that takes it.
        self.first_use, self.last_use = dict(reversed(uses)), dict(uses)

    @property
    def layers(self) -> list[Affine]:
        """All Dense layers and those like them, in order."""
        return [operation for operation in self.operations if isinstance(operation, Affine)]

    @property
    def pre_activations(self) -> list[int]:
        """The nodes whose units an activation takes, in order."""
        sources = [units for operation in self.operations for units in operation.sources]
        return sorted({u.node for u in sources if any(isinstance(rule, ActivationLayer) for rule in u.chain)})

    @property
    def readout(self) -> Affine:
        """The last one, which makes the output."""
        last = self.operations[-1]
        assert isinstance(last, Affine)
        return last

    @property
    def numbers_a_row(self) -> int:
        """How many units a row has, of all operations but the output."""
        return sum(math.prod(operation.shape) for operation in self.operations[:-1])

    @property
    def most_units(self) -> int:
        """How many units a row has, where it has most."""
        sources = (units for operation in self.operations for units in operation.sources)
        return max([self.width, *(math.prod(units.shape) for units in sources if units.node or units.chain)])

    def connect(self, layer: Layer, units: Units, n_units: int, place: str) -> Units:
        """Connect a layer within another, named by its place: "layer 2 of 5"."""
        self._places.append(f"{place}, {layer.name}")
        made = layer.connect(self, units, n_units)
        self._places.pop()
        return made

    def then(self, units: Units, rule: Rowwise) -> Units:
        """Apply a rule to the units of one layer, one to one."""
        return replace(units, chain=(*units.chain, rule))

    def arranged(self, units: Units, shape: tuple[int, ...]) -> Units:
        """Arrange the rows as images or sequences of a shape."""
        made = self.then(units, Arranged(math.prod(shape[:-1])))
        return replace(made, n_units=shape[-1], grid=shape[:-1])

    def patches(self, units: Units, window: Window) -> Units:
        """Put the units that each window sees side by side."""
        if window.is_one_position:
            return units
        n = window.n_taps
        made = self.then(units, Patches(window))
        return replace(made, n_units=n * units.n_units, count=n * units.count, grid=window.output)

    def pooled(self, units: Units, window: Window, averages: bool) -> Units:
        """Add the average or the sum of what each window sees."""
        rule = Pooled(window, 1 / window.n_taps if averages else 1.0)
        made = self.join([units], rule, units.n_units, window.output)
        return replace(made, count=units.count, is_rows=units.is_rows)

    def dense(self, units: Units, n_units: int, is_trained: bool) -> Units:
        """Add the next Dense layer of the network, whose variances are numbers by now."""
        weight, bias = next(self._variances)
        return self.affine(units, n_units, float(weight), float(bias), is_trained)

    def affine(self, units: Units, n_units: int, weight: float, bias: float, is_trained: bool) -> Units:
        """Add a Dense layer with these variances."""
        start = self.n_parameters[is_trained]
        affine = Affine(units, n_units, math.sqrt(weight / units.count), bias, is_trained, start)
        # 1 / sqrt(width), as it is for weight variance 1, is the same number as sqrt(1 / width) but for rounding
        if weight == 1:
            affine = replace(affine, scale=units.count**-0.5)
        self.n_parameters[is_trained] += affine.n_parameters
        return self._added(affine)

    def join(self, parts: Sequence[Units], rule: Rowwise, n_units: int, grid: Grid | None = None) -> Units:
        """Let branches meet, at their positions if no others are given."""
        made = self._added(Join(tuple(parts), n_units, rule, parts[0].grid if grid is None else grid))
        return replace(made, origins=frozenset[int]().union(*(part.origins for part in parts)))

    def _added(self, operation: Operation) -> Units:
        self.operations.append(operation)
        node = len(self.operations)
        n = operation.n_units
        return Units(node, (), n, n, False, frozenset({node}), operation.grid)

    def embedded(self, units: Units, n_units: int) -> Units:
        """Return units that may meet so many others: the rows, and other numbers of units, by fixed random weights."""
        if not units.is_rows and units.n_units == n_units:
            return units
        return self.affine(units, n_units, 1.0, 0.0, is_trained=False)

    def check_independent(self, parts: Sequence[Units]) -> None:
        """Refuse branches whose sum or product has another limit than that of independent ones."""
        for (i, one), (k, other) in combinations(enumerate(parts, start=1), 2):
            if one.origins & other.origins:
                raise self.refuse(
                    f"branches {i} and {k} are not independent: the units of both are made of those of one and the "
                    "same Dense; put a Dense into one of them."
                )

    def refuse(self, reason: str) -> ValueError:
        """Return the error that names the layer being connected."""
        return ValueError(f"network: {', '.join(self._places)}: {reason}")

    def split(self, parameters: Reals, fixed: Reals | None = None) -> Weights:
        """Return views of flat vectors of parameters as matrices and biases."""
        matrices: list[Any] = []
        biases: list[Reals | None] = []
        for layer in self.layers:
            values = parameters if layer.is_trained else fixed
            part = None if values is None else values[layer.start : layer.start + layer.n_parameters]
            matrices.append(None if part is None else part[: layer.n_weights].reshape(layer.matrix_shape))
            biases.append(None if part is None or not layer.bias_variance else part[layer.n_weights :])
        return Weights(tuple(matrices), tuple(biases))


@dataclass(frozen=True, eq=False)
class Weights:
    """The parts of a flat vector of parameters, as views; None stands for what the vector does not have.

    Attributes
    ----------
    matrices : tuple of ndarray of shape (n_units, n_units_before)
        The weights of each Dense, in order.
    biases : tuple of ndarray of shape (n_units,)
        Of those with a bias variance.
    """

    matrices: tuple[Any, ...]  # arrays: only of what is not trained, a vector may have none
    biases: tuple[Reals | None, ...]

    @property
    def hidden(self) -> tuple[Reals, ...]:
        """The weights of all layers but the last."""
        return self.matrices[:-1]

    @property
    def readout(self) -> Reals:
        """The weights of the last layer, beta in Eq. 2: a vector."""
        return self.matrices[-1][0]


def _ends_in_dense(layer: Layer) -> bool:
    if isinstance(layer, Sequential):
        return bool(layer.layers) and _ends_in_dense(layer.layers[-1])
    return isinstance(layer, Dense)
