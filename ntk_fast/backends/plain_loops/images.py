"""Tiles of images in plain loops: one image against several at a time, and images with themselves.

Which planes are computed when, and where, `image_schedule` says, as it does to C; `planes` and `pools`
compute them, in float32 only where no activation takes parameters. They share no code with C.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import GramTask
from ntk_fast.backends.image_schedule import LONG_WINDOW, ImageSchedule, schedule_of
from ntk_fast.backends.numpy_backend import store
from ntk_fast.backends.numpy_images import without_losses
from ntk_fast.backends.plain_loops import rectangles as fields
from ntk_fast.backends.plain_loops.encoding import EncodedMaps
from ntk_fast.backends.plain_loops.pools import begin_segment, run_components
from ntk_fast.backends.plain_loops.rectangles import FIELDS, Layout, Run
from ntk_fast.backends.plain_loops.state import N_KEPT, N_STATES, RUN, VECTORS
from ntk_fast.compensated import Reals
from ntk_fast.lower.positions import Pairs, n_positions
from ntk_fast.lower.spatial_program import (
    ArrangeStep,
    ConvolveStep,
    GatherStep,
    PointStep,
    SpatialProgram,
    SpatialStep,
    sources_of,
)
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.schedule.tiling import FillTile, Tile, stop_if_asked

Numbers = NDArray[np.int64]

#: About what a term of an entry costs, and what a tile, or a call, may take.
SECONDS_PER_TERM, LONGEST_TILE = 8e-10, 0.05
#: Images of y at a time; of large images fewer, whose planes stay in the second-level cache.
LANES, FEW_LANES, CACHED_BYTES = VECTORS, 8, 256 << 10
#: Memory of a thread that images are prepared with.
ROWS_BYTES, MOST_RUNS = 64 << 20, 16


class EncodedImages:
    """A spatial program and its schedule as arrays."""

    def __init__(self, program: SpatialProgram, schedule: ImageSchedule) -> None:
        self.schedule = schedule
        self._numbers: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("offsets", "plane_of", "starts", "seen", "output_starts", "outputs")
        }
        self._sources: list[int] = []
        self._shares: list[int] = []
        points = [step for step in program.steps if isinstance(step, PointStep) and step.map is not None]
        maps = EncodedMaps([step.map for step in points if step.map], program.dtype)
        self.codes, self.constants, self.tables = maps.codes, maps.constants, maps.tables
        steps: tuple[SpatialStep | None, ...] = (None, *program.steps)
        self.nodes = np.array([self._node(program, node, step, points) for node, step in enumerate(steps)])
        joined = {name: np.concatenate([*parts]).astype(np.int64) for name, parts in self._numbers.items() if parts}
        none = np.zeros(0, dtype=np.int64)
        self.offsets, self.plane_of, self.starts = joined["offsets"], joined["plane_of"], joined["starts"]
        self.seen, self.output_starts, self.outputs = (
            joined.get(name, none) for name in ("seen", "output_starts", "outputs")
        )
        self.sources = np.array(self._sources, dtype=np.int64)
        self.shares = np.array(self._shares, dtype=np.int64)
        self.n_parameters = max((int(row) for row in self.nodes[:, fields.N_PARAMETERS]), default=0)
        seen = [step.source for step in program.steps if isinstance(step, GatherStep) and step.window is None]
        self.n_attended = max((n_positions(program.grids[source]) for source in seen), default=0)
        self.lanes = self._lanes(program)
        widths = [part.grid[1] for part in schedule.planes]
        self.row_length = (max(widths) + int(self.nodes[:, fields.SIZE_X].max()) + 1) * self.lanes + RUN + VECTORS

    def _add(self, name: str, numbers: NDArray[Any]) -> int:
        """Append numbers to those of this name; returns where they begin."""
        start = sum(map(len, self._numbers[name]))
        self._numbers[name].append(numbers)
        return start

    def _node(self, program: SpatialProgram, node: int, step: SpatialStep | None, points: list[PointStep]) -> list[int]:
        schedule = self.schedule
        planes, window = schedule.planes[node], schedule.windows[node]
        row = dict.fromkeys(FIELDS, 0)
        row.update(
            segment=schedule.segments[node],
            is_kept=schedule.is_kept[node],
            place=schedule.places[node],
            room=schedule.rooms[node],
            first_plane=self._add("offsets", planes.offsets),
            n_planes=len(planes.offsets),
            plane_of=self._add("plane_of", planes.plane_of.reshape(-1)),
            distance=schedule.distances[node],
            is_watched=node in program.watched,
            height=planes.grid[0],
            width=planes.grid[1],
        )
        self._add("starts", planes.starts[:-1])
        if window is not None:
            row.update(
                is_box=window.is_box,
                size_y=window.sizes[0],
                size_x=window.sizes[1],
                before_y=window.before[0],
                before_x=window.before[1],
                stride_y=window.strides[0],
                stride_x=window.strides[1],
                n_taps=window.seen.shape[0],
                n_outputs=window.seen.shape[1],
                seen=self._add("seen", window.seen.reshape(-1)),
                output_starts=self._add("output_starts", window.output_starts),
                outputs=self._add("outputs", window.outputs),
                is_whole=window.seen.shape[1] == 1 and len(window.outputs) == len(window.output_starts) - 1,
                is_long=window.seen.shape[1] == 1 or len(window.seen) > LONG_WINDOW,
            )
        match step:
            case ArrangeStep(shape, inverse):
                row.update(kind=fields.ARRANGE, inverse=inverse, channels=shape[-1])
            case ConvolveStep(source, _, adds_own, root, inverse, tau):
                row.update(kind=fields.CONVOLVED, source=source, adds_own=adds_own)
                row.update(root=root, inverse=inverse, tau=tau)
            case GatherStep(source, _, root, inverse, mu):
                row.update(kind=fields.GATHERED, source=source, root=root, inverse=inverse, tau=mu)
            case PointStep(instruction, part, first, _):
                kind = fields.MIXED if part is None else fields.MAPPED
                if instruction.is_product or instruction.promotes:
                    kind = fields.MULTIPLIED if instruction.is_product else fields.PROMOTED
                start = len(self._sources)
                self._sources += sources_of(step)
                self._shares += instruction.shares or (-1,) * len(instruction.sources)
                row.update(kind=kind, first=first, bias=instruction.bias, adds_own=instruction.adds_own)
                row.update(start=start, stop=len(self._sources))
                if part is not None:
                    row.update(map=points.index(step), n_parameters=max(0, part.first_parameter) + part.n_parameters)
        return list(row.values())

    def _lanes(self, program: SpatialProgram) -> int:
        """Few only where loops go along whole rows: those of a pair's lanes have to be whole vectors."""
        along_rows = all(
            bool(node[fields.IS_BOX] or node[fields.IS_WHOLE]) or node[fields.N_TAPS] == 0 for node in self.nodes
        )
        is_large = 3 * 8 * self.schedule.largest_plane * LANES > CACHED_BYTES
        return FEW_LANES if along_rows and is_large and not self.n_parameters else LANES


