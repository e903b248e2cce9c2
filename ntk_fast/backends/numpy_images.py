"""Tiles of images in NumPy: one image against several at a time, each pair of positions as the equations have it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import GramTask
from ntk_fast.compensated import Reals
from ntk_fast.layers.pair_state import cosine_of
from ntk_fast.lower.evaluate import State
from ntk_fast.lower.near_images import LARGEST_LOSS, near_state
from ntk_fast.lower.spatial_evaluate import Evaluation, Side
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.tiling import Tile, stop_if_asked

#: Numbers of one part of a node's state that are computed at a time; a dozen such arrays are needed.
NUMBERS_AT_A_TIME = 1 << 19
#: Images of y at a time: more are no faster.
MOST_IMAGES = 64
#: About what a term of an entry costs, and what a tile may take.
SECONDS_PER_TERM, LONGEST_TILE = 5e-8, 0.5


def image_block(program: SpatialProgram) -> tuple[int, int]:
    """Return how many images of x and of y a tile has."""
    seconds = SECONDS_PER_TERM * program.cost
    return 1, max(1, min(MOST_IMAGES, NUMBERS_AT_A_TIME // program.pairs.largest, int(LONGEST_TILE / seconds)))


def rows_at_a_time(program: SpatialProgram) -> int:
    """Return how many images are prepared together."""
    return max(1, 2 * NUMBERS_AT_A_TIME // program.row_pairs.largest)


def side(rows: Rows, some: slice | NDArray[np.integer]) -> Side:
    """Return some prepared images as evaluations take them."""
    return Side(*(part.astype(np.float64, copy=False) for part in (rows.values[some], rows.parameters[:, some])))


def without_losses(
    program: SpatialProgram, x: Rows, y: Rows, row: int, columns: slice, values: Reals, lost: Reals
) -> None:
    """Compute again those of an image's `values` with some others, before scales, that pools have taken digits from.

    `lost`: of each, as `Evaluation.lost`. Images that are the same have lost nothing.
    """
    is_near = lost > LARGEST_LOSS[program.dtype]
    if not is_near.any():
        return
    near = np.flatnonzero(is_near & (y.values[columns] != x.values[row]).any(axis=1))
    at_a_time = max(1, NUMBERS_AT_A_TIME // program.pairs.largest)
    for start in range(0, len(near), at_a_time):
        some = near[start : start + at_a_time]
        others = np.arange(columns.start, columns.stop)[some]
        state = near_state(program, side(x, slice(row, row + 1)), side(y, others), stop_if_asked)
        values[some] = _values_of(program, state)


def _values_of(program: SpatialProgram, state: State) -> Reals:
    return np.asarray(state.tangent[0] + state.rest[0] if program.has_tangent else cosine_of(state.m[0], state.p[0]))


def evaluate_images(program: SpatialProgram, x: Rows, y: Rows, row: int, columns: slice) -> Reals:
    """Return the kernel of one image with some others."""
    left, right = side(x, slice(row, row + 1)), side(y, columns)
    run = Evaluation(program, program.pairs, left, right, stop_if_asked)
    values = _values_of(program, run.run())
    without_losses(program, x, y, row, columns, values, run.lost)
    return values * (x.scale[row] * y.scale[columns])


def fill_images(program: SpatialProgram, task: GramTask, tile: Tile) -> NDArray[np.float64]:
    """Return the values of a tile; in a symmetric matrix zeros where the other half is."""
    x, y = task.x, task.y or task.x
    values = np.zeros((tile.row_stop - tile.row_start, tile.column_stop - tile.column_start))
    for row in range(tile.row_start, tile.row_stop):
        first = tile.column_start if task.y is not None else max(tile.column_start, row + 1)
        if first < tile.column_stop:
            part = evaluate_images(program, x, y, row, slice(first, tile.column_stop))
            values[row - tile.row_start, first - tile.column_start :] = part
    return values
