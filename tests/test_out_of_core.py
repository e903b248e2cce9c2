"""write_gram ends with the bits of an uninterrupted run, whatever happens on the way, and never passes for finished."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registry import TOLERANCES

import ntk_fast as ntk
from ntk_fast.out_of_core import blocks_to_disk, npy_store, row_blocks, write, zarr_store
from ntk_fast.out_of_core.journal import Journal

KERNEL = ntk.NTK(2)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and checkpoints of a size that small matrices have many of."""
    monkeypatch.setattr(npy_store, "BAND_ROWS", 16)
    monkeypatch.setattr(zarr_store, "BLOCK_ROWS", 32)
    monkeypatch.setattr(write, "DEFAULT_CHUNK_SIZE", 16)
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", 64 * 5 * 8)
    monkeypatch.setattr(blocks_to_disk, "CHECKPOINT_BYTES", 0)


def rows(n: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 5)).astype(dtype)


def npy_bytes(matrix: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, matrix)
    return buffer.getvalue()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def in_process(action: Callable[[], None]) -> int:
    """Run an action in a forked process; returns the signal that ended it, 0 if none did."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kill_at(call: int) -> None:
    """Kill this process when it comes to its `call`-th change of the disk; a write is first made by half."""
    counter, lock = itertools.count(1), threading.Lock()

    def wrapped(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def changed(*arguments: Any, **options: Any) -> Any:
            with lock:
                if next(counter) == call:
                    if name == "pwrite":
                        file, content, offset = arguments
                        original(file, content[: len(content) // 2], offset)
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

        return changed

    for name in ("open", "pwrite", "fsync", "ftruncate", "posix_fallocate", "replace", "rename", "unlink", "mkdir"):
        setattr(os, name, wrapped(name))


# what is written


SHAPES = [(0, None), (1, None), (17, None), (150, None), (40, 170), (170, 3), (3, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_file_is_the_one_that_numpy_would_save(tmp_path, shape, dtype, backend):
    X, Y = rows(shape[0], dtype), None if shape[1] is None else rows(shape[1], dtype, seed=1)
    path = tmp_path / "K.npy"
    ntk.write_gram(KERNEL, X, path, Y, backend=backend)
    assert names(tmp_path) == {"K.npy", "K.npy.journal"}
    stored, expected = ntk.read_gram(path), KERNEL(X, Y, backend=backend)
    assert path.read_bytes() == npy_bytes(stored)
    if Y is None:
        np.testing.assert_array_equal(stored, stored.T)
    if backend == "cython":
        assert path.read_bytes() == npy_bytes(expected)
    else:
        largest = np.sqrt(KERNEL.diag(X).max(initial=0) * KERNEL.diag(X if Y is None else Y).max(initial=0))
        np.testing.assert_allclose(stored, expected, rtol=0, atol=2 * TOLERANCES[dtype] * largest)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_zarr_array_holds_the_matrix(tmp_path, shape, dtype):
    pytest.importorskip("zarr")
    X, Y = rows(shape[0], dtype), None if shape[1] is None else rows(shape[1], dtype, seed=1)
    ntk.write_gram(KERNEL, X, tmp_path / "K.zarr", Y)
    assert names(tmp_path) == {"K.zarr", "K.zarr.journal"}
    stored = ntk.read_gram(tmp_path / "K.zarr")
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, KERNEL(X, Y))


@pytest.mark.parametrize("kernel", [ntk.NTK(3, bias_variance=0.1), ntk.ArcCosine(0, 3)], ids=str)
def test_kernels_that_go_through_their_layers(tmp_path, kernel, dtype):
    X = rows(150, dtype)
    ntk.write_gram(kernel, X, tmp_path / "K.npy")
    assert (tmp_path / "K.npy").read_bytes() == npy_bytes(kernel(X))


@pytest.mark.parametrize("triangle", ["both", "upper"])
@pytest.mark.parametrize("compressor", [None, "blosc", "gzip", "zstd"])
@pytest.mark.parametrize("chunk_size", [15, 64, 1000])
def test_zarr_layouts(tmp_path, triangle, compressor, chunk_size):
    zarr = pytest.importorskip("zarr")
    X = rows(150)
    K = KERNEL(X)
    path = tmp_path / "K.zarr"
    ntk.write_gram(KERNEL, X, path, chunk_size=chunk_size, compressor=compressor, triangle=triangle)
    np.testing.assert_array_equal(ntk.read_gram(path), K)
    for part in ((0, 10, 100, 150), (100, 150, 0, 10), (60, 90, 70, 80), (20, 20, 0, 5)):
        np.testing.assert_array_equal(ntk.read_gram(path, *part), K[part[0] : part[1], part[2] : part[3]])
    array = zarr.open_array(path, mode="r")
    assert array.metadata.zarr_format == 3
    assert array.chunks == (min(chunk_size, 150),) * 2
    if triangle == "both":
        np.testing.assert_array_equal(array[:], K)
    elif chunk_size < 150:
        assert not (path / "c" / "1" / "0").exists()


def test_any_number_of_threads_writes_the_same_file(tmp_path):
    X = rows(200)
    for n_threads in (1, 2, 5):
        ntk.write_gram(KERNEL, X, tmp_path / "K.npy", n_threads=n_threads, overwrite=True)
        assert (tmp_path / "K.npy").read_bytes() == npy_bytes(KERNEL(X))


class Sliced:
    """Rows behind an interface like HDF5's: a shape, a dtype and slices; it remembers the longest slice."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.longest = values, values.shape, values.dtype, 0

    def __getitem__(self, part: slice) -> np.ndarray:
        result = self.values[part].copy()
        self.longest = max(self.longest, len(result))
        return result


