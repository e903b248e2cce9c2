"""Where tiles of images keep states, and in which order they compute them: planes that need each other go together.

Within a segment offsets do not mix: a *component*, usually one offset at every node, goes through all steps on its own,
in memory that the next one uses again and that stays in the cache. What later segments read is kept for all offsets,
and pools are summed up on the way, so that nothing else is.

Small planes of one vertical offset may go together, side by side: row y of each, then row y + 1 of each. A row of all
of them is as long as loops like it; that of one may have a single pair.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ntk_fast.backends.image_forms import NodeForm, plain_forms
from ntk_fast.layers.window import OUTSIDE, Grid, Window, seen_positions
from ntk_fast.lower.positions import Pairs, PlaneSet, n_positions
from ntk_fast.lower.spatial_evaluate import last_uses
from ntk_fast.lower.spatial_program import ConvolveStep, GatherStep, PointStep, SpatialProgram, SpatialStep, sources_of

Numbers = NDArray[np.int32]
Places = NDArray[np.int64]

#: LONG_WINDOW in csrc/image_pool.h.
LONG_WINDOW = 16
#: Planes go side by side until their rows together have this many pairs, as long as all have no more than these.
PAIRS_OF_ROWS, PAIRS_OF_PLANES = 64, 1024


def flat_grid(grid: Grid) -> tuple[int, int]:
    """Return height and width; sequences have height 1."""
    height, width = ((1, 1, *grid))[-2:]
    return height, width


@dataclass(frozen=True, eq=False)
class PlaneArrays:
    """A `PlaneSet` of two dimensions; without planes where the node is not needed."""

    grid: tuple[int, int]
    offsets: Numbers  # (n_planes, 2)
    starts: Places  # (n_planes + 1,)
    plane_of: Numbers  # (2 height - 1, 2 width - 1)

    @staticmethod
    def of(planes: PlaneSet | None, grid: Grid) -> PlaneArrays:
        height, width = flat_grid(grid)
        offsets = np.zeros((0, len(grid)), dtype=np.int64) if planes is None else planes.offsets
        flat = np.zeros((len(offsets), 2), dtype=np.int32)
        if grid:
            flat[:, 2 - len(grid) :] = offsets
        plane_of = np.full((2 * height - 1, 2 * width - 1), OUTSIDE, dtype=np.int32)
        plane_of[flat[:, 0] + height - 1, flat[:, 1] + width - 1] = np.arange(len(flat))
        starts = np.zeros(1, dtype=np.int64) if planes is None else planes.starts.astype(np.int64)
        return PlaneArrays((height, width), flat, starts, plane_of)

    def numbers_of(self, offsets: NDArray[np.integer]) -> Numbers:
        """Return the planes of offsets, or `OUTSIDE`."""
        shifted = offsets + np.array(self.grid) - 1
        inside = ((shifted >= 0) & (shifted < 2 * np.array(self.grid) - 1)).all(axis=1)
        result = np.full(len(offsets), OUTSIDE, dtype=np.int32)
        result[inside] = self.plane_of[tuple(shifted[inside].T)]
        return result


@dataclass(frozen=True, eq=False)
class WindowArrays:
    """A `Window` of two dimensions."""

    seen: Numbers  # (n_taps, n_outputs)
    seen_by: Numbers  # the same, (n_outputs, n_taps)
    is_box: bool  # moves by 1, over zeros
    is_whole: bool  # there is one window, and what it makes has no position
    is_circular: bool
    sizes: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    output_starts: Numbers  # (n_positions + 1,): the outputs that see a position ...
    outputs: Numbers  # ... one after the other
    output_rows: Numbers  # where these are
    output_columns: Numbers

    @staticmethod
    def of(window: Window) -> WindowArrays:
        seen = seen_positions(window).astype(np.int32)
        taps, outputs = np.nonzero(seen >= 0)
        positions = seen[taps, outputs]
        order = np.argsort(positions, kind="stable")
        counts = np.bincount(positions, minlength=n_positions(window.grid))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        seeing = outputs[order].astype(np.int32)
        width = flat_grid(window.output)[1]
        ones = (1,) * len(window.grid)
        return WindowArrays(
            seen,
            np.ascontiguousarray(seen.T),
            window.strides == ones == window.dilation and not window.is_circular and bool(window.output),
            not window.output,
            window.is_circular,
            flat_grid(window.sizes),
            flat_grid(window.strides),
            flat_grid(window.dilation),
            ((0, 0, *window.before))[-2:],  # type: ignore[arg-type]
            starts,
            seeing,
            (seeing // width).astype(np.int32),
            (seeing % width).astype(np.int32),
        )


@dataclass(frozen=True, eq=False)
class ImageSchedule:
    """One run of a program; places and rooms are counted in vectors."""

    planes: tuple[PlaneArrays, ...]  # of each node
    windows: tuple[WindowArrays | None, ...]
    forms: tuple[NodeForm, ...]
    segments: tuple[int, ...]
    is_kept: tuple[bool, ...]
    places: tuple[int, ...]  # of the first part of each node; the others follow, `rooms` apart
    rooms: tuple[int, ...]
    #: Where pools keep squares of the distances that hold m, behind their first parts; -1: nowhere.
    distances: tuple[int, ...]
    n_vectors: int
    kept_vectors: int  # the first ones
    largest_plane: int
    largest_planes: int  # pairs that a convolution takes from its source at once
    segment_starts: Numbers  # (n_segments + 1,): components
    component_starts: Numbers  # (n_components + 1,): entries
    entry_nodes: Numbers
    entry_planes: Numbers
    entry_starts: Places
    entry_pitches: Places  # from row to row of a plane: its width, and that of the planes beside it
    entry_counts: Numbers  # planes side by side from this one on; 0: it is not the first of them
    terms: NDArray[np.float64]  # (n_components,): of an entry, as `SpatialProgram.cost` counts them


@lru_cache(maxsize=64)
def schedule_of(
    program: SpatialProgram, pairs: Pairs, forms: tuple[NodeForm, ...] | None = None, *, side_by_side: bool = False
) -> ImageSchedule:
    """Return the schedule of a program on some pairs of positions; of plain forms, if none are given."""
    forms = forms or plain_forms(program)
    steps: tuple[SpatialStep | None, ...] = (None, *program.steps)
    planes = tuple(PlaneArrays.of(of, grid) for of, grid in zip(pairs.of_nodes, program.grids, strict=True))
    windows = tuple(
        WindowArrays.of(step.window) if isinstance(step, ConvolveStep | GatherStep) and step.window else None
        for step in steps
    )
    segments = pairs.segments
    kept = _kept(program, segments)
    parts = [_components(program, planes, segments, k, side_by_side) for k in range(max(segments) + 1)]
    entries = np.concatenate([entries for entries, _ in parts])
    counts = np.concatenate([counts for _, counts in parts])
    component = np.repeat(np.arange(len(counts)), counts)
    nodes, numbers = entries.T
    sizes = np.array([np.diff(planes[node].starts)[plane] for node, plane in entries.tolist()], dtype=np.int64)
    layout = _layout(nodes, numbers, sizes, component, planes, kept, side_by_side)
    rooms = _rooms(nodes, layout.stops, planes, kept)
    distances = tuple(
        _n_sums(node, program, windows, forms) * rooms[node] if node in program.bounded else -1
        for node in range(len(planes))
    )
    places, kept_vectors, n_vectors = _places(program, planes, windows, forms, segments, kept, rooms)
    per_pair = [0, *(program.n_terms_of_pair(step) for step in program.steps)]
    terms = np.array(per_pair)[nodes] * sizes
    return ImageSchedule(
        planes,
        windows,
        forms,
        segments,
        kept,
        places,
        rooms,
        distances,
        n_vectors,
        kept_vectors,
        max(int(np.diff(part.starts).max(initial=0)) for part in planes),
        _largest_planes(program, planes, nodes, numbers, component),
        np.concatenate([[0], np.cumsum([len(counts) for _, counts in parts])]).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        nodes.astype(np.int32),
        numbers.astype(np.int32),
        layout.starts,
        layout.pitches,
        layout.counts,
        np.bincount(component, weights=terms, minlength=len(counts)).astype(np.float64),
    )


def _kept(program: SpatialProgram, segments: tuple[int, ...]) -> tuple[bool, ...]:
    """Pools, the output, and what later segments take other than by pools: attention takes all planes at once."""
    kept = [False] * len(program.grids)
    kept[-1] = True
    for node, step in enumerate(program.steps, start=1):
        if isinstance(step, GatherStep):
            kept[node] = True
            kept[step.source] |= step.window is None
        else:
            for source in sources_of(step):
                kept[source] |= segments[source] < segments[node]
    return tuple(kept)


def _components(
    program: SpatialProgram,
    planes: tuple[PlaneArrays, ...],
    segments: tuple[int, ...],
    segment: int,
    side_by_side: bool,
) -> tuple[Places, Places]:
    """Return (node, plane) of all that a segment computes, component by component, and how many each has."""
    nodes = [k for k in range(1, len(planes)) if segments[k] == segment and len(planes[k].offsets)]
    first = dict(zip(nodes, np.cumsum([0, *(len(planes[k].offsets) for k in nodes)]).tolist(), strict=False))
    count = sum(len(planes[k].offsets) for k in nodes)
    edges = [np.zeros((0, 2), dtype=np.int64)]
    for node in nodes:
        step = program.steps[node - 1]
        if isinstance(step, GatherStep):
            continue
        for source in sources_of(step):
            if source in first and not isinstance(program.steps[source - 1], GatherStep):
                own, other = _planes_behind(step, planes[node], planes[source])
                edges.append(np.stack([first[node] + own, first[source] + other], axis=1))
    computed = [node for node in nodes if not isinstance(program.steps[node - 1], GatherStep)]
    if side_by_side and computed:
        edges.append(first[computed[-1]] + _beside(planes[computed[-1]]))
    left, right = np.concatenate(edges).T
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    entry_nodes = np.repeat(nodes, [len(planes[k].offsets) for k in nodes])
    entry_planes = np.concatenate([np.arange(len(planes[k].offsets)) for k in nodes] or [np.zeros(0, dtype=np.int64)])
    # in the order of their first planes at the last node: sums over components have one order, whatever else there is
    reverse = np.lexsort((entry_planes, -entry_nodes))
    _, at = np.unique(labels[reverse], return_index=True)
    rank = np.argsort(np.argsort(at))[labels] if count else labels
    order = np.lexsort((entry_planes, entry_nodes, rank))
    return np.stack([entry_nodes, entry_planes], axis=1)[order].astype(np.int64), np.bincount(rank)


def _planes_behind(step: SpatialStep, own: PlaneArrays, source: PlaneArrays) -> tuple[Places, Places]:
    """Return pairs of planes, of a node and of its source, of which one needs the other."""
    numbers = np.arange(len(own.offsets))
    if own.grid != source.grid and isinstance(step, PointStep):
        return numbers, np.zeros_like(numbers)
    offsets = own.offsets.astype(np.int64)
    turns: list[tuple[int, ...]] = [(0, 0)]
    if isinstance(step, ConvolveStep):
        offsets = offsets * np.array(((1, 1, *step.window.strides))[-2:])
        if step.window.is_circular:
            offsets = offsets % np.array(source.grid)
            turns = list(itertools.product(*((-n, 0) for n in source.grid)))
    behind = [source.numbers_of(offsets + np.array(turn)) for turn in turns]
    pairs = [(numbers[found >= 0], found[found >= 0]) for found in behind]
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]).astype(np.int64)


def _beside(planes: PlaneArrays) -> Places:
    """Return pairs of planes, each with the one before it, that go side by side: (n, 2)."""
    height, width = planes.grid
    pairs, row = 0, 0
    result = []
    for k, (dy, dx) in enumerate(planes.offsets.tolist()):
        own = width - abs(dx)
        row, pairs = row + own, pairs + own * (height - abs(dy))
        if k and dy == planes.offsets[k - 1, 0] and row <= PAIRS_OF_ROWS and pairs <= PAIRS_OF_PLANES:
            result.append((k - 1, k))
        else:
            row, pairs = own, own * (height - abs(dy))
    return np.array(result, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class _Layout:
    """Of each entry: where it begins in its node's memory, where what lies beside it stops, and so on."""

    starts: Places
    stops: Places
    pitches: Places
    counts: Numbers