@lru_cache(maxsize=64)
def _encoded(program: SpatialProgram, pairs: Pairs) -> EncodedImages:
    return EncodedImages(program, schedule_of(program, pairs))


class ImageRun:
    """Runs a program on vectors of pairs, with memory of its own."""

    def __init__(self, program: SpatialProgram, pairs: Pairs, *, each: bool) -> None:
        """`each`: images with themselves, one in each lane; else one image with those in the lanes."""
        encoded = self._encoded = _encoded(program, pairs)
        lanes = self.lanes = encoded.lanes
        self._shape = (*program.shape,)
        schedule = encoded.schedule
        n_values, n_rows = int(np.prod(program.shape)), program.n_parameters
        room = schedule.largest_plane * lanes + RUN
        # float64 where maps take parameters: near pairs need its digits there
        dtype = self._dtype = np.dtype(np.float64) if encoded.n_parameters else program.dtype
        sizes = schedule.n_vectors * lanes, 3 * room, (n_rows + n_values) * 2 * lanes
        refuse_too_large((sum(sizes),), dtype, what="memory of a thread", advice="pool earlier, or take smaller images")
        n_left = lanes if each else 1
        rows = np.zeros((fields.N_ROWS, encoded.row_length), dtype)
        rows[fields.ONES] = 1
        starts = np.zeros(len(encoded.starts), dtype=np.int64)
        layout = Layout(encoded.nodes, encoded.offsets, encoded.plane_of, starts, lanes)
        self._run = Run(
            layout,
            encoded.seen,
            encoded.output_starts,
            encoded.outputs,
            encoded.sources,
            encoded.shares,
            encoded.codes,
            encoded.constants.astype(dtype),
            encoded.tables.astype(dtype),
            x=np.zeros((n_rows, n_left), dtype),
            y=np.zeros(n_rows * lanes + RUN, dtype),
            x_values=np.zeros((n_values, n_left), dtype),
            y_values=np.zeros(n_values * lanes + RUN, dtype),
            memory=np.zeros(sizes[0] + RUN, dtype),
            weighed=np.zeros(sizes[1], dtype),
            sums=np.zeros((3, encoded.row_length), dtype),
            rows=rows,
            state=np.zeros(N_STATES * RUN, dtype),
            registers=np.zeros((2, N_KEPT * RUN), dtype),
            opposite=np.zeros(RUN, dtype=np.bool_),
            rounding=dtype.type(np.finfo(dtype).eps),
            attended=np.zeros((3, encoded.n_attended * lanes), dtype),
            lost=np.zeros(lanes, dtype),
        )
        n = encoded.n_parameters
        self._parameters = (np.zeros(n), np.zeros((n, RUN))) if n else None
        calls = np.cumsum(schedule.terms) * (SECONDS_PER_TERM * lanes) // LONGEST_TILE
        self._cuts = np.flatnonzero(np.diff(calls, prepend=0.0))

    def put_left(self, values: Reals, planes: Reals) -> None:
        """Take images on the left, (n, n_features), and their planes: one, or as many as there are lanes, or fewer."""
        n = self._run.x.shape[1]
        self._run.x_values[:] = _lanes(self._channels_first(values).T, n)
        self._run.x[:] = _lanes(planes, n)

    def put_right(self, values: Reals, planes: Reals) -> None:
        """Take images on the right, at most as many as there are lanes."""
        numbers = self._run.y_values[: values.shape[1] * self.lanes].reshape(-1, self.lanes)
        numbers[:] = _lanes(self._channels_first(values).T, self.lanes)
        self._run.y[: len(planes) * self.lanes].reshape(-1, self.lanes)[:] = _lanes(planes, self.lanes)

    def right_planes(self) -> Reals:
        """Return the planes of the images on the right, (n_planes, lanes)."""
        n_planes = len(self._run.x)
        return self._run.y[: n_planes * self.lanes].reshape(n_planes, self.lanes)

    def begin(self, segment: int, *, is_itself: bool = False) -> None:
        """Finish the pools before a segment. `is_itself`: and keep their mu."""
        encoded = self._encoded
        begin_segment(self._run, segment, encoded.schedule.kept_vectors * self.lanes, encoded.starts, is_itself)

    def run(self, segment: int) -> None:
        """Run all of a segment that has begun."""
        schedule = self._encoded.schedule
        first, last = schedule.segment_starts[segment : segment + 2].tolist()
        cuts = [first, *self._cuts[(self._cuts > first) & (self._cuts < last)].tolist(), last]
        for start, stop in itertools.pairwise(cuts):
            stop_if_asked()
            run_components(
                self._run,
                schedule.component_starts,
                schedule.entry_nodes,
                schedule.entry_planes,
                schedule.entry_starts,
                start,
                stop,
                self._parameters,
            )

    def output(self) -> Reals:
        """Return m, p, t and what is lost at the output once all segments have run, (4, lanes)."""
        node = self._encoded.nodes[-1]
        at = (node[fields.PLACE] + self._run.layout.starts[node[fields.FIRST_PLANE]]) * self.lanes
        room = node[fields.ROOM] * self.lanes
        parts = [self._run.memory[at + part * room : at + part * room + self.lanes] for part in range(3)]
        return np.stack([*parts, self._run.lost])

    def state(self, node: int) -> Reals:
        """Return m, p and t of a node that is kept, (3, n_pairs, lanes), once its segment has run."""
        place, room = (self._encoded.schedule.places[node], self._encoded.schedule.rooms[node])
        return self._run.memory[place * self.lanes : (place + 3 * room) * self.lanes].reshape(3, room, self.lanes)

    def entry(self) -> Reals:
        """Run all segments."""
        for segment in range(len(self._encoded.schedule.segment_starts) - 1):
            self.begin(segment)
            self.run(segment)
        return self.output()

    def _channels_first(self, values: Reals) -> Reals:
        channels = self._shape[-1]
        return values.reshape(len(values), -1, channels).swapaxes(1, 2).reshape(len(values), -1)


