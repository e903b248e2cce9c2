"""write_gram ends with the bits of an uninterrupted run, whenever it is killed or interrupted."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

import numpy as np
import pytest
from stores import KERNEL, in_process, kill_at, names, npy_bytes, rows

import ntk_fast as ntk
from ntk_fast.out_of_core import blocks_to_disk, zarr_store
from ntk_fast.out_of_core.journal import Journal

pytestmark = pytest.mark.usefixtures("small_blocks")


def test_killed_at_every_change_of_the_disk(tmp_path):
    """From the first file to the last name: each kill leaves something to go on with, and never a finished lie."""
    X, path = rows(24), tmp_path / "K.npy"
    expected = npy_bytes(KERNEL(X))

    def run(call: int) -> None:
        kill_at(call)
        ntk.write_gram(KERNEL, X, path, resume=True, n_threads=1)

    for call in itertools.count(1):
        killed = in_process(lambda call=call: run(call))
        if killed:
            assert killed == signal.SIGKILL
            if path.exists():
                assert path.read_bytes() == expected
            ntk.write_gram(KERNEL, X, path, resume=True)
        assert path.read_bytes() == expected, f"killed at change {call}"
        assert names(tmp_path) == {"K.npy", "K.npy.journal"}, f"killed at change {call}"
        if not killed:
            break
        path.unlink()
    assert call > 50


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(tmp_path, seed):
    X, path = rows(80), tmp_path / "K.npy"
    rng = np.random.default_rng(seed)

    def run(call: int) -> None:
        kill_at(call)
        ntk.write_gram(KERNEL, X, path, resume=True, n_threads=2)

    calls = [int(rng.integers(1, 200)) for _ in range(300)]
    n_kills = next(kills for kills, call in enumerate(calls) if not in_process(lambda call=call: run(call)))
    assert n_kills >= 4
    assert path.read_bytes() == npy_bytes(KERNEL(X))


def test_a_zarr_store_killed_in_the_middle(tmp_path):
    pytest.importorskip("zarr")
    X, path = rows(150), tmp_path / "K.zarr"

    def run(n_blocks: int) -> None:
        original, counter = zarr_store.ZarrStore.write, itertools.count(1)

        def counted(self: Any, tile: Any, values: np.ndarray) -> None:
            original(self, tile, values)
            if next(counter) == n_blocks:
                os.kill(os.getpid(), signal.SIGKILL)

        zarr_store.ZarrStore.write = counted
        ntk.write_gram(KERNEL, X, path, resume=True, n_threads=1)

    for n_blocks in (1, 4, 6):
        assert in_process(lambda n=n_blocks: run(n)) == signal.SIGKILL
        assert not path.exists()
        (tmp_path / "K.zarr.partial" / "c" / "0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "K.zarr.partial" / "c" / "0" / "1.0123abcd.partial").write_bytes(b"half a chunk")
    ntk.write_gram(KERNEL, X, path, resume=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))
    assert names(tmp_path) == {"K.zarr", "K.zarr.journal"}
    assert not list(path.rglob("*.partial"))


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_an_interrupt_keeps_what_is_done(tmp_path, suffix):
    X, path = rows(200), tmp_path / f"K{suffix}"
    reports: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        reports.append((done, total))
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, X, path, n_threads=1, progress=interrupt)
    assert names(tmp_path) == {f"{path.name}.partial", f"{path.name}.journal"}
    with pytest.raises(FileNotFoundError, match="was begun and is not finished"):
        ntk.read_gram(path)
    with pytest.raises(FileExistsError, match="was begun and not finished; pass resume=True"):
        ntk.write_gram(KERNEL, X, path)
    again: list[tuple[int, int]] = []
    ntk.write_gram(KERNEL, X, path, resume=True, progress=lambda *report: again.append(report))
    assert again[0] == reports[-1], "progress begins with what was done before"
    assert again[-1][0] == again[-1][1]
    assert again == sorted(again)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))


def test_an_unfinished_file_is_no_array(tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, rows(200), tmp_path / "K.npy", n_threads=1, progress=interrupt)
    with pytest.raises(ValueError, match="pickle"):
        np.load(tmp_path / "K.npy.partial")


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_killed_while_another_matrix_is_replaced(tmp_path, suffix):
    """There is always a whole matrix, or something to go on with; and never a stranger in the way."""
    X, path = rows(24), tmp_path / f"K{suffix}"
    old, new = ntk.NTK(1), KERNEL

    def run(call: int) -> None:
        kill_at(call)
        ntk.write_gram(new, X, path, overwrite=True, n_threads=1)

    for call in itertools.count(1, 7):
        ntk.write_gram(old, X, path, overwrite=True)
        killed = in_process(lambda call=call: run(call))
        if path.exists():
            stored = ntk.read_gram(path)
            assert any(np.array_equal(stored, kernel(X)) for kernel in (old, new)), f"killed at change {call}"
        ntk.write_gram(new, X, path, resume=call % 2 == 0, overwrite=True)
        np.testing.assert_array_equal(ntk.read_gram(path), new(X))
        assert names(tmp_path) == {path.name, f"{path.name}.journal"}, f"killed at change {call}"
        if not killed:
            break
    assert call > 30


def test_a_checkpoint_comes_by_size_or_by_time(tmp_path, monkeypatch):
    """A kill costs no more than the blocks since the last one."""
    saved: list[int] = []
    original = Journal.mark
    monkeypatch.setattr(Journal, "mark", lambda self, blocks: (saved.append(len(blocks)), original(self, blocks)))
    for n_bytes, seconds, most in ((0, 1e9, 1), (1 << 40, 1e9, 1000), (1 << 40, 0.0, 1)):
        monkeypatch.setattr(blocks_to_disk, "CHECKPOINT_BYTES", n_bytes)
        monkeypatch.setattr(blocks_to_disk, "CHECKPOINT_SECONDS", seconds)
        saved.clear()
        ntk.write_gram(KERNEL, rows(200), tmp_path / "K.npy", n_threads=1, overwrite=True)
        assert max(saved) <= most
        assert len(saved) == (1 if most == 1000 else sum(saved))
