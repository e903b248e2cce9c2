"""Where the plain loops on images find things: nodes as rows of numbers, rectangles of pairs, and ways in and out.

Of one image of x with `lanes` images of y, the numbers of a pair of positions lie side by side, and so do the pairs of
a row of a plane: loops go along whole rows, lanes and all, so that a processor's vectors are parts of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ntk_fast.backends.plain_loops.state import RUN, VECTORS
from ntk_fast.backends.plain_loops.tables import compiled

#: What the numbers of a node are; 0 where its kind has none.
FIELDS = (
    *("kind", "segment", "is_kept", "place", "room", "first_plane", "n_planes", "plane_of", "height", "width"),
    *("source", "root", "inverse", "tau", "channels", "is_box", "is_whole", "is_long", "size_y", "size_x", "before_y"),
    *("before_x", "n_taps", "n_outputs", "seen", "output_starts", "outputs", "stride_y", "stride_x", "distance"),
    *("is_watched", "adds_own", "first", "n_parameters", "map", "bias", "start", "stop"),
)
(
    KIND,
    SEGMENT,
    IS_KEPT,
    PLACE,
    ROOM,
    FIRST_PLANE,
    N_PLANES,
    PLANE_OF,
    HEIGHT,
    WIDTH,
    SOURCE,
    ROOT,
    INVERSE,
    TAU,
    CHANNELS,
    IS_BOX,
    IS_WHOLE,
    IS_LONG,
    SIZE_Y,
    SIZE_X,
    BEFORE_Y,
    BEFORE_X,
    N_TAPS,
    N_OUTPUTS,
    SEEN,
    OUTPUT_STARTS,
    OUTPUTS,
    STRIDE_Y,
    STRIDE_X,
    DISTANCE,
    IS_WATCHED,
    ADDS_OWN,
    FIRST,
    N_PARAMETERS,
    MAP,
    BIAS,
    START,
    STOP,
) = range(len(FIELDS))

#: Kinds of nodes.
ARRANGE, MAPPED, MIXED, MULTIPLIED, PROMOTED, CONVOLVED, GATHERED = range(7)

#: Rows of `Run.rows`.
X_ROOT, Y_ROOT, X_INVERSE, X_TAU, ONES, N_ROWS = range(6)


class Layout(NamedTuple):
    """Where planes are. Apart, as a function counts the references to all arrays that it is given, wanted or not."""

    nodes: Any  # (n_nodes, len(FIELDS))
    offsets: Any  # (all planes, 2)
    plane_of: Any  # of all nodes
    starts: Any  # (all planes,): numbers of their first pairs, in the memory of their nodes
    lanes: Any


class Run(NamedTuple):
    """One vector of pairs of images, and the memory in which they are computed."""

    layout: Layout
    seen: Any  # of all nodes, as are the two that follow
    output_starts: Any
    outputs: Any
    sources: Any
    shares: Any  # planes, -1: 1 for every image
    codes: Any  # of the maps, as in `encoding`, as are ...
    constants: Any
    tables: Any
    x: Any  # (n_parameters, 1), or (n_parameters, lanes): each image with itself
    y: Any  # (n_parameters * lanes + VECTORS,)
    x_values: Any  # (channels * positions, 1 or lanes)
    y_values: Any  # (channels * positions * lanes + VECTORS,)
    memory: Any
    weighed: Any  # (3 * room,): a plane
    sums: Any  # (3, length of a row and of what a filter sees beside it)
    rows: Any  # (N_ROWS, the same)
    state: Any  # a line of `state`
    registers: Any  # (2, line)
    opposite: Any
    rounding: Any  # of mu
    attended: Any  # (3, positions * lanes): sums of attention
    lost: Any  # (lanes,): about what subtractions in watched pools have taken from chords, the mean over a pool's pairs


@compiled
def whole_vectors(n: Any) -> Any:
    """Numbers to compute for n of them: what is left over of a loop is slow, and rounded as a compiler likes."""
    return (n + VECTORS - 1) // VECTORS * VECTORS


@compiled
def rectangle(layout: Any, node: Any, plane: Any) -> Any:
    """Top, left, height and width of a plane's positions i, its offset, and the number of its first pair."""
    step = layout.nodes[node]
    down, right = layout.offsets[step[FIRST_PLANE] + plane, 0], layout.offsets[step[FIRST_PLANE] + plane, 1]
    height, width = step[HEIGHT] - abs(down), step[WIDTH] - abs(right)
    return max(0, down), max(0, right), height, width, down, right, layout.starts[step[FIRST_PLANE] + plane]


