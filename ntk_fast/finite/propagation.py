"""Forward and backward passes over a set of rows, by hand.

For the multilayer perceptron, with the weights W_1 (width, n_features), W_l (width, width), beta (width) and
s = 1 / sqrt(width),

    h_1 = W_1 x    a_l = s sigma(h_l)    h_{l+1} = W_{l+1} a_l    f(x) = beta . a_L                         (Eq. 2)
    delta_L = s beta sigma'(h_L)         delta_l = s sigma'(h_l) (W_{l+1}^T delta_{l+1})

are all that derivatives need: df/dW_l = delta_l a_{l-1}^T with a_0 = x, and df/dbeta = a_L. For any other graph,
likewise: a is what a Dense multiplies, delta the gradient by what it makes, and what lies between two Dense layers
happens row by row, in one visit of each block of rows while it is in the cache. Where there are positions, a and delta
have rows at each of them, (n_rows, n_positions, n_units), and derivatives by weights are sums over these, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ntk_fast.finite.graph import Affine, Graph, Join, Units, Weights
from ntk_fast.finite.products import Reals, over_row_blocks, product, row_blocks, vectors
from ntk_fast.schedule.memory import refuse_too_large

#: The weights c of a weighted sum over rows; or a function of the outputs f of some rows, called as ``c(f, rows)``.
Cotangent = Reals | Callable[[Reals, slice], Reals]

FEWER_ROWS = "use fewer rows at a time, or a smaller width"


class Propagation:
    """Passes over the rows X, in buffers that every pass uses again: one a node, of (n, n_units), and a spare one.

    A backward pass puts gradients where the units were that nothing needs any more.
    """

    def __init__(self, X: Reals, graph: Graph, n_threads: int) -> None:
        size = len(X), graph.numbers_a_row + graph.most_units
        refuse_too_large(size, X.dtype, what="activations, of all layers,", advice=FEWER_ROWS)
        self.X = X
        self.graph = graph
        self.n_threads = n_threads
        self.nodes = [X, *(np.empty((len(X), *operation.shape)) for operation in graph.operations[:-1])]
        self._spare: dict[tuple[int, ...], Reals] = {}
        self._cotangents: dict[int, Reals] = {}

    def forward(self, weights: Weights) -> None:
        """Fill `nodes`."""
        matrices = zip(self.graph.layers, weights.matrices, weights.biases, strict=True)
        for operation, target in zip(self.graph.operations[:-1], self.nodes[1:], strict=True):
            if isinstance(operation, Affine):
                _, matrix, bias = next(matrices)
                inputs, made = vectors(self.inputs(operation)), vectors(target)
                product(inputs, matrix, made, self.n_threads, _adding(made, operation, bias))
            else:
                self._join(operation, target)

    def _join(self, join: Join, target: Reals) -> None:
        def work(rows: slice) -> None:
            target[rows] = join.rule.value(*(stages_of(self.nodes, units, rows)[-1] for units in join.sources))

        over_row_blocks(_shape(target), work, self.n_threads)

    def inputs(self, affine: Affine) -> Reals:
        """Return what the weights of a Dense multiply, in the spare buffer."""
        units = affine.source
        if not units.chain and affine.scale == 1:
            return self.nodes[units.node]
        out = self._spare_of(units.shape)

        def work(rows: slice) -> None:
            np.multiply(stages_of(self.nodes, units, rows)[-1], affine.scale, out=out[rows])

        over_row_blocks(_shape(out), work, self.n_threads)
        return out

    def _spare_of(self, shape: tuple[int, ...]) -> Reals:
        if shape not in self._spare:
            self._spare[shape] = np.empty((len(self.X), *shape))
        return self._spare[shape]

    def outputs(self, weights: Weights) -> Reals:
        """Return f(x) after a forward pass."""
        readout = self.graph.readout
        outputs = np.empty(len(self.X))

        def work(rows: slice) -> None:
            outputs[rows] = _read(readout, weights, stages_of(self.nodes, readout.source, rows)[-1])

        over_row_blocks((len(self.X), readout.source.n_units), work, self.n_threads)
        return outputs

    @np.errstate(over="ignore", invalid="ignore")
    def turn(self, weights: Weights, cotangent: Cotangent) -> tuple[Reals, Reals, float]:
        """Turn from the forward to the backward pass, in one visit of each block of rows while it is in the cache.

        Returns f and the gradients of sum_i c_i f(x_i) by the weights and by the bias of the readout.
        """
        readout = self.graph.readout
        units, n = readout.source, len(self.X)
        blocks = row_blocks(n, units.n_units)
        outputs, cotangents = np.empty(n), np.empty(n)
        parts = np.empty((len(blocks), units.n_units))
        receive = self._receiver(len(self.graph.operations) - 1)
        moves = self.nodes[units.node].shape[1:] != units.shape

        def work(rows: slice) -> None:
            stages = stages_of(self.nodes, units, rows)
            outputs[rows] = _read(readout, weights, stages[-1])
            here = cotangent(outputs[rows], rows) if callable(cotangent) else cotangent[rows]
            cotangents[rows] = here
            scaled = here * readout.scale
            parts[rows.start // blocks[0].stop] = scaled @ stages[-1]
            if receive is not None:
                if moves:
                    gradients = _pulled(units, stages, weights.readout * scaled[:, None])
                else:  # one row stands for all
                    gradients = _pulled(units, stages, weights.readout[None]) * scaled[:, None]
                receive(rows, [gradients])

        over_row_blocks((n, units.n_units), work, self.n_threads)
        return outputs, parts.sum(axis=0), readout.shift * float(cotangents.sum())

    def backward(self, weights: Weights) -> Iterator[tuple[int, Affine, Reals, Reals]]:
        """After :meth:`turn`, yield (place, Dense, delta, a) of each trained hidden Dense, from the last to the first.

        The place is that among all Dense layers.
        """
        operations = self.graph.operations
        place = len(self.graph.layers) - 1
        for k in reversed(range(len(operations) - 1)):
            operation = operations[k]
            if isinstance(operation, Affine):
                place -= 1
            delta = self._cotangents.pop(k + 1, None)
            if delta is None:  # no trained parameters precede it
                continue
            receive = self._receiver(k)
            if isinstance(operation, Join):
                assert receive is not None
                self._branch(operation, delta, receive)
                continue
            if operation.is_trained:
                yield place, operation, delta, self.inputs(operation)
            if receive is not None:
                self._descend(operation, weights.matrices[place], delta, receive)

    def _descend(self, affine: Affine, matrix: Reals, delta: Reals, receive: Receive) -> None:
        """Pull a gradient through a Dense, and through what comes before it."""
        units = affine.source
        target = self._spare_of(units.shape)
        product(vectors(delta), matrix.T, vectors(target), self.n_threads)

        def work(rows: slice) -> None:
            pulled = _pulled(units, stages_of(self.nodes, units, rows), target[rows])
            receive(rows, [pulled * affine.scale])

        over_row_blocks(_shape(target), work, self.n_threads)

    def _branch(self, join: Join, delta: Reals, receive: Receive) -> None:
        """Pull a gradient into the branches that meet."""

        def work(rows: slice) -> None:
            stages = [stages_of(self.nodes, units, rows) for units in join.sources]
            pulled = join.rule.pulled([each[-1] for each in stages], delta[rows])
            receive(rows, [_pulled(*each) for each in zip(join.sources, stages, pulled, strict=True)])

        over_row_blocks(_shape(delta), work, self.n_threads)

    def _receiver(self, k: int) -> Receive | None:
        """Return what adds gradients by the sources of an operation to those by their nodes, block by block.

        It takes one for each source, all at once: the first operation that takes a node is the last to be pulled
        through, and overwrites its units. None: no source needs any.
        """
        sources = self.graph.operations[k].sources
        needed = [units.node if self.graph.is_trained[units.node] else None for units in sources]
        targets: dict[int, tuple[Reals | None, Reals]] = {}  # what is known already, and where the sum goes
        for node in dict.fromkeys(node for node in needed if node is not None):
            known = self._cotangents.get(node)
            if self.graph.first_use[node] == k:
                self._cotangents[node] = self.nodes[node]
            elif known is None:
                self._cotangents[node] = np.empty_like(self.nodes[node])
            targets[node] = known, self._cotangents[node]
        if not targets:
            return None

        def receive(rows: slice, gradients: Sequence[Reals]) -> None:
            for node, (known, target) in targets.items():
                parts = [gradient for gradient, its in zip(gradients, needed, strict=True) if its == node]
                if known is not None:
                    parts.append(known[rows])
                target[rows] = parts[0] if len(parts) == 1 else sum(parts[1:], start=parts[0])

        return receive

    def gradient(self, weights: Weights, out: Weights, cotangent: Cotangent) -> Reals:
        """Forward, then backward: write the gradient of sum_i c_i f(x_i) into `out`, and return f."""
        self.forward(weights)
        outputs, by_readout, by_bias = self.turn(weights, cotangent)
        if self.graph.readout.is_trained:
            out.readout[:] = by_readout
            if out.biases[-1] is not None:
                out.biases[-1][:] = by_bias
        for place, affine, delta, inputs in self.backward(weights):
            delta, inputs = vectors(delta), vectors(inputs)
            product(delta.T, inputs.T, out.matrices[place], self.n_threads)
            bias = out.biases[place]
            if bias is not None:
                np.multiply(delta.sum(axis=0), affine.shift, out=bias)
        return outputs


#: Adds gradients by the sources of an operation, for a block of rows.
Receive = Callable[[slice, Sequence[Reals]], None]


def _shape(units: Reals) -> tuple[int, int]:
    """Return how many rows there are, and how many numbers in each."""
    return units.shape[0], math.prod(units.shape[1:])


def stages_of(nodes: Sequence[Reals] | dict[int, Reals], units: Units, rows: slice) -> list[Reals]:
    """Return the units of a node, and what each link of a chain makes of them."""
    stages = [nodes[units.node][rows]]
    for rule in units.chain:
        stages.append(rule.value(stages[-1]))
    return stages


def _pulled(units: Units, stages: Sequence[Reals], cotangent: Reals) -> Reals:
    """Pull a gradient back through a chain."""
    for rule, before in zip(reversed(units.chain), reversed(stages[:-1]), strict=True):
        (cotangent,) = rule.pulled((before,), cotangent)
    return cotangent


def _read(readout: Affine, weights: Weights, units: Reals) -> Reals:
    """Return the output of some rows."""
    outputs = units @ weights.readout * readout.scale
    bias = weights.biases[-1]
    return outputs if bias is None else outputs + readout.shift * bias[0]


def _adding(target: Reals, affine: Affine, bias: Reals | None) -> Callable[[slice, slice], None] | None:
    """Return what adds the bias to a tile of a product."""
    if bias is None:
        return None
    shift = affine.shift * bias

    def finish(rows: slice, columns: slice) -> None:
        target[rows, columns] += shift[columns]

    return finish
