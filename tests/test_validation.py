"""Bad input: one sentence, before any work, that names the argument, what came and what is accepted."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import ntk_fast as ntk
from ntk_fast import NNGP, NTK, ArcCosine, leaky_relu
from ntk_fast.schedule import memory

KERNEL = NTK(2)
X = np.random.default_rng(0).standard_normal((6, 4))


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever these tests pass must be refused before a tile is filled."""

    def fill(*_: object) -> None:
        raise AssertionError("work was done before the input was refused")

    monkeypatch.setattr(import_module("ntk_fast.gram"), "run_tiles", fill)


def refusal(error: type[Exception], call, *parts: str) -> None:
    """Assert that the call raises this error with one short sentence that holds all the parts."""
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    assert type(raised.value) is error
    for part in parts:
        assert part in message, message
    assert message[0].isupper() or message.split()[0] in {
        *(
            "X",
            "Y",
            "out",
            "depth",
            "order",
            "backend",
            "n_threads",
            "dtype",
            "slope",
            "kernel",
            "progress",
            "activation",
        ),
        *("weight_variance", "bias_variance", "NTK_FAST_BACKEND", "NTK_FAST_ISA", "NTK_FAST_NUM_THREADS"),
    }
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 320


SPARSE = ["csr_array", "csc_matrix", "coo_array", "dia_array", "lil_array", "dok_array", "bsr_array"]


@pytest.mark.parametrize("name", ["X", "Y"])
@pytest.mark.parametrize(
    ("rows", "error", "parts"),
    [
        *((getattr(scipy.sparse, kind)(X), TypeError, ("dense", f"sparse {kind}", ".toarray()")) for kind in SPARSE),
        (X + 1j, TypeError, ("real", "complex128")),
        (X.astype(np.complex64), TypeError, ("real", "complex64")),
        (X.astype(object), TypeError, ("real", "object")),
        (np.array([["a", "b"]]), TypeError, ("real", "<U1")),
        ([["1.0", "2.0"]], TypeError, ("real", "<U3", "list")),
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), TypeError, ("real", "object", "DataFrame")),
        (np.zeros((2, 2), "M8[s]"), TypeError, ("real", "datetime64[s]")),
        (None, TypeError, ("real", "object")),
        ({"a": 1}, TypeError, ("real", "object", "dict")),
        (X.reshape(6, 2, 2), ValueError, ("2-D", "(6, 2, 2)", ", -1)", "Input")),
        (X[0], ValueError, ("2-D", "(4,)", "reshape(1, -1)")),
        (3.0, ValueError, ("2-D", "()")),
        ([], ValueError, ("2-D", "(0,)")),
        ([[1.0, 2.0], [3.0]], ValueError, ("2-D",)),
        (np.zeros((3, 0)), ValueError, ("at least one column", "(3, 0)")),
        ([[], []], ValueError, ("at least one column", "(2, 0)")),
        (np.ma.masked_less(X, 0), ValueError, ("masked",)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple | type) else "",
)
def test_what_is_no_array_of_real_rows_is_refused(name, rows, error, parts):
    if name == "X":
        if rows is not None:
            refusal(error, lambda: KERNEL.diag(rows), "X", *parts)
        refusal(error, lambda: KERNEL(rows), "X", *parts)
    elif rows is not None:
        refusal(error, lambda: KERNEL(X, rows), "Y", *parts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_first_row_that_is_not_finite_is_named(value, dtype, backend):
    bad = np.repeat(X, 40, axis=0).astype(dtype)
    bad[200, 1] = bad[77, 2] = value
    parts = "finite", "row 77", f"{value}", "column 2", "2 of 240"
    refusal(ValueError, lambda: KERNEL(bad, backend=backend), "X", *parts)
    refusal(ValueError, lambda: KERNEL(X, bad, backend=backend), "Y", *parts)
    refusal(ValueError, lambda: KERNEL.diag(bad, backend=backend), "X", *parts)


def test_rows_of_zeros_and_nan_are_no_zero_rows(backend):
    refusal(ValueError, lambda: KERNEL([[0.0, 0.0], [0.0, np.nan]], backend=backend), "X", "row 1", "nan")


def test_rows_of_other_lengths_are_refused():
    refusal(ValueError, lambda: KERNEL(X, X[:, :3]), "X", "Y", "columns", "4 and 3")


def test_values_beyond_the_dtype_asked_for_are_refused():
    refusal(ValueError, lambda: KERNEL(X * 1e39, dtype=np.float32), "X", "float32", "row 0")


@pytest.mark.parametrize(
    ("out", "error", "got"),
    [
        (np.empty((6, 5)), ValueError, "(6, 5)"),
        (np.empty(36), ValueError, "(36,)"),
        (np.empty((6, 6), np.float32), ValueError, "<f4"),
        (np.empty((6, 6), int), ValueError, "<i8"),
        (np.empty((6, 6), ">f8"), ValueError, ">f8"),
        (np.broadcast_to(np.empty(6), (6, 6)), ValueError, "read-only"),
        (np.empty((6, 6)).tolist(), TypeError, "list"),
        (pd.DataFrame(np.empty((6, 6))), TypeError, "DataFrame"),
        (np.zeros((6, 6), [("a", "f8"), ("b", "f4")])["a"], ValueError, "strides (72, 12)"),
        (np.frombuffer(bytearray(6 * 6 * 8 + 1), offset=1).reshape(6, 6), ValueError, "address"),
    ],
    ids=["shape", "1-D", "float32", "integer", "big-endian", "read-only", "list", "DataFrame", "field", "unaligned"],
)
def test_an_out_that_cannot_hold_the_result_is_refused(out, error, got):
    expected = "out must be a writeable, aligned NumPy array of shape (6, 6) and dtype float64"
    refusal(error, lambda: KERNEL(X, out=out), expected, got)


def test_an_out_that_overlaps_the_rows_is_refused():
    memory_of_both = np.zeros((6, 9))
    memory_of_both[:, :4] = X
    for kwargs in ({"X": memory_of_both[:, :4]}, {"X": X, "Y": memory_of_both[:, :4]}):
        refusal(ValueError, lambda kwargs=kwargs: KERNEL(**kwargs, out=memory_of_both[:, 3:]), "out", "share memory")
    assert np.array_equal(memory_of_both[:, :4], X)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, complex, "int32"])