@pytest.mark.parametrize("convert", ["memory-mapped", "sliced", "float16", "int32", "strided", "list", "extreme"])
def test_rows_of_any_kind(tmp_path, convert):
    X = rows(200)
    if convert == "extreme":
        X[::7] *= 1e-170
        X[150] = 0
    given: Any = X
    if convert == "memory-mapped":
        np.save(tmp_path / "X.npy", X)
        given = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif convert == "sliced":
        given = Sliced(X)
    elif convert in ("float16", "int32"):
        given = X = (10 * X).astype(convert)
    elif convert == "strided":
        given = np.repeat(X, 2, axis=1)[:, ::2]
    elif convert == "list":
        given = X.tolist()
    for Y in (None, X[:50]):
        ntk.write_gram(KERNEL, given, tmp_path / "K.npy", Y, overwrite=True)
        assert (tmp_path / "K.npy").read_bytes() == npy_bytes(KERNEL(X, Y))
    if convert == "sliced":
        assert given.longest <= 64, "rows in blocks"


@pytest.mark.parametrize("given", ["in place", "converted"])
def test_little_memory_is_used(tmp_path, monkeypatch, given):
    monkeypatch.setattr(npy_store, "BAND_ROWS", 64)
    X = np.random.default_rng(0).standard_normal((2000, 100)).astype(np.float64 if given == "in place" else np.float32)
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", 64 * 100 * 8)
    tracemalloc.start()
    ntk.write_gram(KERNEL, X, tmp_path / "K.npy", dtype=np.float64, n_threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6, "a matrix of 32 MB, rows of 1.6 MB"


# killed, interrupted, refused


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


def begin(path: Path, X: np.ndarray, Y: np.ndarray | None = None, **options: Any) -> None:
    """Leave an unfinished store."""

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, X, path, Y, n_threads=1, progress=interrupt, **options)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "kernel": ({"kernel": ntk.NTK(3)}, r"network Sequential\(.*\), and now it is Sequential\("),
    "one number of X": ({"X": rows(200) + 1e-9 * np.eye(200, 5, -100)}, "other rows"),
    "order of X": ({"X": rows(200)[::-1]}, "other rows"),
    "Y": ({"Y": rows(200)}, "other rows"),
    "shape": ({"X": rows(199)}, r"shape \[200, 200\], and now it is \[199, 199\]"),
    "dtype": ({"dtype": np.float32}, "dtype 'float64', and now it is 'float32'"),
    "backend": ({"backend": "numpy"}, "engine 'cython-.*', and now it is 'numpy'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_and_refused(tmp_path, change):
    path = tmp_path / "K.npy"
    begin(path, rows(200))
    given, message = CHANGES[change]
    arguments = {"kernel": KERNEL, "X": rows(200), "path": path, "resume": True, **given}
    with pytest.raises(ValueError, match=f"was begun with .*{message}"):
        ntk.write_gram(**arguments)
    ntk.write_gram(KERNEL, rows(200), path, resume=True)
    assert path.read_bytes() == npy_bytes(KERNEL(rows(200)))
    with pytest.raises(ValueError, match=f"was written with .*{message}"):
        ntk.write_gram(**arguments)
    ntk.write_gram(**arguments, overwrite=True)
    del arguments["path"], arguments["resume"]
    if change != "backend":
        assert path.read_bytes() == npy_bytes(ntk.gram(**arguments))


def test_a_change_of_layout_is_refused(tmp_path):
    path = tmp_path / "K.zarr"
    begin(path, rows(200))
    for options in ({"chunk_size": 10}, {"compressor": "zstd"}, {"triangle": "upper"}):
        with pytest.raises(ValueError, match="was begun with store"):
            ntk.write_gram(KERNEL, rows(200), path, resume=True, **options)


def test_a_change_of_version_is_refused(tmp_path, monkeypatch):
    begin(tmp_path / "K.npy", rows(200))
    monkeypatch.setattr(write, "__version__", "99.0")
    with pytest.raises(ValueError, match=r"and now it is '99.0'; pass overwrite=True to begin anew"):
        ntk.write_gram(KERNEL, rows(200), tmp_path / "K.npy", resume=True)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_finished_store_is_left_alone(tmp_path, suffix):
    path = tmp_path / f"K{suffix}"
    X = rows(100)
    ntk.write_gram(KERNEL, X, path)
    before = path.stat()
    with pytest.raises(FileExistsError, match="exists already; pass overwrite=True"):
        ntk.write_gram(KERNEL, X, path)
    reports: list[tuple[int, int]] = []
    ntk.write_gram(KERNEL, X, path, resume=True, progress=lambda *report: reports.append(report))
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(reports) == 1
    assert reports[0][0] == reports[0][1] > 0
    begin(path, rows(100, seed=1), overwrite=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X), "until the new one is finished")
    ntk.write_gram(KERNEL, rows(100, seed=1), path, overwrite=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(rows(100, seed=1)))
    assert names(tmp_path) == {path.name, f"{path.name}.journal"}