def _lanes(numbers: Reals, lanes: int) -> Reals:
    """Repeat the last column so that there are as many as lanes."""
    return np.concatenate([numbers, np.repeat(numbers[:, -1:], lanes - numbers.shape[1], axis=1)], axis=1)


def image_block(program: SpatialProgram) -> tuple[int, int]:
    """Return how many images of x and of y a tile has."""
    lanes = _encoded(program, program.pairs).lanes
    return max(1, min(lanes, int(LONGEST_TILE / (SECONDS_PER_TERM * program.cost * lanes)))), lanes


def fill_images(program: SpatialProgram, task: GramTask) -> FillTile:
    """Return a function that fills tiles of images, with memory of its own."""
    run = ImageRun(program, program.pairs, each=False)
    x, y = task.x, task.y or task.x

    def some(rows: Rows, start: int, stop: int) -> tuple[Reals, Reals]:
        return rows.values[start:stop].astype(np.float64, copy=False), rows.parameters[:, start:stop]

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        values = np.zeros((tile.row_stop - tile.row_start, tile.column_stop - tile.column_start))
        for column in range(tile.column_start, tile.column_stop, run.lanes):
            stop = min(column + run.lanes, tile.column_stop)
            run.put_right(*some(y, column, stop))
            for row in range(tile.row_start, tile.row_stop):
                if task.y is None and stop <= row + 1:
                    continue
                run.put_left(*some(x, row, row + 1))
                m, p, t, lost = run.entry().astype(np.float64, copy=False)[:, : stop - column]
                entries = t if program.has_tangent else 0.5 * (p - m)
                first = column if task.y is not None else max(column, row + 1)
                at = first - column
                without_losses(program, x, y, row, slice(first, stop), entries[at:], lost[at:])
                values[row - tile.row_start, column - tile.column_start : stop - tile.column_start] = entries
        values *= x.scale[rows, None] * y.scale[columns]
        store(task, tile, values)

    return fill


