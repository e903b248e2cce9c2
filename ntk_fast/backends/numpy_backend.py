"""The reference backend: the equations on whole tiles, in NumPy. Readable first, yet an honest, vectorised one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import GramTask, MultiplyTile, ProductTask
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.numpy_chords import tile_chords
from ntk_fast.backends.numpy_images import SECONDS_PER_TERM, fill_images, image_block, rows_at_a_time
from ntk_fast.compensated import Reals, square_norms
from ntk_fast.layers.pair_state import pair_of_chord
from ntk_fast.lower.evaluate import evaluate
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.schedule.tiling import FillTile, Tile

#: Rows at a time of which the part that crosses the diagonal is told from the part above it.
STRIP = 64


class NumpyBackend:
    """See the module. Computes in float64 whatever the dtype of the result."""

    name = "numpy"
    instruction_set = None
    uses_blas = True
    seconds_per_layer = 6e-8
    multiplies_with_blas = True
    seconds_per_term = SECONDS_PER_TERM

    def square_norms(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        norms, rests = square_norms(values)
        return norms.astype(np.float64, copy=False), rests.astype(np.float64, copy=False)

    def pieces(self, dtype: np.dtype) -> int:
        return 0

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        return np.dtype(np.float64)

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        return 256, 512

    def image_block(self, program: SpatialProgram) -> tuple[int, int]:
        return image_block(program)

    def rows_at_a_time(self, program: SpatialProgram) -> int:
        return rows_at_a_time(program)

    def row_executor(self, program: SpatialProgram, values: NDArray[np.floating]) -> None:
        return None

    def fill_tile(self, task: GramTask) -> FillTile:
        x, y, program = task.x, task.y or task.x, task.program
        if isinstance(program, SpatialProgram):
            images = program
            return lambda tile: store(task, tile, fill_images(images, task, tile))
        maps = [part.placed for part in program.maps]

        def fill(tile: Tile) -> None:
            rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
            chord, opposite = tile_chords(program.near, x, y, rows, columns)
            m, p = pair_of_chord(chord, opposite)
            x_parameters, y_parameters = x.parameters[:, rows, None], y.parameters[:, None, columns]
            values = evaluate(program.instructions, maps, m, p, x_parameters, y_parameters, program.has_tangent)
            values *= x.scale[rows, None] * y.scale[columns]
            store(task, tile, values)

        return fill

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        return multiply_with_blas(self, task)


def store(task: GramTask, tile: Tile, values: Reals, transpose: Callable[[Reals], Reals] = np.transpose) -> None:
    """Write a tile's values; in a symmetric matrix the entries above the diagonal twice, and the exact diagonal."""
    if task.y is not None:
        task.out[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop] = values
        return
    for start in range(tile.row_start, tile.row_stop, STRIP):
        stop = min(start + STRIP, tile.row_stop)
        part = values[start - tile.row_start : stop - tile.row_start]
        beyond = max(stop, tile.column_start)
        if beyond < tile.column_stop:
            above = part[:, beyond - tile.column_start :]
            task.out[start:stop, beyond : tile.column_stop] = above
            task.out[beyond : tile.column_stop, start:stop] = transpose(above)
        first, last = max(start, tile.column_start), min(stop, tile.column_stop)
        if first < last:
            within = part[:, first - tile.column_start : last - tile.column_start]
            is_above = np.arange(start, stop)[:, None] < np.arange(first, last)
            np.copyto(task.out[start:stop, first:last], within, where=is_above, casting="same_kind")
            np.copyto(task.out[first:last, start:stop], within.T, where=is_above.T, casting="same_kind")
    on_both = np.arange(max(tile.row_start, tile.column_start), min(tile.row_stop, tile.column_stop))
    task.out[on_both, on_both] = task.x.diagonal[on_both]
