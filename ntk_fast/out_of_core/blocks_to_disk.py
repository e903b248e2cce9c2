"""Blocks computed, written and recorded: the part of write_gram that takes the time, and that may be killed.

A block is filled by one thread in memory of its own, and handed to the store by the same thread: while one writes,
others compute. A block is recorded in the journal after its data has reached the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ntk_fast.disk import DISK_FULL, adopt_permissions, sync_path
from ntk_fast.out_of_core.block_matrix import BlockMatrix
from ntk_fast.out_of_core.journal import Journal, stamp_of
from ntk_fast.out_of_core.store import Store
from ntk_fast.schedule.threads import single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Progress, Tile, run_tiles

#: How much is written, or how long it takes, between two entries of the journal: what a kill may cost.
CHECKPOINT_BYTES = 256 << 20
CHECKPOINT_SECONDS = 5.0


#: Called with finished blocks that are on the disk, by their numbers, and the sizes of the parts that they are in.
Record = Callable[[list[int], dict[int, int]], None]


class Workforce(Protocol):
    """Whoever computes the blocks of a matrix and puts them into a store."""

    @property
    def fingerprints(self) -> list[str]:
        """Digests of the rows."""

    def write(self, store: Store, blocks: dict[int, Tile], record: Record, progress: Progress | None) -> None:
        """Write blocks, and have each recorded once it is on the disk, also those before an error.

        `progress` hears of entries of these blocks.
        """


class _Checkpoints:
    """Blocks that were written and are not in the journal yet."""

    def __init__(self, store: Store, record: Record) -> None:
        self._store = store
        self._record = record
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._blocks: list[int] = []
        self._bytes = 0
        self._last = time.monotonic()

    def add(self, block: int, n_bytes: int) -> None:
        with self._lock:
            self._blocks.append(block)
            self._bytes += n_bytes
            due = self._bytes >= CHECKPOINT_BYTES or time.monotonic() - self._last >= CHECKPOINT_SECONDS
        if due and self._saving.acquire(blocking=False):
            try:
                self.save()
            finally:
                self._saving.release()

    def save(self) -> None:
        with self._lock:
            blocks, self._blocks, self._bytes, self._last = self._blocks, [], 0, time.monotonic()
        if blocks:
            self._record(blocks, self._store.sync())


@dataclass(frozen=True, eq=False)
class Threads:
    """The `Workforce` of this process."""

    matrix: BlockMatrix
    n_threads: int

    @property
    def fingerprints(self) -> list[str]:
        return self.matrix.fingerprints

    def write(self, store: Store, blocks: dict[int, Tile], record: Record, progress: Progress | None) -> None:
        number = {tile: block for block, tile in blocks.items()}
        checkpoints, matrix = _Checkpoints(store, record), self.matrix

        def make_fill() -> FillTile:
            scratch = np.empty(max(tile.n_entries for tile in number), dtype=matrix.dtype)

            def fill(tile: Tile) -> None:
                values = matrix.fill_scratch(tile, scratch)
                store.write(tile, values)
                checkpoints.add(number[tile], values.nbytes)

            return fill

        try:
            with single_threaded_blas() if matrix.backend.uses_blas else nullcontext():
                run_tiles(list(number), make_fill, self.n_threads, progress)
        finally:
            checkpoints.save()


def write_blocks(
    path: Path,
    store: Store,
    journal: Journal,
    workforce: Workforce,
    tiles: list[Tile],
    progress: Progress | None,
    overwrite: bool,
) -> None:
    """Write all blocks that the journal does not have, and give the store its name."""
    try:
        store.open(fresh=not journal.finished.any())
        adopt_permissions(path, store.path)
        _write_missing(store, journal, workforce, tiles, progress)
        store.finish()
        store.close()
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} has appeared meanwhile; the finished matrix is {store.path}.")
        journal.finish(stamp_of(store.path))  # before it has its name: a name does not change the stamp
        store.replace(path)
        sync_path(path.parent)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        share = f"{int(journal.finished.sum())} of {len(tiles)} blocks are written and kept"
        sentence = f"The disk is full: {share}; make room, and call again with resume=True"
        raise OSError(error.errno, sentence, str(path)) from error
    finally:
        if not journal.finished.any() and not journal.stamp:  # nothing worth keeping
            store.remove()
            journal.remove()


def _write_missing(
    store: Store, journal: Journal, workforce: Workforce, tiles: list[Tile], progress: Progress | None
) -> None:
    missing = {block: tile for block, tile in enumerate(tiles) if not journal.finished[block]}
    total = sum(tile.n_entries for tile in tiles)
    before = total - sum(tile.n_entries for tile in missing.values())

    def record(blocks: list[int], sizes: dict[int, int]) -> None:
        journal.measure(sizes)
        journal.mark(blocks)

    if progress is not None:
        progress(before, total)
    show = None if progress is None else lambda done, _: progress(before + done, total)
    workforce.write(store, missing, record, show)
