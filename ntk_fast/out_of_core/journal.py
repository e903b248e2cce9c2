"""What a store holds, and which of its blocks are finished: a JSON document beside it, and the lock on it.

The document is written once, before any block. Then one character of it changes per finished block, in place: nothing
can be torn, and a full disk is no obstacle. Of a store of many files it also has the size of each: one that is cut
short later is known by it. It stays beside the finished store, and says of which kernel and rows that is.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.disk import sync_path, write_at

#: The first character until the others are on the disk: of a journal that says nothing, but is one of ours.
_TORN = b"\0"
#: After the marks: the rest of the JSON document.
_END = b'"}\n'
#: Room for what tells the finished store from one that was put in its place.
_STAMP_LENGTH = 64
#: Hexadecimal digits of the size of a part.
_SIZE_LENGTH = 12


class Journal:
    """An open and locked journal; a process that dies, however it does, lets go of the lock.

    Attributes
    ----------
    identity : dict or None
        What the store holds: every value that a change of would change its bits. None: nothing was begun.
    finished : ndarray of bool
        Of each block.
    sizes : ndarray of int64
        Of the files that the store is spread over; 0 for those that are not finished.
    stamp : str
        Of the finished store, as of :func:`stamp_of`; empty before it is whole.
    """

    def __init__(self, path: Path, store: Path) -> None:
        self._path = path
        self._file = _locked(path, store)
        self.identity: dict[str, Any] | None = None
        self.finished: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self.sizes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.stamp = ""
        self._places: dict[str, int] = {}  # where fields begin that change in place
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        self._is_ours = content[:1] in (b"{", _TORN)
        if content[:1] == b"{":  # written last: without it the rest may be torn, and no block was written
            try:
                document = json.loads(content)
                self.identity, stamp, marks = document["identity"], document["stamp"], document["finished"]
                self.stamp = stamp.strip()
                self.finished = np.frombuffer(marks.encode(), dtype=np.uint8) == ord("1")
                sizes = document.get("sizes", "")
                parts = (sizes[start : start + _SIZE_LENGTH] for start in range(0, len(sizes), _SIZE_LENGTH))
                self.sizes = np.array([int(size, 16) for size in parts], dtype=np.int64)
            except (ValueError, KeyError, TypeError, AttributeError):
                self.close()
                raise ValueError(
                    f"{path} is damaged; remove it and {store}.partial, and write {store} from the beginning."
                ) from None
            self._places = _places(content)
        elif content and not self._is_ours:
            self.close()
            raise FileExistsError(f"{path} exists and is no journal of ours; remove it, or write to another place.")

    def begin(self, identity: dict[str, Any], n_blocks: int, n_parts: int) -> None:
        """Forget what the journal said, and record a store of which nothing is finished."""
        fields = {
            "identity": identity,
            "stamp": " " * _STAMP_LENGTH,
            "sizes": "0" * _SIZE_LENGTH * n_parts,
            "finished": "0" * n_blocks,
        }
        document = json.dumps(fields)[:-2].encode() + _END
        write_at(self._file, _TORN, 0)
        os.ftruncate(self._file, 1)
        write_at(self._file, document[1:], 1)
        os.fsync(self._file)
        write_at(self._file, document[:1], 0)
        os.fsync(self._file)
        sync_path(self._path.parent)
        self.identity, self.finished, self.stamp, self._is_ours = identity, np.zeros(n_blocks, dtype=bool), "", True
        self.sizes = np.zeros(n_parts, dtype=np.int64)
        self._places = _places(document)

    def measure(self, sizes: dict[int, int]) -> None:
        """Record the sizes of parts of the store; they are on the disk when the blocks are marked that they hold."""
        for part, size in sizes.items():
            write_at(self._file, b"%0*x" % (_SIZE_LENGTH, size), self._places["sizes"] + part * _SIZE_LENGTH)
            self.sizes[part] = size

    def mark(self, blocks: list[int]) -> None:
        """Record that blocks are finished, and on the disk."""
        self._write_marks(blocks, b"1")
        self.finished[blocks] = True

    def owns(self, partial: Path) -> bool:
        """Whether what has the temporary name is ours: begun, or the journal's whole store before it was renamed."""
        if not self._is_ours or not os.path.lexists(partial):
            return False
        try:
            return not self.stamp or stamp_of(partial) == self.stamp
        except OSError:
            return False

    def lose(self, blocks: list[int]) -> None:
        """Record that blocks are to be computed again, and the store is not whole."""
        self.finish("")
        self._write_marks(blocks, b"0")
        self.finished[blocks] = False

    def finish(self, stamp: str) -> None:
        """Record that the store is whole, and has its name or is about to get it."""
        write_at(self._file, stamp.ljust(_STAMP_LENGTH).encode(), self._places["stamp"])
        os.fsync(self._file)
        self.stamp = stamp

    def _write_marks(self, blocks: list[int], mark: bytes) -> None:
        for block in blocks:
            write_at(self._file, mark, self._places["finished"] + block)
        os.fsync(self._file)

    def remove(self) -> None:
        """Delete the journal of a store that was never begun, or is given up; the lock lasts until `close`."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._file)


def _places(document: bytes) -> dict[str, int]:
    """Return where the values begin that change; they come last, after an identity in which quotes are escaped."""
    keys = {name: f'"{name}": "'.encode() for name in ("stamp", "sizes", "finished")}
    return {name: document.rindex(key) + len(key) for name, key in keys.items() if key in document}


def _locked(path: Path, store: Path) -> int:
    """Open and lock a journal, empty if there is none."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OSError(error.errno, f"{store} cannot be written: {error.strerror}", str(path.parent)) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise BlockingIOError(
                error.errno, "Another process or thread is writing this store; wait for it, or stop it", str(store)
            ) from None
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # its owner finished, and removed it, between our opening it and locking it


def stamp_of(path: Path) -> str:
    """Return what changes when a store is replaced or edited, but not when it is renamed.

    Size and time of its file; of a Zarr array those of its metadata.
    """
    status = (path / "zarr.json" if path.is_dir() else path).stat()
    return f"{status.st_size} {status.st_mtime_ns}"
