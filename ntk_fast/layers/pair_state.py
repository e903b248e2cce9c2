"""The state of a pair of rows at a node of a network, normalised by sqrt(q q'), and what can be read off it.

    m = 1 - cosine, p = 1 + cosine, both with relative accuracy        chord = sqrt(min(m, p) / 2) = sin(angle / 2),

the angle being that to the nearer of y and -y. Near 0 they keep the digits that a cosine has lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals


def cosine_of(m: Reals, p: Reals) -> Reals:
    """Return the cosine, to absolute accuracy."""
    return 0.5 * (p - m)


def chord_of(m: Reals, p: Reals) -> Reals:
    """Return the chord to the nearer side, at most sqrt(1/2)."""
    return np.sqrt(0.5 * np.minimum(m, p))


def pair_of_chord(chord: Reals, opposite: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """Return m and p of chords, on the side of the opposite row where `opposite`."""
    nearer = 2 * chord * chord
    return np.where(opposite, 2 - nearer, nearer), np.where(opposite, nearer, 2 - nearer)


def place(nearer: Reals, opposite: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """Return m and p, given 1 - |cosine| and its sign."""
    return np.where(opposite, 2 - nearer, nearer), np.where(opposite, nearer, 2 - nearer)
