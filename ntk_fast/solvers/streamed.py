"""K_nm of rows and centres, never stored: computed anew in every product, a few rows at a time.

A block of its rows stays in a core's cache while everything that is needed is taken from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import Backend, GramTask
from ntk_fast.gram import choose_tiles, compile_for, image_shape, prepare_for, seconds_of_entry
from ntk_fast.kernels import Kernel
from ntk_fast.lower.row_parameters import norm_range
from ntk_fast.rows.prepared import MeasuredRows
from ntk_fast.rows.preparing import measure
from ntk_fast.schedule.in_order import InOrder
from ntk_fast.schedule.threads import choose_n_threads, single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Progress, Tile, ranges, run_tiles, stop_if_asked, tiles_within
from ntk_fast.solvers.weighted import roots_of

#: Rows that a thread prepares at a time, and numbers of K_nm that it keeps in its cache.
ROWS_AT_A_TIME = 4096
CACHED_NUMBERS = 1 << 18  # 2 MB of float64: a product of K_nm^T K_nm costs 1.2 passes (1.8 with 1 << 16)
#: Blocks that are summed on their own, at most: a worker elsewhere sends the sums of each.
MOST_BLOCKS = 64

Reals = NDArray[np.float64]


#: Makes an array of a block of rows of K_nm and the number of its first row: (n_centres, n_columns) to be summed, or
#: (n_rows, n_columns) to be put one below the other. A worker elsewhere gets it pickled.
Operation = Callable[[Reals, int], Reals]


@dataclass(frozen=True, eq=False)
class NormalProduct:
    """K_nm^T K_nm vectors, block by block."""

    vectors: Reals  # (n_centres, n_columns)

    def __call__(self, block: Reals, start: int) -> Reals:
        return block.T @ (block @ self.vectors)


@dataclass(frozen=True, eq=False)
class TransposedProduct:
    """K_nm^T vectors, block by block."""

    vectors: Reals  # (n, n_columns)

    def __call__(self, block: Reals, start: int) -> Reals:
        return block.T @ self.vectors[start : start + len(block)]


class Streamed(Protocol):
    """K_nm, with weights D K_nm (see `weighted`), wherever it is computed."""

    def sum(self, operation: Operation, n_columns: int, progress: Progress | None = None) -> Reals:
        """Return the sum of what an operation makes of all blocks, (n_centres, n_columns), in the order of the rows."""

    def rows_of(self, operation: Operation, n_columns: int, progress: Progress | None = None) -> Reals:
        """Return what an operation makes of all blocks one below the other, (n, n_columns)."""


class StreamedMatrix:
    """K_nm, computed by threads of this process: every operation reads the rows once.

    Tiles are grouped into blocks, the same for threads and for workers that take whole blocks. The sum of a block is
    that of its tiles in their order, and the sum of all is that of the blocks in theirs, whoever is first.
    """

    def __init__(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        centres: NDArray[np.float64],
        n_threads: int | None = None,
        weights: NDArray[np.float64] | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._kernel = kernel
        self._rows = rows
        self._roots = None if weights is None else roots_of(weights, len(rows))
        self._shape = image_shape(kernel)
        self._backend = backend or choose_backend()
        self._n_threads = choose_n_threads(n_threads)
        measured = measure(centres, "X", self._backend, self._shape)
        norms = [measured.square_norm]
        for part in ranges(len(rows), ROWS_AT_A_TIME):
            norms.append(norm_range(self._measured(part.start, part.stop).square_norm))
        self._program = compile_for(kernel, np.dtype(np.float64), self._backend, *norms)
        self._centres = prepare_for(self._program, kernel, measured, self._backend)

    def _measured(self, start: int, stop: int) -> MeasuredRows:
        values = np.ascontiguousarray(self._rows[start:stop], dtype=np.float64)
        return measure(values, "X", self._backend, self._shape)

    @property
    def seconds_of_row(self) -> float:
        """About what a row of K_nm costs on one thread, without what an operation makes of it."""
        n_features = self._centres.values.shape[1]
        return len(self._centres) * seconds_of_entry(self._program, n_features, self._backend)

    def sum(self, operation: Operation, n_columns: int, progress: Progress | None = None) -> Reals:
        blocks = row_blocks(len(self._rows), len(self._centres))
        total = np.zeros((len(self._centres), n_columns))
        of_block = np.zeros_like(total)
        lasts = {block.row_stop for block in blocks}

        def take(tile: Tile, part: Reals) -> None:
            nonlocal total, of_block
            of_block += part
            if tile.row_stop in lasts:
                total += of_block
                of_block = np.zeros_like(total)

        self._run(blocks, operation, n_columns, take, progress)
        return total

    def rows_of(self, operation: Operation, n_columns: int, progress: Progress | None = None) -> Reals:
        result = np.empty((len(self._rows), n_columns))

        def take(tile: Tile, part: Reals) -> None:
            result[tile.row_start : tile.row_stop] = part

        blocks = row_blocks(len(self._rows), len(self._centres))
        self._run(blocks, operation, n_columns, take, progress, keeps_rows=True)
        return result

    def sum_of_block(self, block: Tile, operation: Operation, n_columns: int) -> Reals:
        """Return what `sum` adds for a block, on the calling thread."""
        part_of, total = self._part(operation, n_columns, keeps_rows=False), np.zeros((len(self._centres), n_columns))
        for tile in _tiles_of(block):
            total += part_of(tile)
        return total

    def rows_of_block(self, block: Tile, operation: Operation, n_columns: int) -> Reals:
        """Return what `rows_of` has for a block, on the calling thread."""
        part_of = self._part(operation, n_columns, keeps_rows=True)
        return np.concatenate([part_of(tile) for tile in _tiles_of(block)])

    def _run(
        self,
        blocks: list[Tile],
        operation: Operation,
        n_columns: int,
        take: Callable[[Tile, Reals], None],
        progress: Progress | None,
        keeps_rows: bool = False,
    ) -> None:
        tiles = [tile for block in blocks for tile in _tiles_of(block)]
        position = {tile: index for index, tile in enumerate(tiles)}
        in_order = InOrder[Reals](lambda index, part: take(tiles[index], part))

        def make_fill() -> FillTile:
            part_of = self._part(operation, n_columns, keeps_rows)
            return lambda tile: in_order.put(position[tile], part_of(tile))

        with single_threaded_blas():
            run_tiles(tiles, make_fill, self._n_threads, progress)

    def _part(self, operation: Operation, n_columns: int, keeps_rows: bool) -> Callable[[Tile], Reals]:
        """Return a function that returns what an operation makes of a tile, with memory of its own."""
        m = len(self._centres)
        cache = np.empty((max(16, min(ROWS_AT_A_TIME, CACHED_NUMBERS // m)), m))
        return lambda tile: self._part_of(tile, cache, operation, n_columns, keeps_rows)

    def _part_of(self, tile: Tile, cache: Reals, operation: Operation, n_columns: int, keeps_rows: bool) -> Reals:
        measured = self._measured(tile.row_start, tile.row_stop)
        rows = prepare_for(self._program, self._kernel, measured, self._backend)
        result = np.zeros((len(rows) if keeps_rows else len(self._centres), n_columns))
        for start in range(0, len(rows), len(cache)):
            stop_if_asked()  # products with n_centres^2 multiplications a row take minutes, of a million rows
            block = cache[: len(rows) - start]
            part = rows.part(slice(start, start + len(block)))
            task = GramTask(self._program, part, self._centres, block)
            fill = self._backend.fill_tile(task)
            for inner in choose_tiles(task, self._backend):
                fill(inner)
            if self._roots is not None:
                block *= self._roots[tile.row_start + start : tile.row_start + start + len(block)]
            found = operation(block, tile.row_start + start)
            if keeps_rows:
                result[start : start + len(block)] = found
            else:
                result += found
        return result


def row_blocks(n_rows: int, n_centres: int) -> list[Tile]:
    """Return the blocks of rows in the order in which their sums are added: whole tiles, at most `MOST_BLOCKS`."""
    n_tiles = -(-n_rows // ROWS_AT_A_TIME)
    step = -(-n_tiles // MOST_BLOCKS) * ROWS_AT_A_TIME
    return [Tile(rows.start, rows.stop, 0, n_centres) for rows in ranges(n_rows, step)] if n_rows else []


def _tiles_of(block: Tile) -> list[Tile]:
    return tiles_within(block, symmetric=False, block_rows=ROWS_AT_A_TIME, block_columns=block.column_stop)
