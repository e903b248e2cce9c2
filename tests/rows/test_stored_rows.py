"""Rows by the path of their file stand for the rows in it."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk

KERNEL = ntk.NTK(depth=2)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_path_stands_for_the_rows_in_it(tmp_path, suffix):
    rows = np.random.default_rng(0).standard_normal((40, 3)).astype("f4")
    path = tmp_path / f"rows{suffix}"
    if suffix == ".npy":
        np.save(path, rows)
    else:
        zarr = pytest.importorskip("zarr")
        zarr.create_array(path, shape=rows.shape, dtype=rows.dtype, chunks=(16, 3))[:] = rows
    ntk.write_gram(KERNEL, str(path), tmp_path / "K.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "K.npy"), KERNEL(rows))
    product = ntk.KernelOperator(KERNEL, path) @ np.ones(40)
    np.testing.assert_array_equal(product, ntk.KernelOperator(KERNEL, rows) @ np.ones(40))


def test_what_is_no_file_of_rows(tmp_path):
    with pytest.raises(
        ValueError, match=r"X must be rows, or the path of a .npy file or a .zarr array; got 'rows.csv'"
    ):
        ntk.KernelOperator(KERNEL, "rows.csv")
    with pytest.raises(FileNotFoundError, match=r"X: there is no file"):
        ntk.KernelOperator(KERNEL, tmp_path / "rows.npy")
    (tmp_path / "rows.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"is not a whole .npy file"):
        ntk.KernelOperator(KERNEL, tmp_path / "rows.npy")
