"""The backend for machines without a C compiler: plain loops, compiled for this processor at first use by Numba.

`numba_tables` looks tables up, `numba_maps` is the activations, `numba_tile` runs a program on a tile, whose dot
products come from BLAS. It shares tables and programs with the compiled backend, and no code.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba.typed import List
from numpy.typing import NDArray

from ntk_fast.backends.base import FillTile, GramTask, MultiplyTile, ProductTask, Tile
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.numba_maps import KINDS
from ntk_fast.backends.numba_tables import PIECES
from ntk_fast.backends.numba_tile import MIX, PRODUCT, PROMOTION, fill
from ntk_fast.backends.numpy_backend import store
from ntk_fast.compensated import square_norms
from ntk_fast.lower.near_pairs import near_pair_thresholds
from ntk_fast.lower.program import PairMap, Program, Table


class _Encoded:
    """A program as the arrays that compiled loops take."""

    def __init__(self, program: Program) -> None:
        self.tables = List()
        self.profile = np.zeros(2)
        if program.profile is not None:
            self._add(program.profile)
            self.profile[:] = program.profile.scale, program.profile.stretch
        else:
            self.tables.append(np.zeros((1, PIECES)))
        fold = [
            (self._add(table), table.scale) for table in (program.fold_value, program.fold_angle) if table is not None
        ]
        sources: list[int] = []
        shares: list[int] = []
        rows = []
        for step in program.instructions:
            start = len(sources)
            sources += step.sources
            shares += step.shares or (0,) * len(step.sources)
            kind = PRODUCT if step.is_product else PROMOTION if step.promotes else MIX
            rows.append((step.destination, step.map, step.bias, step.adds_own, start, len(sources), kind))
        self.instructions = np.array(rows, dtype=np.int64).reshape(-1, 7)
        self.sources, self.shares = (np.array(part, dtype=np.int64) for part in (sources, shares))
        self.codes = np.zeros((len(program.maps), 6), dtype=np.int64)
        self.constants = np.zeros((len(program.maps), 7))
        for index, part in enumerate(program.maps):
            self._encode_map(index, part, fold)

    def _add(self, table: Table) -> int:
        self.tables.append(np.ascontiguousarray(table.coefficients, dtype=np.float64))
        return len(self.tables) - 1

    def _encode_map(self, index: int, part: PairMap, fold: list[tuple[int, float]]) -> None:
        code, constants = self.codes[index], self.constants[index]
        code[:3] = KINDS.index(part.kind), max(0, part.first_parameter), part.parity
        constants[: len(part.constants)] = part.constants
        constants[6], _ = near_pair_thresholds(np.dtype(np.float64))
        if part.kind == "fold":
            code[4:] = [number for number, _ in fold]
            constants[2:4] = [scale for _, scale in fold]
        elif part.table is not None:
            code[3] = part.table.power
            for k, table in enumerate((part.table.value, part.table.derivative)):
                code[4 + k] = self._add(table)
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
        encoded = _encoded(program)
        x_parameters = np.ascontiguousarray(x.parameters.T)

        def fill_one(tile: Tile) -> None:
            rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
            # copies: loops are compiled for one kind of array, and rows are of any
            left, right = (np.array(part, np.float64, order="C") for part in (x.values[rows], y.values[columns]))
            dots = left @ right.T
            values = np.empty_like(dots)
            _fill(program, encoded, dots, left, right, x, y, rows, columns, x_parameters, values)
            store(task, tile, values)

        return fill_one

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        return multiply_with_blas(self, task)


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
    x_parameters: Any,
    values: Any,
) -> None:
    fill(
        dots,
        left,
        right,
        x.inverse_norm[rows],
        y.inverse_norm[columns],
        x.scale[rows],
        y.scale[columns],
        x_parameters[rows],
        np.ascontiguousarray(y.parameters[:, columns]),
        program.near,
        program.has_tangent,
        encoded.profile,
        encoded.instructions,
        encoded.sources,
        encoded.shares,
        encoded.codes,
        encoded.constants,
        encoded.tables,
        program.n_registers,
        values,
    )


@lru_cache(maxsize=1)
def _compile() -> None:
    """Compile the tile loop: some seconds, or some milliseconds from Numba's cache."""
    from ntk_fast.rows import Rows

    program = Program((), (), 1, 0, True, None, None, None, 0.0, 0.0, cost=0, counts=(), tabulated=frozenset())
    one = np.ones(1)
    dots = np.ones((1, 1))
    rows = Rows(dots, one, one, one, one, np.zeros((0, 1)))
    whole = slice(0, 1)
    _fill(program, _Encoded(program), dots, dots, dots, rows, rows, whole, whole, np.zeros((1, 0)), dots.copy())