@compiled
def plane_number(layout: Any, node: Any, down: Any, right: Any) -> Any:
    """The plane of an offset that lies on the grid, -1 if there is none."""
    step = layout.nodes[node]
    width = step[WIDTH]
    return layout.plane_of[step[PLANE_OF] + (down + step[HEIGHT] - 1) * (2 * width - 1) + right + width - 1]


@compiled
def pair_number(layout: Any, node: Any, left: Any, right: Any) -> Any:
    """The number of a pair of flat positions, -1 if no plane holds it."""
    width = layout.nodes[node, WIDTH]
    y, x = left // width, left % width
    offset_y, offset_x = y - right // width, x - right % width
    plane = plane_number(layout, node, offset_y, offset_x)
    if plane < 0:
        return -1
    first = layout.starts[layout.nodes[node, FIRST_PLANE] + plane]
    return first + (y - max(0, offset_y)) * (width - abs(offset_x)) + x - max(0, offset_x)


@compiled
def place(layout: Any, node: Any, pair: Any) -> Any:
    """Where m of a pair is in the memory."""
    return (layout.nodes[node, PLACE] + pair) * layout.lanes


@compiled
def spread(values: Any, first: Any, count: Any, lanes: Any, out: Any) -> None:
    """Put values of x, from row `first` on, in front of all lanes."""
    # unsigned, or Numba would ask of every index whether it is negative
    first, n = np.uint64(first), np.uint64(lanes)
    if values.shape[1] > 1:
        for c in range(np.uint64(count)):
            for lane in range(n):
                out[c * n + lane] = values[first + c, lane]
    else:
        for c in range(np.uint64(count)):
            value = values[first + c, 0]
            for lane in range(n):
                out[c * n + lane] = value


@compiled
def load(memory: Any, at: Any, room: Any, line: Any, n: Any) -> None:
    """Put m, p and t from the memory into a line."""
    n = min(n, RUN)
    for part in range(3):
        given = memory[at + part * room :]
        for k in range(n):
            line[part * RUN + k] = given[k]


@compiled
def put(line: Any, memory: Any, at: Any, room: Any, n: Any) -> None:
    """Put m, p and t from a line into the memory."""
    n = min(n, RUN)
    for part in range(3):
        kept = memory[at + part * room :]
        for k in range(n):
            kept[k] = line[part * RUN + k]


@compiled
def load_source(layout: Any, memory: Any, source: Any, node: Any, plane: Any, first: Any, line: Any, n: Any) -> None:
    """Load a source's states for n numbers of a plane of a node; one without positions has the same for all."""
    step, own, lanes = layout.nodes[source], layout.nodes[node], layout.lanes
    room = step[ROOM] * lanes
    if step[HEIGHT] == own[HEIGHT] and step[WIDTH] == own[WIDTH]:
        _, _, _, _, down, right, _ = rectangle(layout, node, plane)
        number = plane_number(layout, source, down, right)
        load(memory, place(layout, source, layout.starts[step[FIRST_PLANE] + number]) + first, room, line, n)
        return
    at = place(layout, source, layout.starts[step[FIRST_PLANE]])
    for part in range(3):
        for start in range(0, n, lanes):
            for lane in range(min(lanes, n - start)):
                line[part * RUN + start + lane] = memory[at + part * room + lane]
