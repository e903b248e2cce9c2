"""A .npy file that is written in blocks, in any order.

Blocks are written with pwrite and not through a memory map: dirty pages of a map count as the process's memory, and a
disk that fills up under a map is a signal that kills. The header comes last: without it no reader takes the file for
an array.
"""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Tile
from ntk_fast.out_of_core.journal import write_at

#: Of a block, at most: each thread holds one.
BLOCK_BYTES = 32 << 20

#: Rows of a block are a multiple of this: the bands of the compiled tiles are full.
BAND_ROWS = 64

#: Blocks that a matrix is cut into, at least, if they can have BAND_ROWS rows: for every thread a few.
FEWEST_BLOCKS = 32


class NpyStore:
    """See the module. A symmetric matrix is computed twice, in whole rows.

    Measured, n = 20000, float64, two cores: computing the second half anew costs 0.2 s of both at p = 64, depth 3;
    storing a transposed block is 0.4 million writes of 8 kB, and 1 s.
    """

    mirrors = False

    def __init__(self, path: Path, shape: tuple[int, int], dtype: np.dtype) -> None:
        self.path = path
        self.shape = shape
        self.dtype = dtype
        header = io.BytesIO()
        descriptor = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, descriptor)
        self._header = header.getvalue()
        self._file = -1

    @property
    def description(self) -> dict[str, Any]:
        return {"format": "npy"}

    @property
    def block_shape(self) -> tuple[int, int]:
        n_rows, n_columns = self.shape
        most = BLOCK_BYTES // self.dtype.itemsize
        columns = max(1, min(n_columns, most // BAND_ROWS))
        rows = min(most // columns, n_rows // FEWEST_BLOCKS) if columns == n_columns else 0
        return max(1, rows // BAND_ROWS) * BAND_ROWS, columns

    def open(self, fresh: bool) -> None:
        # all of its space is reserved now, so that a full disk is known now and not hours later
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if fresh else 0), 0o666)
        size = len(self._header) + self.shape[0] * self.shape[1] * self.dtype.itemsize
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._file, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise

    def write(self, tile: Tile, values: NDArray[np.floating[Any]]) -> None:
        row_bytes = self.shape[1] * self.dtype.itemsize
        offset = len(self._header) + tile.row_start * row_bytes + tile.column_start * self.dtype.itemsize
        if values.shape[1] == self.shape[1]:
            write_at(self._file, values.reshape(-1).view(np.uint8).data, offset)
            return
        for row in values:
            write_at(self._file, row.view(np.uint8).data, offset)
            offset += row_bytes

    def sync(self) -> None:
        os.fsync(self._file)

    def finish(self) -> None:
        write_at(self._file, self._header, 0)
        os.fsync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def replace(self, path: Path) -> None:
        self.path.replace(path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def is_finished(self, path: Path) -> bool:
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            return False
        return stored.shape == self.shape and stored.dtype == self.dtype and stored.flags.c_contiguous

    def read(self, path: Path, tile: Tile) -> NDArray[np.floating[Any]]:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(stored[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop])
