"""A factor whose entries are computed once and kept: products after the first are those of a matrix in memory.

An entry of a network on images takes micro- to milliseconds, and a solver multiplies a hundred times.
"""

from __future__ import annotations

import math
import os
import threading
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import GramTask
from ntk_fast.compensated import Reals
from ntk_fast.gram import fill_gram
from ntk_fast.operator.factor import PreparedFactor
from ntk_fast.schedule.memory import available_bytes, refuse_too_large
from ntk_fast.schedule.threads import single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Tile, ranges, run_tiles

#: Rows, and columns, whose products are one call of BLAS; sums of those are float64.
ROWS_AT_A_TIME, COLUMNS_AT_A_TIME = 256, 1024
#: By default a matrix is kept up to this share of the free memory, or up to so many bytes where nothing is known of it.
LARGEST_SHARE, LARGEST_UNASKED = 0.5, 1 << 30


def fits(prepared: PreparedFactor) -> bool:
    """Whether a factor is kept unless the caller says otherwise: entries are costly, and their matrix leaves room."""
    if not prepared.is_of_images:
        return False
    needed, available = math.prod(prepared.shape) * prepared.dtype.itemsize, available_bytes()
    return needed <= (LARGEST_UNASKED if available is None else LARGEST_SHARE * available)


class _Matrix:
    """All entries, computed by whoever needs them first; a symmetric matrix has zeros on its diagonal."""

    def __init__(self, prepared: PreparedFactor, n_threads: int) -> None:
        self.prepared, self.n_threads = prepared, n_threads
        self.lock = threading.Lock()
        self._values: NDArray[np.floating] | None = None
        _matrices.add(self)

    def values(self) -> NDArray[np.floating]:
        with self.lock:
            if self._values is None:
                prepared = self.prepared
                refuse_too_large(
                    prepared.shape,
                    prepared.dtype,
                    what="matrix to keep",
                    advice="pass keep=False, which computes it anew",
                )
                values = np.empty(prepared.shape, dtype=prepared.dtype)
                task = GramTask(prepared.program, prepared.x, prepared.y, values)
                fill_gram(task, prepared.backend, self.n_threads)
                if prepared.y is None:
                    np.fill_diagonal(values, 0)
                self._values = values
            return self._values


_matrices: WeakSet[_Matrix] = WeakSet()


def _unlock_in_child() -> None:
    """In a forked child: who was computing a matrix is a thread of its parent, and gives no lock back."""
    for matrix in _matrices:
        matrix.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)


class KeptFactor:
    """A `Factor` that computes its matrix at the first product, on threads of this process, and keeps it."""

    def __init__(self, prepared: PreparedFactor, n_threads: int) -> None:
        self._matrix, self._is_transposed = _Matrix(prepared, n_threads), False

    @property
    def shape(self) -> tuple[int, int]:
        shape = self._matrix.prepared.shape
        return shape[::-1] if self._is_transposed else shape

    @property
    def dtype(self) -> np.dtype:
        return self._matrix.prepared.dtype

    @property
    def diagonal(self) -> Reals | None:
        return self._matrix.prepared.diagonal

    @property
    def largest(self) -> float:
        return self._matrix.prepared.largest

    def transposed(self) -> KeptFactor:
        result = object.__new__(KeptFactor)
        result._matrix, result._is_transposed = self._matrix, not self._is_transposed
        return result

    def multiply(self, vectors: NDArray[np.floating]) -> Reals:
        values = self._matrix.values()
        values = values.T if self._is_transposed else values
        n_rows, n_columns = values.shape
        total = np.zeros((len(vectors), n_rows))

        def add(rows: Tile) -> None:
            for columns in ranges(n_columns, COLUMNS_AT_A_TIME):
                part = values[rows.row_start : rows.row_stop, columns]
                total[:, rows.row_start : rows.row_stop] += vectors[:, columns] @ part.T

        def make_fill() -> FillTile:
            return add

        tiles = [Tile(rows.start, rows.stop, 0, n_columns) for rows in ranges(n_rows, ROWS_AT_A_TIME)]
        with single_threaded_blas():  # several threads of BLAS round as their number is
            run_tiles(tiles, make_fill, self._matrix.n_threads)
        return total
