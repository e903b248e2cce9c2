"""Derivatives of entries by each parameter, tile by tile: forward mode, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.numpy_backend import NumpyBackend
from ntk_fast.backends.numpy_chords import tile_chords
from ntk_fast.caller import on_trial
from ntk_fast.compensated import Reals
from ntk_fast.derivatives.log_parameters import LogParameters
from ntk_fast.gram import prepare
from ntk_fast.layers.pair_state import pair_of_chord
from ntk_fast.lower.accuracy import row_tolerance
from ntk_fast.lower.differentiate import MovedRows, differentiate
from ntk_fast.lower.program import PlacedMap, Program
from ntk_fast.lower.row_derivatives import WEIGHTS, row_derivatives, step_for
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.rows.prepared import Rows
from ntk_fast.rows.preparing import measure
from ntk_fast.schedule.threads import choose_n_threads, single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Progress, Tile, make_tiles, run_tiles

#: Rows and columns of a tile: some twenty such arrays stay in a 2 MB cache.
BLOCK_ROWS, BLOCK_COLUMNS = 64, 128


def run_forward(
    parameters: LogParameters,
    x_values: Reals,
    y_values: Reals | None,
    use: Callable[[Tile, Reals, bool], None],
    n_threads: int | None,
    progress: Progress | None = None,
) -> list[Tile]:
    """Compute the derivatives tile by tile, on several threads, and hand them to `use`."""
    x, y, program = prepare(parameters.kernel, x_values, y_values, NumpyBackend())
    assert isinstance(program, Program)
    maps = [part.placed for part in program.maps]
    x_moved, x_scale = _moved(parameters, x, x_values, "X", maps)
    other, y_moved, y_scale = x, x_moved, x_scale
    if y is not None and y_values is not None:
        other = y
        y_moved, y_scale = _moved(parameters, y, y_values, "Y", maps)
    tiles = make_tiles(len(x), len(other), symmetric=y is None, block_rows=BLOCK_ROWS, block_columns=BLOCK_COLUMNS)

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        chord, opposite = tile_chords(program.near, x, other, rows, columns)
        m, p = pair_of_chord(chord, opposite)
        value, value_dot = differentiate(
            program.instructions, maps, m, p, _cut(x_moved, rows, 0), _cut(y_moved, columns, 1), program.has_tangent
        )
        log_scale_dot = x_scale[:, rows, None] + y_scale[:, None, columns]
        use(tile, x.scale[rows, None] * other.scale[columns] * (log_scale_dot * value + value_dot), y is None)

    def make_fill() -> FillTile:
        return fill

    with single_threaded_blas():
        run_tiles(tiles, make_fill, choose_n_threads(n_threads), progress)
    return tiles


def diagonal_derivatives(parameters: LogParameters, values: Reals) -> Reals:
    """Return the derivatives of K(x, x) of checked rows, (n_parameters, n)."""
    x, _, program = prepare(parameters.kernel, values, None, NumpyBackend())
    assert isinstance(program, Program)
    maps = [part.placed for part in program.maps]
    moved, log_scale = _moved(parameters, x, values, "X", maps)
    same = np.zeros(len(x)), np.full(len(x), 2.0)
    value, value_dot = differentiate(program.instructions, maps, *same, moved, moved, program.has_tangent)
    return x.scale**2 * (2 * log_scale * value + value_dot)


def offsets(tile: Tile) -> NDArray[np.intp]:
    """Column minus row of each entry."""
    return np.arange(tile.column_start, tile.column_stop) - np.arange(tile.row_start, tile.row_stop)[:, None]


def _moved(
    parameters: LogParameters, rows: Rows, values: Reals, name: str, maps: Sequence[PlacedMap]
) -> tuple[MovedRows, Reals]:
    """Return how rows move, and the derivatives of the logarithms of their scales."""
    plan = parameters.kernel.plan
    own = RowParameters(plan, measure(values, name, NumpyBackend()).square_norm)
    derivatives = row_derivatives(plan, own, parameters.directions)
    tolerance = row_tolerance(np.dtype(np.float64))
    shifted: list[dict[int, Reals] | None] = []
    steps: list[Reals | None] = []
    for index, slot in enumerate(own.instructions.maps):
        activation = slot.step.activation
        if activation.homogeneity is not None:
            shifted.append(None)
            steps.append(None)
            continue
        variance, count = own.variance(index), maps[index].count
        step, several = step_for(variance), {}
        with on_trial():
            for k in WEIGHTS:
                moved = activation.row_parameters(variance * np.exp(k * step), tolerance, count)[:count]
                several[k] = np.concatenate([moved, np.zeros((count - len(moved), len(variance)))])
        shifted.append(several)
        steps.append(step)
    moved_rows = MovedRows(rows.parameters, derivatives.shares, derivatives.log_variance, shifted, steps)
    return moved_rows, derivatives.log_scale


def _cut(moved: MovedRows, part: slice, axis: int) -> MovedRows:
    """Return some rows, along the first or the last axis of a tile."""
    where = (part, None) if axis == 0 else (None, part)
    shifted = [
        None if several is None else {k: values[(slice(None), *where)] for k, values in several.items()}
        for several in moved.shifted
    ]
    return MovedRows(
        moved.parameters[(slice(None), *where)],
        moved.shares_dot[(slice(None), slice(None), *where)],
        moved.log_variance_dot[(slice(None), slice(None), *where)],
        shifted,
        [None if step is None else step[where] for step in moved.steps],
    )
