"""The backend for machines without a C compiler: plain loops, compiled for this processor at first use by Numba.

It shares programs with C, and no code.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import GramTask, MultiplyTile, ProductTask
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.left_to_numpy import fill_in_numpy
from ntk_fast.backends.numpy_backend import NumpyBackend, store
from ntk_fast.backends.plain_loops.encoding import EncodedProgram
from ntk_fast.backends.plain_loops.images import (
    SECONDS_PER_TERM,
    ImageRows,
    fill_images,
    image_block,
    rows_at_a_time,
)
from ntk_fast.backends.plain_loops.state import N_STATES, RUN
from ntk_fast.backends.plain_loops.tables import PIECES
from ntk_fast.backends.plain_loops.tile import dot_products, fill, transpose
from ntk_fast.compensated import square_norms
from ntk_fast.lower.program import Program
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.tiling import FillTile, Tile

#: For maps that these loops do not have.
REFERENCE = NumpyBackend()


@lru_cache(maxsize=64)
def _encoded(program: Program) -> EncodedProgram:
    return EncodedProgram(program)


class NumbaBackend:
    """See the module. Computes in float64 whatever the dtype of the result: one compilation serves both."""

    name = "numba"
    instruction_set = None
    uses_blas = True
    seconds_per_layer = 2e-9
    multiplies_with_blas = True
    seconds_per_term = SECONDS_PER_TERM

    def square_norms(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        norms, rests = square_norms(values)
        return norms.astype(np.float64, copy=False), rests.astype(np.float64, copy=False)

    def pieces(self, dtype: np.dtype) -> int:
        return PIECES

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        return np.dtype(np.float64)

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        _compile()  # here, in the calling thread, where an interrupt stops it, and not in the workers
        return 384, 384

    def image_block(self, program: SpatialProgram) -> tuple[int, int]:
        return REFERENCE.image_block(program) if program.n_corners else image_block(program)

    def rows_at_a_time(self, program: SpatialProgram) -> int:
        return REFERENCE.rows_at_a_time(program) if program.n_corners else rows_at_a_time(program)

    def row_executor(self, program: SpatialProgram, values: NDArray[np.floating]) -> ImageRows | None:
        return None if program.n_corners else ImageRows(program, values)

    def fill_tile(self, task: GramTask) -> FillTile:
        program, x, y = task.program, task.x, task.x if task.y is None else task.y
        if program.n_corners:
            return fill_in_numpy(task)
        if isinstance(program, SpatialProgram):
            return fill_images(program, task)
        encoded = _encoded(program)
        x_planes = _planes(x.parameters)
        y_planes = x_planes if y is x else _planes(y.parameters)
        scratch, memory = _scratch(program, y_planes.shape[1]), _Memory()

        def fill_one(tile: Tile) -> None:
            rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
            # copies: loops are compiled for one kind of array, and rows are of any
            left, near_rows = memory.copy("left", x.values[rows]), memory.copy("near", y.values[columns])
            right = memory.take("right", near_rows.shape[::-1])
            transpose(near_rows, right)
            dots = memory.take("dots", (len(left), len(near_rows)))
            # a symmetric matrix needs no more than what is right of its diagonal
            offset = tile.column_start - tile.row_start if task.y is None else len(left)
            dot_products(left, right, dots, offset)
            values = memory.take("values", dots.shape)
            values.fill(0.0)
            planes = x_planes, y_planes
            _fill(program, encoded, dots, left, near_rows, x, y, rows, columns, planes, scratch, values, offset)
            store(task, tile, values, _transposed)

        return fill_one

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        return multiply_with_blas(self, task)


def _transposed(values: NDArray[np.floating]) -> NDArray[np.floating]:
    result = np.empty(values.shape[::-1])
    transpose(np.ascontiguousarray(values), result)
    return result


class _Memory:
    """A worker's arrays, which begin at cache lines; used again tile by tile, as fresh pages cost more than a table."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.float64]] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return an array of a shape, with anything in it; what had the name before is lost."""
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            line = 64 // 8
            buffer = np.empty(size + line)
            start = -buffer.ctypes.data // 8 % line  # vectors across two lines cost twice
            self._kept[name] = buffer[start : start + size]
        return self._kept[name][:size].reshape(shape)

    def copy(self, name: str, values: NDArray[np.floating]) -> NDArray[np.float64]:
        result = self.take(name, values.shape)
        result[...] = values
        return result


def _scratch(program: Program, n_planes: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A worker's registers, state, and planes of columns."""
    shapes = ((program.n_registers, N_STATES * RUN), (N_STATES * RUN,), (n_planes, RUN))
    registers, state, columns = (_Memory().copy("", np.zeros(shape)) for shape in shapes)
    return registers, state, columns


def _planes(parameters: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows' parameters, a one and a zero, (n, n_planes): see `EncodedProgram`."""
    n_planes, n = parameters.shape
    result = np.empty((n, n_planes + 2))
    result[:, :n_planes], result[:, n_planes], result[:, n_planes + 1] = parameters.T, 1.0, 0.0
    return result


def _fill(
    program: Program,
    encoded: EncodedProgram,
    dots: Any,
    left: Any,
    right: Any,
    x: Any,
    y: Any,
    rows: slice,
    columns: slice,
    planes: Any,
    scratch: Any,
    values: Any,
    offset: int,
) -> None:
    x_planes, y_planes = planes
    registers, state, column_planes = scratch
    fill(
        dots,
        left,
        right,
        x.inverse_norm[rows],
        y.inverse_norm[columns],
        x.scale[rows],
        y.scale[columns],
        x_planes[rows],
        y_planes[columns],
        program.near,
        program.has_tangent,
        program.keeps_m_rest,
        encoded.profile,
        encoded.profile_terms,
        encoded.instructions,
        encoded.sources,
        encoded.shares,
        encoded.codes,
        encoded.constants,
        encoded.tables,
        registers,
        state,
        column_planes,
        values,
        offset,
    )


@lru_cache(maxsize=1)
def _compile() -> None:
    """Compile the tile loop: some seconds, or some milliseconds from Numba's cache."""
    program = Program(
        (), (), 1, 0, True, None, 0.0, 0.0, np.dtype(np.float64), cost=0, counts=(), tabulated=frozenset()
    )
    one = np.ones(1)
    dots = np.ones((1, 1))
    dot_products(dots, dots, dots.copy(), 1)
    transpose(dots, dots.copy())
    rows = Rows(dots, one, one, one, one, np.zeros((0, 1)))
    whole = slice(0, 1)
    planes = _planes(rows.parameters)
    _fill(
        program,
        EncodedProgram(program),
        dots,
        dots,
        dots,
        rows,
        rows,
        whole,
        whole,
        (planes, planes),
        _scratch(program, 2),
        dots.copy(),
        1,
    )
