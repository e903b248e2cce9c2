"""Where a store cannot be, or must not be, written; and what is there already."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
from stores import KERNEL, begin, in_process, kill_at, names, npy_bytes, rows

import ntk_fast as ntk
from ntk_fast.out_of_core import npy_store, zarr_store
from ntk_fast.out_of_core.begun import discard_unfinished
from ntk_fast.out_of_core.journal import Journal

pytestmark = pytest.mark.usefixtures("small_blocks")


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
        discard_unfinished(path)
        assert names(tmp_path) - {f"K{suffix}.journal"} == before
        if partial.is_dir():
            assert (partial / "thesis.txt").read_text() == "mine"
            shutil.rmtree(partial)
        else:
            partial.unlink()
    ntk.write_gram(KERNEL, rows(10), path, overwrite=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(rows(10)))


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
