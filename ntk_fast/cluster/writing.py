"""Blocks of a store, each computed and written by a worker: what `out_of_core.Threads` are on one machine."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ntk_fast.backends.base import Backend
from ntk_fast.backends.engines import Engine
from ntk_fast.cluster.remote import Remote
from ntk_fast.gram import image_shape
from ntk_fast.kernels import Kernel
from ntk_fast.out_of_core.block_matrix import BlockMatrix
from ntk_fast.out_of_core.blocks_to_disk import Record
from ntk_fast.out_of_core.row_blocks import sliceable
from ntk_fast.out_of_core.zarr_store import ZarrStore
from ntk_fast.schedule.tiling import Progress, Tile, stop_if_asked

#: What an entry costs the disk, about: 2 GB/s, and each is written twice.
SECONDS_A_BYTE = 1e-9
#: What a chunk costs besides, about: a file made, put on the disk and renamed.
SECONDS_A_FILE = 2e-3


def _block_matrix(kernel: Kernel, dtype: np.dtype, backend: Backend, *rows: Any) -> BlockMatrix:
    x, y = (*(sliceable(each, name, image_shape(kernel)) for each, name in zip(rows, "XY", strict=False)), None)[:2]
    return BlockMatrix(kernel, x, y, dtype, backend)


class Workers:
    """The `Workforce` of a cluster: each task writes chunks of its own, and puts them on the disk."""

    def __init__(
        self,
        client: Any,
        engine: Engine,
        kernel: Kernel,
        dtype: np.dtype,
        rows: list[tuple[str, Any]],
        probe: tuple[str, bytes],
    ) -> None:
        self._remote = Remote(client, engine, partial(_block_matrix, kernel, dtype), rows, probe)
        self._fingerprints, self._seconds_of_entry = self._remote.look(_described_blocks)

    @property
    def fingerprints(self) -> list[str]:
        return self._fingerprints

    def write(self, store: Any, blocks: dict[int, Tile], record: Record, progress: Progress | None) -> None:
        of_entry = self._seconds_of_entry + SECONDS_A_BYTE * store.dtype.itemsize
        self._remote.write(
            WriteBlocks(store, store.began, self._fingerprints),
            blocks,
            lambda block: block.n_entries * of_entry + store.n_files(block) * SECONDS_A_FILE,
            lambda written, sizes: record(list(written), sizes),
            progress,
        )


def _described_blocks(matrix: BlockMatrix) -> tuple[list[str], float]:
    return matrix.fingerprints, matrix.seconds_of_entry


@dataclass(frozen=True, eq=False)
class WriteBlocks:
    """Compute blocks, write them, put them on the disk, and return the sizes of the files."""

    store: ZarrStore
    began: str
    fingerprints: list[str]

    def __call__(self, matrix: BlockMatrix, blocks: dict[int, Tile]) -> dict[int, int]:
        if matrix.fingerprints != self.fingerprints:
            raise ValueError("This worker reads other rows than the first one did: are they at the same path?")
        store = copy.copy(self.store)
        scratch = np.empty(max(tile.n_entries for tile in blocks.values()), dtype=matrix.dtype)
        for tile in blocks.values():
            stop_if_asked()
            values = matrix.fill_scratch(tile, scratch)
            self._refuse_another_store()
            store.write(tile, values)
        return store.sync()

    def _refuse_another_store(self) -> None:
        """Raise where the client has gone, and another has taken the store's place or finished it."""
        try:
            is_same = self.store.began == self.began
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise ValueError(f"{self.store.path} is not what it was when this block was asked for.")
