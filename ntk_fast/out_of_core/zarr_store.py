"""A Zarr v3 array that is written in blocks of whole chunks, in any order."""

from __future__ import annotations

import errno
import importlib.util
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Tile
from ntk_fast.disk import sync_path

#: Rows and columns of a block, at least, in a matrix of eight times as many: small chunks are computed several at once.
BLOCK_ROWS = 1024

#: The file that makes a folder a Zarr array, and its name until the array is finished.
METADATA, HIDDEN_METADATA = "zarr.json", "zarr.json.unfinished"

#: Of the array: what `read_gram` needs to know of it.
ATTRIBUTE = "ntk_fast"


def require_zarr() -> None:
    if importlib.util.find_spec("zarr") is None:
        raise ImportError("A .zarr store needs zarr-python 3 or later: pip install 'ntk_fast[zarr]'.")
    import zarr

    if int(zarr.__version__.split(".")[0]) < 3:
        raise ImportError(
            f"A .zarr store needs zarr-python 3 or later; found {zarr.__version__}: pip install -U 'ntk_fast[zarr]'."
        )


class ZarrStore:
    """See the module. Of a symmetric matrix each pair of chunks is computed once, and stored once or twice."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: np.dtype,
        symmetric: bool,
        chunk_size: int,
        compressor: Any,
        about: dict[str, str],
    ) -> None:
        require_zarr()
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.mirrors = symmetric
        self._chunk_size = max(1, min(chunk_size, max(shape)))
        self._compressor = _codec(compressor)
        self._about = about  # the array's attribute: its kernel, and the triangle that is stored
        self._array: Any = None
        self._unsynced: list[tuple[int, int]] = []  # chunks

    @property
    def description(self) -> dict[str, Any]:
        compressor = None if self._compressor is None else self._compressor.to_dict()
        return {
            "format": "zarr",
            "chunk_size": self._chunk_size,
            "compressor": compressor,
            "triangle": self._about["triangle"],
        }

    @property
    def block_shape(self) -> tuple[int, int]:
        side = self._chunk_size * max(1, min(BLOCK_ROWS, max(self.shape) // 8) // self._chunk_size)
        return side, side

    def open(self, fresh: bool) -> None:
        import zarr

        metadata, hidden = self.path / METADATA, self.path / HIDDEN_METADATA
        if not fresh:
            if hidden.exists():
                hidden.rename(metadata)
            self._array = zarr.open_array(self.path, mode="r+")
            metadata.rename(hidden)
            return
        self.remove()
        self._array = zarr.create_array(
            self.path,
            shape=self.shape,
            dtype=self.dtype,
            chunks=(self._chunk_size, self._chunk_size),
            compressors=self._compressor,
            fill_value=0.0,
            attributes={ATTRIBUTE: self._about},
            chunk_key_encoding={"name": "default", "separator": "/"},
            config={"write_empty_chunks": True},
        )
        metadata.rename(hidden)  # until the end: nobody can open what is not finished

    def write(self, tile: Tile, values: NDArray[np.floating[Any]]) -> None:
        self._write(tile.row_start, tile.column_start, values)
        if self.mirrors and self._about["triangle"] == "both" and tile.row_start != tile.column_start:
            self._write(tile.column_start, tile.row_start, values.T)

    def _write(self, row_start: int, column_start: int, values: NDArray[np.floating[Any]]) -> None:
        """Write a block chunk by chunk: of several at once, some would still be written after one has failed."""
        size = self._chunk_size
        for i in range(0, values.shape[0], size):
            first = i if self._about["triangle"] == "upper" and row_start == column_start else 0
            for j in range(first, values.shape[1], size):
                chunk = values[i : i + size, j : j + size]
                row, column = row_start + i, column_start + j
                self._array[row : row + chunk.shape[0], column : column + chunk.shape[1]] = chunk
                self._unsynced.append((row // size, column // size))

    def sync(self) -> None:
        written, self._unsynced = self._unsynced, []
        for i, j in written:
            sync_path(self.path / "c" / str(i) / str(j))
        for i in {i for i, _ in written}:
            sync_path(self.path / "c" / str(i))
        sync_path(self.path / "c")

    def finish(self) -> None:
        for left_over in self.path.rglob("*.partial"):  # of chunks that were being written when a process was killed
            left_over.unlink()
        hidden = self.path / HIDDEN_METADATA
        if hidden.exists():
            hidden.rename(self.path / METADATA)
        sync_path(self.path / METADATA)
        sync_path(self.path)

    def close(self) -> None:
        self._array = None

    def replace(self, path: Path) -> None:
        # a folder cannot take another one's name: what has it is put aside first
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.replaced")
        if path.exists():
            path.rename(aside)
        self.path.rename(path)
        shutil.rmtree(aside, ignore_errors=True)

    def remove(self) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)

    def refuse_to_replace(self, path: Path) -> None:
        if path.exists() and not (path / METADATA).is_file():
            raise FileExistsError(errno.EEXIST, "is no Zarr store, and is not replaced by one", str(path))


def _codec(compressor: Any) -> Any:
    """Return a Zarr codec, or None, from its name or itself."""
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    if compressor is None:
        return None
    named = {"blosc": BloscCodec, "gzip": GzipCodec, "zstd": ZstdCodec}
    if isinstance(compressor, str):
        if compressor not in named:
            raise ValueError(f"compressor must be None, 'blosc', 'gzip', 'zstd' or a Zarr codec; got {compressor!r}.")
        return named[compressor]()
    if not hasattr(compressor, "to_dict"):
        raise TypeError(
            f"compressor must be None, 'blosc', 'gzip', 'zstd' or a Zarr codec; got {compressor!r} of type "
            f"{type(compressor).__name__}."
        )
    return compressor
