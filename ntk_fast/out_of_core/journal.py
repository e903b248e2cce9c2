"""What a store holds, and which of its blocks are finished: a JSON document beside it, and the lock on it.

The document is written once, before any block. Then one character of it changes per finished block, in place: nothing
can be torn, and a full disk is no obstacle. It stays beside the finished store, and says of which kernel and rows that
is.
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

#: After the marks: the rest of the JSON document.
_END = b'"}\n'
#: Room for what tells the finished store from one that was put in its place.
_STAMP_LENGTH = 64


class Journal:
    """An open and locked journal; a process that dies, however it does, lets go of the lock.

    Attributes
    ----------
    identity : dict or None
        What the store holds: every value that a change of would change its bits. None: nothing was begun.
    finished : ndarray of bool
        Of each block.
    stamp : str
        Of the finished store, as of :func:`stamp_of`; empty before it is whole.
    """

    def __init__(self, path: Path, store: Path) -> None:
        self._path = path
        self._file = _locked(path, store)
        self.identity: dict[str, Any] | None = None
        self.finished: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self.stamp = ""
        self._marks = 0
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if content[:1] == b"{":  # written last: without it the rest may be torn, and no block was written
            try:
                document = json.loads(content)
                self.identity, stamp, marks = document["identity"], document["stamp"], document["finished"]
                self.stamp = stamp.strip()
                self.finished = np.frombuffer(marks.encode(), dtype=np.uint8) == ord("1")
            except (ValueError, KeyError, TypeError, AttributeError):
                self.close()
                raise ValueError(
                    f"{path} is damaged; remove it and {store}.partial, and write {store} from the beginning."
                ) from None
            self._marks = len(content) - len(_END) - len(marks)
        elif content.strip(b"\0") and content[:1] != b"\0":
            self.close()
            raise FileExistsError(f"{path} exists and is no journal of ours; remove it, or write to another place.")

    def forget(self) -> None:
        """Have the journal say nothing."""
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self.identity, self.finished, self.stamp = None, np.zeros(0, dtype=bool), ""

    def begin(self, identity: dict[str, Any], n_blocks: int) -> None:
        """Forget what the journal said, and record a store of which nothing is finished."""
        fields = {"identity": identity, "stamp": " " * _STAMP_LENGTH, "finished": "0" * n_blocks}
        document = json.dumps(fields)[:-2].encode() + _END
        os.ftruncate(self._file, 0)
        write_at(self._file, document[1:], 1)
        os.fsync(self._file)
        write_at(self._file, document[:1], 0)
        os.fsync(self._file)
        sync_path(self._path.parent)
        self.identity, self.finished, self.stamp = identity, np.zeros(n_blocks, dtype=bool), ""
        self._marks = len(document) - len(_END) - n_blocks

    def mark(self, blocks: list[int]) -> None:
        """Record that blocks are finished, and on the disk."""
        for block in blocks:
            write_at(self._file, b"1", self._marks + block)
        os.fsync(self._file)
        self.finished[blocks] = True

    def finish(self, stamp: str) -> None:
        """Record that the store is whole, and has its name or is about to get it."""
        place = self._marks - len('", "finished": "') - _STAMP_LENGTH
        write_at(self._file, stamp.ljust(_STAMP_LENGTH).encode(), place)
        os.fsync(self._file)
        self.stamp = stamp

    def remove(self) -> None:
        """Delete the journal of a store that was never begun, or is given up; the lock lasts until `close`."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._file)


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

    Size and time of its file; of a Zarr array those of its metadata, and the number of its chunks.
    """
    is_array = path.is_dir()
    status = (path / "zarr.json" if is_array else path).stat()
    n_chunks = sum(len(files) for _, _, files in os.walk(path / "c")) if is_array else 0
    return f"{status.st_size} {status.st_mtime_ns} {n_chunks}"
