"""What a kink leaves of a Hermite expansion after its last terms, in plain loops: see `ntk_fast.layers.hermite_tails`.

A map's code says where the first of the functions is among the tables, and how many rows each takes; its constants are
then their scale, the squared chord from which on there is no tail, r^2 and the shift.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops.state import (
    AT_ZERO,
    CHORD,
    EVEN,
    EVEN_SLOPE,
    ODD,
    ODD_SLOPE,
    RUN,
    SCRATCH,
    SLOPE,
    VALUE,
    VECTORS,
    M,
    P,
)
from ntk_fast.backends.plain_loops.tables import compiled, inlined, look_up
from ntk_fast.layers.hermite_tails import AT_ZERO as SHARES_AT_ZERO
from ntk_fast.layers.hermite_tails import N_NODES, NODES, REACH

#: Where code and constants say it.
FIRST_ROW, ROWS_EACH = 4, 5
SCALE, LARGEST_SQUARE, SQUARED_REACH, SHIFT = 2, 3, 4, 5
#: The parameter after which the tail's follow: `ell`, `bend`, and how many terms a row needs come first.
NEEDED = 2

STEPS = REACH / NODES


@inlined
def has_tail(code: Any) -> Any:
    return code[ROWS_EACH] > 0


@inlined
def before_terms(code: Any) -> Any:
    """The parameter before a_1."""
    return NEEDED + 2 * N_NODES if code[ROWS_EACH] > 0 else NEEDED


@compiled
def add_tails(
    state: Any, opposite: Any, n: Any, x: Any, y: Any, parity: Any, tables: Any, code: Any, constants: Any
) -> None:
    """Add tails to the parts of the output's cosine and their derivatives; m of the nearer side is in row CHORD."""
    n = min(n, RUN)
    for start in range(0, n, VECTORS):  # tails cost more than all terms: of few columns that have none
        n_near, stop = 0, min(start + VECTORS, n)
        for j in range(start, stop):
            square = 0.5 * state[CHORD * RUN + j]
            n_near += square < constants[LARGEST_SQUARE]
            state[CHORD * RUN + j] = np.sqrt(min(square, constants[LARGEST_SQUARE]))
        if n_near > 0:
            for is_odd in range(2):
                if parity != (-1 if is_odd == 0 else 1):
                    # parts of a state from column `start` on are where those of the shifted line are from column 0 on
                    part, sides = state[start:], opposite[start:]
                    add_tail_of(part, sides, start, stop - start, x, y, is_odd, tables, code, constants)
    for j in range(n):
        state[CHORD * RUN + j] = min(state[M * RUN + j], state[P * RUN + j])


@compiled
def add_tail_of(
    state: Any,
    opposite: Any,
    first: Any,
    n: Any,
    x: Any,
    y: Any,
    is_odd: Any,
    tables: Any,
    code: Any,
    constants: Any,
) -> None:
    """Those of even or of odd orders, from the chords in row CHORD; the state starts at column `first` of `y`."""
    n = min(n, RUN)
    value, slope = (ODD, ODD_SLOPE) if is_odd else (EVEN, EVEN_SLOPE)
    plane = NEEDED + 1 + is_odd * N_NODES
    terms = np.array([code[FIRST_ROW] + is_odd * (N_NODES + 1) * code[ROWS_EACH], 0])
    terms[1] = terms[0] + code[ROWS_EACH]
    look_up(tables, terms, constants[SCALE], 0.0, False, state, opposite, SCRATCH, n)
    for j in range(n):
        at_zero = 0.0
        for i in range(N_NODES):
            at_zero += SHARES_AT_ZERO[i] * (x[plane + i] * y[plane + i, first + j])
        state[AT_ZERO * RUN + j] = at_zero
        state[VALUE * RUN + j] = 0.0
        state[SLOPE * RUN + j] = constants[SQUARED_REACH] * at_zero * state[SCRATCH * RUN + j]
    for i in range(N_NODES):
        terms += code[ROWS_EACH]
        look_up(tables, terms, constants[SCALE], 0.0, False, state, opposite, SCRATCH, n)
        for j in range(n):
            product, function = x[plane + i] * y[plane + i, first + j], state[SCRATCH * RUN + j]
            step = STEPS[i] * (product - state[AT_ZERO * RUN + j]) - constants[SHIFT] * product
            state[VALUE * RUN + j] += product * function
            state[SLOPE * RUN + j] += step * function
    for j in range(n):
        m = min(state[M * RUN + j], state[P * RUN + j])
        is_near = 0.5 * m < constants[LARGEST_SQUARE]
        state[value * RUN + j] += state[VALUE * RUN + j] if is_near else 0.0
        state[slope * RUN + j] += state[SLOPE * RUN + j] / (1 - m) if is_near else 0.0


@inlined
def look_up_one(tables: Any, start: Any, stop: Any, z: Any) -> Any:
    """A one-sided table at one position."""
    column = 1 if z >= 1.0 else 0
    offset = z - 0.5 - column
    total = 0.0 * z
    for k in range(stop - 1, start - 1, -1):
        total = total * offset + tables[k, column]
    return total


@compiled
def tail_parts(m: Any, x: Any, y: Any, j: Any, parity: Any, tables: Any, code: Any, constants: Any) -> Any:
    """The same of one pair: odd, even, and their slopes."""
    result = np.zeros(4)
    if 0.5 * m >= constants[LARGEST_SQUARE]:
        return result
    z = np.sqrt(0.5 * m) * constants[SCALE]
    rows = code[ROWS_EACH]
    for is_odd in range(2):
        if parity == (-1 if is_odd == 0 else 1):
            continue
        plane, start = NEEDED + 1 + is_odd * N_NODES, code[FIRST_ROW] + is_odd * (N_NODES + 1) * rows
        at_zero = 0.0
        for i in range(N_NODES):
            at_zero += SHARES_AT_ZERO[i] * (x[plane + i] * y[plane + i, j])
        value, slope = 0.0, constants[SQUARED_REACH] * at_zero * look_up_one(tables, start, start + rows, z)
        for i in range(N_NODES):
            start += rows
            function, product = look_up_one(tables, start, start + rows, z), x[plane + i] * y[plane + i, j]
            value += product * function
            slope += (STEPS[i] * (product - at_zero) - constants[SHIFT] * product) * function
        result[1 - is_odd], result[3 - is_odd] = value, slope / (1 - m)
    return result