def test_a_finished_store_of_other_rows_is_told_by_any_of_them(tmp_path):
    """Also by the last one, and where the first ones are zeros."""
    X, Y, path = rows(300), rows(50, seed=1), tmp_path / "K.npy"
    X[:100] = 0
    other = X.copy()
    other[299] += 1
    for columns in (Y, None):
        ntk.write_gram(KERNEL, X, path, columns, overwrite=True)
        ntk.write_gram(KERNEL, X, path, columns, resume=True)
        with pytest.raises(ValueError, match="was written with other rows"):
            ntk.write_gram(KERNEL, other, path, columns, resume=True)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_finished_store_that_was_changed_is_not_taken_for_what_it_was(tmp_path, suffix):
    path = tmp_path / f"K{suffix}"
    ntk.write_gram(KERNEL, rows(100), path)
    inside = path if suffix == ".npy" else path / "zarr.json"
    content = inside.read_bytes()
    inside.write_bytes(content)
    os.utime(inside, ns=(0, 0))
    with pytest.raises(ValueError, match="has changed since it was finished"):
        ntk.write_gram(KERNEL, rows(100), path, resume=True)
    (tmp_path / f"K{suffix}.journal").unlink()
    with pytest.raises(FileExistsError, match="no journal beside it says what it is"):
        ntk.write_gram(KERNEL, rows(100), path, resume=True)
    ntk.write_gram(KERNEL, rows(100), path, overwrite=True)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("interrupted", ["in the middle", "before it gets its name"])
