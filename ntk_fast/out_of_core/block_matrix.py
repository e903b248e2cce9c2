"""A Gram matrix of which any block can be computed, on its own, by one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend, GramTask
from ntk_fast.gram import check_kernel, compile_for, fill_gram, seconds_of_entry
from ntk_fast.lower.limit import Limit
from ntk_fast.out_of_core.row_blocks import RowBlocks
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.tiling import Tile
from ntk_fast.validation import refuse_overflow, warn_of_underflow


class BlockMatrix:
    """A kernel on rows that need not fit in memory; symmetric without `y_rows`."""

    def __init__(self, kernel: Limit, x_rows: Any, y_rows: Any, dtype: np.dtype, backend: Backend) -> None:
        self.dtype = dtype
        self.backend = backend
        check_kernel(kernel)
        self._x = RowBlocks(x_rows, "X", dtype, kernel.plan, backend)
        self._y = None if y_rows is None else RowBlocks(y_rows, "Y", dtype, kernel.plan, backend)
        both = [rows for rows in (self._x, self._y) if rows is not None]
        self._program = compile_for(kernel, dtype, backend, *(rows.square_norms for rows in both))
        for rows in both:
            rows.compile(self._program)
        roots = both[0].largest_root, both[-1].largest_root
        refuse_overflow(*roots, dtype)
        if not any(rows.square_norms.is_zero.all() for rows in both):
            warn_of_underflow(kernel, *roots, dtype)

    @property
    def seconds_of_entry(self) -> float:
        """About what an entry costs on one thread."""
        return seconds_of_entry(self._program, self._x.n_features, self.backend)

    @property
    def fingerprints(self) -> list[str]:
        """Digests of the rows."""
        return [rows.fingerprint for rows in (self._x, self._y) if rows is not None]

    def fill(self, tile: Tile, out: NDArray[np.floating[Any]]) -> None:
        """Compute a block that has all, or none, of the diagonal entries of its rows."""
        left = self._x.rows(tile.row_start, tile.row_stop)
        start = tile.column_start
        if self._y is None and tile.column_start <= tile.row_start < tile.column_stop:
            self._fill_beside(left, start, tile.row_start, out)
            inside = slice(tile.row_start - start, tile.row_stop - start)
            fill_gram(GramTask(self._program, left, None, out[:, inside]), self.backend, 1)
            self._fill_beside(left, tile.row_stop, tile.column_stop, out[:, inside.stop :])
        else:
            self._fill_beside(left, start, tile.column_stop, out)

    def _fill_beside(self, left: Rows, start: int, stop: int, out: NDArray[np.floating[Any]]) -> None:
        """Fill columns [start, stop), which hold no diagonal entry, into the first columns of `out`."""
        rows = self._x if self._y is None else self._y
        for part_start, part_stop, right in rows.parts(start, stop):
            columns = slice(part_start - start, part_stop - start)
            fill_gram(GramTask(self._program, left, right, out[:, columns]), self.backend, 1)

    def fill_scratch(self, tile: Tile, scratch: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Compute a block into the first numbers of a vector, and return these as a matrix."""
        values = scratch[: tile.n_entries].reshape(tile.row_stop - tile.row_start, tile.column_stop - tile.column_start)
        self.fill(tile, values)
        return values

    def block(self, tile: Tile) -> NDArray[np.floating[Any]]:
        """Return a block."""
        out = np.empty((tile.row_stop - tile.row_start, tile.column_stop - tile.column_start), dtype=self.dtype)
        self.fill(tile, out)
        return out