class ImageRows:
    """Images with themselves, segment by segment: see `lower.spatial_rows.RowExecutor`.

    One in each lane; where maps take parameters, which they take of one image on the left, one at a time in all lanes.
    """

    def __init__(self, program: SpatialProgram, values: Reals) -> None:
        self._program = program
        self._values = values.astype(np.float64, copy=False)
        encoded = _encoded(program, program.row_pairs)
        each = encoded.n_parameters == 0
        at_a_time = encoded.lanes if each else 1
        parts = [slice(start, min(start + at_a_time, len(values))) for start in range(0, len(values), at_a_time)]
        self._runs = [(part, ImageRun(program, program.row_pairs, each=each)) for part in parts]

    def begin(self, segment: int, planes: Reals) -> None:
        """Finish the pools before a segment, and store their mu in the planes, (n_planes, n)."""
        for part, run in self._runs:
            self._put(run, part, planes)
            run.begin(segment, is_itself=True)
            for node, step in enumerate(self._program.steps, start=1):
                if isinstance(step, GatherStep) and self._program.row_pairs.segments[node] == segment:
                    rows = slice(step.mu, step.mu + n_positions(self._program.grids[node]))
                    planes[rows, part] = run.right_planes()[rows, : part.stop - part.start]

    def run(self, segment: int, planes: Reals) -> None:
        """Run all of a segment."""
        for part, run in self._runs:
            self._put(run, part, planes)
            run.run(segment)

    def state(self, node: int) -> Reals:
        """Return m, p and t of a node that later segments take, (3, n_pairs, n)."""
        parts = [run.state(node)[..., : part.stop - part.start] for part, run in self._runs]
        return np.concatenate(parts, axis=-1).astype(np.float64, copy=False)

    def output(self) -> Reals:
        """Return m, p, t and what is lost at the output, (4, n)."""
        parts = [run.output()[:, : part.stop - part.start] for part, run in self._runs]
        return np.concatenate([np.empty((4, 0)), *parts], axis=1)

    def _put(self, run: ImageRun, part: slice, planes: Reals) -> None:
        run.put_left(self._values[part], planes[:, part])
        run.put_right(self._values[part], planes[:, part])


def rows_at_a_time(program: SpatialProgram) -> int:
    """Return how many images are prepared together."""
    encoded = _encoded(program, program.row_pairs)
    at_a_time = encoded.lanes if encoded.n_parameters == 0 else 1
    bytes_of_run = 8 * encoded.lanes * (encoded.schedule.n_vectors + 3 * encoded.schedule.largest_plane)
    return at_a_time * max(1, min(MOST_RUNS, ROWS_BYTES // bytes_of_run))
