"""Files that are whole or not there, and what it takes to be sure that they are on the disk."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system: what a killed process left stays
    fcntl: Any = None  # type: ignore[no-redef]


#: What the system says where there is no room.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Make a folder; an error takes it away again, and those above it that were made, if nothing is in them."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def refuse_unwritable(folder: Path) -> None:
    """Raise if a folder cannot be made, or written to."""
    standing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not standing.is_dir():
        raise NotADirectoryError(f"{standing} is a file; results go into a folder.")
    if not os.access(standing, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to.")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield an empty file in the same folder; what is written to it becomes `path` at the end, if all goes well.

    At no moment does `path` name half a file: until then it keeps what it held. A link leads to the file; permissions
    stay as they were. What processes left that were killed while they wrote the same file is removed.
    """
    path = Path(os.path.realpath(path))
    refuse_special_file(path)
    temporary = None
    try:
        _remove_left_over(path)
        temporary, lock = _locked_file(path)
        try:
            adopt_permissions(path, temporary)
            yield temporary
            sync_path(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(lock)
    except OSError as error:
        # the temporary name, or none, as of a full disk, says nothing to anyone
        if error.filename == str(temporary) or (error.filename is None and error.errno in DISK_FULL):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def shared_words(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a file beside another one, and what is in it: who reads it there sees the same folder."""
    file, words = temporary_name(path, "probe"), secrets.token_bytes(16)
    try:
        file.write_bytes(words)
        yield str(file.absolute()), words
    finally:
        file.unlink(missing_ok=True)


def refuse_special_file(path: Path) -> None:
    """Raise if a file would take the place of a folder, a device or a pipe."""
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "is a folder, and is not replaced by a file; name another place", str(path)
        )
    if path.exists() and not path.is_file():
        raise FileExistsError(
            errno.EEXIST, "is no regular file, and is not replaced by one; name another place", str(path)
        )


def temporary_name(path: Path, suffix: str) -> Path:
    """Return a hidden name beside a file that nothing has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{suffix}")


def temporary_names(path: Path, suffix: str) -> list[Path]:
    """Return what has such a name."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.{suffix}")
    return [path.with_name(name) for name in os.listdir(path.parent) if pattern.fullmatch(name)]


def _locked_file(path: Path) -> tuple[Path, int]:
    """Make a temporary file, and lock it as long as it is written: the lock of a process that dies is gone with it."""
    while True:
        temporary = temporary_name(path, "part")
        try:
            file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return temporary, file
        os.close(file)  # taken for a left-over between our making it and locking it


def _remove_left_over(path: Path) -> None:
    if fcntl is None or not path.parent.is_dir():
        return
    for left_over in temporary_names(path, "part"):
        with suppress(OSError):  # being written, of another user, or gone by now
            file = os.open(left_over, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left_over.unlink()
            finally:
                os.close(file)


def adopt_permissions(path: Path, new: Path) -> None:
    """Give what is to take the place of a file or a folder its permissions, so that a private one stays private."""
    with suppress(FileNotFoundError):
        new.chmod(stat.S_IMODE(path.stat().st_mode))


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
