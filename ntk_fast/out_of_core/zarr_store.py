"""A Zarr v3 array that is written in blocks of whole chunks, in any order."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.disk import sync_path, temporary_name, temporary_names
from ntk_fast.rows.stored import require_zarr
from ntk_fast.schedule.tiling import Tile

#: Rows and columns of a block, at least, in a matrix of eight times as many: small chunks are computed several at once.
BLOCK_ROWS = 1024

#: The file that makes a folder a Zarr array, and its name until the array is finished.
METADATA, HIDDEN_METADATA = "zarr.json", "zarr.json.unfinished"

#: Of the array: what `read_gram` needs to know of it.
ATTRIBUTE = "ntk_fast"


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
        most_entries: int | None = None,
    ) -> None:
        """`most_entries`: of a block, about, where they take long."""
        require_zarr()
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.mirrors = symmetric
        self._chunk_size = max(1, min(chunk_size, max(shape)))
        self._compressor = _codec(compressor, dtype)
        self._most_entries = most_entries
        self._about = about  # the array's attribute: its kernel, and the triangle that is stored
        self._array: Any = None
        self._unsynced: list[tuple[int, int]] = []  # chunks
        self._lock = threading.Lock()  # of the list: one thread takes it while others write
        self._kept: set[tuple[int, int]] = set()  # chunks that are whole, of blocks that are not
        self._n_chunks = tuple(-(-n // self._chunk_size) for n in shape)

    def __getstate__(self) -> dict[str, Any]:
        """An open store goes to other processes, and is copied for threads: each knows of what it has written alone."""
        return {name: value for name, value in vars(self).items() if name != "_lock"} | {"_unsynced": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    @property
    def began(self) -> str:
        """What tells an open store from another one that takes its place, and from the finished one."""
        status = (self.path / HIDDEN_METADATA).stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    @property
    def description(self) -> dict[str, Any]:
        compressor = None if self._compressor is None else self._compressor.to_dict()
        return {
            "format": "zarr",
            "chunk_size": self._chunk_size,
            "compressor": compressor,
            "checksum": "crc32c",
            "triangle": self._about["triangle"],
        }

    @property
    def block_shape(self) -> tuple[int, int]:
        most = BLOCK_ROWS if self._most_entries is None else min(BLOCK_ROWS, math.isqrt(self._most_entries))
        side = self._chunk_size * max(1, min(most, max(self.shape) // 8) // self._chunk_size)
        return side, side

    @property
    def n_parts(self) -> int:
        return self._n_chunks[0] * self._n_chunks[1]

    def is_lost(self, folder: Path, tile: Tile, sizes: NDArray[np.int64]) -> bool:
        whole = {chunk: _size(chunk_file(folder, chunk)) == sizes[self._number(chunk)] for chunk in self._chunks(tile)}
        if all(whole.values()):
            return False
        self._kept.update(chunk for chunk, is_whole in whole.items() if is_whole)
        return True

    def open(self, fresh: bool) -> None:
        import zarr
        from zarr.codecs import Crc32cCodec

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
            # the checksum comes last: whoever reads a chunk, with whatever, knows if it is damaged
            compressors=[codec for codec in (self._compressor, Crc32cCodec()) if codec is not None],
            fill_value=0.0,
            attributes={ATTRIBUTE: self._about},
            chunk_key_encoding={"name": "default", "separator": "/"},
            config={"write_empty_chunks": True},
        )
        metadata.rename(hidden)  # until the end: nobody can open what is not finished
        sync_path(self.path.parent)

    def write(self, tile: Tile, values: NDArray[np.floating[Any]]) -> None:
        """Write a block chunk by chunk: of several at once, some would still be written after one has failed."""
        size = self._chunk_size
        for i, j in self._chunks(tile):
            if (i, j) in self._kept:
                continue
            rows, columns = (slice(k * size, min((k + 1) * size, n)) for k, n in zip((i, j), self.shape, strict=True))
            if tile.row_start <= rows.start < tile.row_stop and tile.column_start <= columns.start < tile.column_stop:
                chunk = _part(values, tile, rows, columns)
            else:
                chunk = _part(values, tile, columns, rows).T
            self._array[rows, columns] = chunk
            with self._lock:
                self._unsynced.append((i, j))

    def _chunks(self, tile: Tile) -> Iterator[tuple[int, int]]:
        """Yield the chunks that a block is stored in, its mirror image's among them."""
        size, is_upper = self._chunk_size, self._about["triangle"] == "upper"
        rows = range(tile.row_start // size, -(-tile.row_stop // size))
        columns = range(tile.column_start // size, -(-tile.column_stop // size))
        for i, j in itertools.product(rows, columns):
            if not is_upper or i <= j:
                yield i, j
            if self.mirrors and not is_upper and tile.row_start != tile.column_start:
                yield j, i

    def n_files(self, tile: Tile) -> int:
        """Return how many chunks a block is stored in."""
        return sum(1 for _ in self._chunks(tile))

    def _number(self, chunk: tuple[int, int]) -> int:
        return chunk[0] * self._n_chunks[1] + chunk[1]

    def sync(self) -> dict[int, int]:
        with self._lock:
            written, self._unsynced = self._unsynced, []
        files = {chunk: chunk_file(self.path, chunk) for chunk in written}
        for file in files.values():
            sync_path(file)
        for folder in {file.parent for file in files.values()}:
            sync_path(folder)
        sync_path(self.path / "c")
        sync_path(self.path)
        return {self._number(chunk): file.stat().st_size for chunk, file in files.items()}

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
        if path.exists():
            path.rename(temporary_name(path, "replaced"))
        self.path.rename(path)
        self.remove_replaced(path)

    def remove_replaced(self, path: Path) -> None:
        for aside in temporary_names(path, "replaced"):
            shutil.rmtree(aside, ignore_errors=True)

    def remove(self) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)

    def refuse_to_replace(self, path: Path) -> None:
        if path.exists() and not _is_array(path):
            raise FileExistsError(f"{path} is no Zarr array, and is not replaced by one; name another place.")


def chunk_file(folder: Path, chunk: tuple[int, int]) -> Path:
    """Return the file that a chunk of an array is in."""
    return folder.joinpath("c", *map(str, chunk))


def _size(file: Path) -> int:
    """Return the size of a file, -1 if there is none."""
    return file.stat().st_size if file.is_file() else -1


def _is_array(path: Path) -> bool:
    """Whether a folder holds a Zarr array, and not a group of them or something else."""
    try:
        return bool(json.loads((path / METADATA).read_bytes())["node_type"] == "array")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return (path / METADATA).is_file() and (path / "c").is_dir()  # a damaged one


def _part(values: NDArray[Any], tile: Tile, rows: slice, columns: slice) -> NDArray[Any]:
    """Return what is in some rows and columns of the matrix, of the values of a tile."""
    row, column = tile.row_start, tile.column_start
    return values[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]


def _codec(compressor: Any, dtype: np.dtype) -> Any:
    """Return a Zarr codec, or None, from its name or itself."""
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    if compressor is None:
        return None
    named = {"blosc": BloscCodec, "gzip": GzipCodec, "zstd": ZstdCodec}
    if isinstance(compressor, str):
        if compressor not in named:
            raise ValueError(f"compressor must be None, 'blosc', 'gzip', 'zstd' or a Zarr codec; got {compressor!r}.")
        compressor = named[compressor]()
    if not hasattr(compressor, "to_dict"):
        raise TypeError(
            f"compressor must be None, 'blosc', 'gzip', 'zstd' or a Zarr codec; got {compressor!r} of type "
            f"{type(compressor).__name__}."
        )
    if isinstance(compressor, BloscCodec) and compressor.typesize is None:  # zarr before 3.1.1 describes no such codec
        return replace(compressor, typesize=dtype.itemsize, shuffle=compressor.shuffle or "shuffle")
    return compressor
