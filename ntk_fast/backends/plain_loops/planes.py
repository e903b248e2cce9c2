"""The steps of `lower.spatial_program` in plain loops, a plane at a time. Compiled by Numba.

A row of a plane, lanes and all, goes through a line of states of `state`, which stays in the first-level cache,
in runs of at most `RUN` numbers. Pools are in `pools`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops.maps import FOLD, TABLE, fold, univariate
from ntk_fast.backends.plain_loops.rectangles import (
    ADDS_OWN,
    BEFORE_X,
    BEFORE_Y,
    BIAS,
    CHANNELS,
    FIRST,
    HEIGHT,
    INVERSE,
    MAP,
    N_OUTPUTS,
    N_PARAMETERS,
    N_TAPS,
    ONES,
    ROOM,
    ROOT,
    SEEN,
    SIZE_X,
    SIZE_Y,
    SOURCE,
    START,
    STOP,
    TAU,
    WIDTH,
    X_INVERSE,
    X_ROOT,
    X_TAU,
    Y_ROOT,
    load,
    load_source,
    pair_number,
    place,
    plane_number,
    put,
    rectangle,
    spread,
    whole_vectors,
)
from ntk_fast.backends.plain_loops.state import CHORD, HALF, ODD, ONE, RUN, SCRATCH, SLOPE, TANGENT, TWO, ZERO, M, P
from ntk_fast.backends.plain_loops.tables import compiled
from ntk_fast.backends.plain_loops.tile import apply_map, copy, multiply

#: m and p below this take a gap in which nothing cancels.
NEAR_GAP = np.float32(1 / 32)


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
def weigh(state: Any, x: Any, y: Any, n: Any) -> None:
    """Multiply states by the roots of both positions."""
    n = min(n, RUN)
    for k in range(n):
        weight = x[k] * y[k]
        state[M * RUN + k] *= weight
        state[P * RUN + k] *= weight
        state[TANGENT * RUN + k] *= weight


@compiled
def weigh_plane(run: Any, node: Any, plane: Any, root: Any) -> Any:
    """Put a plane, weighed, into `weighed`, and return the distance of its parts."""
    layout = run.layout
    step, lanes = layout.nodes[node], layout.lanes
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    room = len(run.weighed) // 3
    for y in range(height):
        for first in range(0, width * lanes, RUN):
            n = min(RUN, width * lanes - first)
            whole = min(RUN, whole_vectors(n))
            i = (top + y) * step[WIDTH] + left + first // lanes
            j = i - down * step[WIDTH] - right
            spread(run.x, root + i, n // lanes, lanes, run.rows[X_ROOT])
            number = y * width * lanes + first
            load(run.memory, place(layout, node, start) + number, step[ROOM] * lanes, run.state, whole)
            weigh(run.state, run.rows[X_ROOT], run.y[(root + j) * lanes :], whole)
            put(run.state, run.weighed, number, room, whole)  # the next row begins where this one ends
    return room


@compiled
def add_rows(weighed: Any, first: Any, stop: Any, length: Any, sums: Any, begin: Any, end: Any) -> None:
    """Put the sum of rows of a plane, each of `length` numbers, into sums from `begin` on; zeros to `end`."""
    whole = whole_vectors(length)
    total, tail = sums[begin:], sums[begin + length : end]
    for k in range(whole):
        total[k] = ZERO
    for row in range(first, stop):
        given = weighed[row * length :]
        for k in range(whole):
            total[k] += given[k]
    for k in range(len(tail)):
        tail[k] = ZERO


@compiled
def add_columns(sums: Any, first: Any, size: Any, lanes: Any, state: Any, part: Any, n: Any) -> None:
    """Put the sums of `size` neighbours into a part of the state."""
    n = min(n, RUN)
    total, a = state[part * RUN : part * RUN + RUN], sums[first:]
    if size == 3:
        b, c = sums[first + lanes :], sums[first + 2 * lanes :]
        for k in range(n):
            total[k] = a[k] + b[k] + c[k]
        return
    for k in range(n):
        total[k] = a[k]
    for column in range(1, size):
        other = sums[first + column * lanes :]
        for k in range(n):
            total[k] += other[k]


@compiled
def normalise(state: Any, x_inverse: Any, x_tau: Any, y_inverse: Any, y_tau: Any, own: Any, n: Any) -> Any:
    """From sums of R R' m, R R' p and R R' t to states, gaps by subtraction; returns whether one is too near for that.

    What is needed then is in SCRATCH and CHORD: m' and p' without the gap.
    """
    n = min(n, RUN)
    for k in range(n):
        scale, tau = x_inverse[k] * y_inverse[k], x_tau[k] * y_tau[k]
        m, p = scale * state[M * RUN + k], scale * state[P * RUN + k]
        cosine = HALF * (p - m) + tau
        state[SCRATCH * RUN + k] = m
        state[CHORD * RUN + k] = p + TWO * tau
        state[M * RUN + k] = ONE - cosine
        state[P * RUN + k] = ONE + cosine
        state[TANGENT * RUN + k] = scale * state[TANGENT * RUN + k] + own * cosine
    n_near = 0
    for k in range(n):
        n_near += min(state[M * RUN + k], state[P * RUN + k]) < NEAR_GAP
    return n_near > 0


@compiled
def begin_gaps(state: Any, x_tau: Any, y_tau: Any, n: Any) -> None:
    n = min(n, RUN)
    for k in range(n):
        step = x_tau[k] - y_tau[k]
        state[ODD * RUN + k] = HALF * (step * step)


@compiled
def add_gaps(state: Any, x: Any, y: Any, x_inverse: Any, y_inverse: Any, n: Any) -> None:
    """What one tap adds: half the square of the difference of its shares."""
    n = min(n, RUN)
    for k in range(n):
        step = x[k] * x_inverse[k] - y[k] * y_inverse[k]
        state[ODD * RUN + k] += HALF * (step * step)


@compiled
def take_gaps(state: Any, n: Any) -> None:
    """Near states with the gaps that are in ODD."""
    n = min(n, RUN)
    for k in range(n):
        gap = state[ODD * RUN + k]
        is_near = min(state[M * RUN + k], state[P * RUN + k]) < NEAR_GAP
        m, p = state[SCRATCH * RUN + k] + gap, state[CHORD * RUN + k] + gap
        state[M * RUN + k] = m if is_near else state[M * RUN + k]
        state[P * RUN + k] = p if is_near else state[P * RUN + k]


@compiled
def put_roots(
    x: Any, root: Any, height: Any, width: Any, at_y: Any, at_x: Any, count: Any, lanes: Any, out: Any
) -> None:
    """Put roots of `count` positions of a row of the grid into `out`, from column at_x on; zeros outside.

    `x`: (n_parameters, 1 or lanes) of images on the left, (n_parameters * lanes,) of those on the right.
    """
    out[: count * lanes] = ZERO
    first, stop = max(0, -at_x), min(count, width - at_x)
    if 0 <= at_y < height and first < stop:
        at = root + at_y * width + at_x + first
        if x.ndim == 2:
            spread(x, at, stop - first, lanes, out[first * lanes :])
        else:
            given, kept = x[at * lanes :], out[first * lanes :]
            for k in range((stop - first) * lanes):
                kept[k] = given[k]


@compiled
def box_gaps(
    layout: Any,
    step: Any,
    position: Any,
    x: Any,
    y: Any,
    x_inverse: Any,
    x_tau: Any,
    y_inverse: Any,
    y_tau: Any,
    lefts: Any,
    rights: Any,
    state: Any,
    n: Any,
) -> None:
    """Gaps of outputs side by side, in which nothing cancels. `position`: of the first, and the plane's offset."""
    top, left, down, right = position
    lanes, source = layout.lanes, layout.nodes[step[SOURCE]]
    height, width, root = source[HEIGHT], source[WIDTH], step[ROOT]
    whole = min(RUN, whole_vectors(n))
    count = n // lanes + step[SIZE_X] - 1
    begin_gaps(state, x_tau, y_tau, whole)
    top, left = top - step[BEFORE_Y], left - step[BEFORE_X]
    for tap in range(step[SIZE_Y]):
        put_roots(x, root, height, width, top + tap, left, count, lanes, lefts)
        put_roots(y, root, height, width, top + tap - down, left - right, count, lanes, rights)
        for column in range(step[SIZE_X]):
            add_gaps(state, lefts[column * lanes :], rights[column * lanes :], x_inverse, y_inverse, whole)
    take_gaps(state, whole)