def _layout(
    nodes: Places,
    numbers: Places,
    sizes: Places,
    component: Places,
    planes: tuple[PlaneArrays, ...],
    kept: tuple[bool, ...],
    side_by_side: bool,
) -> _Layout:
    """One plane after the other within a component, or side by side, unless all are kept."""
    widths = np.array(
        [planes[n].grid[1] - abs(int(planes[n].offsets[k, 1])) for n, k in zip(nodes, numbers, strict=True)]
    )
    rows = np.array([planes[n].offsets[k, 0] for n, k in zip(nodes, numbers, strict=True)])
    starts_node = np.concatenate([[True], (np.diff(component) != 0) | (np.diff(nodes) != 0)])
    is_alone = np.array(kept)[nodes] | (not side_by_side)
    starts_group = starts_node | is_alone | np.concatenate([[True], np.diff(rows) != 0])
    group = np.cumsum(starts_group) - 1
    before = np.cumsum(sizes) - sizes  # of all entries
    base = before[starts_group][group] - before[starts_node][np.cumsum(starts_node) - 1]
    left = np.cumsum(widths) - widths
    starts = base + left - left[starts_group][group]
    for node in np.flatnonzero(kept):
        at = nodes == node
        starts[at] = base[at] = planes[node].starts[numbers[at]]
    counts = np.where(starts_group, np.bincount(group)[group], 0)
    stops = base + np.bincount(group, weights=sizes)[group].astype(np.int64)
    pitches = np.bincount(group, weights=widths)[group].astype(np.int64)
    return _Layout(np.ascontiguousarray(starts, dtype=np.int64), stops, pitches, counts.astype(np.int32))


