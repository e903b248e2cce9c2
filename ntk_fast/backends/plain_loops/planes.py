"""The steps of `lower.spatial_program` in plain loops, a plane at a time. Compiled by Numba.

A row of a plane, lanes and all, goes through a line of states of `state`, which stays in the first-level cache,
in runs of at most `RUN` numbers. Convolutions are in `convolutions`, pools in `pools`.
"""

from __future__ import annotations

from typing import Any

from ntk_fast.backends.plain_loops.maps import FOLD, TABLE, fold, univariate
from ntk_fast.backends.plain_loops.rectangles import (
    ADDS_OWN,
    BIAS,
    CHANNELS,
    FIRST,
    HEIGHT,
    INVERSE,
    MAP,
    N_PARAMETERS,
    ONES,
    ROOM,
    START,
    STOP,
    WIDTH,
    X_INVERSE,
    X_ROOT,
    X_TAU,
    load_source,
    place,
    put,
    rectangle,
    spread,
    whole_vectors,
)
from ntk_fast.backends.plain_loops.state import HALF, ONE, RUN, SLOPE, TANGENT, TWO, ZERO, M, P
from ntk_fast.backends.plain_loops.tables import compiled
from ntk_fast.backends.plain_loops.tile import apply_map, copy, multiply


@compiled
def arrange_channel(state: Any, x: Any, y: Any, x_inverse: Any, y_inverse: Any, n: Any) -> None:
    n = min(n, RUN)
    for k in range(n):
        u, v = x[k] * x_inverse[k], y[k] * y_inverse[k]
        state[M * RUN + k] += HALF * ((u - v) * (u - v))
        state[P * RUN + k] += HALF * ((u + v) * (u + v))


