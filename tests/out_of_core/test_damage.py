"""Parts of a store that are missing or damaged are named, and computed again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import KERNEL, begin, begin_most, names, npy_bytes, rows

import ntk_fast as ntk
from ntk_fast.out_of_core import write, zarr_store
from ntk_fast.out_of_core.journal import Journal

pytestmark = pytest.mark.usefixtures("small_blocks")


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def turn_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "cut short": cut,
    "emptied": lambda file: file.write_bytes(b""),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("state", "compressor", "triangle"),
    [
        ("finished", None, "both"),
        ("finished", "zstd", "upper"),
        ("unfinished", None, "upper"),
        ("unfinished", "blosc", "both"),
    ],
)
def test_a_damaged_chunk_is_named_and_computed_again_alone(tmp_path, damage, state, compressor, triangle):
    X, path = rows(100), tmp_path / "K.zarr"
    options: dict[str, Any] = {"compressor": compressor, "triangle": triangle}
    if state == "finished":
        ntk.write_gram(KERNEL, X, path, **options)
    else:
        begin_most(path, X, **options)
    reports: list[tuple[int, int]] = []
    place = path if state == "finished" else tmp_path / "K.zarr.partial"
    chunks = [file for file in (place / "c").rglob("*") if file.is_file()]
    i, j = (1, 4) if triangle == "upper" else (4, 1)
    damaged = place / "c" / str(i) / str(j)
    DAMAGES[damage](damaged)
    before = {file.relative_to(place): file.stat().st_mtime_ns for file in chunks if file != damaged}
    if state == "finished":
        with pytest.raises(ValueError, match=rf"is damaged: its chunk \({i}, {j}\).*{damaged}"):
            ntk.read_gram(path)
        np.testing.assert_array_equal(ntk.read_gram(path, 0, 16, 0, 16), KERNEL(X)[:16, :16])
    ntk.write_gram(KERNEL, X, path, resume=True, progress=lambda *report: reports.append(report), **options)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))
    assert 0 < reports[0][0] < reports[-1][0] == reports[-1][1]
    assert names(tmp_path) == {"K.zarr", "K.zarr.journal"}
    assert {file: (path / file).stat().st_mtime_ns for file in before} == before, "the others stay as they are"


@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_a_turned_bit_of_a_chunk_is_never_read(tmp_path, compressor):
    X, path = rows(100), tmp_path / "K.zarr"
    ntk.write_gram(KERNEL, X, path, compressor=compressor)
    damaged = path / "c" / "1" / "2"
    turn_a_bit(damaged)
    with pytest.raises(ValueError, match=rf"its chunk \(1, 2\) cannot be read .*remove {damaged}"):
        ntk.read_gram(path, 0, 50)
    damaged.unlink()
    ntk.write_gram(KERNEL, X, path, resume=True, compressor=compressor)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))


def test_an_unfinished_file_that_was_cut_short_is_no_zeros(tmp_path):
    """Its space is reserved again when it is opened: what is missing would read as zeros."""
    for share in (0.01, 0.4, 0.99):
        path = tmp_path / "K.npy"
        begin_most(path, rows(200))
        partial = tmp_path / "K.npy.partial"
        os.truncate(partial, int(share * partial.stat().st_size))
        ntk.write_gram(KERNEL, rows(200), path, resume=True)
        assert path.read_bytes() == npy_bytes(KERNEL(rows(200)))
        path.unlink()


def test_every_chunk_is_on_the_disk_before_the_journal_says_so(tmp_path, monkeypatch):
    """Threads write chunks while one of them syncs: none may be forgotten."""
    synced: set[Path] = set()
    known: dict[str, Any] = {}
    sync, mark, make_tiles, open_store = zarr_store.sync_path, Journal.mark, write.make_tiles, zarr_store.ZarrStore.open

    def slow_sync(path: Path) -> None:
        time.sleep(1e-4)
        sync(path)
        synced.add(path)

    def checked_mark(self: Journal, blocks: list[int]) -> None:
        for chunk in (chunk for block in blocks for chunk in known["store"]._chunks(known["tiles"][block])):
            assert zarr_store.chunk_file(known["store"].path, chunk) in synced
        mark(self, blocks)

    monkeypatch.setattr(zarr_store, "sync_path", slow_sync)
    monkeypatch.setattr(Journal, "mark", checked_mark)
    monkeypatch.setattr(write, "make_tiles", lambda *n, **options: known.setdefault("tiles", make_tiles(*n, **options)))
    monkeypatch.setattr(
        zarr_store.ZarrStore, "open", lambda self, fresh: (known.update(store=self), open_store(self, fresh))
    )
    ntk.write_gram(KERNEL, rows(200), tmp_path / "K.zarr", n_threads=8)


def test_a_missing_chunk_is_no_zeros(tmp_path):
    path = tmp_path / "K.zarr"
    for triangle, missing in (("both", "1/0"), ("upper", "0/1")):
        ntk.write_gram(KERNEL, rows(40), path, triangle=triangle, overwrite=True)
        (path / "c" / missing).unlink()
        ntk.read_gram(path, 0, 16, 0, 16)
        with pytest.raises(ValueError, match=r"is damaged: its chunk .* is missing; write it again"):
            ntk.read_gram(path, 16, 20, 3, 5)


def test_an_unfinished_zarr_store_is_no_array(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "K.zarr"
    begin(path, rows(200))
    with pytest.raises(FileNotFoundError):
        zarr.open_array(tmp_path / "K.zarr.partial", mode="r")
    with pytest.raises(ValueError, match="is not a Zarr array"):
        ntk.read_gram(tmp_path / "K.zarr.partial")


def test_a_damaged_journal_is_refused(tmp_path):
    begin(tmp_path / "K.npy", rows(200))
    journal = tmp_path / "K.npy.journal"
    journal.write_bytes(journal.read_bytes()[:-10])
    with pytest.raises(ValueError, match="journal is damaged; remove it"):
        ntk.write_gram(KERNEL, rows(200), tmp_path / "K.npy", resume=True)


def test_a_journal_that_was_removed_while_it_was_opened(tmp_path, monkeypatch):
    """Its owner finishes between our opening it and locking it: the lock is on a name that is gone."""
    path = tmp_path / "K.npy.journal"
    original, removed = os.open, []

    def opened(*arguments: Any) -> int:
        file = original(*arguments)
        if not removed:
            removed.append(path)
            path.unlink()
        return file

    monkeypatch.setattr(os, "open", opened)
    journal = Journal(path, tmp_path / "K.npy")
    assert path.exists()
    journal.close()
