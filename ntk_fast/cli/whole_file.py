"""A result file that appears whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


@contextmanager
def whole_npy(path: Path, shape: tuple[int, int], dtype: np.dtype, force: bool) -> Iterator[NDArray[np.floating[Any]]]:
    """Yield a memory-mapped array that becomes the .npy file `path` at the end, and vanishes on an error.

    It has a temporary name in the same folder until then.
    """
    target = check_new(path, force)
    needed = shape[0] * shape[1] * dtype.itemsize
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(f"{path} needs {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free in its folder.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        result = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        _fill_with_zeros(temporary, result.offset, result.nbytes)
        yield result
        result.flush()
        check_new(path, force)  # it may have appeared meanwhile
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _fill_with_zeros(path: Path, start: int, n_bytes: int) -> None:
    """Write zeros, so that a disk that fills up is an error here, and not a signal that kills the process later.

    It also puts the file's pages into memory: 8000 x 8000 entries then take 0.2 s, and 1.3 s into a file with holes.
    """
    block = bytes(1 << 22)
    with open(path, "r+b", buffering=0) as file:
        file.seek(start)
        while n_bytes > 0:
            n_bytes -= file.write(block[: min(len(block), n_bytes)])
