"""What was begun with other rows, kernels or layouts is refused, and what is finished is left alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import KERNEL, begin, names, npy_bytes, rows

import ntk_fast as ntk
from ntk_fast.out_of_core import npy_store, write, zarr_store

pytestmark = pytest.mark.usefixtures("small_blocks")


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
