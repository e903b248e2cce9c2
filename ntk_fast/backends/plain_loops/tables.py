"""Tables and elementary functions in plain loops, compiled by Numba: tables have two columns, one of which is selected.

A table that is looked up by an index would be gathered, which costs more than the polynomial; of two numbers, vectors
of them are blended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ntk_fast.backends.plain_loops.series import ARCSINE
from ntk_fast.backends.plain_loops.state import CHORD, HALF, OFFSET, ONE, PIECE, RUN, SCRATCH, SLOPE, ZERO

#: Columns of every table: the two halves of the chords, or cosine >= 0 and cosine < 0.
PIECES = 2
#: Tables have a multiple of so many terms; what they lack is 0.
TERMS = 4

#: The middles of the two pieces of a one-sided table.
FIRST_MIDDLE, SECOND_MIDDLE = np.float32(0.5), np.float32(1.5)

#: Contraction lets multiplications and additions fuse; nothing else about the arithmetic may change.
FAST = {"contract"}
compiled = njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
inlined = njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", inline="always")


@inlined
def arcsine(x: Any, complement: Any) -> Any:
    """Return asin(x) for 0 <= x <= 1, to relative accuracy, given 1 - x with digits of its own."""
    steep = x > 0.5
    z = np.sqrt(0.5 * complement) if steep else x
    square = z * z
    total = ARCSINE[16] + 0.0 * z
    for k in range(15, -1, -1):
        total = total * square + ARCSINE[k]
    near = z + z * square * total
    return 0.5 * np.pi - 2.0 * near if steep else near


@compiled
def sum_powers(tables: Any, terms: Any, state: Any, n: Any) -> None:
    """Put two polynomials of the part OFFSET of a state into SCRATCH and SLOPE: columns of rows terms[0] to terms[1].

    Both at once: each is a chain of operations that wait for one another.
    """
    n = min(n, RUN)
    for j in range(n):
        state[SCRATCH * RUN + j] = state[SLOPE * RUN + j] = 0.0
    for k in range(terms[1] - TERMS, terms[0] - 1, -TERMS):
        a0, b0, a1, b1 = tables[k, 0], tables[k, 1], tables[k + 1, 0], tables[k + 1, 1]
        a2, b2, a3, b3 = tables[k + 2, 0], tables[k + 2, 1], tables[k + 3, 0], tables[k + 3, 1]
        for j in range(n):
            x, first, second = state[OFFSET * RUN + j], state[SCRATCH * RUN + j], state[SLOPE * RUN + j]
            state[SCRATCH * RUN + j] = (((first * x + a3) * x + a2) * x + a1) * x + a0
            state[SLOPE * RUN + j] = (((second * x + b3) * x + b2) * x + b1) * x + b0


@compiled
def look_up(
    tables: Any, terms: Any, scale: Any, stretch: Any, two_sided: Any, state: Any, opposite: Any, result: Any, n: Any
) -> None:
    """Put table(chord) into the part `result` of a state; the table is the rows terms[0] to terms[1] of `tables`.

    One-sided, its second column is the second half of the chords. Terms go by `TERMS` at a time over all chords, as
    loops over chords are what becomes vectors.
    """
    n = min(n, RUN)
    value = state[result * RUN : (result + 1) * RUN]
    for j in range(n):
        chord = state[CHORD * RUN + j]
        z = chord * scale
        if stretch != 0.0:
            z = z / (ONE + chord * stretch)
        second = opposite[j] if two_sided else z >= ONE
        state[OFFSET * RUN + j] = z - FIRST_MIDDLE if two_sided or not second else z - SECOND_MIDDLE
        state[PIECE * RUN + j] = ONE if second else ZERO
        value[j] = 0.0
    for k in range(terms[1] - TERMS, terms[0] - 1, -TERMS):
        a0, b0, a1, b1 = tables[k, 0], tables[k, 1], tables[k + 1, 0], tables[k + 1, 1]
        a2, b2, a3, b3 = tables[k + 2, 0], tables[k + 2, 1], tables[k + 3, 0], tables[k + 3, 1]
        for j in range(n):
            second, offset = state[PIECE * RUN + j] > HALF, state[OFFSET * RUN + j]
            total = value[j] * offset + (b3 if second else a3)
            total = total * offset + (b2 if second else a2)
            total = total * offset + (b1 if second else a1)
            value[j] = total * offset + (b0 if second else a0)
