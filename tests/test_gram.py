"""Gram matrices of whatever holds rows, written into whatever holds a matrix; all shapes."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from registry import KERNELS, tolerance

import ntk_fast as ntk

PROFILE, LAYERED = ntk.NTK(3), ntk.NTK(2, bias_variance=0.1)
BOTH_ENTRIES = pytest.mark.parametrize("kernel", [PROFILE, LAYERED], ids=["profile", "layered"])

#: Around the sizes of vectors, strips, panels and tiles, and not multiples of any.
SIZES = [1, 2, 7, 8, 9, 63, 65, 130, 517]


def rows(n: int, p: int = 5, dtype: object = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, p)).astype(dtype)


@BOTH_ENTRIES
@pytest.mark.parametrize("n", SIZES)
def test_matrices_of_any_size_equal_the_reference(kernel, n, dtype, backend):
    X, Y = rows(n, dtype=dtype), rows(n // 2 + 3, dtype=dtype, seed=1)
    for other in (None, Y):
        K = kernel(X, other, backend=backend)
        expected = kernel(X, other, backend="numpy", dtype=np.float64)
        scale = np.sqrt(np.outer(kernel.diag(X), kernel.diag(X if other is None else other)))
        assert K.dtype == dtype
        assert np.abs((K - expected) / scale).max() <= 1.5 * tolerance(kernel, dtype)


@pytest.mark.parametrize("p", [1, 2, 3, 31, 33, 127, 129, 257, 785])
def test_rows_of_any_length_equal_the_reference(p, dtype, backend):
    X = rows(20, p, dtype)
    expected = PROFILE(X.astype(np.float64), backend="numpy")
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    # a dot product of p terms has an error of its own
    allowed = (1.5 + np.sqrt(p) / 8) * tolerance(PROFILE, dtype)
    assert np.abs((PROFILE(X, backend=backend) - expected) / scale).max() <= allowed


def test_no_rows_make_an_empty_matrix(dtype, backend):
    X, none = rows(4, dtype=dtype), rows(0, dtype=dtype)
    assert PROFILE(none, backend=backend).shape == (0, 0)
    assert PROFILE(X, none, backend=backend).shape == (4, 0)
    assert PROFILE(none, X, backend=backend).shape == (0, 4)
    assert PROFILE.diag(none, backend=backend).shape == (0,)
    assert PROFILE(X, none, backend=backend).dtype == dtype


def test_one_row_makes_one_number(kernel, dtype, backend):
    X = rows(1, dtype=dtype)
    assert np.array_equal(kernel(X, backend=backend), kernel.diag(X, backend=backend)[:, None])


def test_zero_rows_are_orthogonal_to_everything_without_bias(dtype, backend):
    X = rows(5, dtype=dtype)
    X[2] = 0
    for kernel in (PROFILE, ntk.ArcCosine(0), ntk.ArcCosine(2, 2)):
        K = kernel(X, backend=backend)
        assert (K[2] == 0).all()
        assert (K[:, 2] == 0).all()
        assert np.isfinite(K).all()


@BOTH_ENTRIES
def test_equal_and_opposite_rows_give_what_they_should(kernel, dtype, backend):
    X = rows(6, dtype=dtype)
    K = kernel(X, X, backend=backend)
    assert K.diagonal() == pytest.approx(kernel.diag(X), rel=2 * tolerance(kernel, dtype))
    nngp = ntk.NNGP(1)(X, -X, backend=backend)
    assert np.abs(nngp.diagonal() / ntk.NNGP(1).diag(X)).max() <= tolerance(kernel, dtype)


def as_memory_map(X: np.ndarray, folder) -> np.ndarray:
    path = folder / "rows.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


INPUTS = {
    "non-contiguous columns": lambda X, _: np.repeat(X, 2, axis=1)[:, ::2],
    "non-contiguous rows": lambda X, _: np.repeat(X, 2, axis=0)[::2],
    "every third of a wider array": lambda X, _: np.hstack([X, X, X])[:, : X.shape[1]],
    "reversed rows": lambda X, _: X[::-1].copy()[::-1],
    "reversed columns": lambda X, _: X[:, ::-1].copy()[:, ::-1],
    "Fortran order": lambda X, _: np.asfortranarray(X),
    "read-only": lambda X, _: np.lib.stride_tricks.as_strided(X, writeable=False),
    "memory-mapped": as_memory_map,
    "big-endian": lambda X, _: X.astype(X.dtype.newbyteorder(">")),
    "unaligned": lambda X, _: np.frombuffer(b"\0" + X.tobytes(), X.dtype, offset=1).reshape(X.shape),
    "repeated by a stride of 0": lambda X, _: np.broadcast_to(X[0], X.shape),
    "a DataFrame": lambda X, _: pd.DataFrame(X),
    "a masked-free masked array": lambda X, _: np.ma.array(X),
    "lists": lambda X, _: X.tolist(),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_rows_may_come_as(kind, dtype, backend, tmp_path):
    X = rows(11, dtype=dtype)
    given = INPUTS[kind](X, tmp_path)
    plain = np.ascontiguousarray(np.asarray(given), dtype=dtype)
    expected = PROFILE(plain, backend=backend)
    K = PROFILE(given, backend=backend, dtype=dtype)
    assert type(K) is np.ndarray
    assert np.array_equal(K, expected)
    other = PROFILE(plain.copy(), given, backend=backend, dtype=dtype)
    assert np.array_equal(other, PROFILE(plain, plain.copy(), backend=backend))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float16, np.longdouble, bool])
def test_other_real_numbers_are_computed_in_float64(dtype):
    X = (4 * rows(6)).round()
    if np.dtype(dtype).kind in "ub":
        X = np.abs(X)
    X = X.astype(dtype)
    K = PROFILE(X)
    assert K.dtype == np.float64
    assert np.array_equal(K, PROFILE(X.astype(np.float64)))


def test_a_dataframe_of_mixed_real_columns_is_computed_in_float64():
    frame = pd.DataFrame({"count": [1, 2, 3], "share": np.array([0.5, 0.25, 0.125], dtype=np.float32)})
    assert np.array_equal(PROFILE(frame), PROFILE([[1, 0.5], [2, 0.25], [3, 0.125]]))


def test_the_dtype_is_float32_only_if_all_rows_are():
    X, Y = rows(4, dtype=np.float32), rows(3)
    assert PROFILE(X).dtype == np.float32
    assert PROFILE(X, X).dtype == np.float32
    assert PROFILE(X, Y).dtype == PROFILE(Y, X).dtype == np.float64
    assert np.array_equal(PROFILE(X, Y), PROFILE(X.astype(np.float64), Y))


def test_the_dtype_asked_for_is_that_of_the_computation(backend):
    X = rows(7)
    assert np.array_equal(PROFILE(X, dtype="float32", backend=backend), PROFILE(X.astype(np.float32), backend=backend))
    single = X.astype(np.float32)
    for kernel in (PROFILE, LAYERED):
        double = kernel(single, dtype=np.float64, backend=backend)
        assert np.array_equal(double, kernel(single.astype(np.float64), backend=backend))


def outputs(shape: tuple[int, int], dtype: np.dtype, folder) -> dict[str, np.ndarray]:
    """Arrays of this shape, of all kinds of memory, filled with NaN."""
    n, m = shape
    wide = np.full((2 * n, 3 * m + 1), np.nan, dtype)
    path = folder / "out.npy"
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    mapped[:] = np.nan
    return {
        "contiguous": np.full(shape, np.nan, dtype),
        "memory-mapped": mapped,
        "every second row": wide[::2, :m],
        "every third column": wide[:n, : 3 * m : 3],
        "a block inside": wide[1 : n + 1, 1 : m + 1],
        "Fortran order": np.full(shape, np.nan, dtype, order="F"),
        "transposed": np.full((m, n), np.nan, dtype).T,
        "reversed rows": np.full(shape, np.nan, dtype)[::-1],
        "reversed columns": np.full(shape, np.nan, dtype)[:, ::-1],
        "one number off a cache line": np.full(n * m + 1, np.nan, dtype)[1:].reshape(shape),
    }


@BOTH_ENTRIES
@pytest.mark.parametrize("n", [3, 70, 200])
def test_the_result_goes_into_any_out_and_nowhere_else(kernel, n, dtype, backend, tmp_path):
    X, Y = rows(n, dtype=dtype), rows(n + 5, dtype=dtype, seed=1)
    for other in (None, Y):
        expected = kernel(X, other, backend=backend)
        for kind, out in outputs(expected.shape, dtype, tmp_path).items():
            around = out if out.base is None else out.base
            outside = np.isnan(around).sum() - np.isnan(out).sum() if isinstance(around, np.ndarray) else 0
            assert kernel(X, other, out=out, backend=backend) is out
            assert np.array_equal(out, expected), kind
            if isinstance(around, np.ndarray):
                assert np.isnan(around).sum() == outside, kind


def test_a_memory_mapped_out_is_on_disk(tmp_path):
    X, path = rows(50), tmp_path / "K.npy"
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(50, 50))
    PROFILE(X, out=out)
    out.flush()
    assert np.array_equal(np.load(path), PROFILE(X))


def test_float32_rows_may_go_into_a_float64_out_if_asked():
    X = rows(5, dtype=np.float32)
    out = np.empty((5, 5))
    assert np.array_equal(PROFILE(X, out=out, dtype=np.float64), PROFILE(X, dtype=np.float64))


def test_the_rows_are_left_as_they_were(dtype, backend):
    X = rows(9, dtype=dtype) * dtype.type(2.0) ** np.finfo(dtype).minexp
    before = X.copy()
    with pytest.warns(RuntimeWarning, match="underflow to 0"):
        KERNELS["ntk-relu-3"](X, backend=backend)
    assert np.array_equal(X, before)


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", "<f8"])
def test_rows_of_any_byte_order_give_a_matrix_of_their_width(dtype, backend):
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(dtype)
    K = ntk.NTK(1)(rows, backend=backend)
    assert K.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(K, ntk.NTK(1)(rows.astype(K.dtype), backend=backend))


def test_the_same_rows_twice_are_a_symmetric_matrix(kernel, backend):
    rows = np.random.default_rng(0).standard_normal((40, 3))
    K = kernel(rows, backend=backend)
    for other in (rows, rows[:], rows.view(), np.asarray(rows)):
        assert np.array_equal(kernel(rows, other, backend=backend), K)
    for other in (rows[::-1], rows[:39], rows.copy()):
        result = kernel(rows, other, backend=backend)
        assert result.shape == (40, len(other))
    assert np.allclose(kernel(rows, rows[::-1], backend=backend), K[:, ::-1], rtol=1e-13, atol=1e-14)


def test_out_that_hides_or_repeats_entries_is_refused():
    rows = np.random.default_rng(0).standard_normal((4, 3))
    with pytest.raises(TypeError, match=r"out must be .*; got a MaskedArray"):
        ntk.NTK(1)(rows, out=np.ma.masked_all((4, 4)))
    memory = np.zeros(64)
    for strides in ((8, 8), (0, 8), (8, 0), (24, 16), (-8, 8)):
        overlapping = np.lib.stride_tricks.as_strided(memory[32:], (4, 4), strides)
        with pytest.raises(ValueError, match="entries share memory"):
            ntk.NTK(1)(rows, out=overlapping)
    out = np.lib.stride_tricks.as_strided(memory, (4, 4), (8, 32))
    assert np.array_equal(ntk.NTK(1)(rows, out=out), ntk.NTK(1)(rows))


def test_out_may_lie_between_the_rows_but_not_on_them(dtype, backend):
    memory = np.random.default_rng(0).standard_normal((9, 20)).astype(dtype)
    rows, out = memory[:, :5], memory[:, 6:15]
    before, expected = memory.copy(), ntk.NTK(2)(rows.copy(), backend=backend)
    assert ntk.NTK(2)(rows, out=out, backend=backend) is out
    assert np.array_equal(out, expected)
    untouched = np.r_[0:6, 15:20]
    assert np.array_equal(memory[:, untouched], before[:, untouched])
    with pytest.raises(ValueError, match="out must not share memory with the rows"):
        ntk.NTK(2)(rows, out=memory[:, 4:13], backend=backend)


@pytest.mark.parametrize("kernel", [ntk.NTK(1100), ntk.NTK(2600), ntk.NNGP(40, weight_variance=1e-10)], ids=repr)
def test_a_matrix_that_underflows_to_0_is_as_loud_as_one_that_overflows(kernel, backend):
    rows = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    for call in (lambda: kernel(rows, backend=backend), lambda: kernel.diag(rows), lambda: kernel.profile(0.5)):
        with pytest.warns(RuntimeWarning, match=r"All values of N.* underflow to 0 in float64: .*he") as warned:
            assert not np.any(call())
        assert [warning.filename for warning in warned] == [__file__]


def test_zeros_that_are_zeros_are_silent(backend):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not ntk.NTK(2)(np.zeros((2, 3)), backend=backend).any()
        assert not ntk.NNGP(2, weight_variance=0)(np.ones((2, 3)), backend=backend).any()
        assert ntk.NTK(2)(np.empty((0, 3)), backend=backend).shape == (0, 0)


@pytest.mark.parametrize(
    ("cosine", "message"),
    [(np.ma.masked_greater([0.1, 0.9], 0.5), "masked values"), (0.5j, "complex128"), ("0.5", "<U3"), (None, "object")],
    ids=str,
)
def test_a_profile_of_what_is_no_number_is_refused(cosine, message):
    with pytest.raises((TypeError, ValueError), match=f"cosine must .*{message}"):
        ntk.NTK(1).profile(cosine)


def test_a_profile_that_overflows_is_refused():
    for kernel in (
        ntk.NTK(2, weight_variance=1e200),
        ntk.NNGP(1, weight_variance=1e160),
        ntk.NTK(1100, weight_variance=4),
    ):
        with pytest.raises(ValueError, match=r"The profile would overflow float64: K reaches inf"):
            kernel.profile([0.0, 1.0])
