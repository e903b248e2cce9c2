"""The backend for machines without a C compiler: plain loops, compiled for this processor at first use by Numba.

`numba_tables` looks tables up, `numba_maps` is the activations, `numba_tile` runs a program on a tile. It shares tables
and programs with the compiled backend, and no code.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import FillTile, GramTask, MultiplyTile, ProductTask, Tile
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.numba_maps import KINDS
from ntk_fast.backends.numba_state import N_KEPT, N_STATES, RUN
from ntk_fast.backends.numba_tables import PIECES, TERMS
from ntk_fast.backends.numba_tails import FIRST_ROW, ROWS_EACH
from ntk_fast.backends.numba_tile import MIX, PRODUCT, PROMOTION, SUM, dot_products, fill, transpose
from ntk_fast.backends.numpy_backend import store
from ntk_fast.compensated import square_norms
from ntk_fast.lower.near_pairs import near_pair_thresholds
from ntk_fast.lower.program import ABSENT, WHOLE, PairMap, Program, Table, Tail


class _Encoded:
    """A program as the arrays that compiled loops take."""

    def __init__(self, program: Program) -> None:
        self._tables = [np.zeros((TERMS, PIECES))]
        self.profile = np.zeros(2)
        self.profile_terms = np.zeros(2, dtype=np.int64)
        if program.profile is not None:
            self.profile_terms[:] = self._add(program.profile)
            self.profile[:] = program.profile.scale, program.profile.stretch
        fold = [
            (self._add(table), table.scale) for table in (program.fold_value, program.fold_angle) if table is not None
        ]
        # two planes more: of ones, for shares that are WHOLE, and of zeros, for a bias that is ABSENT
        whole, absent = program.n_parameters, program.n_parameters + 1
        sources: list[int] = []
        shares: list[int] = []
        rows = []
        for step in program.instructions:
            start = len(sources)
            sources += step.sources
            shares += [whole if share == WHOLE else share for share in step.shares or (WHOLE,) * len(step.sources)]
            kind = (
                PRODUCT if step.is_product else PROMOTION if step.promotes else MIX if len(step.sources) == 1 else SUM
            )
            bias = absent if step.bias == ABSENT else step.bias
            rows.append((step.destination, step.map, bias, step.adds_own, start, len(sources), kind))
        self.instructions = np.array(rows, dtype=np.int64).reshape(-1, 7)
        self.sources, self.shares = (np.array(part, dtype=np.int64) for part in (sources, shares))
        self.codes = np.zeros((len(program.maps), 8), dtype=np.int64)
        self.constants = np.zeros((len(program.maps), 7))
        for index, part in enumerate(program.maps):
            self._encode_map(index, part, fold)
        self.tables = np.concatenate(self._tables)

    def _add(self, table: Table) -> tuple[int, int]:
        """Append a table to the others; returns where it starts and stops."""
        n_terms = len(table.coefficients)
        padded = np.zeros((-(-n_terms // TERMS) * TERMS, PIECES))
        padded[:n_terms] = table.coefficients
        start = sum(map(len, self._tables))
        self._tables.append(padded)
        return start, start + len(padded)

    def _encode_tail(self, code: Any, constants: Any, tail: Tail) -> None:
        """All its functions in one table, of the same number of terms: see `numba_tails`."""
        most = max(len(table.coefficients) for table in tail.functions)
        n_rows = -(-most // TERMS) * TERMS
        padded = [
            np.pad(table.coefficients, ((0, n_rows - len(table.coefficients)), (0, 0))) for table in tail.functions
        ]
        start, _ = self._add(replace(tail.functions[0], coefficients=np.concatenate(padded)))
        code[FIRST_ROW], code[ROWS_EACH] = start, n_rows
        constants[2:6] = tail.functions[0].scale, tail.largest_square, tail.reach, tail.shift

    def _encode_map(self, index: int, part: PairMap, fold: list[tuple[tuple[int, int], float]]) -> None:
        code, constants = self.codes[index], self.constants[index]
        code[:3] = KINDS.index(part.kind), max(0, part.first_parameter), part.parity
        constants[: len(part.constants)] = part.constants
        constants[6], _ = near_pair_thresholds(np.dtype(np.float64))
        if part.kind == "fold":
            code[4:8] = [end for terms, _ in fold for end in terms]
            constants[2:4] = [scale for _, scale in fold]
        elif part.tail is not None:
            self._encode_tail(code, constants, part.tail)
        elif part.table is not None:
            code[3] = part.table.power
            for k, table in enumerate((part.table.value, part.table.derivative)):
                code[4 + 2 * k : 6 + 2 * k] = self._add(table)
                constants[2 + k], constants[4 + k] = table.scale, table.stretch


@lru_cache(maxsize=64)
def _encoded(program: Program) -> _Encoded:
    return _Encoded(program)


class NumbaBackend:
    """See the module. Computes in float64 whatever the dtype of the result: one compilation serves both."""

    name = "numba"
    instruction_set = None
    uses_blas = True
    seconds_per_layer = 2e-9
    multiplies_with_blas = True

    def square_norms(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        norms, rests = square_norms(values)
        return norms.astype(np.float64, copy=False), rests.astype(np.float64, copy=False)

    def pieces(self, dtype: np.dtype) -> int:
        return PIECES

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        return np.dtype(np.float64)

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        _compile()  # here, in the calling thread, where an interrupt stops it, and not in the workers
        return 256, 512

    def fill_tile(self, task: GramTask) -> FillTile:
        program, x, y = task.program, task.x, task.x if task.y is None else task.y
        assert isinstance(program, Program)
        encoded = _encoded(program)
        x_planes, y_planes = np.ascontiguousarray(_planes(x.parameters).T), _planes(y.parameters)
        scratch = _scratch(program, len(y_planes))

        def fill_one(tile: Tile) -> None:
            rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
            # copies: loops are compiled for one kind of array, and rows are of any
            left, right = _aligned(x.values[rows]), _aligned(y.values[columns].T)
            dots = _aligned_empty((len(left), right.shape[1]))
            dot_products(left, right, dots)
            near_rows = np.array(y.values[columns], np.float64, order="C")
            values = np.empty_like(dots)
            _fill(program, encoded, dots, left, near_rows, x, y, rows, columns, x_planes, y_planes, scratch, values)
            store(task, tile, values, _transposed)

        return fill_one

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        return multiply_with_blas(self, task)


def _transposed(values: NDArray[np.floating]) -> NDArray[np.floating]:
    result = np.empty(values.shape[::-1])
    transpose(np.ascontiguousarray(values), result)
    return result


def _aligned_empty(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array that begins at a cache line: vectors across two lines cost twice."""
    line = 64 // 8
    size = math.prod(shape)
    buffer = np.empty(size + line)
    start = -buffer.ctypes.data // 8 % line
    return buffer[start : start + size].reshape(shape)


