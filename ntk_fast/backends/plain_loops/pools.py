"""Pools of `lower.spatial_program` in plain loops, summed on the way, and all steps of a segment. Compiled by Numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops.attention import attend
from ntk_fast.backends.plain_loops.convolutions import convolve_any, convolve_box, weigh
from ntk_fast.backends.plain_loops.planes import arrange, map_plane, mix_plane, multiply_plane, promote_plane
from ntk_fast.backends.plain_loops.rectangles import (
    ARRANGE,
    BIAS,
    CONVOLVED,
    DISTANCE,
    FIRST_PLANE,
    GATHERED,
    HEIGHT,
    INVERSE,
    IS_BOX,
    IS_KEPT,
    IS_LONG,
    IS_WATCHED,
    IS_WHOLE,
    KIND,
    MAPPED,
    MIXED,
    MULTIPLIED,
    N_OUTPUTS,
    N_PLANES,
    N_TAPS,
    OUTPUT_STARTS,
    OUTPUTS,
    PROMOTED,
    ROOM,
    ROOT,
    SEEN,
    SEGMENT,
    SOURCE,
    START,
    STOP,
    STRIDE_X,
    STRIDE_Y,
    TAU,
    WIDTH,
    X_INVERSE,
    X_ROOT,
    load,
    pair_number,
    place,
    rectangle,
    spread,
    whole_vectors,
)
from ntk_fast.backends.plain_loops.state import HALF, ONE, RUN, TWO, ZERO
from ntk_fast.backends.plain_loops.tables import compiled

#: As in `lower.spatial_evaluate`.
FAR_TAPS, NEAR_WINDOWS = np.float32(0.01), np.float32(0.0625)


@compiled
def add_long(memory: Any, at: Any, term: Any, lost: Any) -> None:
    """memory[at] += term, and what rounding takes of it to memory[lost]."""
    before = memory[at]
    total = before + term
    part = total - before
    memory[at] = total
    memory[lost] += (before - (total - part)) + (term - part)


@compiled
def add_pair(memory: Any, at: Any, room: Any, is_long: Any, line: Any, first: Any, lanes: Any) -> None:
    """Add a pair's numbers, which begin at `first` of a line, to a sum of a pool."""
    for part in range(3):
        given, total = line[part * RUN + first :], memory[at + part * room :]
        if is_long:
            for lane in range(lanes):
                add_long(total, lane, given[lane], 3 * room + lane)
        else:
            for lane in range(lanes):
                total[lane] += given[lane]


@compiled
def add_square(run: Any, pool: Any, pair: Any, seen: Any, outputs: Any, line: Any, first: Any) -> None:
    """Add to the square of a distance of two windows what a tap adds that sees something of both.

    `seen`: the positions that it sees; `outputs`: those of the windows; line: R R' m from `first` on.
    """
    layout = run.layout
    step, lanes = layout.nodes[pool], layout.lanes
    at = place(layout, pool, pair + step[DISTANCE])
    for lane in range(lanes):
        own = lane if run.x.shape[1] > 1 else 0
        inverse, other_inverse = (
            run.x[step[INVERSE] + outputs[0], own],
            run.y[(step[INVERSE] + outputs[1]) * lanes + lane],
        )
        alpha = run.x[step[ROOT] + seen[0], own] * inverse
        other = run.y[(step[ROOT] + seen[1]) * lanes + lane] * other_inverse
        both = inverse * other_inverse
        run.memory[at + lane] += (alpha - other) * (alpha - other) + TWO * (line[first + lane] * both)


@compiled
def whole_square(run: Any, pool: Any, pair: Any, i: Any, j: Any) -> None:
    """Add to that square the taps that see something of one window only."""
    layout = run.layout
    step, lanes = layout.nodes[pool], layout.lanes
    at = place(layout, pool, pair + step[DISTANCE])
    for tap in range(step[N_TAPS]):
        a = run.seen[step[SEEN] + tap * step[N_OUTPUTS] + i]
        b = run.seen[step[SEEN] + tap * step[N_OUTPUTS] + j]
        for lane in range(lanes):
            own = lane if run.x.shape[1] > 1 else 0
            if (a < 0) == (b < 0):
                continue
            if a >= 0:
                alpha = run.x[step[ROOT] + a, own] * run.x[step[INVERSE] + i, own]
            else:
                alpha = run.y[(step[ROOT] + b) * lanes + lane] * run.y[(step[INVERSE] + j) * lanes + lane]
            run.memory[at + lane] += alpha * alpha


