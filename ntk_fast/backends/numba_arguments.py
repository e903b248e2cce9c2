"""What compiled tiles take: tables, rows, a tile's place, scratch memory. Arrays on the way in, pointers once inside.

Pointers, because every slice of an array, and every array handed to a function, would count its references by atomic
operations: measured, those took longer than the computation.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import GramTask, ProductTask, Tile, TileTask
from ntk_fast.backends.numba_kernels import GROUP_BYTES, PANEL_BYTES, STRIP
from ntk_fast.backends.numba_vectors import CACHE_LINE, VECTOR_BYTES, Pointer, compiled, pointer
from ntk_fast.profile import Entry
from ntk_fast.rows import Rows

BAND_BYTES = 512  # a band's rows, as numbers: a transposed run is 8 cache lines
FEATURE_BLOCK = 256  # features whose packed columns stay in the second-level cache
STRIP_STRIDE = FEATURE_BLOCK + 16

#: A larger matrix than this does not stay in the caches, so it is stored past them.
STREAMING_BYTES = 16 << 20


class Constant(IntEnum):
    """Where an entry's numbers stand in its array of constants."""

    SCALE = 0
    STRETCH = 1
    NEAR_LEAD = 2
    FAR_LEAD = 3
    VALUE_OFFSET = 4
    SLOPE_OFFSET = 5


class EntryArguments(NamedTuple):
    """A `profile.Entry`."""

    n_layers: int
    value: Pointer
    value_terms: int
    slope: Pointer
    slope_terms: int  # 0: no Theta
    value_power: int
    constants: Pointer
    near: float
    near_exact: float


class RowArguments(NamedTuple):
    """`rows.Rows`: row i starts at i * row_stride."""

    n_rows: int
    values: Pointer
    row_stride: int
    inverse_norm: Pointer
    scale: Pointer
    rho: Pointer
    tau: Pointer
    diagonal: Pointer


class Block(NamedTuple):
    """A tile, and the matrix that it is stored in: an address and two steps in bytes, so any strides will do."""

    n_features: int
    n_layers: int
    row_start: int
    row_stop: int
    column_start: int
    column_stop: int
    is_symmetric: bool
    out: int  # 0: the tile is multiplied
    row_step: int
    column_step: int
    is_streamed: bool  # store past the caches: right when the matrix does not fit in them


class Products(NamedTuple):
    """Vectors to multiply a tile with, and sums to add to (see `base.MultiplyTile`)."""

    n_vectors: int
    vectors: Pointer
    vector_stride: int
    row_sums: Pointer
    row_sum_stride: int
    column_sums: Pointer
    column_sum_stride: int


class Scratch(NamedTuple):
    """One thread's memory, aligned; `columns` numbers are one row of the band: whole panels, and whole groups from any.

    What lies beyond a tile's own columns is computed and not used, so the band must hold finite numbers from the start.
    """

    columns: int
    packed: Pointer  # (panels, n_features, panel), zeros beyond the last column
    strip: Pointer  # (STRIP, STRIP_STRIDE)
    band: Pointer  # (band, columns)
    turned: Pointer  # (lanes, band)
    near: Pointer  # (3, panel)
    squares: Pointer  # (columns,), like the rest: of one row of the band ...
    theta: Pointer
    rest: Pointer
    inverse_norm: Pointer  # ... and of the block's columns
    scale: Pointer
    rho: Pointer  # (layers + 1, columns)
    tau: Pointer


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """A flat, read-only view: one type for Numba, whatever the array's own flags are, so one compilation for all."""
    view = array.reshape(-1)
    view.flags.writeable = False
    return view


def _aligned(size: int, dtype: np.dtype) -> NDArray[Any]:
    memory = np.zeros(size * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size * dtype.itemsize].view(dtype)


def memory_of(values: NDArray[np.floating], writeable: bool = False) -> tuple[NDArray[np.floating], int]:
    """Return the numbers from the first to the last of some rows, and how far apart rows start."""
    stride = values.strides[0] // values.itemsize
    n_numbers = (len(values) - 1) * stride + values.shape[1] if len(values) else 0
    return np.lib.stride_tricks.as_strided(values, (n_numbers,), (values.itemsize,), writeable=writeable), stride


def entry_arguments(entry: Entry) -> EntryArguments:
    constants = np.empty(len(Constant), dtype=entry.value.dtype)
    constants[Constant.SCALE], constants[Constant.STRETCH] = entry.scale, entry.stretch
    constants[Constant.NEAR_LEAD], constants[Constant.FAR_LEAD] = entry.value_leads
    constants[Constant.VALUE_OFFSET], constants[Constant.SLOPE_OFFSET] = entry.value_offset, entry.slope_offset
    return EntryArguments(
        n_layers=entry.n_layers,
        value=_flat(entry.value),
        value_terms=len(entry.value),
        slope=_flat(entry.slope),
        slope_terms=len(entry.slope),
        value_power=entry.value_power,
        constants=_flat(constants),
        near=entry.near,
        near_exact=entry.near_exact,
    )


