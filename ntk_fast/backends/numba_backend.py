"""The backend for machines without a C compiler: compiled for this processor at first use, by Numba.

`numba_vectors` is the vocabulary of vectors, `numba_kernels` the inner loops of products and stores, `numba_arguments`
what a tile takes, `numba_chords` and `numba_entry` the entries of a row, `numba_tile` the tile loop.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from ntk_fast.backends.base import (
    AdjointTask,
    DifferentiateTile,
    FillTile,
    GramTask,
    MultiplyTile,
    ProductTask,
    Tile,
    TileTask,
)
from ntk_fast.backends.numba_arguments import (
    FEATURE_BLOCK,
    EntryArguments,
    RowArguments,
    Scratch,
    block_to_fill,
    block_to_multiply,
    entry_arguments,
    example_arguments,
    make_scratch,
    memory_of,
    no_products,
    product_arguments,
    row_arguments,
)
from ntk_fast.backends.numba_entry import pieces_of
from ntk_fast.backends.numba_kernels import PANEL_BYTES
from ntk_fast.backends.numba_tile import compute_tile, square_norms
from ntk_fast.backends.numpy_adjoint import differentiate_in_numpy

#: Of packed columns, a block of features: they and a band share 1 MB of second-level cache.
PACKED_BYTES = 384 << 10
#: Of packed columns, all features: what a thread may take.
LARGEST_PACKED_BYTES = 24 << 20
LARGEST_COLUMNS_BYTES = 3072


@cache
def _compile(dtype: np.dtype) -> None:
    """Compile the tile loop for a dtype: some seconds, or some milliseconds from Numba's cache."""
    compute_tile.compile(tuple(typeof(argument) for argument in example_arguments(dtype)))


class NumbaBackend:
    """See the module."""

    name = "numba"
    instruction_set = None
    uses_blas = False
    seconds_per_layer = 1e-9
    multiplies_with_blas = False

    def square_norms(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        result = np.empty(len(values))
        numbers, row_stride = memory_of(values)
        square_norms(numbers, row_stride, *values.shape, np.empty(16), result)
        return result

    def pieces(self, dtype: np.dtype) -> int:
        return pieces_of(dtype.itemsize)

    def block_shape(self, n_features: int, dtype: np.dtype) -> tuple[int, int]:
        _compile(dtype)  # here, in the calling thread, where an interrupt stops it, and not in the workers
        panels = min(PACKED_BYTES // min(n_features, FEATURE_BLOCK), LARGEST_PACKED_BYTES // n_features) // PANEL_BYTES
        return 1024, min(max(panels, 1) * PANEL_BYTES, LARGEST_COLUMNS_BYTES) // dtype.itemsize

    def _arguments(self, task: TileTask) -> tuple[EntryArguments, RowArguments, RowArguments, Scratch]:
        assert task.entry is not None
        n_features = task.x.values.shape[1]
        columns = min(self.block_shape(n_features, task.dtype)[1], task.shape[1])
        x = row_arguments(task.x)
        y = x if task.y is None else row_arguments(task.y)
        scratch = make_scratch(columns, n_features, task.entry.n_layers, task.dtype)
        return entry_arguments(task.entry), x, y, scratch

    def fill_tile(self, task: GramTask) -> FillTile:
        entry, x, y, scratch = self._arguments(task)
        products = no_products(task.dtype)

        def fill(tile: Tile) -> None:
            compute_tile(entry, x, y, block_to_fill(task, tile), products, scratch)

        return fill

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        entry, x, y, scratch = self._arguments(task)

        def multiply(tile: Tile, row_sums: NDArray[np.floating], column_sums: NDArray[np.floating]) -> None:
            products = product_arguments(task, row_sums, column_sums)
            compute_tile(entry, x, y, block_to_multiply(task, tile), products, scratch)

        return multiply

    def differentiate_tile(self, task: AdjointTask) -> DifferentiateTile:
        return differentiate_in_numpy(task)