def _largest_planes(
    program: SpatialProgram, planes: tuple[PlaneArrays, ...], nodes: Places, numbers: Places, component: Places
) -> int:
    """Return how many pairs a convolution takes from its source in one component, at most."""
    most = 1
    for node, step in enumerate(program.steps, start=1):
        if isinstance(step, ConvolveStep) and len(planes[node].offsets):
            own, behind = _planes_behind(step, planes[node], planes[step.source])
            at = nodes == node
            of_component = np.zeros(len(planes[node].offsets), dtype=np.int64)
            of_component[numbers[at]] = component[at]
            sizes = np.diff(planes[step.source].starts)[behind]
            most = max(most, int(np.bincount(of_component[own], weights=sizes).max(initial=0)))
    return most


def _rooms(nodes: Places, stops: Places, planes: tuple[PlaneArrays, ...], kept: tuple[bool, ...]) -> tuple[int, ...]:
    rooms = np.zeros(len(planes), dtype=np.int64)
    np.maximum.at(rooms, nodes, stops)
    return tuple(
        int(part.starts[-1]) if keep else room for part, keep, room in zip(planes, kept, rooms.tolist(), strict=True)
    )


def _n_sums(
    node: int,
    program: SpatialProgram,
    windows: tuple[WindowArrays | None, ...],
    forms: tuple[NodeForm, ...],
) -> int:
    """How many vectors a pair takes of a node that is kept: sums over many taps keep what rounding takes."""
    window = windows[node]
    is_pool = node > 0 and isinstance(program.steps[node - 1], GatherStep)
    is_long = is_pool and window is not None and (len(window.seen) > LONG_WINDOW or window.seen.shape[1] == 1)
    return forms[node].n_parts * (2 if is_long else 1)