def test_unfinished_work_that_was_removed_by_hand_is_not_counted_on(tmp_path, monkeypatch, suffix, interrupted):
    """An older matrix is at the path; the journal speaks of blocks, or of a whole store, that is gone."""
    X, path = rows(200), tmp_path / f"K{suffix}"
    ntk.write_gram(KERNEL, X, path)
    if interrupted == "in the middle":

        def interrupt(done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ntk.write_gram(ntk.NTK(3), X, path, overwrite=True, n_threads=1, progress=interrupt)
    else:

        def stop(self: Any, path: Path) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(npy_store.NpyStore if suffix == ".npy" else zarr_store.ZarrStore, "replace", stop)
            with pytest.raises(KeyboardInterrupt):
                ntk.write_gram(ntk.NTK(3), X, path, overwrite=True)
    partial = tmp_path / f"K{suffix}.partial"
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink()
    with pytest.raises((FileExistsError, ValueError), match=r"exists already|has changed since"):
        ntk.write_gram(ntk.NTK(3), X, path, resume=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))
    ntk.write_gram(ntk.NTK(3), X, path, resume=True, overwrite=True)
    np.testing.assert_array_equal(ntk.read_gram(path), ntk.NTK(3)(X))


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


def begin_most(path: Path, X: np.ndarray, **options: Any) -> None:
    """Leave a store of which nearly everything is finished."""

    def interrupt(done: int, total: int) -> None:
        if done > 0.9 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, X, path, n_threads=1, progress=interrupt, **options)


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


def test_what_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "K.npy.journal").write_text("my diary")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match="is no journal of ours"):
            ntk.write_gram(KERNEL, rows(20), tmp_path / "K.npy", **options)
    assert (tmp_path / "K.npy.journal").read_text() == "my diary"
    for name in ("L.npy", "L.zarr", "L.zarr.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("all of it")
    for name in ("L.npy", "L.zarr"):
        with pytest.raises(OSError, match=r"is a folder, and|is no Zarr array, and"):
            ntk.write_gram(KERNEL, rows(20), tmp_path / name, overwrite=True)
    (tmp_path / "L.zarr" / "thesis.txt").unlink()
    (tmp_path / "L.zarr").rmdir()
    for _ in range(2):
        ntk.write_gram(KERNEL, rows(20), tmp_path / "L.zarr", overwrite=True)
    for name in ("L.npy", "L.zarr.replaced"):
        assert (tmp_path / name / "thesis.txt").read_text() == "all of it"


def test_a_group_of_arrays_is_not_replaced(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_group(tmp_path / "K.zarr").create_array("theirs", shape=(2, 2), dtype=float)[:] = 1.0
    with pytest.raises(FileExistsError, match="is no Zarr array, and is not replaced by one"):
        ntk.write_gram(KERNEL, rows(20), tmp_path / "K.zarr", overwrite=True)
    assert zarr.open_group(tmp_path / "K.zarr")["theirs"][0, 0] == 1.0


def test_a_matrix_that_no_file_system_holds_is_named(tmp_path, monkeypatch):
    def too_large(file: int, offset: int, length: int) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "posix_fallocate", too_large)
    with pytest.raises(OSError, match="too large") as raised:
        ntk.write_gram(KERNEL, rows(20), tmp_path / "K.npy")
    assert raised.value.filename == str(tmp_path / "K.npy")
    assert names(tmp_path) == set()


def test_a_link_leads_to_the_matrix(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "K.npy").symlink_to(tmp_path / "scratch" / "data")
    for _ in range(2):
        ntk.write_gram(KERNEL, rows(20), tmp_path / "K.npy", overwrite=True)
        assert (tmp_path / "K.npy").is_symlink()
    assert names(tmp_path / "scratch") == {"data", "data.journal"}


def test_rows_are_not_replaced_by_their_matrix(tmp_path):
    np.save(tmp_path / "X.npy", rows(20))
    with pytest.raises(ValueError, match="path must not be the file that X is mapped from"):
        ntk.write_gram(KERNEL, np.load(tmp_path / "X.npy", mmap_mode="r"), tmp_path / "X.npy", overwrite=True)


def test_mapped_rows_without_a_file(tmp_path):
    """An anonymous map, and one whose file is gone, are of no file that the matrix could replace; a view still is."""
    X, path = rows(20), tmp_path / "K.npy"
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        anonymous = np.memmap(file, dtype=np.float64, shape=X.shape)
        anonymous[:] = X
        deleted = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=X.shape)
        deleted[:] = X
        (tmp_path / "X").unlink()
        for given in (anonymous, deleted, anonymous[:10], np.asarray(deleted)):
            ntk.write_gram(KERNEL, given, path, overwrite=True)
            np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X[: len(given)]))
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(ValueError, match="path must not be the file that Y is mapped from"):
        ntk.write_gram(
            KERNEL, X, tmp_path / "X.npy", np.asarray(np.load(tmp_path / "X.npy", mmap_mode="r"))[::2], overwrite=True
        )