@compiled
def pool_plane(run: Any, pool: Any, plane: Any) -> None:
    """Add a plane's share to all the sums that it is in; where all positions are in one, row by row."""
    layout = run.layout
    step, lanes, state = layout.nodes[pool], layout.lanes, run.state
    source = layout.nodes[step[SOURCE]]
    top, left, height, width, down, right, start = rectangle(layout, step[SOURCE], plane)
    totals, room = run.sums, step[ROOM] * lanes
    output_starts, outputs = run.output_starts[step[OUTPUT_STARTS] :], run.outputs[step[OUTPUTS] :]
    if step[IS_WHOLE]:
        totals[:, : width * lanes + whole_vectors(1)] = 0.0
    for y in range(height):
        for first in range(0, width * lanes, RUN):
            n = min(RUN, width * lanes - first)
            whole = min(RUN, whole_vectors(n))
            i = (top + y) * source[WIDTH] + left + first // lanes
            j = i - down * source[WIDTH] - right
            spread(run.x, step[ROOT] + i, n // lanes, lanes, run.rows[X_ROOT])
            at = place(layout, step[SOURCE], start + y * width) + first
            load(run.memory, at, source[ROOM] * lanes, state, whole)
            weigh(state, run.rows[X_ROOT], run.y[(step[ROOT] + j) * lanes :], whole)
            if step[IS_WHOLE]:
                for part in range(3):
                    total = totals[part, first:]
                    for k in range(whole):
                        total[k] += state[part * RUN + k]
                for c in range(n // lanes if step[DISTANCE] >= 0 and down == 0 and right == 0 else 0):
                    only = layout.starts[step[FIRST_PLANE]]
                    add_square(run, pool, only, (i + c, j + c), (0, 0), state, c * lanes)
                continue
            for c in range(n // lanes):
                for a in range(output_starts[i + c], output_starts[i + c + 1]):
                    for b in range(output_starts[j + c], output_starts[j + c + 1]):
                        pair = pair_number(layout, pool, outputs[a], outputs[b])
                        if pair >= 0:
                            add_pair(
                                run.memory, place(layout, pool, pair), room, step[IS_LONG], state, c * lanes, lanes
                            )
                            own, other = outputs[a], outputs[b]
                            is_same_tap = (own // step[WIDTH] - other // step[WIDTH]) * step[STRIDE_Y] == down
                            is_same_tap &= (own % step[WIDTH] - other % step[WIDTH]) * step[STRIDE_X] == right
                            if is_same_tap and step[DISTANCE] >= 0:
                                add_square(run, pool, pair, (i + c, j + c), (own, other), state, c * lanes)
    if step[IS_WHOLE]:
        for part in range(3):
            for lane in range(lanes):
                total = 0.0
                for c in range(width):
                    total += totals[part, c * lanes + lane]
                state[part * RUN + lane] = total
        at = place(layout, pool, layout.starts[step[FIRST_PLANE]])
        add_pair(run.memory, at, room, step[IS_LONG], state, 0 * lanes, lanes)


@compiled
def scale_sums(run: Any, pool: Any) -> None:
    """Divide sums by those of the weights."""
    layout = run.layout
    step, lanes, memory = layout.nodes[pool], layout.lanes, run.memory
    room = step[ROOM] * lanes
    for plane in range(step[N_PLANES]):
        top, left, height, width, down, right, start = rectangle(layout, pool, plane)
        for pair in range(height * width):
            i = (top + pair // width) * step[WIDTH] + left + pair % width
            j = i - down * step[WIDTH] - right
            spread(run.x, step[INVERSE] + i, 1, lanes, run.rows[X_ROOT])
            other = run.y[(step[INVERSE] + j) * lanes :]
            for part in range(3):
                at = place(layout, pool, start + pair) + part * room
                for lane in range(lanes):
                    lost = memory[at + 3 * room + lane] if step[IS_LONG] else ZERO
                    memory[at + lane] = (memory[at + lane] + lost) * (run.rows[X_ROOT, lane] * other[lane])


@compiled
def keep_mu(run: Any, pool: Any) -> None:
    """Of images with themselves: mu is the sum at equal positions."""
    layout = run.layout
    step, lanes = layout.nodes[pool], layout.lanes
    for i in range(step[HEIGHT] * step[WIDTH]):
        pair = pair_number(layout, pool, i, i)
        if pair >= 0:
            at = place(layout, pool, pair)
            for lane in range(lanes):
                mu = min(run.memory[at + lane], ONE)
                run.y[(step[TAU] + i) * lanes + lane] = mu
                run.x[step[TAU] + i, lane if run.x.shape[1] > 1 else 0] = mu


@compiled
def finish_pool(run: Any, pool: Any, is_itself: Any) -> None:
    """All sums of a pool are there: they become states, see `GatherStep`."""
    layout = run.layout
    step, lanes, memory = layout.nodes[pool], layout.lanes, run.memory
    room = step[ROOM] * lanes
    n_pairs = 0
    n_taps = step[N_TAPS]
    if step[INVERSE] < 0:
        attend(run, pool, run.attended)
        source = layout.nodes[step[SOURCE]]
        n_taps = source[HEIGHT] * source[WIDTH]
    else:
        scale_sums(run, pool)
    if is_itself:
        keep_mu(run, pool)
    run.rows[X_INVERSE, :lanes] = 0.0
    for plane in range(step[N_PLANES]):
        top, left, height, width, down, right, start = rectangle(layout, pool, plane)
        n_pairs += height * width
        for pair in range(height * width):
            i = (top + pair // width) * step[WIDTH] + left + pair % width
            j = i - down * step[WIDTH] - right
            spread(run.x, step[TAU] + i, 1, lanes, run.rows[X_ROOT])
            if step[DISTANCE] >= 0:
                whole_square(run, pool, start + pair, i, j)
            at = place(layout, pool, start + pair)
            for lane in range(lanes):
                mu, other = run.rows[X_ROOT, lane], run.y[(step[TAU] + j) * lanes + lane]
                a, b = np.sqrt(max(ONE - mu, ZERO)), np.sqrt(max(ONE - other, ZERO))
                if a * b == ZERO:
                    memory[at + lane] = memory[at + room + lane] = 1.0
                    memory[at + 2 * room + lane] = 0.0
                    continue
                inverse, difference = ONE / (a * b), (mu - other) / (a + b)
                shortfall = HALF * (difference * difference)
                rounding = run.rounding * (mu + other) * inverse
                m = HALF * ((memory[at + lane] - mu) + (memory[at + lane] - other)) - shortfall
                p = HALF * ((memory[at + room + lane] - mu) + (memory[at + room + lane] - other)) - shortfall
                m, p = max(m, ZERO) * inverse, max(p, ZERO) * inverse
                lost = ZERO
                if step[DISTANCE] >= 0:
                    bound = n_taps * HALF * inverse * memory[at + step[DISTANCE] * lanes + lane]
                    if bound > FAR_TAPS and m < TWO * TWO * rounding:
                        m = ZERO
                    else:
                        m = min(m, bound)
                        lost = min(chord_lost(rounding, m), np.sqrt(bound)) if m < NEAR_WINDOWS else ZERO
                    if p < NEAR_WINDOWS:
                        lost = max(lost, chord_lost(rounding, p))
                    if m + p <= ONE:  # sums of nothing lose nothing
                        lost = ZERO
                memory[at + lane], memory[at + room + lane] = m, p
                memory[at + 2 * room + lane] *= inverse
                run.rows[X_INVERSE, lane] += lost
    if step[IS_WATCHED]:
        for lane in range(lanes):
            run.lost[lane] = max(run.lost[lane], run.rows[X_INVERSE, lane] / n_pairs)


@compiled
def chord_lost(rounding: Any, m: Any) -> Any:
    """What rounding of m takes of its chord."""
    return rounding / np.sqrt(max(m, rounding)) if rounding > ZERO else ZERO


@compiled
def begin_segment(run: Any, segment: Any, kept: Any, starts: Any, is_itself: Any) -> None:
    """Clear the kept memory before the first segment, `kept` numbers, or finish the pools before another.

    `starts`: of the planes of all nodes that are kept.
    """
    layout = run.layout
    if segment == 0:
        run.memory[:kept] = 0.0
        run.lost[:] = 0.0
    for node in range(1, len(layout.nodes)):
        step = layout.nodes[node]
        if segment == 0 and step[IS_KEPT]:
            for plane in range(step[FIRST_PLANE], step[FIRST_PLANE] + step[N_PLANES]):
                layout.starts[plane] = starts[plane]
        if step[KIND] == GATHERED and step[SEGMENT] == segment and step[N_PLANES] > 0:
            finish_pool(run, node, is_itself)


@compiled
def run_components(
    run: Any, components: Any, nodes: Any, planes: Any, starts: Any, first: Any, stop: Any, parameters: Any
) -> None:
    """Components first to stop of a segment that has begun: see `image_schedule`, and `map_plane` for parameters."""
    layout = run.layout
    own = np.zeros(2, np.int64)
    for component in range(first, stop):
        begin, end = components[component], components[component + 1]
        for entry in range(begin, end):
            layout.starts[layout.nodes[nodes[entry], FIRST_PLANE] + planes[entry]] = starts[entry]
        for entry in range(begin, end):
            node, plane = nodes[entry], planes[entry]
            step = layout.nodes[node]
            kind, sources = step[KIND], run.sources[step[START] : step[STOP]]
            if kind == ARRANGE:
                arrange(run, node, plane)
            elif kind == CONVOLVED and step[IS_BOX]:
                convolve_box(run, node, plane)
            elif kind == CONVOLVED:
                convolve_any(run, node, plane)
            elif kind == PROMOTED:
                promote_plane(run, node, plane)
            elif kind == MULTIPLIED:
                own[0], own[1] = 0, 1
                multiply_plane(run, node, plane, own)
            elif kind == MAPPED:
                map_plane(run, node, plane, parameters)
                own[0] = node
                sources = own[:1]  # what the map has left in the node's own place
            if kind == MIXED or (kind == MAPPED and step[BIAS] >= 0):
                mix_plane(run, node, plane, sources)
            for pool in range(node + 1, len(layout.nodes)):
                later = layout.nodes[pool]
                if later[KIND] == GATHERED and later[SOURCE] == node and later[N_PLANES] > 0 and later[INVERSE] >= 0:
                    pool_plane(run, pool, plane)
