"""Functions that are straight between corners (`layers.cornered`) as tiles take them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer, special
from ntk_fast.layers.cornered import Cornered
from ntk_fast.lower.program import CornerParts, Table
from ntk_fast.lower.tables import LARGEST_CHORD, Truths, fit_table

#: exp of minus its square is nothing.
LARGEST_GAP = 6.5
#: Of the table below: half as many terms as without.
STRETCH = 2.0


def corner_parts(activation: ActivationLayer, pieces: int) -> CornerParts:
    """Return what tiles need to know of an activation with corners besides row parameters."""
    assert isinstance(activation, Cornered)
    positions, slopes, _ = activation.corners
    bends = tuple(map(float, activation.bends))
    return CornerParts(positions, slopes, tuple(activation.rises), bends, gap_moment(pieces))


@lru_cache(maxsize=8)
def gap_moment(pieces: int) -> Table:
    """Return the table of int_0^1 exp(y^2 - y^2/x^2) dx = 1 - sqrt(pi) y erfcx(y), for y up to LARGEST_GAP."""

    def moment(chord: Reals, opposite: Truths) -> Reals:
        y = chord * (LARGEST_GAP / LARGEST_CHORD)
        return np.asarray(1 - np.sqrt(np.pi) * y * special().erfcx(y))

    def weight(chord: Reals) -> Reals:
        return np.asarray(np.exp(-((chord * (LARGEST_GAP / LARGEST_CHORD)) ** 2)))

    table = fit_table(
        moment, pieces, np.dtype(np.float64), two_sided=False, error=0.0, stretches=(STRETCH,), weight=weight
    )
    assert table is not None
    widening = LARGEST_CHORD / LARGEST_GAP
    return replace(table, scale=table.scale * widening, stretch=table.stretch * widening)