def test_a_disk_that_is_full_from_the_start_is_named(tmp_path, monkeypatch):
    def full(self: Any, *arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "begin", full)
    with pytest.raises(OSError, match="The disk is full; make room") as raised:
        ntk.write_gram(KERNEL, rows(20), tmp_path / "K.npy")
    assert raised.value.filename == str(tmp_path / "K.npy")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_second_writer_is_refused(tmp_path, suffix):
    X, path = rows(200), tmp_path / f"K{suffix}"
    refused: list[BaseException] = []

    def second(done: int, total: int) -> None:
        for resume, overwrite in ((True, False), (False, True)):
            try:
                ntk.write_gram(KERNEL, X, path, resume=resume, overwrite=overwrite)
            except BlockingIOError as error:
                refused.append(error)

    ntk.write_gram(KERNEL, X, path, n_threads=1, progress=second)
    assert len(refused) > 2
    assert "Another process or thread is writing this store" in str(refused[0])
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))


def test_a_writer_that_died_does_not_keep_others_out(tmp_path):
    X, path = rows(100), tmp_path / "K.npy"
    in_process(lambda: (kill_at(20), ntk.write_gram(KERNEL, X, path)))
    ntk.write_gram(KERNEL, X, path, resume=True)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_full_disk_keeps_what_is_done(tmp_path, monkeypatch, suffix):
    X, path = rows(200), tmp_path / f"K{suffix}"
    store = npy_store.NpyStore if suffix == ".npy" else zarr_store.ZarrStore
    original, counter = store.write, itertools.count(1)

    def full(self: Any, tile: Any, values: np.ndarray) -> None:
        if next(counter) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, tile, values)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        with pytest.raises(OSError, match=r"The disk is full: 5 of [0-9]+ blocks are written and kept") as raised:
            ntk.write_gram(KERNEL, X, path, n_threads=1)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(path)
    journal = json.loads((tmp_path / f"{path.name}.journal").read_text())
    assert journal["finished"].count("1") == 5
    ntk.write_gram(KERNEL, X, path, resume=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(X))


def test_a_disk_that_is_too_small_is_known_at_once(tmp_path, monkeypatch):
    def full(file: int, offset: int, length: int) -> None:
        assert length == 128 + 200 * 200 * 8
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="The disk is full: 0 of"):
        ntk.write_gram(KERNEL, rows(200), tmp_path / "K.npy")
    assert names(tmp_path) == set(), "nothing is left where nothing was done"


def test_a_file_system_that_cannot_reserve_space(tmp_path, monkeypatch):
    def unsupported(file: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    ntk.write_gram(KERNEL, rows(100), tmp_path / "K.npy")
    assert (tmp_path / "K.npy").read_bytes() == npy_bytes(KERNEL(rows(100)))


def test_a_disk_that_writes_in_parts(tmp_path, monkeypatch):
    original = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: original(file, content[:100], offset))
    ntk.write_gram(KERNEL, rows(100), tmp_path / "K.npy")
    assert (tmp_path / "K.npy").read_bytes() == npy_bytes(KERNEL(rows(100)))


def test_places_that_cannot_be_written_to(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"K.npy cannot be written: No such file or directory"):
        ntk.write_gram(KERNEL, rows(10), tmp_path / "nowhere" / "K.npy")
    original = os.open

    def read_only(path: Any, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OSError, match=r"K.npy cannot be written: Read-only file system"):
        ntk.write_gram(KERNEL, rows(10), tmp_path / "K.npy")


