"""Attention in plain loops: sums over all positions on both sides, by weights of each image. Compiled by Numba."""

from __future__ import annotations

from typing import Any

from ntk_fast.backends.plain_loops.rectangles import (
    DISTANCE,
    HEIGHT,
    N_PLANES,
    ROOM,
    ROOT,
    SOURCE,
    WIDTH,
    pair_number,
    place,
    rectangle,
)
from ntk_fast.backends.plain_loops.state import TWO, ZERO
from ntk_fast.backends.plain_loops.tables import compiled


@compiled
def add_by_weight(sums: Any, at: Any, weight: Any, memory: Any, given: Any, room: Any) -> None:
    """Add a pair's m, p and t, `room` apart, to sums (3, ...); by a weight below 0 m and p change places."""
    if weight < ZERO:
        sums[0, at] -= weight * memory[given + room]
        sums[1, at] -= weight * memory[given]
    else:
        sums[0, at] += weight * memory[given]
        sums[1, at] += weight * memory[given + room]
    sums[2, at] += weight * memory[given + 2 * room]


@compiled
def attend_by(run: Any, node: Any, j: Any, sums: Any) -> None:
    """Put into sums (3, positions of x * lanes) what each position of x is to the sum of y's by the weights of j."""
    layout = run.layout
    step, lanes, memory = layout.nodes[node], layout.lanes, run.memory
    source = layout.nodes[step[SOURCE]]
    room, n_own = source[ROOM] * lanes, step[HEIGHT] * step[WIDTH]
    sums[:, : source[HEIGHT] * source[WIDTH] * lanes] = 0.0
    for plane in range(source[N_PLANES]):
        top, left, height, width, down, right, start = rectangle(layout, step[SOURCE], plane)
        for pair in range(height * width):
            a = (top + pair // width) * source[WIDTH] + left + pair % width
            b = a - down * source[WIDTH] - right
            at = place(layout, step[SOURCE], start + pair)
            for lane in range(lanes):
                weight = run.y[(step[ROOT] + b * n_own + j) * lanes + lane]
                add_by_weight(sums, a * lanes + lane, weight, memory, at + lane, room)


@compiled
def square_attended(run: Any, node: Any, i: Any, j: Any, at: Any) -> None:
    """Put at a place of the memory the square of the distance of two sums at most: what each position adds to it."""
    layout = run.layout
    step, lanes, memory = layout.nodes[node], layout.lanes, run.memory
    source = layout.nodes[step[SOURCE]]
    room, n_own = source[ROOM] * lanes, step[HEIGHT] * step[WIDTH]
    for lane in range(lanes):
        memory[at + lane] = 0.0
    for a in range(source[HEIGHT] * source[WIDTH]):
        given = place(layout, step[SOURCE], pair_number(layout, step[SOURCE], a, a))
        for lane in range(lanes):
            alpha = run.x[step[ROOT] + a * n_own + i, lane if run.x.shape[1] > 1 else 0]
            other = run.y[(step[ROOT] + a * n_own + j) * lanes + lane]
            m = memory[given + lane] if alpha * other >= ZERO else memory[given + room + lane]
            difference = abs(alpha) - abs(other)
            memory[at + lane] += difference * difference + TWO * abs(alpha * other) * m


@compiled
def attend(run: Any, node: Any, sums: Any) -> None:
    """The sums of a `GatherStep` without a window. `sums`: (3, positions of x * lanes), for use."""
    layout = run.layout
    step, lanes, memory = layout.nodes[node], layout.lanes, run.memory
    source = layout.nodes[step[SOURCE]]
    n_own, n_seen, room = step[HEIGHT] * step[WIDTH], source[HEIGHT] * source[WIDTH], step[ROOM] * lanes
    for j in range(n_own):
        attend_by(run, node, j, sums)
        for i in range(n_own):
            pair = pair_number(layout, node, i, j)
            if pair < 0:
                continue
            at = place(layout, node, pair)
            for lane in range(lanes):
                m, p, t = ZERO, ZERO, ZERO
                for a in range(n_seen):
                    weight = run.x[step[ROOT] + a * n_own + i, lane if run.x.shape[1] > 1 else 0]
                    nearer, further = sums[0, a * lanes + lane], sums[1, a * lanes + lane]
                    if weight < ZERO:
                        m, p = m - weight * further, p - weight * nearer
                    else:
                        m, p = m + weight * nearer, p + weight * further
                    t += weight * sums[2, a * lanes + lane]
                memory[at + lane], memory[at + room + lane], memory[at + 2 * room + lane] = m, p, t
            if step[DISTANCE] >= 0:
                square_attended(run, node, i, j, at + step[DISTANCE] * lanes)
