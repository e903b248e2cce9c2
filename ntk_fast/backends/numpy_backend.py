"""The reference backend: the equations on whole tiles, in NumPy. Readable first, yet an honest, vectorised one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import FillTile, GramTask, MultiplyTile, ProductTask, Tile
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.compensated import Reals, square_norms, two_product
from ntk_fast.lower.evaluate import PlacedMap, evaluate
from ntk_fast.lower.pair_state import pair_of_chord
from ntk_fast.lower.tables import Truths
from ntk_fast.rows import Rows

#: Nearly parallel pairs are gathered this many numbers at a time.
GATHERED_NUMBERS = 1 << 18


def square_chords_of_rows(x: Reals, y: Reals, a: Reals, b: Reals, opposite: Truths) -> Reals:
    """Squared chords of pairs of rows (inverse norms a, b) to full relative accuracy, exactly 0 for parallel rows.

    With w = x/|x| +- y/|y| and k its largest component, m = y_k x - x_k y is 0 at k, and the area
    |m ^ w| = |w_k| |x ^ y| loses nothing: each component of m is a difference of two products, taken with their
    rounding errors.
    """
    w = x * a[:, None] + y * np.where(opposite, -b, b)[:, None]
    k = np.abs(w).argmax(axis=1)[:, None]
    w_k, x_k, y_k = (np.take_along_axis(rows, k, axis=1) for rows in (w, x, y))
    (first, first_rest), (second, second_rest) = two_product(x, y_k), two_product(x_k, y)
    m = ((first - second) + (first_rest - second_rest)) * (a * b)[:, None]
    area = np.maximum((m * m).sum(axis=1) * (w * w).sum(axis=1) - (m * w).sum(axis=1) ** 2, 0)
    square_sine = np.minimum(area / w_k[:, 0] ** 2, 1)
    return square_sine / (2 + 2 * np.sqrt(1 - square_sine))


def tile_chords(near: float, x: Rows, y: Rows, rows: slice, columns: slice) -> tuple[Reals, Truths]:
    """Return the chords of a tile's pairs and which are opposite; squares below `near` are from the rows themselves."""
    x_values, y_values = x.values[rows].astype(np.float64), y.values[columns].astype(np.float64)
    cosine = (x_values @ y_values.T) * (x.inverse_norm[rows, None] * y.inverse_norm[columns])
    opposite = cosine < 0
    square = np.maximum(0.5 - 0.5 * np.abs(cosine), 0)
    near_i, near_j = np.nonzero(square < near)
    step = max(1, GATHERED_NUMBERS // x_values.shape[1])
    for k in range(0, len(near_i), step):
        i, j = near_i[k : k + step], near_j[k : k + step]
        a, b = x.inverse_norm[rows][i], y.inverse_norm[columns][j]
        square[i, j] = square_chords_of_rows(x_values[i], y_values[j], a, b, opposite[i, j])
    return np.sqrt(square), opposite


class NumpyBackend:
    """See the module. Computes in float64 whatever the dtype of the result."""

    name = "numpy"
    instruction_set = None
    uses_blas = True
    seconds_per_layer = 6e-8
    multiplies_with_blas = True

    def square_norms(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        return square_norms(values)[0].astype(np.float64, copy=False)

    def pieces(self, dtype: np.dtype) -> int:
        return 0

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        return np.dtype(np.float64)

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        return 256, 512

    def fill_tile(self, task: GramTask) -> FillTile:
        x, y, program = task.x, task.y or task.x, task.program
        maps = [PlacedMap(part.activation, part.first_parameter, part.n_parameters) for part in program.maps]

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