def test_an_error_in_the_rows_leaves_nothing(tmp_path):
    X = rows(200)
    X[150, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[128:192\] must be finite; row 22 holds nan in column 3"):
        ntk.write_gram(KERNEL, X, tmp_path / "K.npy")
    with pytest.raises(ValueError, match="would overflow float64"):
        ntk.write_gram(KERNEL, rows(10) * 1e200, tmp_path / "K.npy")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("beside", ["nothing", "a finished store", "an empty journal"])
def test_a_foreign_partial_file_is_not_touched(tmp_path, suffix, beside):
    path = tmp_path / f"K{suffix}"
    if beside == "a finished store":
        ntk.write_gram(KERNEL, rows(10), path)
    elif beside == "an empty journal":
        (tmp_path / f"K{suffix}.journal").touch()
    partial = tmp_path / f"K{suffix}.partial"
    for make in (lambda: partial.write_bytes(b"mine"), partial.mkdir, lambda: partial.symlink_to(tmp_path / "nowhere")):
        make()
        if partial.is_dir():
            (partial / "thesis.txt").write_text("mine")
        before = names(tmp_path) - {f"K{suffix}.journal"}
        for options in ({}, {"resume": True}, {"overwrite": True}, {"resume": True, "overwrite": True}):
            with pytest.raises(FileExistsError, match="exists and has no journal that says it is ours"):
                ntk.write_gram(KERNEL, rows(10), path, **options)
        write.discard_unfinished(path)
        assert names(tmp_path) - {f"K{suffix}.journal"} == before
        if partial.is_dir():
            assert (partial / "thesis.txt").read_text() == "mine"
            shutil.rmtree(partial)
        else:
            partial.unlink()
    ntk.write_gram(KERNEL, rows(10), path, overwrite=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(rows(10)))


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


def test_a_replaced_store_does_not_stay_beside_its_successor(tmp_path, monkeypatch):
    path = tmp_path / "K.zarr"
    ntk.write_gram(ntk.NTK(1), rows(20), path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        ntk.write_gram(KERNEL, rows(20), path, overwrite=True)
    assert len(names(tmp_path)) == 3
    ntk.write_gram(KERNEL, rows(20), path, resume=True)
    assert names(tmp_path) == {"K.zarr", "K.zarr.journal"}


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_private_matrix_stays_private(tmp_path, suffix):
    path = tmp_path / f"K{suffix}"
    ntk.write_gram(KERNEL, rows(20), path)
    path.chmod(0o700 if path.is_dir() else 0o600)
    mode = path.stat().st_mode
    begin(path, rows(200), overwrite=True)
    assert (tmp_path / f"K{suffix}.partial").stat().st_mode == mode
    ntk.write_gram(KERNEL, rows(200), path, resume=True, overwrite=True)
    assert path.stat().st_mode == mode


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


def test_the_same_rows_twice_are_a_symmetric_matrix(tmp_path):
    pytest.importorskip("zarr")
    X = rows(40)
    for name, Y in (("one.zarr", X), ("other.zarr", X[:])):
        ntk.write_gram(KERNEL, X, tmp_path / name, Y, triangle="upper")
        np.testing.assert_array_equal(ntk.read_gram(tmp_path / name), KERNEL(X))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": "K.txt"}, ValueError, r"path must end in .npy or .zarr; got 'K.txt'"),
        ({"triangle": "lower"}, ValueError, "triangle must be 'both' or 'upper'; got 'lower'"),
        ({"triangle": "upper"}, ValueError, "triangle is for a .zarr store"),
        ({"chunk_size": 10}, ValueError, "chunk_size is for a .zarr store"),
        ({"compressor": "zstd"}, ValueError, "compressor is for a .zarr store"),
        ({"path": "K.zarr", "triangle": "upper", "Y": rows(3)}, ValueError, "needs a symmetric matrix"),
        ({"path": "K.zarr", "chunk_size": 0}, ValueError, "chunk_size must be a whole number >= 1; got 0"),
        ({"path": "K.zarr", "compressor": "rar"}, ValueError, "compressor must be None, 'blosc'"),
        ({"path": "K.zarr", "compressor": 3}, TypeError, "compressor must be None, 'blosc'"),
        ({"X": [1.0, 2.0]}, ValueError, "X must be a 2-D array"),
        ({"X": rows(3) * 1j}, TypeError, "X must hold real numbers"),
        ({"Y": np.ones((2, 4))}, ValueError, "same number of columns"),
        ({"kernel": "ntk"}, TypeError, "kernel must be an ntk_fast.ArcCosine, NNGP or NTK"),
        ({"dtype": "int8"}, ValueError, "dtype must be float32 or float64"),
        ({"resume": "no"}, TypeError, "resume must be True or False; got 'no'"),
        ({"progress": 3}, TypeError, "progress must be a function"),
        ({"n_threads": 0}, ValueError, "n_threads must be a whole number"),
        ({"backend": "gpu"}, ValueError, "backend must be one of"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        ntk.write_gram(**{"kernel": KERNEL, "X": rows(3), "path": "K.npy", **arguments})
    assert names(tmp_path) == set()


def test_what_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "K.npy"
    with pytest.raises(FileNotFoundError, match=r"K.npy is missing"):
        ntk.read_gram(path)
    ntk.write_gram(KERNEL, rows(20), path)
    for part in ((5, 3), (0, 21), (0, 5, 30)):
        with pytest.raises(ValueError, match="must satisfy 0 <= start <= stop <= 20"):
            ntk.read_gram(path, *part)
    with pytest.raises(ValueError, match="row_start must be a whole number"):
        ntk.read_gram(path, -1)
    content = path.read_bytes()
    for damaged in (content[:-1], content[:50], b"", b"no array"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is not a whole .npy file"):
            ntk.read_gram(path)
    np.save(path, np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"is not a whole .npy file"):
        ntk.read_gram(path)
    for foreign in (np.zeros(3), np.array([["a", "b"]]), np.zeros((2, 2), dtype=int)):
        np.save(path, foreign)
        with pytest.raises(ValueError, match="must hold a matrix of reals"):
            ntk.read_gram(path)
    with open(path, "wb") as file:
        np.savez(file, K=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"is not a whole .npy file of numbers"):
        ntk.read_gram(path)
    (tmp_path / "K.zarr").mkdir()
    with pytest.raises(ValueError, match="is not a Zarr array"):
        ntk.read_gram(tmp_path / "K.zarr")


READ_UNDER_A_LIMIT = """
import resource, sys
import numpy as np
import ntk_fast as ntk
ntk.read_gram
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20),) * 2)
print(ntk.read_gram(sys.argv[1], 3, 5, 7, 10).tolist())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the address space in use")
def test_a_part_is_read_where_the_whole_does_not_fit_in_the_address_space(tmp_path):
    path = tmp_path / "K.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (20000, 20000)})
        start = file.tell()
        for row in (3, 4):
            file.seek(start + 8 * (row * 20000 + 7))
            file.write(np.arange(row, row + 3.0).tobytes())
        os.truncate(path, start + 8 * 20000**2)
    script = [sys.executable, "-c", READ_UNDER_A_LIMIT, str(path)]
    done = subprocess.run(script, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    assert done.stdout == "[[3.0, 4.0, 5.0], [4.0, 5.0, 6.0]]\n", done.stderr


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("stored", ["<f4", ">f8", "<f2"])
def test_parts_of_any_npy_file_of_reals(tmp_path, order, stored):
    K = np.asarray(np.random.default_rng(0).standard_normal((30, 50)), dtype=stored, order=order)
    np.save(tmp_path / "K.npy", K)
    for part in ((0, None, 0, None), (3, 9, 0, None), (0, None, 7, 8), (29, 30, 49, 50), (5, 5, 0, 3), (0, 30, 50, 50)):
        read = ntk.read_gram(tmp_path / "K.npy", *part)
        np.testing.assert_array_equal(read, K[part[0] : part[1], part[2] : part[3]])
        assert read.dtype == K.dtype


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


def test_a_file_of_nothing_but_underflow_is_said_to_be_one(tmp_path):
    rows = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    with pytest.warns(RuntimeWarning, match=r"All values of NTK\(depth=1100\) underflow to 0 in float64"):
        ntk.write_gram(ntk.NTK(1100), rows, path=tmp_path / "K.npy")
    assert not np.load(tmp_path / "K.npy").any()
