"""Rows that need not fit in memory, prepared for tiles a block at a time.

Rows that tiles can read where they are (an array, or a memory-mapped file, of the right dtype) are never copied: the
system pages a file in and out as tiles go through it. Others, of another dtype or behind an interface such as HDF5's,
are converted a block at a time, and the last few blocks are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ntk_fast.backends.base import Backend
from ntk_fast.lower.program import Program
from ntk_fast.lower.row_parameters import norm_range
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.lower.steps import Plan
from ntk_fast.rows.prepared import MeasuredRows, Rows
from ntk_fast.rows.preparing import measure, prepare_rows
from ntk_fast.validation import check_rows, flattened

#: Of rows in a block.
BLOCK_BYTES = 16 << 20

#: Converted blocks that are kept.
KEPT_BLOCKS = 8


def sliceable(rows: Any, name: str, shape: tuple[int, ...] | None = None) -> Any:
    """Return rows as they are if they can be sliced like an array, in memory or not; else as an array.

    `shape`: that of images. Those that are an array become rows; elsewhere they must be rows already.
    """
    is_array_like = all(hasattr(rows, attribute) for attribute in ("shape", "dtype", "__getitem__"))
    # tensors are in memory anyway, and some know no slice of rows alone
    is_tensor = hasattr(rows, "__dlpack__") and not isinstance(rows, np.ndarray)
    if shape is not None and is_array_like and not is_tensor and (isinstance(rows, np.ndarray) or len(rows.shape) == 2):
        return flattened(rows, name, shape)
    is_rows = is_array_like and not is_tensor and len(rows.shape) == 2
    return rows if is_rows else check_rows(rows, name, None, shape)


class RowBlocks:
    """Rows of one matrix for one kernel: see the module.

    Attributes
    ----------
    fingerprint : str
        A BLAKE2b digest of all rows, as converted.
    square_norms : Scaled
        The least and the largest squared norm: what a program is compiled for.
    largest_root : float
        The largest square root of K(x, x), once there is a program.
    """

    def __init__(self, rows: Any, name: str, dtype: np.dtype, plan: Plan, backend: Backend) -> None:
        self._rows = rows
        self._name = name
        self._dtype = dtype
        self._plan = plan
        self._backend = backend
        self._n_rows, self.n_features = rows.shape
        self._block = max(64, BLOCK_BYTES // (self.n_features * dtype.itemsize) // 64 * 64)
        self._converted = lru_cache(maxsize=KEPT_BLOCKS)(self._convert)
        self._in_place: Rows | None = None
        self._program: Program | SpatialProgram | None = None
        self._scan()

    def __len__(self) -> int:
        return self._n_rows

    def _measured(self, start: int, stop: int) -> tuple[Any, MeasuredRows]:
        name = f"{self._name}[{start}:{stop}]"
        values = check_rows(self._rows[start:stop], name, self._dtype)
        return values, measure(values, name, self._backend, self._plan.shape)

    def _convert(self, start: int, stop: int) -> Rows:
        assert self._program is not None
        _, measured = self._measured(start, stop)
        return prepare_rows(measured, self._plan, self._program, self._backend)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self._n_rows, self._block):
            yield start, min(start + self._block, self._n_rows)

    def _scan(self) -> None:
        """Look at all rows once: are they finite, what do they hash to, how long are they, can they stay in place?"""
        digest = hashlib.blake2b(f"{self._rows.shape} {self._dtype.str}".encode(), digest_size=32)
        self._stays = isinstance(self._rows, np.ndarray)
        norms = [Scaled.of(np.empty(0))]
        for start, stop in self._blocks():
            values, measured = self._measured(start, stop)
            digest.update(np.ascontiguousarray(values).data.cast("B"))
            norms.append(norm_range(measured.square_norm))
            self._stays &= measured.values is values and np.may_share_memory(values, self._rows)
        self.fingerprint = digest.hexdigest()
        self.square_norms = norm_range(*norms)

    def compile(self, program: Program | SpatialProgram) -> None:
        """Prepare rows for a program from now on."""
        self._program = program
        self.largest_root = 0.0
        parts = []
        for start, stop in self._blocks():
            prepared = self._convert(start, stop)
            self.largest_root = max(self.largest_root, float(prepared.root_diagonal.max(initial=0.0)))
            if self._stays:
                parts.append(prepared)
        if parts:
            joined = {
                field: np.concatenate([getattr(part, field) for part in parts], axis=-1)
                for field in ("inverse_norm", "diagonal", "root_diagonal", "scale", "parameters")
            }
            self._in_place = Rows(values=np.asarray(self._rows), **joined)

    def rows(self, start: int, stop: int) -> Rows:
        """Return some rows, prepared."""
        if self._in_place is not None:
            return self._in_place.part(slice(start, stop))
        return self._convert(start, stop)

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, Rows]]:
        """Yield a range of rows as prepared parts, each with its own range; converted ones are likely to be kept."""
        if self._in_place is not None:
            yield start, stop, self.rows(start, stop)
            return
        while start < stop:
            first = start // self._block * self._block
            last = min(first + self._block, self._n_rows)
            block, part_stop = self._converted(first, last), min(last, stop)
            yield start, part_stop, block.part(slice(start - first, part_stop - first))
            start = part_stop
