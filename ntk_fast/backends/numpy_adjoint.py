"""The derivatives of a tile in reverse mode, in NumPy: see `adjoint`."""

from __future__ import annotations

import numpy as np

from ntk_fast.backends.base import AdjointTask, DifferentiateTile, Tile
from ntk_fast.backends.numpy_chords import tile_chords
from ntk_fast.compensated import Reals
from ntk_fast.duals import PiecewiseLinear, complement, slope_complement
from ntk_fast.tiling import make_tiles

#: Rows and columns at a time: a dozen such arrays a layer stay in a 2 MB cache.
BLOCK_ROWS, BLOCK_COLUMNS = 64, 128


def differentiate_in_numpy(task: AdjointTask) -> DifferentiateTile:
    """Return the function that `Backend.differentiate_tile` asks for."""

    def differentiate(tile: Tile, row_sums: Reals, column_sums: Reals) -> None:
        row_sums[:] = column_sums[:] = 0
        n_rows, n_columns = tile.row_stop - tile.row_start, tile.column_stop - tile.column_start
        for part in make_tiles(n_rows, n_columns, symmetric=False, block_rows=BLOCK_ROWS, block_columns=BLOCK_COLUMNS):
            rows, columns = slice(part.row_start, part.row_stop), slice(part.column_start, part.column_stop)
            of_rows, of_columns = _sums(
                task,
                slice(tile.row_start + rows.start, tile.row_start + rows.stop),
                slice(tile.column_start + columns.start, tile.column_start + columns.stop),
            )
            row_sums[:, rows] += of_rows
            column_sums[:, columns] += of_columns

    return differentiate


def _sums(task: AdjointTask, rows: slice, columns: slice) -> tuple[Reals, Reals]:
    """Return the derivatives with respect to some rows and some columns."""
    recursion, x, y = task.recursion, task.x, task.x if task.y is None else task.y
    dual = recursion.dual
    assert isinstance(dual, PiecewiseLinear)
    chord, opposite = tile_chords(recursion, x, y, rows, columns)
    weights = task.weights[rows, columns] * (x.scale[rows, None] * y.scale[columns])
    if task.y is None:  # an entry above the diagonal stands for its mirror image too
        weights *= 1.0 + np.sign(np.arange(columns.start, columns.stop) - np.arange(rows.start, rows.stop)[:, None])
    kept = []
    square = 2 * chord * chord
    decrease, slope = np.where(opposite, 2 - square, square), np.zeros_like(chord)
    theta = inverse_sine = np.zeros_like(chord)
    for layer in range(recursion.depth + 1):
        if layer:
            decrease = complement(dual, chord, opposite)
            slope = 1 - slope_complement(dual, chord, opposite)
            sine = 2 * chord * np.sqrt(1 - chord * chord)
            inverse_sine = np.where(sine > 0, 1 / np.where(sine > 0, sine, 1.0), 0.0)
        rho_x, tau_x = x.rho[layer, rows, None], x.tau[layer, rows, None]
        rho_y, tau_y = y.rho[layer, columns], y.tau[layer, columns]
        rho, tau = rho_x * rho_y, tau_x * tau_y
        kept.append((decrease, slope, theta, inverse_sine))
        delta = rho * decrease + (tau_x * rho_y - rho_x * tau_y) ** 2 / (1 + tau + rho)
        from_opposite = 2 - delta
        if layer == 0:
            divisor = np.maximum(1 - tau + rho, 1)
            from_opposite = rho * square + (rho_x * tau_y + tau_x * rho_y) ** 2 / divisor
        theta = 1 - delta + (rho * slope * theta if recursion.has_tangent else 0.0)
        opposite = delta > 1
        chord = np.sqrt(np.maximum(np.where(opposite, from_opposite, delta) / 2, 0))
    n_sums = recursion.depth + 2
    of_rows, of_columns = np.empty((n_sums, len(weights))), np.empty((n_sums, weights.shape[1]))
    by_scale = weights * theta
    of_rows[-1], of_columns[-1] = by_scale.sum(axis=1), by_scale.sum(axis=0)
    by_theta, by_delta = weights, np.zeros_like(weights)
    for layer in range(recursion.depth, -1, -1):
        decrease, slope, theta, inverse_sine = kept[layer]
        rho_x, tau_x = x.rho[layer, rows, None], x.tau[layer, rows, None]
        rho_y, tau_y = y.rho[layer, columns], y.tau[layer, columns]
        rho, sine_between = rho_x * rho_y, tau_x * rho_y - rho_x * tau_y
        total = by_delta - by_theta
        through = by_theta * theta if recursion.has_tangent else np.zeros_like(theta)
        by_rho = total * decrease + through * slope
        turned = total * sine_between
        of_rows[layer] = (turned - tau_x * rho_y * by_rho).sum(axis=1)
        of_columns[layer] = -(turned + rho_x * tau_y * by_rho).sum(axis=0)
        by_delta = total * rho * slope - through * rho * (dual.slope_offset / np.pi) * inverse_sine
        by_theta = by_theta * rho * slope if recursion.has_tangent else np.zeros_like(theta)
    return of_rows, of_columns
