"""Products of tiles for a backend that only fills them: a tile into scratch memory, then BLAS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend, GramTask, MultiplyTile, ProductTask, Tile


def multiply_with_blas(backend: Backend, task: ProductTask) -> MultiplyTile:
    """Return a function that fills a tile as a matrix of its own and multiplies it; see `Backend.multiply_tile`."""
    x, y = task.x, task.x if task.y is None else task.y
    scratch = np.empty(0, dtype=task.dtype)

    def multiply(tile: Tile, row_sums: NDArray[np.floating], column_sums: NDArray[np.floating]) -> None:
        nonlocal scratch
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        shape = (tile.row_stop - tile.row_start, tile.column_stop - tile.column_start)
        if scratch.size < tile.n_entries:
            scratch = np.empty(tile.n_entries, dtype=task.dtype)
        block = scratch[: tile.n_entries].reshape(shape)
        fill = backend.fill_tile(GramTask(task.program, x.part(rows), y.part(columns), block))
        fill(Tile(0, shape[0], 0, shape[1]))
        if task.y is None:
            if tile.column_start < tile.row_stop:
                below = np.arange(rows.start, rows.stop)[:, None] >= np.arange(columns.start, columns.stop)
                np.copyto(block, 0, where=below)
            column_sums += task.vectors[:, rows] @ block
        row_sums += task.vectors[:, columns] @ block.T

    return multiply
