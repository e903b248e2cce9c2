"""A .npy file that is written in blocks, in any order.

Blocks are written with pwrite and not through a memory map: dirty pages of a map count as the process's memory, and a
disk that fills up under a map is a signal that kills. The header comes last: without it no reader takes the file for
an array.
"""

from __future__ import annotations

import errno
import io
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.disk import refuse_special_file, write_at
from ntk_fast.schedule.tiling import Tile

#: Of a block of whole rows, at most: each thread holds one.
BLOCK_BYTES = 32 << 20

#: Of a row of a square block, about. Shorter runs cost more than what is in them; blocks then have 32 MB (float64) or
#: 64 MB (float32).
RUN_BYTES = 16 << 10

#: Rows of a block are a multiple of this: the bands of the compiled tiles are full.
BAND_ROWS = 64

#: The same where entries take so long that a block has fewer rows: as many images as vectors have.
IMAGES = 16

#: Parts that a side of the matrix is cut into, at least, if they can have BAND_ROWS rows: a few blocks for each thread.
FEWEST_PARTS = 8


class NpyStore:
    """See the module. A symmetric matrix comes in square blocks, each of which is stored twice, once transposed.

    Measured, n = 20000, float64, p = 64 (784), depth 3: 1.0 (5.3) s of processor time in the program and 2.9 s in the
    system; computing whole rows, each pair twice, took 1.2 (9.6) s and 3.2 s.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int], dtype: np.dtype, symmetric: bool, most_entries: int | None = None
    ) -> None:
        """`most_entries`: of a block, about, where they take long: what is computed again after a break."""
        self._most_entries = most_entries
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.mirrors = symmetric
        header = io.BytesIO()
        descriptor = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, descriptor)
        self._header = header.getvalue()
        self._file = -1
        # the system lets one thread at a time write to a file, and others spin: 7 s of processor time, and so 3 s
        self._writing = threading.Lock()

    @property
    def description(self) -> dict[str, Any]:
        return {"format": "npy"}

    @property
    def block_shape(self) -> tuple[int, int]:
        n_rows, n_columns = self.shape
        part = n_rows // FEWEST_PARTS
        if self.mirrors:
            # not a power of two: entries of a column would share a cache set, and transposing take 4 times as long
            rows = min(RUN_BYTES // self.dtype.itemsize - BAND_ROWS, part)
        else:
            most = BLOCK_BYTES // self.dtype.itemsize
            columns = max(1, min(n_columns, most // BAND_ROWS))
            rows = min(most // columns, part)
        rows = max(1, rows // BAND_ROWS) * BAND_ROWS
        if self._most_entries is not None:
            side = math.isqrt(self._most_entries)
            step = BAND_ROWS if side >= BAND_ROWS else IMAGES
            rows = min(rows, max(1, side // step) * step)
            if not self.mirrors:
                columns = min(columns, max(step, self._most_entries // rows))
        return rows, rows if self.mirrors else columns

    @property
    def n_parts(self) -> int:
        return 0

    def is_lost(self, folder: Path, tile: Tile, sizes: NDArray[np.int64]) -> bool:
        places = [(tile.row_stop, tile.column_stop)]
        if self.mirrors:
            places.append((tile.column_stop, tile.row_stop))
        last = max((row - 1) * self.shape[1] + column for row, column in places)
        return folder.stat().st_size < len(self._header) + last * self.dtype.itemsize

    def open(self, fresh: bool) -> None:
        # all of its space is reserved now, so that a full disk is known now and not hours later
        self._file = os.open(self.path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if fresh else 0), 0o666)
        size = len(self._header) + self.shape[0] * self.shape[1] * self.dtype.itemsize
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._file, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise

    def write(self, tile: Tile, values: NDArray[np.floating[Any]]) -> None:
        self._write(tile.row_start, tile.column_start, values)
        if self.mirrors and tile.row_start != tile.column_start:
            for start in range(0, values.shape[1], BAND_ROWS):
                band = _transposed(values[:, start : start + BAND_ROWS])
                self._write(tile.column_start + start, tile.row_start, band)

    def _write(self, row_start: int, column_start: int, values: NDArray[np.floating[Any]]) -> None:
        """Write contiguous values from a position of the matrix on."""
        row_bytes = self.shape[1] * self.dtype.itemsize
        offset = len(self._header) + row_start * row_bytes + column_start * self.dtype.itemsize
        whole_rows = values.shape[1] == self.shape[1]
        with self._writing:
            for run in values.reshape(1, -1) if whole_rows else values:
                write_at(self._file, run.view(np.uint8).data, offset)
                offset += row_bytes

    def sync(self) -> dict[int, int]:
        os.fsync(self._file)
        return {}

    def finish(self) -> None:
        write_at(self._file, self._header, 0)
        os.fsync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def replace(self, path: Path) -> None:
        self.path.replace(path)

    def remove_replaced(self, path: Path) -> None:
        pass  # a file takes another one's name in one step

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def refuse_to_replace(self, path: Path) -> None:
        refuse_special_file(path)


def _transposed(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return a contiguous transpose, copied in pieces that stay in the first-level cache: half the time."""
    result = np.empty(values.shape[::-1], dtype=values.dtype)
    for start in range(0, len(values), 256):
        result[:, start : start + 256] = values[start : start + 256].T
    return result
