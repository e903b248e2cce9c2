"""Tiles of a float32 matrix computed in float64: for programs in which float32 would lose digits (`narrowing`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ntk_fast.backends.base import Backend, GramTask
from ntk_fast.backends.numpy_backend import store
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.tiling import FillTile, Tile


def fill_narrowed(backend: Backend, task: GramTask) -> FillTile:
    """Return a function that computes a tile as a matrix of its own, in the program's dtype, and stores it in `out`."""
    x, y = task.x, task.x if task.y is None else task.y
    dtype = task.program.dtype
    _, width = backend.block_shape(x.values.shape[1], dtype, task.program.n_parameters)

    def part(rows: Rows, start: int, stop: int) -> Rows:
        some = rows.part(slice(start, stop))
        return replace(some, values=some.values.astype(dtype))

    def fill(tile: Tile) -> None:
        rows = part(x, tile.row_start, tile.row_stop)
        for start in range(tile.column_start, tile.column_stop, width):
            stop = min(start + width, tile.column_stop)
            block = np.empty((len(rows), stop - start), dtype=dtype)
            inner = GramTask(task.program, rows, part(y, start, stop), block)
            backend.fill_tile(inner)(Tile(0, len(rows), 0, stop - start))
            with np.errstate(under="ignore"):
                store(task, Tile(tile.row_start, tile.row_stop, start, stop), block)

    return fill
