"""K_nm of rows and centres, never stored: computed anew in every product, a few rows at a time.

A block of its rows stays in a core's cache while everything that is needed is taken from it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import FillTile, GramTask, Tile
from ntk_fast.gram import choose_tiles, compile_for, image_shape, prepare_for
from ntk_fast.kernels import Kernel
from ntk_fast.lower.compile import norm_range
from ntk_fast.rows import MeasuredRows, measure
from ntk_fast.solvers.weighted import roots_of
from ntk_fast.threads import choose_n_threads, single_threaded_blas
from ntk_fast.tiling import Progress, run_tiles, stop_if_asked

#: Rows that a thread prepares at a time, and numbers of K_nm that it keeps in its cache.
ROWS_AT_A_TIME = 4096
CACHED_NUMBERS = 1 << 18  # 2 MB of float64: a product of K_nm^T K_nm costs 1.2 passes (1.8 with 1 << 16)

Reals = NDArray[np.float64]


class StreamedMatrix:
    """K_nm of rows and centres, with weights D K_nm (see `weighted`): every product reads the rows once."""

    def __init__(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        centres: NDArray[np.float64],
        n_threads: int | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self._kernel = kernel
        self._rows = rows
        self._roots = None if weights is None else roots_of(weights, len(rows))
        self._shape = image_shape(kernel)
        self._backend = choose_backend(None, plan=kernel.plan)
        self._n_threads = choose_n_threads(n_threads)
        measured = measure(centres, "X", self._backend, self._shape)
        norms = [measured.square_norm]
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            norms.append(norm_range(self._measured(start, start + ROWS_AT_A_TIME).square_norm))
        self._program = compile_for(kernel, np.dtype(np.float64), self._backend, *norms)
        self._centres = prepare_for(self._program, kernel, measured, self._backend)

    def _measured(self, start: int, stop: int) -> MeasuredRows:
        values = np.ascontiguousarray(self._rows[start:stop], dtype=np.float64)
        return measure(values, "X", self._backend, self._shape)

    def normal_product(self, vectors: Reals) -> Reals:
        """Return K_nm^T K_nm vectors."""
        return self.sum(lambda block, start: block.T @ (block @ vectors), vectors.shape[1])

    def transposed_product(self, vectors: Reals) -> Reals:
        """Return K_nm^T vectors."""
        return self.sum(lambda block, start: block.T @ vectors[start : start + len(block)], vectors.shape[1])

    def sum(self, product: Callable[[Reals, int], Reals], n_columns: int, progress: Progress | None = None) -> Reals:
        """Return the sum of what `product` makes of every block of rows and its first row, (n_centres, n_columns).

        In the order of the rows, so that threads do not change the rounding.
        """
        m = len(self._centres)
        n_cached = max(16, min(ROWS_AT_A_TIME, CACHED_NUMBERS // m))
        starts = range(0, len(self._rows), ROWS_AT_A_TIME)
        tiles = [Tile(start, min(start + ROWS_AT_A_TIME, len(self._rows)), 0, m) for start in starts]
        total = np.zeros((m, n_columns))
        waiting: dict[int, Reals] = {}
        lock = threading.Lock()
        following = 0

        def make_fill() -> FillTile:
            cache = np.empty((n_cached, m))

            def fill(tile: Tile) -> None:
                nonlocal total, following
                part = self._part_sum(tile, cache, product, n_columns)
                with lock:
                    waiting[tile.row_start] = part
                    while following in waiting:
                        total += waiting.pop(following)
                        following += ROWS_AT_A_TIME

            return fill

        with single_threaded_blas():
            run_tiles(tiles, make_fill, self._n_threads, progress)
        return total

    def _part_sum(self, tile: Tile, cache: Reals, product: Callable[[Reals, int], Reals], n_columns: int) -> Reals:
        measured = self._measured(tile.row_start, tile.row_stop)
        rows = prepare_for(self._program, self._kernel, measured, self._backend)
        total = np.zeros((len(self._centres), n_columns))
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
            total += product(block, tile.row_start + start)
        return total
