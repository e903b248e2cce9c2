"""Products of tiles for a backend that only fills them: a tile into scratch memory, then BLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend, GramTask, MultiplyTile, ProductTask
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.schedule.tiling import Tile

#: Returns the entries of a tile, above and below the diagonal; the memory may be used again for the next one.
Entries = Callable[[Tile], NDArray[np.floating]]


def multiply_with_blas(backend: Backend, task: ProductTask) -> MultiplyTile:
    """Return a function that computes a tile's entries and multiplies them; see `Backend.multiply_tile`."""
    entries = (_of_images if isinstance(task.program, SpatialProgram) else _of_rows)(backend, task)

    def multiply(tile: Tile, row_sums: NDArray[np.floating], column_sums: NDArray[np.floating]) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        block = entries(tile)
        if task.y is None:
            if tile.column_start < tile.row_stop:
                below = np.arange(rows.start, rows.stop)[:, None] >= np.arange(columns.start, columns.stop)
                np.copyto(block, 0, where=below)
            column_sums += task.vectors[:, rows] @ block
        row_sums += task.vectors[:, columns] @ block.T

    return multiply


def _of_rows(backend: Backend, task: ProductTask) -> Entries:
    """A tile as a matrix of its own."""
    x, y = task.x, task.x if task.y is None else task.y
    scratch = np.empty(0, dtype=task.dtype)

    def entries(tile: Tile) -> NDArray[np.floating]:
        nonlocal scratch
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        shape = (tile.row_stop - tile.row_start, tile.column_stop - tile.column_start)
        if scratch.size < tile.n_entries:
            scratch = np.empty(tile.n_entries, dtype=task.dtype)
        block = scratch[: tile.n_entries].reshape(shape)
        fill = backend.fill_tile(GramTask(task.program, x.part(rows), y.part(columns), block))
        fill(Tile(0, shape[0], 0, shape[1]))
        return block

    return entries


class _LastTile:
    """Stands for a matrix of which only the tile stored last is there."""

    values: NDArray[np.floating]

    def __setitem__(self, where: Any, values: NDArray[np.floating]) -> None:
        self.values = values


def _of_images(backend: Backend, task: ProductTask) -> Entries:
    """One function for all tiles, as it has megabytes of memory of its own."""
    last: Any = _LastTile()
    fill = backend.fill_tile(GramTask(task.program, task.x, task.x if task.y is None else task.y, last))

    def entries(tile: Tile) -> NDArray[np.floating]:
        fill(tile)
        return last.values.astype(task.dtype, copy=False)

    return entries