@compiled
def arrange(run: Any, node: Any, plane: Any) -> None:
    """See `ArrangeStep`."""
    layout = run.layout
    step, lanes, state = layout.nodes[node], layout.lanes, run.state
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    n_positions = step[HEIGHT] * step[WIDTH]
    x_inverse = run.rows[X_INVERSE]
    for y in range(height):
        for first in range(0, width * lanes, RUN):
            n = min(RUN, width * lanes - first)
            whole = min(RUN, whole_vectors(n))
            i = (top + y) * step[WIDTH] + left + first // lanes
            j = i - down * step[WIDTH] - right
            spread(run.x, step[INVERSE] + i, n // lanes, lanes, x_inverse)
            y_inverse = run.y[(step[INVERSE] + j) * lanes :]
            for k in range(whole):
                blank = HALF if x_inverse[k] == ZERO else ZERO
                blank = blank + (HALF if y_inverse[k] == ZERO else ZERO)
                state[M * RUN + k] = blank
                state[P * RUN + k] = blank
                state[TANGENT * RUN + k] = 0.0
            for channel in range(step[CHANNELS]):
                at = channel * n_positions
                spread(run.x_values, at + i, n // lanes, lanes, run.rows[X_ROOT])
                arrange_channel(state, run.rows[X_ROOT], run.y_values[(at + j) * lanes :], x_inverse, y_inverse, whole)
            at = place(layout, node, start + y * width) + first
            put(state, run.memory, at, step[ROOM] * lanes, n)


@compiled
def take_slopes(state: Any, has_derivative: Any, n: Any) -> None:
    """Tangents times D, or times 1 - what is in its place."""
    n = min(n, RUN)
    for k in range(n):
        slope = state[SLOPE * RUN + k]
        state[TANGENT * RUN + k] *= slope if has_derivative else ONE - slope


@compiled
def map_plane(run: Any, node: Any, plane: Any, parameters: Any) -> None:
    """An activation, of many pairs at a time where it takes nothing of their positions.

    `parameters`: of one pair, a row (n_parameters,) and columns (n_parameters, RUN); None if no map takes any: such
    maps are not compiled then.
    """
    layout = run.layout
    step, lanes, state = layout.nodes[node], layout.lanes, run.state
    code, constants = run.codes[step[MAP]], run.constants[step[MAP]]
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    source, is_same = run.sources[step[START]], code[0] == FOLD or code[0] == TABLE
    at_a_time = RUN if is_same else lanes
    n_positions = step[HEIGHT] * step[WIDTH]
    for first in range(0, height * width * lanes, at_a_time):
        n = min(at_a_time, height * width * lanes - first)
        whole = whole_vectors(n)
        load_source(layout, run.memory, source, node, plane, first, state, n)
        for part in range(3):
            for k in range(n, whole):
                state[part * RUN + k] = state[part * RUN + n - 1]
        if parameters is not None and not is_same:
            row, columns = parameters
            pair = first // lanes
            i = (top + pair // width) * step[WIDTH] + left + pair % width
            j = i - down * step[WIDTH] - right
            for parameter in range(code[1], step[N_PARAMETERS]):
                at = step[FIRST] + parameter * n_positions
                row[parameter] = run.x[at + i, 0]
                for lane in range(lanes):
                    columns[parameter, lane] = run.y[(at + j) * lanes + lane]
            derivative = apply_map(code, constants, run.tables, state, run.opposite, whole, row, columns)
            take_slopes(state, derivative, whole)
        elif code[0] == FOLD:
            fold(state, run.opposite, whole, constants[0], constants[1], constants[2], run.tables, code[4:])
            take_slopes(state, False, whole)
        else:
            scales = constants[2:]
            univariate(state, run.opposite, whole, code[2], code[3], run.tables, code[4:], scales)
            take_slopes(state, True, whole)
        put(state, run.memory, place(layout, node, start) + first, step[ROOM] * lanes, n)


@compiled
def begin_mix(state: Any, x: Any, y: Any, has_bias: Any, n: Any) -> None:
    n = min(n, RUN)
    for k in range(n):
        step, tau = x[k] - y[k], x[k] * y[k] if has_bias else ZERO
        gap = HALF * (step * step) if has_bias else ZERO
        state[M * RUN + k] = gap
        state[P * RUN + k] = gap + TWO * tau
        state[TANGENT * RUN + k] = 0.0


@compiled
def add_source(state: Any, line: Any, x: Any, y: Any, n: Any) -> None:
    n = min(n, RUN)
    for k in range(n):
        step, rho = x[k] - y[k], x[k] * y[k]
        gap = HALF * (step * step)
        state[M * RUN + k] += rho * line[M * RUN + k] + gap
        state[P * RUN + k] += rho * line[P * RUN + k] + gap
        state[TANGENT * RUN + k] += rho * line[TANGENT * RUN + k]


@compiled
def end_mix(state: Any, own: Any, n: Any) -> None:
    n = min(n, RUN)
    for k in range(n):
        state[TANGENT * RUN + k] += own * (HALF * (state[P * RUN + k] - state[M * RUN + k]))


@compiled
def mix_plane(run: Any, node: Any, plane: Any, sources: Any) -> None:
    """Sums of independent branches, and a bias."""
    layout = run.layout
    step, lanes, state, line = layout.nodes[node], layout.lanes, run.state, run.registers[0]
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    n_positions = step[HEIGHT] * step[WIDTH]
    for y in range(height):
        for first in range(0, width * lanes, RUN):
            n = min(RUN, width * lanes - first)
            whole = min(RUN, whole_vectors(n))
            i = (top + y) * step[WIDTH] + left + first // lanes
            j = i - down * step[WIDTH] - right
            lefts, rights = run.rows[ONES], run.rows[ONES]
            if step[BIAS] >= 0:
                bias = step[FIRST] + step[BIAS] * n_positions
                spread(run.x, bias + i, n // lanes, lanes, run.rows[X_TAU])
                lefts, rights = run.rows[X_TAU], run.y[(bias + j) * lanes :]
            begin_mix(state, lefts, rights, step[BIAS] >= 0, whole)
            for k in range(len(sources)):
                load_source(layout, run.memory, sources[k], node, plane, y * width * lanes + first, line, n)
                lefts, rights = run.rows[ONES], run.rows[ONES]
                share = run.shares[step[START] + k]
                if share >= 0:
                    at = step[FIRST] + share * n_positions
                    spread(run.x, at + i, n // lanes, lanes, run.rows[X_ROOT])
                    lefts, rights = run.rows[X_ROOT], run.y[(at + j) * lanes :]
                add_source(state, line, lefts, rights, whole)
            end_mix(state, ONE if step[ADDS_OWN] else ZERO, whole)
            put(state, run.memory, place(layout, node, start + y * width) + first, step[ROOM] * lanes, n)


@compiled
def promote_plane(run: Any, node: Any, plane: Any) -> None:
    """The tangent in the place of the covariance."""
    layout = run.layout
    step, lanes, state, line = layout.nodes[node], layout.lanes, run.state, run.registers[0]
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    share = step[FIRST] + run.shares[step[START]] * step[HEIGHT] * step[WIDTH]
    for y in range(height):
        for first in range(0, width * lanes, RUN):
            n = min(RUN, width * lanes - first)
            i = (top + y) * step[WIDTH] + left + first // lanes
            j = i - down * step[WIDTH] - right
            spread(run.x, share + i, n // lanes, lanes, run.rows[X_ROOT])
            rights = run.y[(share + j) * lanes :]
            load_source(layout, run.memory, run.sources[step[START]], node, plane, y * width * lanes + first, line, n)
            for k in range(n):
                cosine = run.rows[X_ROOT, k] * rights[k] * line[TANGENT * RUN + k]
                state[M * RUN + k] = max(ONE - cosine, ZERO)
                state[P * RUN + k] = max(ONE + cosine, ZERO)
                state[TANGENT * RUN + k] = 0.0
            put(state, run.memory, place(layout, node, start + y * width) + first, step[ROOM] * lanes, n)


@compiled
def multiply_plane(run: Any, node: Any, plane: Any, both: Any) -> None:
    """Products of independent branches; `both`: the numbers 0 and 1."""
    layout = run.layout
    step, lanes = layout.nodes[node], layout.lanes
    _, _, height, width, _, _, start = rectangle(layout, node, plane)
    for first in range(0, height * width * lanes, RUN):
        n = min(RUN, height * width * lanes - first)
        load_source(layout, run.memory, run.sources[step[START]], node, plane, first, run.registers[0], n)
        for k in range(step[START] + 1, step[STOP]):
            load_source(layout, run.memory, run.sources[k], node, plane, first, run.registers[1], n)
            multiply(both, run.registers, run.state, min(RUN, whole_vectors(n)))
            copy(run.state, run.registers[0], False)
        put(run.registers[0], run.memory, place(layout, node, start) + first, step[ROOM] * lanes, n)
