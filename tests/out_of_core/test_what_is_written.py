"""A store holds the matrix, whatever its layout, and whatever rows it is made from."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from registry import TOLERANCES
from stores import KERNEL, names, npy_bytes, rows

import ntk_fast as ntk
from ntk_fast.out_of_core import npy_store, row_blocks

pytestmark = pytest.mark.usefixtures("small_blocks")


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


def test_the_same_rows_twice_are_a_symmetric_matrix(tmp_path):
    pytest.importorskip("zarr")
    X = rows(40)
    for name, Y in (("one.zarr", X), ("other.zarr", X[:])):
        ntk.write_gram(KERNEL, X, tmp_path / name, Y, triangle="upper")
        np.testing.assert_array_equal(ntk.read_gram(tmp_path / name), KERNEL(X))


def test_a_file_of_nothing_but_underflow_is_said_to_be_one(tmp_path):
    rows = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    with pytest.warns(RuntimeWarning, match=r"All values of NTK\(depth=1100\) underflow to 0 in float64"):
        ntk.write_gram(ntk.NTK(1100), rows, path=tmp_path / "K.npy")
    assert not np.load(tmp_path / "K.npy").any()


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
