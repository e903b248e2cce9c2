"""Tiles of images in C: one image against as many as a vector has lanes, and images with themselves."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends._tile import CompiledImages, Functions
from ntk_fast.backends.base import GramTask
from ntk_fast.backends.image_forms import condensed_forms
from ntk_fast.backends.image_schedule import ImageSchedule, schedule_of
from ntk_fast.backends.numpy_backend import store
from ntk_fast.backends.numpy_images import without_losses
from ntk_fast.compensated import Reals
from ntk_fast.layers.near_pairs import near_pair_thresholds
from ntk_fast.lower.near_images import LARGEST_LOSS
from ntk_fast.lower.positions import Pairs, n_positions
from ntk_fast.lower.spatial_program import GatherStep, SpatialProgram
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.schedule.tiling import FillTile, Tile, stop_if_asked

#: About what a term of an entry costs, and what a tile, or a call of C, may take.
SECONDS_PER_TERM, LONGEST_TILE = 2e-10, 0.05
#: Images of x of a tile, at most.
MOST_IMAGES = 64
#: Memory of a thread that images are prepared with.
ROWS_BYTES, MOST_RUNS = 64 << 20, 16

#: Parameters (n_parameters, lanes) and values (n_features, lanes) of as many images as a vector has lanes; of images
#: of x (n_images, n_parameters) and (n_images, n_features).
Packed = tuple[NDArray[np.floating], NDArray[np.floating]]


@lru_cache(maxsize=64)
def _compiled(program: SpatialProgram, pairs: Pairs) -> tuple[ImageSchedule, CompiledImages]:
    schedule = schedule_of(program, pairs, condensed_forms(program), side_by_side=True)
    return schedule, CompiledImages(program, schedule, *near_pair_thresholds(program.dtype))


class ImageRun:
    """Runs a program on vectors of pairs, with memory of its own."""

    def __init__(self, functions: Functions, program: SpatialProgram, pairs: Pairs) -> None:
        self.lanes = functions.lanes()
        self._functions, self._program, self._dtype = functions, program, program.dtype
        self._schedule, self._compiled = _compiled(program, pairs)
        size = self._compiled.scratch_bytes(functions)
        refuse_too_large(
            (size,), np.dtype(np.uint8), what="memory of a thread", advice="pool earlier, or take smaller images"
        )
        self._scratch = np.empty(size, dtype=np.uint8)
        self.bytes = size
        self._calls = _calls_of(self._schedule, self.lanes)
        self._images_of_a_call = max(1, int(LONGEST_TILE / (SECONDS_PER_TERM * self.lanes * program.cost)))

    def packed(
        self, given: NDArray[np.floating], n: int, strides: tuple[int, int], n_images: int
    ) -> NDArray[np.floating]:
        """Return numbers as vectors, (n, lanes); `strides`: from number to number, and from image to image."""
        result = np.empty((n, self.lanes), dtype=self._dtype)
        self._functions.pack_images(given, n, strides[0], strides[1], n_images, result)
        return result

    def pack(self, rows: Rows, first: int, stop: int) -> Packed:
        """Return the parameters and values of some images, at most as many as there are lanes."""
        parameters = rows.parameters[:, first:stop]
        values = rows.values[first:stop].astype(self._dtype, copy=False)
        return (
            self.packed(parameters, len(parameters), _strides(parameters), stop - first),
            self.packed(values, values.shape[1], _strides(values)[::-1], stop - first),
        )

    def some(self, rows: Rows, first: int, stop: int) -> Packed:
        """Return the parameters and values of some images, one after the other."""
        parameters, values = rows.parameters[:, first:stop].T, rows.values[first:stop]
        return np.ascontiguousarray(parameters, dtype=self._dtype), np.ascontiguousarray(values, dtype=self._dtype)

    def begin(self, segment: int, x: Packed | None, y: Packed) -> None:
        """Finish the pools before a segment. Without x each image of y goes with itself, and y gets their mu."""
        self._compiled.begin(self._functions, x, y, segment, self._scratch)

    def run(self, segment: int, x: Packed | None, y: Packed) -> None:
        """Run all of a segment that has begun."""
        for first, stop in self._calls[segment]:
            stop_if_asked()
            self._compiled.run(self._functions, x, y, first, stop, self._scratch)

    def output(self) -> NDArray[np.floating]:
        """Return m, p, t and what is lost at the output once all segments have run, (4, lanes)."""
        result = np.empty((4, self.lanes), dtype=self._dtype)
        self._compiled.output(self._functions, self._scratch, result)
        return result

    def state(self, node: int) -> NDArray[np.floating]:
        """Return m, p and t of a node that is kept, (3, n_pairs, lanes), once its segment has run."""
        schedule, first = self._schedule, -self._scratch.ctypes.data % 64
        memory = self._scratch[first : first + (len(self._scratch) - first) // 64 * 64].view(self._dtype)
        room, has_opposite = schedule.rooms[node], schedule.forms[node].has_opposite
        start, stop = (schedule.places[node] + part * room for part in (0, 2 + has_opposite))
        parts = memory[start * self.lanes : stop * self.lanes].reshape(-1, room, self.lanes)
        return np.stack([parts[0], parts[2] if has_opposite else 2 - parts[0], parts[1]])

    def entries(self, x: Packed, y: Packed) -> NDArray[np.floating]:
        """Run all segments for each of some images; return outputs, (n_images, 4, lanes)."""
        parameters, values = x
        result = np.empty((len(parameters), 4, self.lanes), dtype=self._dtype)
        if all(len(calls) == 1 for calls in self._calls):
            for first in range(0, len(result), self._images_of_a_call):
                stop_if_asked()
                some = slice(first, first + self._images_of_a_call)
                left = parameters[some], values[some]
                self._compiled.entries(self._functions, left, y, self._scratch, result[some])
            return result
        for k, out in enumerate(result):
            one = parameters[k : k + 1], values[k : k + 1]
            for segment in range(len(self._calls)):
                self.begin(segment, one, y)
                self.run(segment, one, y)
            out[:] = self.output()
        return result


def _calls_of(schedule: ImageSchedule, lanes: int) -> list[list[tuple[int, int]]]:
    """Return the components that calls of C compute, segment by segment: none takes much longer than `LONGEST_TILE`."""
    parts = np.cumsum(schedule.terms) * (SECONDS_PER_TERM * lanes) // LONGEST_TILE
    cuts = np.flatnonzero(np.diff(parts, prepend=0.0))
    return [
        list(itertools.pairwise([first, *cuts[(cuts > first) & (cuts < last)].tolist(), last]))
        for first, last in itertools.pairwise(schedule.segment_starts.tolist())
    ]


def _strides(array: NDArray[np.floating]) -> tuple[int, int]:
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


def image_block(functions: Functions, program: SpatialProgram) -> tuple[int, int]:
    """Return how many images of x and of y a tile has."""
    lanes = functions.lanes()
    seconds = SECONDS_PER_TERM * program.cost * lanes
    return max(1, min(MOST_IMAGES, int(LONGEST_TILE / seconds))), lanes


def fill_images(functions: Functions, task: GramTask) -> FillTile:
    """Return a function that fills tiles of images, with memory of its own."""
    program = task.program
    assert isinstance(program, SpatialProgram)
    run = ImageRun(functions, program, program.pairs)
    x, y = task.x, task.y or task.x

    def fill(tile: Tile) -> None:
        rows = slice(tile.row_start, tile.row_stop)
        columns = slice(tile.column_start, tile.column_stop)
        values = np.zeros((tile.row_stop - tile.row_start, tile.column_stop - tile.column_start))
        for column in range(tile.column_start, tile.column_stop, run.lanes):
            stop = min(column + run.lanes, tile.column_stop)
            right = run.pack(y, column, stop)
            last = tile.row_stop if task.y is not None else min(tile.row_stop, stop - 1)
            if last <= tile.row_start:
                continue
            outputs = run.entries(run.some(x, tile.row_start, last), right)[..., : stop - column]
            m, p, tangent, lost = outputs.astype(np.float64, copy=False).swapaxes(0, 1)
            entries = tangent if program.has_tangent else 0.5 * (p - m)
            is_lost = (lost > LARGEST_LOSS[program.dtype]).any(axis=1)
            for row in (tile.row_start + np.flatnonzero(is_lost)).tolist():
                first = column if task.y is not None else max(column, row + 1)
                some, at = slice(first, stop), (row - tile.row_start, slice(first - column, None))
                without_losses(program, x, y, row, some, entries[at], lost[at])
            values[: last - tile.row_start, column - tile.column_start : stop - tile.column_start] = entries
        values *= x.scale[rows, None] * y.scale[columns]
        store(task, tile, values)

    return fill


class ImageRows:
    """Images with themselves, segment by segment: see `lower.spatial_rows.RowExecutor`."""

    def __init__(self, functions: Functions, program: SpatialProgram, values: NDArray[np.floating]) -> None:
        lanes = functions.lanes()
        self._program, self._dtype = program, program.dtype
        values = values.astype(self._dtype, copy=False)
        self._runs: list[tuple[slice, ImageRun, NDArray[np.floating]]] = []
        for start in range(0, len(values), lanes):
            run = ImageRun(functions, program, program.row_pairs)
            part = values[start : start + lanes]
            packed = run.packed(part, values.shape[1], _strides(part)[::-1], len(part))
            self._runs.append((slice(start, start + len(part)), run, packed))

    def begin(self, segment: int, planes: Reals) -> None:
        """Finish the pools before a segment, and store their mu in the planes, (n_planes, n)."""
        for part, run, values in self._runs:
            own = self._packed(run, planes[:, part], values)
            run.begin(segment, None, own)
            for node, step in enumerate(self._program.steps, start=1):
                if isinstance(step, GatherStep) and self._program.row_pairs.segments[node] == segment:
                    rows = slice(step.mu, step.mu + n_positions(self._program.grids[node]))
                    planes[rows, part] = own[0][rows, : part.stop - part.start]

    def run(self, segment: int, planes: Reals) -> None:
        """Run all of a segment."""
        for part, run, values in self._runs:
            own = self._packed(run, planes[:, part], values)
            run.run(segment, None, own)

    def state(self, node: int) -> Reals:
        """Return m, p and t of a node that later segments take, (3, n_pairs, n)."""
        parts = [run.state(node)[..., : part.stop - part.start] for part, run, _ in self._runs]
        return np.concatenate(parts, axis=-1).astype(np.float64, copy=False)

    def output(self) -> Reals:
        """Return m, p, t and what is lost at the output, (4, n)."""
        parts = [run.output()[:, : part.stop - part.start] for part, run, _ in self._runs]
        return np.concatenate([np.empty((4, 0)), *parts], axis=1)

    def _packed(self, run: ImageRun, planes: Reals, values: NDArray[np.floating]) -> Packed:
        given = np.ascontiguousarray(planes, dtype=self._dtype)
        return run.packed(given, len(given), _strides(given), given.shape[1]), values


def rows_at_a_time(functions: Functions, program: SpatialProgram) -> int:
    """Return how many images fit in the memory that they may be prepared with."""
    _, compiled = _compiled(program, program.row_pairs)
    return functions.lanes() * max(1, min(MOST_RUNS, ROWS_BYTES // compiled.scratch_bytes(functions)))
