"""Forward and backward passes over a set of rows, by hand.

With the weights W_1 (width, n_features), W_l (width, width), beta (width) and s = 1 / sqrt(width),

    h_1 = W_1 x    a_l = s sigma(h_l)    h_{l+1} = W_{l+1} a_l    f(x) = beta . a_L                         (Eq. 2)
    delta_L = s beta sigma'(h_L)         delta_l = s sigma'(h_l) (W_{l+1}^T delta_{l+1})

are all that derivatives need: df/dW_l = delta_l a_{l-1}^T with a_0 = x, and df/dbeta = a_L.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ntk_fast.finite.activations import Reals, Unit
from ntk_fast.finite.products import over_row_blocks, product, row_blocks
from ntk_fast.memory import refuse_too_large

#: The weights c of a weighted sum over rows; or a function of the outputs f of some rows, called as ``c(f, rows)``.
Cotangent = Reals | Callable[[Reals, slice], Reals]

FEWER_ROWS = "use fewer rows at a time, or a smaller width"


def count_parameters(n_features: int, width: int, depth: int) -> int:
    """Return d + d p + (L - 1) d^2."""
    return width + width * n_features + (depth - 1) * width**2


@dataclass(frozen=True, eq=False)
class Weights:
    """The parts of a flat parameter vector, as views: W_1, ..., W_L row by row, then beta."""

    hidden: tuple[Reals, ...]
    readout: Reals

    @classmethod
    def of(cls, parameters: Reals, n_features: int, width: int, depth: int) -> Weights:
        hidden, start = [], 0
        for n_columns in [n_features] + [width] * (depth - 1):
            hidden.append(parameters[start : start + width * n_columns].reshape(width, n_columns))
            start += width * n_columns
        return cls(tuple(hidden), parameters[start:])


class Propagation:
    """Passes over the rows X, in depth + 1 buffers of (n, width) that every pass uses again (one, if depth is 1)."""

    def __init__(self, X: Reals, width: int, depth: int, unit: Unit, n_threads: int) -> None:
        refuse_too_large(
            (len(X), width), X.dtype, copies=depth + 1, what="activations, of each layer,", advice=FEWER_ROWS
        )
        self.X = X
        self.unit = unit
        self.n_threads = n_threads
        self.scale = width**-0.5
        self.pre = [np.empty((len(X), width)) for _ in range(depth)]
        self._spare: Reals | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.pre[0].shape[0], self.pre[0].shape[1]

    def forward(self, weights: Weights) -> None:
        """Fill `pre` with h_1, ..., h_L."""
        inputs = self.X
        for layer, (matrix, pre) in enumerate(zip(weights.hidden, self.pre, strict=True)):
            if layer:
                inputs = self.hidden(layer - 1)
            product(inputs, matrix, pre, self.n_threads)

    def hidden(self, layer: int) -> Reals:
        """Return a of a layer (0 is the first), in the spare buffer, from h in `pre`."""
        if self._spare is None:
            self._spare = np.empty(self.shape)
        outputs = self._spare

        def work(rows: slice) -> None:
            self.unit.value(self.pre[layer][rows], out=outputs[rows])
            outputs[rows] *= self.scale

        over_row_blocks(self.shape, work, self.n_threads)
        return outputs

    def outputs(self, weights: Weights) -> Reals:
        """Return f(x) after a forward pass."""
        outputs = np.empty(len(self.X))

        def work(rows: slice) -> None:
            outputs[rows] = self.unit.value(self.pre[-1][rows]) @ weights.readout * self.scale

        over_row_blocks(self.shape, work, self.n_threads)
        return outputs

    @np.errstate(over="ignore", invalid="ignore")
    def turn(self, weights: Weights, cotangent: Cotangent) -> tuple[Reals, Reals]:
        """Turn from the forward to the backward pass, in one visit of each block of rows while it is in the cache.

        Returns f and the gradient of sum_i c_i f(x_i) by beta; the last h in `pre` becomes c delta_L.
        """
        blocks = row_blocks(*self.shape)
        outputs = np.empty(len(self.X))
        parts = np.empty((len(blocks), self.shape[1]))

        def work(rows: slice) -> None:
            z = self.pre[-1][rows]
            hidden = self.unit.value(z)
            outputs[rows] = hidden @ weights.readout * self.scale
            here = cotangent(outputs[rows], rows) if callable(cotangent) else cotangent[rows]
            scaled = here * self.scale
            parts[rows.start // blocks[0].stop] = scaled @ hidden
            np.multiply(self.unit.slope(z), weights.readout, out=z)
            z *= scaled[:, None]

        over_row_blocks(self.shape, work, self.n_threads)
        return outputs, parts.sum(axis=0)

    def backward(self, weights: Weights) -> Iterator[tuple[int, Reals, Reals]]:
        """After :meth:`turn`, yield (layer, delta, a of the layer before) from the last layer to the first."""
        for layer in reversed(range(len(self.pre))):
            yield layer, self.pre[layer], self.hidden(layer - 1) if layer else self.X
            if layer:
                self._descend(weights.hidden[layer], layer)

    def _descend(self, matrix: Reals, layer: int) -> None:
        """Put delta of the layer before into `pre`."""
        assert self._spare is not None
        target, z = self._spare, self.pre[layer - 1]

        def finish(rows: slice, columns: slice) -> None:
            target[rows, columns] *= self.unit.slope(z[rows, columns])
            target[rows, columns] *= self.scale

        product(self.pre[layer], matrix.T, target, self.n_threads, finish)
        self.pre[layer - 1], self._spare = target, z

    def gradient(self, weights: Weights, out: Weights, cotangent: Cotangent) -> Reals:
        """Forward, then backward: write the gradient of sum_i c_i f(x_i) into `out`, and return f."""
        self.forward(weights)
        outputs, out.readout[:] = self.turn(weights, cotangent)
        for layer, delta, inputs in self.backward(weights):
            product(delta.T, inputs.T, out.hidden[layer], self.n_threads)
        return outputs


@np.errstate(over="ignore", invalid="ignore")
def directional(weights: Weights, along: Weights, X: Reals, unit: Unit, n_threads: int) -> tuple[Reals, Reals, Reals]:
    """Return f, and its derivative along a direction by the readout and by the hidden weights, in one forward pass."""
    n, width = len(X), len(weights.readout)
    scale = width**-0.5
    inputs, moved = X, None
    for matrix, change in zip(weights.hidden, along.hidden, strict=True):
        pre = product(inputs, matrix, np.empty((n, width)), n_threads)
        rate = product(inputs, change, np.empty((n, width)), n_threads)
        if moved is not None:
            rate += product(moved, matrix, np.empty((n, width)), n_threads)

        def work(rows: slice, pre: Reals = pre, rate: Reals = rate) -> None:
            rate[rows] *= unit.slope(pre[rows])
            rate[rows] *= scale
            unit.value(pre[rows], out=pre[rows])
            pre[rows] *= scale

        over_row_blocks((n, width), work, n_threads)
        inputs, moved = pre, rate
    assert moved is not None
    return inputs @ weights.readout, inputs @ along.readout, moved @ weights.readout
