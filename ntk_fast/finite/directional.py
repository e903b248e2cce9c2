"""How a network's output changes along a direction of its parameters, in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ntk_fast.finite.graph import Affine, Graph, Join, Units, Weights
from ntk_fast.finite.products import Reals, over_row_blocks, product, vectors
from ntk_fast.finite.propagation import stages_of


@np.errstate(over="ignore", invalid="ignore")
def directional(graph: Graph, weights: Weights, along: Weights, X: Reals, n_threads: int) -> tuple[Reals, Reals, Reals]:
    """Return f, and its derivative along a direction by the readout and by the other layers, in one forward pass.

    What the direction does not have, it does not change.
    """
    moving = _Moving(graph, X, n_threads)
    place = 0
    for k, operation in enumerate(graph.operations[:-1]):
        if isinstance(operation, Affine):
            moving.affine(operation, *(each[place] for each in _parts(weights, along)))
            place += 1
        else:
            moving.join(operation)
        moving.forget(k)
    readout = graph.readout
    inputs, moved = moving.scaled(readout)
    outputs = inputs @ weights.readout
    by_readout = np.zeros(len(X))
    if along.matrices[-1] is not None:
        by_readout = inputs @ along.readout
    bias, change = weights.biases[-1], along.biases[-1]
    if bias is not None:
        outputs = outputs + readout.shift * bias[0]
    if change is not None:
        by_readout = by_readout + readout.shift * change[0]
    return outputs, by_readout, np.zeros(len(X)) if moved is None else moved @ weights.readout


def _parts(weights: Weights, along: Weights) -> tuple[Sequence[Any], ...]:
    return weights.matrices, weights.biases, along.matrices, along.biases


class _Moving:
    """Nodes, and how they move when the parameters do, for as long as operations to come need them."""

    def __init__(self, graph: Graph, X: Reals, n_threads: int) -> None:
        self._graph, self._n_threads = graph, n_threads
        self._nodes: dict[int, Reals] = {0: X}
        self._tangents: dict[int, Reals] = {}
        self._n_nodes = 1

    def affine(
        self, affine: Affine, matrix: Reals, bias: Reals | None, change: Reals | None, bias_change: Reals | None
    ) -> None:
        inputs, moved = self.scaled(affine)
        inputs = vectors(inputs)
        shape = len(inputs), affine.n_units
        made = product(inputs, matrix, np.empty(shape), self._n_threads)
        rate = None
        if change is not None:
            rate = product(inputs, change, np.empty(shape), self._n_threads)
        if moved is not None:
            more = product(vectors(moved), matrix, np.empty(shape), self._n_threads)
            rate = more if rate is None else np.add(rate, more, out=rate)
        if bias is not None:
            made += affine.shift * bias
        if bias_change is not None and rate is not None:
            rate += affine.shift * bias_change
        self._add(made, rate, affine.shape)

    def join(self, join: Join) -> None:
        n_rows = len(self._nodes[join.sources[0].node])
        shape = (n_rows, *join.shape)
        moves = any(units.node in self._tangents for units in join.sources)
        made, rate = np.empty(shape), np.empty(shape) if moves else None

        def work(rows: slice) -> None:
            pairs = [self._pushed(units, rows) for units in join.sources]
            values = [value for value, _ in pairs]
            made[rows] = join.rule.value(*values)
            if rate is not None:
                tangents = [np.zeros_like(value) if tangent is None else tangent for value, tangent in pairs]
                rate[rows] = join.rule.pushed(values, tangents)

        over_row_blocks((n_rows, math.prod(join.shape)), work, self._n_threads)
        self._add(made, rate, join.shape)

    def scaled(self, affine: Affine) -> tuple[Reals, Reals | None]:
        """Return what the weights of a Dense multiply, and how it moves."""
        units = affine.source
        n_rows = len(self._nodes[units.node])
        shape = (n_rows, *units.shape)
        inputs, moved = np.empty(shape), np.empty(shape) if units.node in self._tangents else None

        def work(rows: slice) -> None:
            value, tangent = self._pushed(units, rows)
            np.multiply(value, affine.scale, out=inputs[rows])
            if moved is not None and tangent is not None:
                np.multiply(tangent, affine.scale, out=moved[rows])

        over_row_blocks((n_rows, math.prod(units.shape)), work, self._n_threads)
        return inputs, moved

    def forget(self, k: int) -> None:
        """Forget the nodes that no operation after this one takes."""
        for node, last in self._graph.last_use.items():
            if last == k:
                self._nodes.pop(node, None)
                self._tangents.pop(node, None)

    def _add(self, made: Reals, rate: Reals | None, shape: tuple[int, ...]) -> None:
        self._nodes[self._n_nodes] = made.reshape(-1, *shape)
        if rate is not None:
            self._tangents[self._n_nodes] = rate.reshape(-1, *shape)
        self._n_nodes += 1

    def _pushed(self, units: Units, rows: slice) -> tuple[Reals, Reals | None]:
        """Return units, and how they move."""
        stages = stages_of(self._nodes, units, rows)
        if units.node not in self._tangents:
            return stages[-1], None
        tangent = self._tangents[units.node][rows]
        for rule, before in zip(units.chain, stages[:-1], strict=True):
            tangent = rule.pushed((before,), (tangent,))
        return stages[-1], tangent
