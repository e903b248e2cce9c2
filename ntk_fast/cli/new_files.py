"""Result files and stores: whole or not there, and never in the place of another without --force."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{path} cannot be written: its folder is read-only.")
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
