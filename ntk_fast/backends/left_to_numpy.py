"""Tiles in NumPy for compiled backends: of programs with a map that they do not have, of corners away from 0."""

from __future__ import annotations

from ntk_fast.backends.base import GramTask
from ntk_fast.backends.numpy_backend import NumpyBackend
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.schedule.threads import single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Tile

#: Rows and columns at a time: a dozen arrays of such pairs stay in a second-level cache.
ROWS, COLUMNS = 32, 256


def fill_in_numpy(task: GramTask) -> FillTile:
    """Return a function that fills a tile by smaller ones, in the reference backend."""
    fill = NumpyBackend().fill_tile(task)
    if isinstance(task.program, SpatialProgram):
        return fill

    def fill_by_parts(tile: Tile) -> None:
        with single_threaded_blas():
            for row in range(tile.row_start, tile.row_stop, ROWS):
                row_stop = min(row + ROWS, tile.row_stop)
                for column in range(tile.column_start, tile.column_stop, COLUMNS):
                    column_stop = min(column + COLUMNS, tile.column_stop)
                    if task.y is not None or row < column_stop:
                        fill(Tile(row, row_stop, column, column_stop))

    return fill_by_parts
