"""Derivatives of one number, ``sum(weights * K)``, by all that a kernel of several layers knows of its rows.

Reverse mode: whatever number of variances there is to differentiate by, one pass over the pairs sums, for each row, the
derivatives with respect to its angle t of every layer, rho = cos t and tau = sin t (see `recursion`), and with respect
to the logarithm of its scale. With m = 1 - kappa, s = kappa' and r = rho_x rho_y of the layers,

    delta_l = r m_l + 1 - cos(t_x - t_y)          d m_l / d delta_(l-1) = s_l
    theta_l = r s_l theta_(l-1) + 1 - delta_l     d s_l / d delta_(l-1) = -(slope_offset / pi) / sin(angle)

In C where that is present (csrc/adjoint.h), else in NumPy (`backends.numpy_adjoint`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import AdjointTask, FillTile, Tile
from ntk_fast.compensated import Reals
from ntk_fast.gram import choose_tiles
from ntk_fast.profile import Entry, compile_entry
from ntk_fast.recursion import Recursion
from ntk_fast.rows import Rows, prepare_rows
from ntk_fast.threads import choose_n_threads, single_threaded_blas
from ntk_fast.tiling import Progress, run_tiles


def row_adjoints(
    recursion: Recursion,
    X: NDArray[np.floating],
    Y: NDArray[np.floating] | None,
    weights: NDArray[np.floating],
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[Rows, Reals]]:
    """Return the prepared rows X, float64, with their derivatives, (depth + 2, n); and likewise Y if it is given.

    Without Y the matrix is the symmetric one of X, and so must `weights` be.
    """
    backend = choose_backend()
    entry = _entry_with_slope(recursion, backend.pieces(np.dtype(np.float64)))
    x = prepare_rows(X, "X", recursion, entry, backend)
    y = None if Y is None else prepare_rows(Y, "Y", recursion, entry, backend)
    task = AdjointTask(recursion, entry, x, y, np.ascontiguousarray(weights, dtype=np.float64))
    tiles = choose_tiles(task, backend)
    n_sums = recursion.depth + 2
    parts: dict[Tile, tuple[Reals, Reals]] = {}

    def make_fill() -> FillTile:
        differentiate = backend.differentiate_tile(task)

        def fill(tile: Tile) -> None:
            row_sums = np.empty((n_sums, tile.row_stop - tile.row_start))
            column_sums = np.empty((n_sums, tile.column_stop - tile.column_start))
            differentiate(tile, row_sums, column_sums)
            parts[tile] = row_sums, column_sums

        return fill

    with single_threaded_blas():
        run_tiles(tiles, make_fill, choose_n_threads(n_threads), progress)
    of_x, of_y = (np.zeros((n_sums, n)) for n in task.shape)
    for tile in tiles:  # in one order, whichever thread was first
        row_sums, column_sums = parts[tile]
        of_x[:, tile.row_start : tile.row_stop] += row_sums
        of_y[:, tile.column_start : tile.column_stop] += column_sums
    return [(x, of_x + of_y)] if y is None else [(x, of_x), (y, of_y)]


def _entry_with_slope(recursion: Recursion, pieces: int) -> Entry | None:
    """Compile the layers with the table of the slope, which the derivative of an angle is, for an NNGP too."""
    if not pieces:
        return None
    entry = compile_entry(replace(recursion, has_tangent=True), pieces, np.dtype(np.float64))
    return replace(entry, has_tangent=recursion.has_tangent)
