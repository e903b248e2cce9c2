"""Matrices of images on the disk: blocks by time, so that a kill, or Ctrl-C, loses little."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from stores import in_process, kill_at, npy_bytes

import ntk_fast as ntk
from ntk_fast import layers as L
from ntk_fast.backends import choose_backend
from ntk_fast.gram import entries_within
from ntk_fast.out_of_core import blocks_to_disk, write

NETWORK = L.Sequential(L.Input(5, 5, 1), L.Conv(3, bias_variance=0.1), L.Relu(), L.GlobalAveragePool(), L.Dense())
KERNEL = ntk.NTK(network=NETWORK)
X = np.random.default_rng(0).standard_normal((90, 25))
EXPECTED = KERNEL(X)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Blocks of some 200 entries, each of which is recorded."""
    monkeypatch.setattr(blocks_to_disk, "CHECKPOINT_BYTES", 0)
    entries_a_second = entries_within(1.0, KERNEL, X.dtype, choose_backend())
    monkeypatch.setattr(write, "SECONDS_A_BLOCK", 200 / entries_a_second)


@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_killed_and_resumed_it_is_the_same_and_what_was_done_stays(tmp_path, suffix):
    path, done = tmp_path / f"K.{suffix}", []

    def begin() -> None:
        kill_at(60)
        ntk.write_gram(KERNEL, X, path, n_threads=1)

    if suffix == "zarr":
        pytest.importorskip("zarr")
    assert in_process(begin) == signal.SIGKILL
    assert not path.exists()
    ntk.write_gram(KERNEL, X, path, resume=True, progress=lambda n, of: done.append((n, of)))
    assert (ntk.read_gram(path) == EXPECTED).all()
    assert 0 < done[0][0] < done[0][1]


def test_an_interrupt_keeps_the_blocks_before_it(tmp_path):
    path, reports = tmp_path / "K.npy", 0

    def interrupt(n: int, of: int) -> None:
        nonlocal reports
        reports += 1
        if n > of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, X, path, n_threads=1, progress=interrupt)
    assert reports > 1
    seen: list[int] = []
    ntk.write_gram(KERNEL, X, path, resume=True, progress=lambda n, of: seen.append(n))
    assert seen[0] > len(X) ** 2 // 8
    assert path.read_bytes() == npy_bytes(EXPECTED)
