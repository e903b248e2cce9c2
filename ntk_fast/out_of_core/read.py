"""read_gram: a part of a finished store, whatever its layout."""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ntk_fast.out_of_core.zarr_store import ATTRIBUTE, chunk_file
from ntk_fast.rows.stored import require_zarr
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.validation import check_whole_number


def read_gram(
    path: str | os.PathLike[str],
    row_start: int = 0,
    row_stop: int | None = None,
    column_start: int = 0,
    column_stop: int | None = None,
) -> NDArray[np.floating[Any]]:
    """Return entries ``K[row_start:row_stop, column_start:column_stop]`` of a store that `write_gram` finished.

    Parameters
    ----------
    path : str or path-like
        Of a .npy file or a .zarr array; one that holds the upper triangle only is read as the whole matrix.
    row_start, column_start : int >= 0, default 0
    row_stop, column_stop : int >= 0, optional
        Half-open; by default the end.

    Returns
    -------
    ndarray of shape (row_stop - row_start, column_stop - column_start)

    Raises
    ------
    FileNotFoundError
        If there is no store, or it is not finished.
    ValueError
        If it is damaged (the message names the chunk) or foreign, or a range is not in it.
    MemoryError
        If the part does not fit in the free memory.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "K.npy"
    ...     ntk.write_gram(ntk.NTK(depth=1), np.eye(3), path)
    ...     ntk.read_gram(path, 0, 2)
    array([[1.        , 0.15915494, 0.15915494],
           [0.15915494, 1.        , 0.15915494]])
    """
    path = Path(path)
    if not path.exists():
        begun = path.with_name(path.name + ".partial").exists()
        reason = (
            "was begun and is not finished; write_gram(..., resume=True) goes on with it" if begun else "is missing"
        )
        raise FileNotFoundError(f"{path} {reason}.")
    stored: _NpyMatrix | _ZarrMatrix = _NpyMatrix(path) if path.is_file() else _ZarrMatrix(path)
    rows = _range(row_start, row_stop, stored.shape[0], "row")
    columns = _range(column_start, column_stop, stored.shape[1], "column")
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    refuse_too_large(shape, stored.dtype, what="part of the matrix", advice="read fewer rows or columns at a time")
    values = stored.part(rows, columns)
    if stored.is_upper and rows.stop > columns.start + 1:
        below = np.arange(rows.start, rows.stop)[:, None] > np.arange(columns.start, columns.stop)
        np.copyto(values, stored.part(columns, rows).T, where=below)
    return values


class _NpyMatrix:
    """A .npy file, of which parts are read and nothing is mapped: the address space may be too small for a map."""

    is_upper = False

    def __init__(self, path: Path) -> None:
        self._path = path
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        with open(path, "rb") as file:
            try:
                self.shape, self._is_transposed, self.dtype = readers[npy.read_magic(file)](file)
                self._start, size = file.tell(), os.fstat(file.fileno()).st_size
                is_whole = size >= self._start + math.prod(self.shape) * self.dtype.itemsize
            except (ValueError, EOFError, KeyError):
                is_whole = False
        if not is_whole or self.dtype.hasobject:
            raise ValueError(f"{path} is not a whole .npy file of numbers.")
        if len(self.shape) != 2 or self.dtype.kind != "f":
            raise ValueError(f"{path} must hold a matrix of reals; got shape {self.shape} of {self.dtype}.")

    def part(self, rows: slice, columns: slice) -> NDArray[np.floating[Any]]:
        if self._is_transposed:
            rows, columns = columns, rows
        width = self.shape[0 if self._is_transposed else 1]
        values = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype=self.dtype)
        whole_rows = values.shape[1] == width
        with open(self._path, "rb", buffering=0) as file:
            for row, run in zip(
                itertools.count(rows.start), values.reshape(1, -1) if whole_rows else values, strict=False
            ):
                file.seek(self._start + (row * width + columns.start) * self.dtype.itemsize)
                self._fill(file, run.view(np.uint8).data)
        return values.T if self._is_transposed else values

    def _fill(self, file: io.RawIOBase, unread: memoryview) -> None:
        while unread:
            n_read = file.readinto(unread)
            if not n_read:
                raise ValueError(f"{self._path} is cut short; write it again.")
            unread = unread[n_read:]


class _ZarrMatrix:
    """A Zarr array; a chunk that is missing or damaged is named, and never taken for zeros, as Zarr does."""

    def __init__(self, path: Path) -> None:
        require_zarr()
        import zarr

        try:
            self._array: Any = zarr.open_array(path, mode="r")
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{path} is not a Zarr array: {error}.") from None
        about = self._array.attrs.get(ATTRIBUTE)
        if not isinstance(about, dict) or self._array.ndim != 2:
            raise ValueError(f"{path} is a Zarr array that write_gram did not write.")
        self._path = path
        self.shape = self._array.shape
        self.dtype: np.dtype = self._array.dtype
        self.is_upper = about["triangle"] == "upper"

    def part(self, rows: slice, columns: slice) -> NDArray[np.floating[Any]]:
        for chunk in self._chunks(rows, columns):
            if not (file := chunk_file(self._path, chunk)).is_file():
                self._refuse(chunk, f"({file}) is missing")
        try:
            return np.array(self._array[rows, columns])
        except Exception:
            for chunk in self._chunks(rows, columns):
                self._check(chunk)
            raise

    def _chunks(self, rows: slice, columns: slice) -> Iterator[tuple[int, int]]:
        """Yield the chunks that hold a range; of the upper triangle, those on its side of the diagonal."""
        spans = [
            range(part.start // size, -(-part.stop // size))
            for part, size in zip((rows, columns), self._array.chunks, strict=True)
        ]
        for i, j in itertools.product(*spans):
            yield (min(i, j), max(i, j)) if self.is_upper else (i, j)

    def _check(self, chunk: tuple[int, int]) -> None:
        i, j = (slice(k * size, (k + 1) * size) for k, size in zip(chunk, self._array.chunks, strict=True))
        try:
            self._array[i, j]
        except Exception as error:  # each codec has its own
            file = chunk_file(self._path, chunk)
            self._refuse(chunk, f"cannot be read ({str(error).rstrip('.')}); remove {file}")

    def _refuse(self, chunk: tuple[int, int], what: str) -> NoReturn:
        raise ValueError(
            f"{self._path} is damaged: its chunk {chunk} {what}; write it again: with its journal beside it, "
            "write_gram(..., resume=True) computes no more than that."
        ) from None


def _range(start: int, stop: int | None, n: int, name: str) -> slice:
    start = check_whole_number(start, f"{name}_start", 0)
    stop = n if stop is None else check_whole_number(stop, f"{name}_stop", 0)
    if not start <= stop <= n:
        raise ValueError(
            f"{name}_start and {name}_stop must satisfy 0 <= start <= stop <= {n}; got {start} and {stop}."
        )
    return slice(start, stop)
