"""Convolutions at a plane of pairs of positions, in plain loops: sums over rows and columns of a box, or tap by tap.

Compiled by Numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops.rectangles import (
    ADDS_OWN,
    BEFORE_X,
    BEFORE_Y,
    HEIGHT,
    INVERSE,
    N_OUTPUTS,
    N_TAPS,
    ROOM,
    ROOT,
    SEEN,
    SIZE_X,
    SIZE_Y,
    SOURCE,
    TAU,
    WIDTH,
    X_INVERSE,
    X_ROOT,
    X_TAU,
    Y_ROOT,
    load,
    pair_number,
    place,
    plane_number,
    put,
    rectangle,
    spread,
    whole_vectors,
)
from ntk_fast.backends.plain_loops.state import CHORD, HALF, ODD, ONE, RUN, SCRATCH, TANGENT, TWO, ZERO, M, P
from ntk_fast.backends.plain_loops.tables import compiled

#: m and p below this take a gap in which nothing cancels.
NEAR_GAP = np.float32(1 / 32)


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