@compiled
def convolve_box(run: Any, node: Any, plane: Any) -> None:
    """A window that moves by 1: the plane of the same offset, weighed once; sums down its columns, then along rows."""
    layout = run.layout
    step, lanes, state = layout.nodes[node], layout.lanes, run.state
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    behind = plane_number(layout, step[SOURCE], down, right)
    _, _, source_height, source_width, _, _, _ = rectangle(layout, step[SOURCE], behind)
    room = weigh_plane(run, step[SOURCE], behind, step[ROOT])
    length, begin = source_width * lanes, step[BEFORE_X] * lanes
    end = min(run.sums.shape[1], (width + step[SIZE_X]) * lanes + whole_vectors(1))
    run.sums[:, :begin] = 0.0
    x_inverse, x_tau = run.rows[X_INVERSE], run.rows[X_TAU]
    for y in range(height):
        first_row = max(0, y - step[BEFORE_Y])
        stop_row = min(source_height, y - step[BEFORE_Y] + step[SIZE_Y])
        for part in range(3):
            add_rows(run.weighed[part * room :], first_row, stop_row, length, run.sums[part], begin, end)
        for first in range(0, width * lanes, RUN):
            n = min(RUN, width * lanes - first)
            whole = min(RUN, whole_vectors(n))
            for part in range(3):
                add_columns(run.sums[part], first, step[SIZE_X], lanes, state, part, whole)
            x = left + first // lanes
            i = (top + y) * step[WIDTH] + x
            j = i - down * step[WIDTH] - right
            spread(run.x, step[INVERSE] + i, n // lanes, lanes, x_inverse)
            spread(run.x, step[TAU] + i, n // lanes, lanes, x_tau)
            y_inverse, y_tau = run.y[(step[INVERSE] + j) * lanes :], run.y[(step[TAU] + j) * lanes :]
            if normalise(state, x_inverse, x_tau, y_inverse, y_tau, ONE if step[ADDS_OWN] else ZERO, whole):
                lefts, rights, position = run.rows[X_ROOT], run.rows[Y_ROOT], (top + y, x, down, right)
                inverses = x_inverse, x_tau, y_inverse, y_tau
                box_gaps(layout, step, position, run.x, run.y, *inverses, lefts, rights, state, n)
            put(state, run.memory, place(layout, node, start + y * width) + first, step[ROOM] * lanes, n)


@compiled
def convolve_any(run: Any, node: Any, plane: Any) -> None:
    """Any window, pair by pair and tap by tap."""
    layout = run.layout
    step, lanes, state = layout.nodes[node], layout.lanes, run.state
    top, left, height, width, down, right, start = rectangle(layout, node, plane)
    room = layout.nodes[step[SOURCE], ROOM] * lanes
    whole, n_taps = whole_vectors(lanes), step[N_TAPS]
    x_inverse, x_tau, lefts, line = run.rows[X_INVERSE], run.rows[X_TAU], run.rows[X_ROOT], run.registers[0]
    for pair in range(height * width):
        i = (top + pair // width) * step[WIDTH] + left + pair % width
        j = i - down * step[WIDTH] - right
        for part in range(3):
            state[part * RUN : part * RUN + whole] = 0.0
        for tap in range(n_taps):
            at = step[SEEN] + tap * step[N_OUTPUTS]
            a, b = run.seen[at + i], run.seen[at + j]
            if a >= 0 and b >= 0:
                load(
                    run.memory, place(layout, step[SOURCE], pair_number(layout, step[SOURCE], a, b)), room, line, whole
                )
                spread(run.x, step[ROOT] + a, 1, lanes, lefts)
                weigh(line, lefts, run.y[(step[ROOT] + b) * lanes :], whole)
                for part in range(3):
                    for k in range(whole):
                        state[part * RUN + k] += line[part * RUN + k]
        spread(run.x, step[INVERSE] + i, 1, lanes, x_inverse)
        spread(run.x, step[TAU] + i, 1, lanes, x_tau)
        y_inverse, y_tau = run.y[(step[INVERSE] + j) * lanes :], run.y[(step[TAU] + j) * lanes :]
        if normalise(state, x_inverse, x_tau, y_inverse, y_tau, ONE if step[ADDS_OWN] else ZERO, whole):
            begin_gaps(state, x_tau, y_tau, whole)
            for tap in range(n_taps):
                at = step[SEEN] + tap * step[N_OUTPUTS]
                a, b = run.seen[at + i], run.seen[at + j]
                rights = run.rows[Y_ROOT]
                lefts[:whole] = 0.0
                rights[:whole] = 0.0
                if a >= 0:
                    spread(run.x, step[ROOT] + a, 1, lanes, lefts)
                if b >= 0:
                    rights[:lanes] = run.y[(step[ROOT] + b) * lanes : (step[ROOT] + b + 1) * lanes]
                add_gaps(state, lefts, rights, x_inverse, y_inverse, whole)
            take_gaps(state, whole)
        put(state, run.memory, place(layout, node, start + pair), step[ROOM] * lanes, lanes)


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
