"""Kernels of finite networks: Gram matrices of their features without the features.

The tangent features of a Dense are delta (outer product) a, and shift delta for its bias, so their Gram matrix is the
Hadamard product of two small ones, (delta . delta') (a . a' + b): nothing here has the size of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ntk_fast.finite.graph import Weights
from ntk_fast.finite.products import Reals, add_gram, mirror
from ntk_fast.finite.propagation import Propagation

#: Of passes over rows; the weights; and how many of the rows are x, the others being y (None: all are both).
GramFunction = Callable[[Propagation, Weights, int | None], Reals]


def hidden_gram(passes: Propagation, weights: Weights, n_x: int | None) -> Reals:
    """Return a . a' + b of the last Dense, of all rows, or of the first `n_x` rows with the others."""
    passes.forward(weights)
    out = _zeros(passes, n_x)
    _add_readout(out, passes, n_x)
    return _complete(out, passes, n_x)


def tangent_gram(passes: Propagation, weights: Weights, n_x: int | None) -> Reals:
    """Return the sum of (delta . delta') (a . a' + b) over trained layers, rows as in `hidden_gram`."""
    passes.forward(weights)
    out = _zeros(passes, n_x)
    if passes.graph.readout.is_trained:
        _add_readout(out, passes, n_x)
    passes.turn(weights, np.ones(len(passes.X)))
    for _, affine, delta, inputs in passes.backward(weights):
        add_gram(out, [_halves(delta, n_x), _halves(inputs, n_x)], passes.n_threads, affine.bias_variance)
    return _complete(out, passes, n_x)


def _add_readout(out: Reals, passes: Propagation, n_x: int | None) -> None:
    readout = passes.graph.readout
    add_gram(out, [_halves(passes.inputs(readout), n_x)], passes.n_threads, readout.bias_variance)


def _halves(rows: Reals, n_x: int | None) -> tuple[Reals, Reals | None]:
    return (rows, None) if n_x is None else (rows[:n_x], rows[n_x:])


def _zeros(passes: Propagation, n_x: int | None) -> Reals:
    n = len(passes.X)
    return np.zeros((n, n) if n_x is None else (n_x, n - n_x))


def _complete(out: Reals, passes: Propagation, n_x: int | None) -> Reals:
    if n_x is None:
        mirror(out, passes.n_threads)
    return out
