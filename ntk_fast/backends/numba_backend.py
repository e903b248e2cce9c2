"""The backend for machines without a C compiler: the tiles of `numba_tile`, compiled for this processor at first use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends import numba_tile
from ntk_fast.backends.base import FillTile, GramTask, MultiplyTile, ProductTask, Tile
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.numba_kernels import STRIP, pieces_of
from ntk_fast.backends.numba_tile import Block, EntryArguments, RowArguments, Scratch
from ntk_fast.backends.numba_vectors import CACHE_LINE, VECTOR_BYTES
from ntk_fast.profile import Entry
from ntk_fast.rows import Rows

PACKED_BYTES = 384 * 1024  # of packed columns: they and a band share 1 MB of second-level cache
LARGEST_COLUMNS_BYTES = 3840

#: A larger matrix than this does not stay in the caches, so it is stored past them.
STREAMING_BYTES = 16 << 20


def _read_only(array: NDArray) -> NDArray:
    """A flat view that is of one type for Numba, whatever the array's own flags are."""
    flat = array.reshape(-1)
    flat.flags.writeable = False
    return flat


def _flat_rows(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
    """The memory from the first to the last number of some rows, and how far apart they start."""
    n, n_features = values.shape
    stride = values.strides[0] // values.itemsize
    flat = np.lib.stride_tricks.as_strided(
        values, (max(0, n - 1) * stride + n_features if n else 0,), (values.itemsize,), writeable=False
    )
    return flat, stride


def _aligned(size: int, dtype: np.dtype) -> NDArray:
    memory = np.empty(size * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size * dtype.itemsize].view(dtype)


def _entry_arguments(entry: Entry) -> EntryArguments:
    return EntryArguments(
        entry.n_layers,
        entry.chord_power,
        entry.opposite_offset,
        entry.has_tangent,
        _read_only(entry.value),
        len(entry.value),
        _read_only(entry.slope),
        len(entry.slope),
        _read_only(np.array([entry.scale, entry.stretch], dtype=entry.value.dtype)),
        entry.near,
        entry.near_exact,
    )


def _row_arguments(rows: Rows) -> RowArguments:
    values, stride = _flat_rows(rows.values)
    return RowArguments(
        len(rows),
        values,
        stride,
        _read_only(rows.inverse_norm),
        _read_only(rows.scale),
        _read_only(rows.rho),
        _read_only(rows.tau),
        _read_only(rows.diagonal),
    )


def _scratch(columns: int, n_features: int, n_layers: int, dtype: np.dtype) -> Scratch:
    unit = numba_tile.UNIT_BYTES // dtype.itemsize
    panel = numba_tile.PANEL_BYTES // dtype.itemsize
    band = numba_tile.BAND_BYTES // dtype.itemsize
    columns = -(-columns // unit) * unit
    layers = n_layers + 1 if n_layers else 0
    return Scratch(
        columns,
        packed=_aligned(columns * n_features, dtype),
        strip=_aligned(STRIP * numba_tile.STRIP_STRIDE, dtype),
        band=_aligned(band * columns, dtype),
        turned=_aligned(VECTOR_BYTES // dtype.itemsize * band, dtype),
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


class NumbaBackend:
    """See the module."""

    name = "numba"
    uses_blas = False
    multiplies_with_blas = True

    def square_norms(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        result = np.empty(len(values))
        flat, stride = _flat_rows(values)
        numba_tile.square_norms(flat, stride, *values.shape, np.empty(16), result)
        return result

    def pieces(self, dtype: np.dtype) -> int:
        return pieces_of(dtype.itemsize)

    def block_shape(self, n_features: int, dtype: np.dtype) -> tuple[int, int]:
        panels = 2 * numba_tile.PANEL_BYTES // dtype.itemsize
        fit = PACKED_BYTES // dtype.itemsize // min(n_features, numba_tile.FEATURE_BLOCK)
        return 1024, min(max(fit // panels * panels, panels), LARGEST_COLUMNS_BYTES // dtype.itemsize)

    def fill_tile(self, task: GramTask) -> FillTile:
        assert task.entry is not None
        dtype, n_features = task.out.dtype, task.x.values.shape[1]
        columns = min(self.block_shape(n_features, dtype)[1], task.out.shape[1])
        entry, x = _entry_arguments(task.entry), _row_arguments(task.x)
        y = x if task.y is None else _row_arguments(task.y)
        scratch = _scratch(columns, n_features, task.entry.n_layers, dtype)
        out, streaming = task.out, task.out.nbytes > STREAMING_BYTES

        def fill(tile: Tile) -> None:
            block = Block(
                n_features,
                entry.n_layers,
                tile.row_start,
                tile.row_stop,
                tile.column_start,
                tile.column_stop,
                task.y is None,
                out.ctypes.data,
                out.strides[0],
                out.strides[1],
                streaming,
            )
            numba_tile.fill_tile(entry, x, y, block, scratch)

        return fill

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        return multiply_with_blas(self, task)
