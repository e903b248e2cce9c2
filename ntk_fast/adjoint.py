"""Derivatives of one number, ``sum(weights * K)``, by all that a program takes from rows: reverse mode.

Whatever number of variances there is to differentiate by, one pass over the pairs sums, for each row, the derivatives
with respect to its shares and to the logarithm of its scale (csrc/adjoint.h).
"""

from __future__ import annotations

import numpy as np

from ntk_fast.backends.base import SUM_PADDING, AdjointTask, Backend, Differentiator, FillTile, Tile
from ntk_fast.compensated import Reals
from ntk_fast.gram import choose_tiles
from ntk_fast.lower.program import Program
from ntk_fast.rows import Rows
from ntk_fast.tiling import Progress, run_tiles


def row_adjoints(
    program: Program,
    x: Rows,
    y: Rows | None,
    weights: Reals,
    backend: Backend,
    n_threads: int,
    progress: Progress | None = None,
) -> tuple[Reals, Reals]:
    """Return the derivatives with respect to each row of X and of Y, (n_parameters + 1, n) and (n_parameters + 1, m).

    `program` is `reversible`, and the last derivative is by the logarithm of the scale. Without Y they are those of the
    symmetric matrix of X, in two parts to be added; `weights` is symmetric then.
    """
    assert isinstance(backend, Differentiator)
    task = AdjointTask(program, x, y, np.ascontiguousarray(weights, dtype=np.float64))
    tiles = choose_tiles(task, backend)
    n_sums = program.n_parameters + 1
    parts: dict[Tile, tuple[Reals, Reals]] = {}

    def make_fill() -> FillTile:
        differentiate = backend.differentiate_tile(task)

        def fill(tile: Tile) -> None:
            row_sums = np.zeros((n_sums, tile.row_stop - tile.row_start))
            column_sums = np.zeros((n_sums, tile.column_stop - tile.column_start + SUM_PADDING))
            differentiate(tile, row_sums, column_sums)
            parts[tile] = row_sums, column_sums

        return fill

    run_tiles(tiles, make_fill, n_threads, progress)
    of_x, of_y = (np.zeros((n_sums, n)) for n in task.shape)
    for tile in tiles:  # in one order, whichever thread was first
        row_sums, column_sums = parts[tile]
        of_x[:, tile.row_start : tile.row_stop] += row_sums
        of_y[:, tile.column_start : tile.column_stop] += column_sums[:, :-SUM_PADDING]
    return of_x, of_y