def test_other_dtypes_of_the_result_are_refused(dtype):
    refusal(ValueError, lambda: KERNEL(X, dtype=dtype), "dtype", "float32 or float64", np.dtype(dtype).name)


@pytest.mark.parametrize("dtype", ["double precision", 3])
def test_what_is_no_dtype_is_refused(dtype):
    refusal(TypeError, lambda: KERNEL(X, dtype=dtype), "dtype", "float32 or float64", repr(dtype))


@pytest.mark.parametrize("kind", [NTK, NNGP, lambda depth: ArcCosine(1, depth)], ids=["NTK", "NNGP", "ArcCosine"])
@pytest.mark.parametrize(
    ("depth", "error"),
    [(0, ValueError), (-3, ValueError), (2.5, TypeError), (2.0, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_a_depth_that_is_no_whole_number_from_1_on_is_refused(kind, depth, error):
    refusal(error, lambda: kind(depth), "depth", "whole number from 1 to 5000", repr(depth))


@pytest.mark.parametrize("order", [3, -1, 1.0, None])
def test_an_order_that_does_not_exist_is_refused(order):
    refusal(ValueError if order in (3, -1) else TypeError, lambda: ArcCosine(order), "order", repr(order))


@pytest.mark.parametrize("name", ["weight_variance", "bias_variance"])
@pytest.mark.parametrize(
    ("value", "error", "parts"),
    [
        (-1.0, ValueError, (">= 0", "-1.0")),
        (np.nan, ValueError, ("finite", "nan")),
        (np.inf, ValueError, ("finite", "inf")),
        ("1", TypeError, (">= 0", "'1'", "str")),
        (1j, TypeError, ("1j", "complex")),
        ((1, 2), ValueError, ("depth + 1 = 3", "2 values")),
        ((1, 2, 3, 4), ValueError, ("depth + 1 = 3", "4 values")),
        ((1, 2, -1e-300), ValueError, (">= 0", "-1e-300")),
        ((1, np.nan, 2), ValueError, ("finite", "nan")),
        ((1, "2", 3), TypeError, ("real number", "'2'")),
        (np.ones((3, 1)), TypeError, ("real number",)),
    ],
    ids=str,
)
def test_variances_that_are_none_are_refused(name, value, error, parts):
    for kind in (NTK, NNGP):
        refusal(error, lambda kind=kind: kind(2, **{name: value}), name, *parts)


@pytest.mark.parametrize("activation", ["mish", "ReLU", ""])
def test_an_unknown_activation_is_refused_with_the_known_ones(activation):
    known = "'relu'", "'leaky_relu'", "'abs'", "'gelu'", "LeakyRelu(0.1)"
    refusal(ValueError, lambda: NTK(1, activation), "activation", repr(activation), *known)


@pytest.mark.parametrize("activation", [3, max])
def test_what_is_no_activation_is_refused(activation):
    refusal(TypeError, lambda: NTK(1, activation), "activation", "'relu'", type(activation).__name__)


@pytest.mark.parametrize(("slope", "error"), [(np.nan, ValueError), (np.inf, ValueError), ("0.1", TypeError)])
def test_a_slope_that_is_no_finite_number_is_refused(slope, error):
    refusal(error, lambda: leaky_relu(slope), "slope", repr(slope))


def test_a_result_that_would_overflow_is_refused(backend):
    refusal(ValueError, lambda: KERNEL(X * 1e200, backend=backend), "overflow float64", "1.8e+308", "scale the rows")
    refusal(ValueError, lambda: KERNEL(X * 1e200, X * 1e200, backend=backend), "overflow float64")
    refusal(ValueError, lambda: KERNEL.diag(X * 1e200, backend=backend), "overflow float64")
    single = (X * 1e25).astype(np.float32)
    refusal(ValueError, lambda: KERNEL(single, backend=backend), "overflow float32", "dtype=numpy.float64")
    deep = NTK(3, weight_variance=1e155)
    refusal(ValueError, lambda: deep(X, backend=backend), "overflow float64")
    refusal(ValueError, lambda: NTK(2, bias_variance=1e308)(X, backend=backend), "overflow float64")


def test_a_result_that_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 500_000_000)
    tall = np.ones((20_000, 1))
    refusal(MemoryError, lambda: KERNEL(tall), "20000 x 20000", "3.2 GB", "0.5 GB", "out", "memory-map", "blocks")


@pytest.mark.parametrize(
    ("n_threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)]
)
def test_a_number_of_threads_that_is_none_is_refused(n_threads, error):
    refusal(error, lambda: KERNEL(X, n_threads=n_threads), "n_threads", "whole number >= 1", repr(n_threads))


@pytest.mark.parametrize("kernel", ["ntk", None, NTK], ids=str)
def test_what_is_no_kernel_is_refused(kernel):
    refusal(TypeError, lambda: ntk.gram(kernel, X), "kernel", "ArcCosine, NNGP or NTK", type(kernel).__name__)


def test_progress_must_be_callable():
    refusal(TypeError, lambda: KERNEL(X, progress=True), "progress", "bool")


@pytest.mark.parametrize("depth", [5001, 30_000, 10**20])
def test_a_depth_that_would_not_compile_in_seconds_is_refused(depth):
    for kernel in (ntk.NTK, ntk.NNGP, ntk.ArcCosine):
        with pytest.raises(ValueError, match=f"depth must be a whole number from 1 to 5000; got {depth}"):
            kernel(depth=depth)