def _aligned(values: NDArray[np.floating]) -> NDArray[np.float64]:
    result = _aligned_empty(values.shape)
    result[...] = values
    return result


def _scratch(program: Program, n_planes: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A worker's registers, state, and planes of columns."""
    shapes = ((program.n_registers, N_KEPT * RUN), (N_STATES * RUN,), (n_planes, RUN))
    registers, state, columns = (_aligned(np.zeros(shape)) for shape in shapes)
    return registers, state, columns


def _planes(parameters: NDArray[np.floating]) -> NDArray[np.float64]:
    """The planes of rows' parameters, and one of ones and one of zeros: see `_Encoded`."""
    return np.concatenate((parameters, np.ones((1, parameters.shape[1])), np.zeros((1, parameters.shape[1]))))


def _fill(
    program: Program,
    encoded: _Encoded,
    dots: Any,
    left: Any,
    right: Any,
    x: Any,
    y: Any,
    rows: slice,
    columns: slice,
    x_planes: Any,
    y_planes: Any,
    scratch: Any,
    values: Any,
) -> None:
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
        np.ascontiguousarray(y_planes[:, columns]),
        program.near,
        program.has_tangent,
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
    )


@lru_cache(maxsize=1)
def _compile() -> None:
    """Compile the tile loop: some seconds, or some milliseconds from Numba's cache."""
    from ntk_fast.rows import Rows

    program = Program(
        (), (), 1, 0, True, None, None, None, 0.0, 0.0, np.dtype(np.float64), cost=0, counts=(), tabulated=frozenset()
    )
    one = np.ones(1)
    dots = np.ones((1, 1))
    dot_products(dots, dots, dots.copy())
    transpose(dots, dots.copy())
    rows = Rows(dots, one, one, one, one, np.zeros((0, 1)))
    whole = slice(0, 1)
    planes = _planes(rows.parameters)
    _fill(
        program,
        _Encoded(program),
        dots,
        dots,
        dots,
        rows,
        rows,
        whole,
        whole,
        planes.T.copy(),
        planes,
        _scratch(program, 2),
        dots.copy(),
    )
