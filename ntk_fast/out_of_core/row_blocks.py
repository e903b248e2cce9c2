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
from ntk_fast.profile import Entry
from ntk_fast.recursion import Recursion
from ntk_fast.rows import Rows, prepare_rows
from ntk_fast.validation import check_rows

#: Of rows in a block.
BLOCK_BYTES = 16 << 20

#: Converted blocks that are kept.
KEPT_BLOCKS = 8


def sliceable(rows: Any, name: str) -> Any:
    """Return rows as they are if they can be sliced like an array, in memory or not; else as an array."""
    is_array_like = all(hasattr(rows, attribute) for attribute in ("shape", "dtype", "__getitem__"))
    # tensors are in memory anyway, and some know no slice of rows alone
    is_tensor = hasattr(rows, "__dlpack__") and not isinstance(rows, np.ndarray)
    return rows if is_array_like and not is_tensor and len(rows.shape) == 2 else check_rows(rows, name, None)


class RowBlocks:
    """Rows of one matrix for one kernel: see the module.

    Attributes
    ----------
    fingerprint : str
        A BLAKE2b digest of all rows, as converted.
    largest_root : float
        The largest square root of K(x, x).
    """

    def __init__(
        self, rows: Any, name: str, dtype: np.dtype, recursion: Recursion, entry: Entry | None, backend: Backend
    ) -> None:
        self._rows = rows
        self._name = name
        self._dtype = dtype
        self._recursion = recursion
        self._entry = entry
        self._backend = backend
        self._n_rows, self.n_features = rows.shape
        self._block = max(64, BLOCK_BYTES // (self.n_features * dtype.itemsize) // 64 * 64)
        self._converted = lru_cache(maxsize=KEPT_BLOCKS)(self._convert)
        self._in_place: Rows | None = None
        self._scan()

    def __len__(self) -> int:
        return self._n_rows

    def _convert(self, start: int, stop: int) -> Rows:
        values = check_rows(self._rows[start:stop], f"{self._name}[{start}:{stop}]", self._dtype)
        return prepare_rows(values, f"{self._name}[{start}:{stop}]", self._recursion, self._entry, self._backend)

    def _scan(self) -> None:
        """Look at all rows once: are they finite, what do they hash to, how large is K, and can they stay in place?"""
        digest = hashlib.blake2b(f"{self._rows.shape} {self._dtype.str}".encode(), digest_size=32)
        self.largest_root = 0.0
        in_place = isinstance(self._rows, np.ndarray)
        parts = []
        for start in range(0, self._n_rows, self._block):
            stop = min(start + self._block, self._n_rows)
            source = self._rows[start:stop]
            values = check_rows(source, f"{self._name}[{start}:{stop}]", self._dtype)
            digest.update(np.ascontiguousarray(values).data.cast("B"))
            prepared = prepare_rows(
                values, f"{self._name}[{start}:{stop}]", self._recursion, self._entry, self._backend
            )
            self.largest_root = max(self.largest_root, float(prepared.root_diagonal.max(initial=0.0)))
            in_place = in_place and prepared.values is values and np.may_share_memory(values, source)
            if in_place:
                parts.append(prepared)
        self.fingerprint = digest.hexdigest()
        if in_place and parts:
            joined = {
                field: np.concatenate([getattr(part, field) for part in parts], axis=-1)
                for field in ("inverse_norm", "diagonal", "root_diagonal", "scale", "rho", "tau")
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
