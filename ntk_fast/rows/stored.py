"""Rows in a file, by its path: a .npy file, memory-mapped, or a Zarr array. Whoever needs them opens it."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RowFile:
    """Where rows are; and what tells the file from another one at the same path on another machine."""

    path: str  # absolute
    size: int  # of the file, or of a Zarr array's metadata

    @classmethod
    def at(cls, path: str | os.PathLike[str], name: str) -> RowFile:
        """Return the file at a path; raise if there is none, or of another kind. `name`: of the argument."""
        absolute = Path(os.path.abspath(path))
        if absolute.suffix.lower() not in (".npy", ".zarr"):
            raise ValueError(f"{name} must be rows, or the path of a .npy file or a .zarr array; got {str(path)!r}.")
        if not _content(absolute).is_file():
            raise FileNotFoundError(f"{name}: there is no file {str(path)!r}.")
        return cls(str(absolute), _content(absolute).stat().st_size)

    def is_here(self) -> bool:
        """Whether this machine sees the same file."""
        content = _content(Path(self.path))
        return content.is_file() and content.stat().st_size == self.size

    def open(self, name: str) -> Any:
        """Return what can be sliced like an array, and is read as it is."""
        if self.path.endswith(".npy"):
            try:
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise ValueError(f"{name}: {self.path} is not a whole .npy file of numbers ({error}).") from None
        require_zarr()
        import zarr

        return zarr.open_array(self.path, mode="r")


def _content(path: Path) -> Path:
    return path / "zarr.json" if path.suffix.lower() == ".zarr" else path


def opened(rows: Any, name: str) -> Any:
    """Return rows as they are, or what is at the path that they are."""
    return RowFile.at(rows, name).open(name) if isinstance(rows, str | os.PathLike) else rows


def require_zarr() -> None:
    """Raise if zarr-python is missing or too old."""
    if importlib.util.find_spec("zarr") is None:
        raise ImportError("A .zarr store needs zarr-python 3 or later: pip install 'ntk_fast[zarr]'.")
    import zarr

    if int(zarr.__version__.split(".")[0]) < 3:
        raise ImportError(
            f"A .zarr store needs zarr-python 3 or later; found {zarr.__version__}: pip install -U 'ntk_fast[zarr]'."
        )
