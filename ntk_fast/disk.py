"""Files that are whole or not there, and what it takes to be sure that they are on the disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; what is written under it becomes `path` at the end, if all goes well.

    At no moment does `path` name half a file: until then it keeps what it held. A link leads to the file.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield temporary
        sync_path(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_at(file: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` at a position of a file; a disk may take it in several parts."""
    rest = memoryview(content)
    while rest:
        n_written = os.pwrite(file, rest, offset)
        rest, offset = rest[n_written:], offset + n_written


def sync_path(path: Path) -> None:
    """Put a file's data, or the names in a folder, on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
