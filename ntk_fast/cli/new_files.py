"""Result files and stores: whole or not there, and never in the place of another without --force."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.disk import whole_file


def check_new(path: Path, force: bool) -> Path:
    """Return the file that `path` leads to, if a result may be written there."""
    target = path.resolve()
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file.")
    if target.exists() and not force:
        raise FileExistsError(f"{path} exists already; pass --force to replace it.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first.")
    return target


def check_new_store(path: Path, force: bool) -> Path:
    """Return where `path` leads to, if a Zarr store may be written there; only such a store is ever replaced."""
    target = path.resolve()
    if target.is_dir() and (target / "zarr.json").is_file():
        if not force:
            raise FileExistsError(f"{path} exists already; pass --force to replace it.")
        return target
    return check_new(path, force)


@contextmanager
def new_file(path: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary name in the same folder; a file of that name becomes `path` at the end, if all goes well."""
    with whole_file(check_new(path, force)) as temporary:
        yield temporary
        check_new(path, force)  # it may have appeared meanwhile


@contextmanager
def new_store(path: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary place in the same folder; the store that is made there becomes `path` if all goes well."""
    target = check_new_store(path, force)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder, "store.zarr")
        yield temporary
        check_new_store(path, force)  # it may have appeared meanwhile
        if target.exists():
            target.rename(Path(folder, "replaced"))  # a folder cannot be replaced in one step
        temporary.rename(target)


@contextmanager
def new_npy(path: Path, shape: tuple[int, int], dtype: np.dtype, force: bool) -> Iterator[NDArray[np.floating[Any]]]:
    """Yield a memory-mapped array that becomes the .npy file `path` at the end, and vanishes on an error."""
    with new_file(path, force) as temporary:
        needed = shape[0] * shape[1] * dtype.itemsize
        free = shutil.disk_usage(temporary.parent).free
        if needed > free:
            raise OSError(f"{path} needs {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free in its folder.")
        result = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        _fill_with_zeros(temporary, result.offset, result.nbytes)
        yield result
        result.flush()


def _fill_with_zeros(path: Path, start: int, n_bytes: int) -> None:
    """Write zeros, so that a disk that fills up is an error here, and not a signal that kills the process later.

    It also puts the file's pages into memory: 8000 x 8000 entries then take 0.2 s, and 1.3 s into a file with holes.
    """
    block = bytes(1 << 22)
    with open(path, "r+b", buffering=0) as file:
        file.seek(start)
        while n_bytes > 0:
            n_bytes -= file.write(block[: min(len(block), n_bytes)])
