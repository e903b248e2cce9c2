"""The backend for machines without a C compiler: the tiles of `numba_tile`, compiled for this processor at first use.

`numba_vectors` is the vocabulary of vectors, `numba_kernels` the inner loops that need it, `numba_tile` the tile loop.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from ntk_fast.backends import numba_tile
from ntk_fast.backends.base import FillTile, GramTask, Tile
from ntk_fast.backends.numba_kernels import STRIP, pieces_of
from ntk_fast.backends.numba_tile import (
    BAND_BYTES,
    FEATURE_BLOCK,
    PANEL_BYTES,
    STRIP_STRIDE,
    UNIT_BYTES,
    Block,
    EntryArguments,
    RowArguments,
    Scratch,
)
from ntk_fast.backends.numba_vectors import CACHE_LINE, VECTOR_BYTES
from ntk_fast.profile import Entry
from ntk_fast.rows import Rows

#: Of packed columns, a block of features: they and a band share 1 MB of second-level cache.
PACKED_BYTES = 384 << 10
#: Of packed columns, all features: what a thread may take.
LARGEST_PACKED_BYTES = 24 << 20
LARGEST_COLUMNS_BYTES = 3840

#: A larger matrix than this does not stay in the caches, so it is stored past them.
STREAMING_BYTES = 16 << 20


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """A flat, read-only view: one type for Numba, whatever the array's own flags are, so one compilation for all."""
    view = array.reshape(-1)
    view.flags.writeable = False
    return view


def _memory_of(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
    """The numbers from the first to the last of some rows, with whatever lies between, and how far apart rows start."""
    row_stride = values.strides[0] // values.itemsize
    n_numbers = (len(values) - 1) * row_stride + values.shape[1] if len(values) else 0
    return np.lib.stride_tricks.as_strided(values, (n_numbers,), (values.itemsize,), writeable=False), row_stride


def _aligned(size: int, dtype: np.dtype) -> NDArray[Any]:
    memory = np.empty(size * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size * dtype.itemsize].view(dtype)


def _entry_arguments(entry: Entry) -> EntryArguments:
    return EntryArguments(
        n_layers=entry.n_layers,
        chord_power=entry.chord_power,
        opposite_offset=entry.opposite_offset,
        has_tangent=entry.has_tangent,
        value=_flat(entry.value),
        value_terms=len(entry.value),
        slope=_flat(entry.slope),
        slope_terms=len(entry.slope),
        position=_flat(np.array([entry.scale, entry.stretch], dtype=entry.value.dtype)),
        near=entry.near,
        near_exact=entry.near_exact,
    )


def _row_arguments(rows: Rows) -> RowArguments:
    values, row_stride = _memory_of(rows.values)
    return RowArguments(
        n_rows=len(rows),
        values=values,
        row_stride=row_stride,
        inverse_norm=_flat(rows.inverse_norm),
        scale=_flat(rows.scale),
        rho=_flat(rows.rho),
        tau=_flat(rows.tau),
        diagonal=_flat(rows.diagonal),
    )


def _scratch(columns: int, n_features: int, n_layers: int, dtype: np.dtype) -> Scratch:
    unit, panel, band, lanes = (size // dtype.itemsize for size in (UNIT_BYTES, PANEL_BYTES, BAND_BYTES, VECTOR_BYTES))
    columns = -(-columns // unit) * unit
    layers = n_layers + 1 if n_layers else 0
    return Scratch(
        columns=columns,
        packed=_aligned(columns * n_features, dtype),
        strip=_aligned(STRIP * STRIP_STRIDE, dtype),
        band=_aligned(band * columns, dtype),
        turned=_aligned(lanes * band, dtype),
        near=_aligned(3 * panel, dtype),
        squares=_aligned(columns, dtype),
        values=_aligned(columns, dtype),
        slopes=_aligned(columns, dtype),
        theta=_aligned(columns, dtype),
        inverse_norm=_aligned(columns, dtype),
        scale=_aligned(columns, np.dtype(np.float64)),
        rho=_aligned(layers * columns, dtype),
        tau=_aligned(layers * columns, dtype),
    )


def _block(task: GramTask, n_layers: int, tile: Tile) -> Block:
    return Block(
        n_features=task.x.values.shape[1],
        n_layers=n_layers,
        row_start=tile.row_start,
        row_stop=tile.row_stop,
        column_start=tile.column_start,
        column_stop=tile.column_stop,
        is_symmetric=task.y is None,
        out=task.out.ctypes.data,
        row_step=task.out.strides[0],
        column_step=task.out.strides[1],
        is_streamed=task.out.nbytes > STREAMING_BYTES,
    )


@lru_cache(maxsize=None)
def _compile(dtype: np.dtype) -> None:
    """Compile the tile loop for a dtype: some seconds, or some milliseconds from Numba's cache."""
    numbers, scales = _flat(np.empty(0, dtype)), _flat(np.empty(0))
    entry = EntryArguments(0, 0, 0.0, False, numbers, 0, numbers, 0, numbers, 0.0, 0.0)
    rows = RowArguments(0, numbers, 0, numbers, scales, numbers, numbers, scales)
    block = Block(0, 0, 0, 0, 0, 0, False, 0, 0, 0, False)
    arguments = entry, rows, rows, block, _scratch(0, 0, 0, dtype)
    numba_tile.fill_tile.compile(tuple(typeof(argument) for argument in arguments))


class NumbaBackend:
    """See the module."""

    name = "numba"
    uses_blas = False

    def square_norms(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        result = np.empty(len(values))
        numbers, row_stride = _memory_of(values)
        numba_tile.square_norms(numbers, row_stride, *values.shape, np.empty(16), result)
        return result

    def pieces(self, dtype: np.dtype) -> int:
        return pieces_of(dtype.itemsize)

    def block_shape(self, n_features: int, dtype: np.dtype) -> tuple[int, int]:
        _compile(dtype)  # here, in the calling thread, where an interrupt stops it, and not in the workers
        unit = UNIT_BYTES // dtype.itemsize
        fit = min(PACKED_BYTES // min(n_features, FEATURE_BLOCK), LARGEST_PACKED_BYTES // n_features) // dtype.itemsize
        return 1024, min(max(fit // unit * unit, unit), LARGEST_COLUMNS_BYTES // dtype.itemsize)

    def fill_tile(self, task: GramTask) -> FillTile:
        assert task.entry is not None
        n_layers, n_features = task.entry.n_layers, task.x.values.shape[1]
        entry, x = _entry_arguments(task.entry), _row_arguments(task.x)
        y = x if task.y is None else _row_arguments(task.y)
        columns = min(self.block_shape(n_features, task.out.dtype)[1], task.out.shape[1])
        scratch = _scratch(columns, n_features, n_layers, task.out.dtype)

        def fill(tile: Tile) -> None:
            numba_tile.fill_tile(entry, x, y, _block(task, n_layers, tile), scratch)

        return fill
