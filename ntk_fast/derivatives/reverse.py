"""Derivatives of one number, ``sum(weights * K)``, by all that a program takes from rows: reverse mode.

Whatever number of variances there is to differentiate by, one pass over the pairs sums, for each row, the derivatives
with respect to its shares and to the logarithm of its scale (csrc/adjoint.h).
"""

from __future__ import annotations

import numpy as np

from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import SUM_PADDING, AdjointTask, Backend, Differentiator
from ntk_fast.compensated import Reals
from ntk_fast.derivatives.log_parameters import LogParameters
from ntk_fast.gram import choose_tiles
from ntk_fast.lower.compile import compile_program
from ntk_fast.lower.program import Program
from ntk_fast.lower.reversible import reversible
from ntk_fast.lower.row_derivatives import row_derivatives
from ntk_fast.lower.row_parameters import RowParameters, norm_range
from ntk_fast.rows.prepared import Rows
from ntk_fast.rows.preparing import measure, prepare_rows
from ntk_fast.schedule.threads import choose_n_threads
from ntk_fast.schedule.tiling import FillTile, Progress, Tile, run_tiles
from ntk_fast.validation import refuse_overflow


def contracted_in_reverse(
    parameters: LogParameters,
    x_values: Reals,
    y_values: Reals | None,
    weights: Reals,
    n_threads: int | None,
    progress: Progress | None,
) -> Reals | None:
    """Return ``sum(weights * derivative)`` for each parameter, of checked rows; None where that is not compiled."""
    kernel, backend, dtype = parameters.kernel, choose_backend(), np.dtype(np.float64)
    if not isinstance(backend, Differentiator):
        return None
    given = [(x_values, "X"), *([] if y_values is None else [(y_values, "Y")])]
    measured = [measure(values, name, backend) for values, name in given]
    norms = norm_range(*(part.square_norm for part in measured))
    arguments = kernel.plan, kernel.has_tangent, dtype, backend.pieces(dtype), norms
    compiled = compile_program(*arguments)  # known already where the matrix has just been computed
    program = reversible(compiled if compiled.profile is None else compile_program(*arguments, as_profile=False))
    if program is None:
        return None
    own = [RowParameters(kernel.plan, part.square_norm) for part in measured]
    rows = [prepare_rows(part, kernel.plan, program, backend, known) for part, known in zip(measured, own, strict=True)]
    largest = [float(part.root_diagonal.max(initial=0.0)) for part in rows]
    refuse_overflow(largest[0], largest[-1], dtype)
    y = None if y_values is None else rows[-1]
    sums = _row_adjoints(program, rows[0], y, weights, backend, choose_n_threads(n_threads), progress)
    result = np.zeros(len(parameters.groups))
    for known, of_rows in zip(own, [sums[0] + sums[1]] if y is None else sums, strict=True):
        derivatives = row_derivatives(kernel.plan, known, parameters.directions)
        result += np.tensordot(derivatives.shares, of_rows[:-1], axes=2) + derivatives.log_scale @ of_rows[-1]
    return result


def _row_adjoints(
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
