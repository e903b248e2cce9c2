"""Tiles computed in float64 for a float32 matrix: where float32 itself would lose digits from layer to layer."""

from __future__ import annotations

import numpy as np

from ntk_fast.backends.base import Backend, FillTile, GramTask, Tile
from ntk_fast.backends.numpy_backend import store


def fill_narrowed(backend: Backend, task: GramTask) -> FillTile:
    """Return a function that computes a tile as a matrix of its own, in the rows' dtype, and stores it in `out`."""
    x, y = task.x, task.x if task.y is None else task.y

    def fill(tile: Tile) -> None:
        rows, columns = x.part(slice(tile.row_start, tile.row_stop)), y.part(slice(tile.column_start, tile.column_stop))
        block = np.empty((len(rows), len(columns)), dtype=task.dtype)
        backend.fill_tile(GramTask(task.recursion, task.entry, rows, columns, block))(
            Tile(0, len(rows), 0, len(columns))
        )
        with np.errstate(under="ignore"):
            store(task, tile, block)

    return fill
