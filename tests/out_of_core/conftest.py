"""Stores of many blocks, of small matrices."""

from __future__ import annotations

import pytest

from ntk_fast.out_of_core import blocks_to_disk, npy_store, row_blocks, write, zarr_store


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and checkpoints of a size that small matrices have many of."""
    monkeypatch.setattr(npy_store, "BAND_ROWS", 16)
    monkeypatch.setattr(zarr_store, "BLOCK_ROWS", 32)
    monkeypatch.setattr(write, "DEFAULT_CHUNK_SIZE", 16)
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", 64 * 5 * 8)
    monkeypatch.setattr(blocks_to_disk, "CHECKPOINT_BYTES", 0)