def row_arguments(rows: Rows) -> RowArguments:
    values, row_stride = memory_of(rows.values)
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


def _block(task: TileTask, tile: Tile, out: int, row_step: int, column_step: int, is_streamed: bool) -> Block:
    assert task.entry is not None
    return Block(
        n_features=task.x.values.shape[1],
        n_layers=task.entry.n_layers,
        row_start=tile.row_start,
        row_stop=tile.row_stop,
        column_start=tile.column_start,
        column_stop=tile.column_stop,
        is_symmetric=task.y is None,
        out=out,
        row_step=row_step,
        column_step=column_step,
        is_streamed=is_streamed,
    )


def block_to_fill(task: GramTask, tile: Tile) -> Block:
    row_step, column_step = task.out.strides
    return _block(task, tile, task.out.ctypes.data, row_step, column_step, task.out.nbytes > STREAMING_BYTES)


def block_to_multiply(task: ProductTask, tile: Tile) -> Block:
    return _block(task, tile, 0, 0, 0, False)


def no_products(dtype: np.dtype) -> Products:
    vectors, sums = _flat(np.empty(0, dtype)), np.empty(0, dtype)
    return Products(0, vectors, 0, sums, 0, sums, 0)


def product_arguments(task: ProductTask, row_sums: NDArray[np.floating], column_sums: NDArray[np.floating]) -> Products:
    vectors, vector_stride = memory_of(task.vectors)
    (rows, row_sum_stride), (columns, column_sum_stride) = memory_of(row_sums, True), memory_of(column_sums, True)
    return Products(len(task.vectors), vectors, vector_stride, rows, row_sum_stride, columns, column_sum_stride)


def make_scratch(columns: int, n_features: int, n_layers: int, dtype: np.dtype) -> Scratch:
    """Return memory for tiles of up to this many columns."""
    sizes = PANEL_BYTES, GROUP_BYTES, BAND_BYTES, VECTOR_BYTES
    panel, group, band, lanes = (size // dtype.itemsize for size in sizes)
    packed = -(-columns // panel) * panel
    columns = packed + group
    layers = n_layers + 1 if n_layers else 0
    return Scratch(
        columns=columns,
        packed=_aligned(packed * n_features, dtype),
        strip=_aligned(STRIP * STRIP_STRIDE, dtype),
        band=_aligned(band * columns, dtype),
        turned=_aligned(lanes * band, dtype),
        near=_aligned(3 * panel, dtype),
        squares=_aligned(columns, dtype),
        theta=_aligned(columns, dtype),
        rest=_aligned(columns, dtype),
        inverse_norm=_aligned(columns, dtype),
        scale=_aligned(columns, np.dtype(np.float64)),
        rho=_aligned(layers * columns, dtype),
        tau=_aligned(layers * columns, dtype),
    )


def example_arguments(dtype: np.dtype) -> tuple[EntryArguments, RowArguments, RowArguments, Block, Products, Scratch]:
    """Return arguments of no tile at all, for their types: those of all tiles of this dtype."""
    numbers, scales = _flat(np.empty(0, dtype)), _flat(np.empty(0))
    entry = EntryArguments(0, numbers, 0, numbers, 0, 0, numbers, 0.0, 0.0)
    rows = RowArguments(0, numbers, 0, numbers, scales, numbers, numbers, scales)
    block = Block(0, 0, 0, 0, 0, 0, False, 0, 0, 0, False)
    return entry, rows, rows, block, no_products(dtype), make_scratch(0, 0, 0, dtype)


@compiled
def row_pointers(rows: RowArguments) -> RowArguments:
    return RowArguments(
        rows.n_rows,
        pointer(rows.values),
        rows.row_stride,
        pointer(rows.inverse_norm),
        pointer(rows.scale),
        pointer(rows.rho),
        pointer(rows.tau),
        pointer(rows.diagonal),
    )


@compiled
def entry_pointers(entry: EntryArguments) -> EntryArguments:
    return EntryArguments(
        entry.n_layers,
        pointer(entry.value),
        entry.value_terms,
        pointer(entry.slope),
        entry.slope_terms,
        entry.value_power,
        pointer(entry.constants),
        entry.near,
        entry.near_exact,
    )


@compiled
def product_pointers(products: Products) -> Products:
    return Products(
        products.n_vectors,
        pointer(products.vectors),
        products.vector_stride,
        pointer(products.row_sums),
        products.row_sum_stride,
        pointer(products.column_sums),
        products.column_sum_stride,
    )


@compiled
def scratch_pointers(scratch: Scratch) -> Scratch:
    return Scratch(
        scratch.columns,
        pointer(scratch.packed),
        pointer(scratch.strip),
        pointer(scratch.band),
        pointer(scratch.turned),
        pointer(scratch.near),
        pointer(scratch.squares),
        pointer(scratch.theta),
        pointer(scratch.rest),
        pointer(scratch.inverse_norm),
        pointer(scratch.scale),
        pointer(scratch.rho),
        pointer(scratch.tau),
    )