def _places(
    program: SpatialProgram,
    planes: tuple[PlaneArrays, ...],
    windows: tuple[WindowArrays | None, ...],
    forms: tuple[NodeForm, ...],
    segments: tuple[int, ...],
    kept: tuple[bool, ...],
    rooms: tuple[int, ...],
) -> tuple[tuple[int, ...], int, int]:
    """Return places, how many vectors are kept, and how many there are: what is free is used again."""
    places = [0] * len(planes)
    total = 0
    for node in range(1, len(planes)):
        if kept[node]:
            places[node] = total
            total += (_n_sums(node, program, windows, forms) + (node in program.bounded)) * rooms[node]
    most = total
    last_use = last_uses(program)
    for source, node in list(last_use.items()):
        if forms[node].is_passed_on:  # read when its only reader runs
            last_use[source] = last_use[node]
    for segment in range(max(segments) + 1):
        live: list[tuple[int, int, int]] = []  # place, stop, last use
        for node in range(1, len(planes)):
            if segments[node] != segment or kept[node] or not rooms[node] * forms[node].n_parts:
                continue
            live = sorted(part for part in live if part[2] >= node)
            size, place = forms[node].n_parts * rooms[node], total
            for start, stop, _ in live:
                if start - place >= size:
                    break
                place = max(place, stop)
            live.append((place, place + size, last_use.get(node, node)))
            places[node] = place
            most = max(most, place + size)
    return tuple(places), total, most
