"""Rows as workers get them: an array that is sent, a file that they open, or a dask.array that is there."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from ntk_fast.rows.stored import RowFile


def is_collection(rows: Any) -> bool:
    """Whether rows are a dask.array."""
    array = sys.modules.get("dask.array")
    return array is not None and isinstance(rows, array.Array)


def for_workers(given: Any, rows: Any, name: str) -> Any:
    """Return what the workers get: for a path its file, else the rows, which are `given` as something to slice."""
    if isinstance(given, str | os.PathLike):
        return RowFile.at(given, name)
    if is_collection(rows):
        if any(size != size for size in rows.shape):  # NaN: chunks of unknown size
            raise ValueError(f"{name} must have chunks of known sizes: call {name}.compute_chunk_sizes() first.")
        return rows
    return np.asarray(rows[:])
