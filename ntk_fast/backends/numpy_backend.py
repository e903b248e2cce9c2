"""The reference backend: the equations on whole tiles, in NumPy. Readable first, yet an honest, vectorised one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import FillTile, GramTask, MultiplyTile, ProductTask, Tile
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.numpy_chords import tile_chords
from ntk_fast.compensated import Reals, square_norms
from ntk_fast.lower.evaluate import evaluate
from ntk_fast.lower.pair_state import pair_of_chord


class NumpyBackend:
    """See the module. Computes in float64 whatever the dtype of the result."""

    name = "numpy"
    instruction_set = None
    uses_blas = True
    seconds_per_layer = 6e-8
    multiplies_with_blas = True

    def square_norms(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        norms, rests = square_norms(values)
        return norms.astype(np.float64, copy=False), rests.astype(np.float64, copy=False)

    def pieces(self, dtype: np.dtype) -> int:
        return 0

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        return np.dtype(np.float64)

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        return 256, 512

    def fill_tile(self, task: GramTask) -> FillTile:
        x, y, program = task.x, task.y or task.x, task.program
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


def store(task: GramTask, tile: Tile, values: Reals) -> None:
    """Write a tile's values; in a symmetric matrix the entries above the diagonal twice, and the exact diagonal."""
    rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
    if task.y is not None:
        task.out[rows, columns] = values
        return
    above = np.arange(tile.row_start, tile.row_stop)[:, None] < np.arange(tile.column_start, tile.column_stop)
    if above.all():
        task.out[rows, columns] = values
        task.out[columns, rows] = values.T
        return
    np.copyto(task.out[rows, columns], values, where=above, casting="same_kind")
    np.copyto(task.out[columns, rows], values.T, where=above.T, casting="same_kind")
    on_both = np.arange(max(tile.row_start, tile.column_start), min(tile.row_stop, tile.column_stop))
    task.out[on_both, on_both] = task.x.diagonal[on_both]
