"""Networks that start at zero: units in pairs of equal value, which the readout takes with opposite signs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ntk_fast.finite.graph import Affine, Graph, Units, Weights
from ntk_fast.layers.attention import Heads
from ntk_fast.layers.meeting import SideBySide
from ntk_fast.layers.patches import Patches

#: Of each unit, the one that it is paired with.
Twins = NDArray[np.intp]


def make_antisymmetric(graph: Graph, weights: Weights) -> None:
    """Change weights, in place, so that each hidden unit has a twin of the same value, and f is zero.

    In each Dense, the second half of the units has the weights of the first with those before exchanged for their
    twins, W_l = [[A, B], [B, A]], and the same biases; the readout has opposite weights for twins, and bias 0.
    """
    twins: list[Twins | None] = [None]  # of each node; the rows have none
    place = 0
    for operation in graph.operations[:-1]:
        if isinstance(operation, Affine):
            twins.append(_pair(graph, operation, _after(operation.source, twins), weights, place))
            place += 1
        else:
            parts = [_after(units, twins) for units in operation.sources]
            rule = operation.rule
            if isinstance(rule, Heads) and rule.n_heads % 2:
                raise ValueError(f"width must be even if antisymmetric; got {graph.width}.")
            twins.append(_beside(parts, rule.parts) if isinstance(rule, SideBySide) else _common(parts))
    readout, before = weights.readout, _after(graph.readout.source, twins)
    if before is None:
        raise ValueError("antisymmetric needs hidden units: in this network the last Dense sees the rows.")
    second = np.flatnonzero(before < np.arange(len(before)))
    readout[second] = -readout[before[second]]
    if weights.biases[-1] is not None:
        weights.biases[-1][:] = 0


def _after(units: Units, twins: Sequence[Twins | None]) -> Twins | None:
    """Return the twins of units: in patches, of each tap those of its own."""
    before = twins[units.node]
    for rule in units.chain:
        if before is not None and isinstance(rule, Patches):
            starts = np.arange(rule.window.n_taps) * len(before)
            before = (starts[:, None] + before).ravel()
    return before


def _pair(graph: Graph, affine: Affine, before: Twins | None, weights: Weights, place: int) -> Twins:
    n = affine.n_units
    if n % 2:
        layer = "" if n == graph.width else f", and so must the {n} units of Dense {place + 1} of {len(graph.layers)}"
        raise ValueError(f"width must be even if antisymmetric{layer}; got {graph.width}.")
    half = n // 2
    matrix, bias = weights.matrices[place], weights.biases[place]
    matrix[half:] = matrix[:half] if before is None else matrix[:half, before]
    if bias is not None:
        bias[half:] = bias[:half]
    return np.roll(np.arange(n), half)


def _beside(parts: list[Twins | None], chosen: tuple[Twins, ...]) -> Twins:
    """Return the twins of units side by side."""
    placed, start = [], 0
    for twins, part in zip(parts, chosen, strict=True):
        assert twins is not None
        places = np.full(len(twins), -1)
        places[part] = np.arange(len(part))
        inside = places[twins[part]]
        if inside.min() < 0:
            raise ValueError(
                "antisymmetric needs another width, or a Dense in each branch of a Concatenate: one that has a share "
                "of the units before it parts them from their twins."
            )
        placed.append(inside + start)
        start += len(part)
    return np.concatenate(placed)


def _common(parts: list[Twins | None]) -> Twins | None:
    first = parts[0]
    if any(first is None or not np.array_equal(first, other) for other in parts[1:] if other is not None):
        raise ValueError("antisymmetric needs branches of one sum or product to pair their units alike; these do not.")
    return first
