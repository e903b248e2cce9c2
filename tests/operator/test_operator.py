"""KernelOperator is the Gram matrix as far as any product can tell, in every engine."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from registry import DTYPES, ENGINES, KERNELS
from scipy.sparse.linalg import cg, eigsh, lobpcg, svds

import ntk_fast as ntk
from ntk_fast.backends.engines import Engine

#: Error of a product over the largest sum of |K| |v|: the entries' own, and rounding of partial sums.
TOLERANCES = {np.dtype(np.float64): 2e-15, np.dtype(np.float32): 1e-6}

#: One kernel of each way to compute an entry.
PRODUCT_KERNELS = ("ntk-relu-3", "ntk-bias-1", "arccos0-3", "nngp-abs-3")

#: Rows, other rows, features and vectors: less than a tile, its edges, several tiles either way.
SHAPES = ((1, 3, 1, 1), (9, 70, 3, 2), (130, 517, 20, 5), (70, 250, 300, 4), (1100, 600, 7, 18))


def rows(n: int, n_features: int, dtype: np.dtype, seed: int = 0) -> np.ndarray:
    """Random rows with a zero row, a duplicate and an opposite among them, where there is room."""
    values = np.random.default_rng(seed).standard_normal((n, n_features))
    if n >= 8:
        values[3], values[5], values[7] = 0, values[1], -2 * values[1]
    return values.astype(dtype)


def error(product: np.ndarray, matrix: np.ndarray, vectors: np.ndarray) -> float:
    exact = matrix.astype(np.float64) @ vectors
    size = np.abs(matrix).astype(np.float64) @ np.abs(vectors)
    return float(np.abs(product - exact).max(initial=0) / max(size.max(initial=0), 1e-300))


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PRODUCT_KERNELS)
def test_products_are_those_of_the_gram_matrix(engine: Engine, dtype: np.dtype, name: str) -> None:
    kernel = KERNELS[name]
    with engine.selected() as backend:
        for n, m, n_features, n_vectors in SHAPES if name == "ntk-relu-3" else SHAPES[:-1]:
            X, Y = rows(n, n_features, dtype), rows(m, n_features, dtype, seed=1)
            V, U = (np.random.default_rng(2).standard_normal((size, n_vectors)).astype(dtype) for size in (n, m))
            K, G = kernel(X, backend=backend), kernel(X, Y, backend=backend)
            ridged = K + 0.25 * np.eye(n, dtype=dtype)
            symmetric = ntk.KernelOperator(kernel, X, ridge=0.25, backend=backend)
            rectangular = ntk.KernelOperator(kernel, X, Y, backend=backend)
            assert (symmetric.shape, rectangular.shape) == ((n, n), (n, m))
            assert (symmetric.dtype, rectangular.dtype) == (dtype, dtype)
            case = (n, m, n_features, n_vectors)
            for product, matrix, vectors in (
                (symmetric @ V, ridged, V),
                (symmetric.T @ V, ridged, V),
                (symmetric @ V[:, 0], ridged, V[:, 0]),
                (rectangular @ U, G, U),
                (rectangular @ U[:, 0], G, U[:, 0]),
                (rectangular.T @ V, G.T, V),
                (rectangular.rmatvec(V[:, 0]), G.T, V[:, 0]),
                (rectangular.H.matmat(V), G.T, V),
            ):
                assert product.dtype == dtype, case
                assert product.shape == (matrix.shape[0], *vectors.shape[1:]), case
                assert error(product, matrix, vectors) <= TOLERANCES[dtype], case


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_number_of_threads_gives_the_same_bits(engine: Engine, dtype: np.dtype) -> None:
    X, Y = rows(1100, 6, dtype), rows(600, 6, dtype, seed=1)
    V = np.random.default_rng(3).standard_normal((1100, 3))
    with engine.selected() as backend:
        products = [
            [operator @ V[: operator.shape[1]], operator.T @ V[: operator.shape[0]]]
            for n_threads in (1, 2, 5)
            for operator in (
                ntk.KernelOperator(ntk.NTK(1), X, backend=backend, n_threads=n_threads),
                ntk.KernelOperator(ntk.NTK(1), X, Y, backend=backend, n_threads=n_threads),
            )
        ]
    for other in products[2:4] + products[4:6]:
        reference = products[0] if len(other[0]) == len(other[1]) else products[1]
        np.testing.assert_array_equal(other[0], reference[0])
        np.testing.assert_array_equal(other[1], reference[1])


def test_no_matrix_is_formed() -> None:
    X = rows(4000, 3, np.dtype(np.float64))
    operator = ntk.KernelOperator(ntk.NTK(1), X)
    tracemalloc.start()
    operator @ np.ones((4000, 4))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6, "a matrix of 128 MB"


def test_conjugate_gradients_and_eigenvalues() -> None:
    X = rows(300, 5, np.dtype(np.float64))
    kernel = ntk.NTK(2)
    A = ntk.KernelOperator(kernel, X, ridge=1.0)
    K = kernel(X) + np.eye(300)
    solution, info = cg(A, np.ones(300), rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(K @ solution, 1.0, rtol=1e-9)
    exact = np.linalg.eigvalsh(K)
    np.testing.assert_allclose(eigsh(A, k=4, return_eigenvectors=False), exact[-4:], rtol=1e-10)
    start = np.random.default_rng(0).standard_normal((300, 3))
    values, _ = lobpcg(A, start, tol=1e-8, maxiter=200)
    np.testing.assert_allclose(np.sort(values), exact[-3:], rtol=1e-8)
    B = ntk.KernelOperator(kernel, X, X[:40])
    singular = svds(B, k=3, return_singular_vectors=False)
    np.testing.assert_allclose(np.sort(singular), np.linalg.svd(K[:, :40] - np.eye(300, 40))[1][2::-1], rtol=1e-9)


def test_diagonal_and_transpose() -> None:
    X = rows(50, 4, np.dtype(np.float32))
    A = ntk.KernelOperator(ntk.NTK(3), X, ridge=0.5)
    np.testing.assert_allclose(A.diagonal(), ntk.NTK(3)(X).diagonal() + 0.5, rtol=1e-6)
    assert A.diagonal().dtype == np.float32
    assert A.T is A
    assert A.H is A
    assert A.kernel == ntk.NTK(3)
    assert A.ridge == 0.5


@pytest.mark.parametrize(
    "vectors",
    [
        np.arange(60)[::-1],
        list(range(60)),
        np.ones((120, 4), order="F")[::2],
        np.ones(60, dtype=bool),
        np.ones((60, 0)),
    ],
    ids=["reversed", "list", "strided", "bool", "none"],
)
def test_vectors_of_any_layout(vectors: object) -> None:
    X = rows(60, 3, np.dtype(np.float64))
    K = ntk.NTK(1)(X)
    expected = K @ np.asarray(vectors, dtype=np.float64)
    np.testing.assert_allclose(ntk.KernelOperator(ntk.NTK(1), X) @ vectors, expected, rtol=1e-12, atol=1e-12)


def test_a_nan_in_a_vector_is_not_hidden() -> None:
    v = np.ones(30)
    v[7] = np.nan
    assert np.isnan(ntk.KernelOperator(ntk.NTK(1), rows(30, 3, np.dtype(np.float64))) @ v).all()


def test_no_rows() -> None:
    X = np.empty((0, 3))
    assert (ntk.KernelOperator(ntk.NTK(1), X) @ np.empty(0)).shape == (0,)
    np.testing.assert_array_equal(
        ntk.KernelOperator(ntk.NTK(1), np.ones((4, 3)), X) @ np.empty((0, 2)), np.zeros((4, 2))
    )


def test_the_same_rows_twice_are_a_symmetric_operator() -> None:
    X, v = rows(60, 3, np.dtype(np.float64)), np.ones(60)
    A = ntk.KernelOperator(ntk.NTK(2), X)
    for same in (X, X[:], np.asarray(memoryview(X))):
        twice = ntk.KernelOperator(ntk.NTK(2), X, same, ridge=0.5)
        assert twice.T is twice
        np.testing.assert_array_equal(twice @ v, ntk.KernelOperator(ntk.NTK(2), X, ridge=0.5) @ v)
    for other in (X.copy(), X[::-1], X[:40]):
        A = ntk.KernelOperator(ntk.NTK(2), X, other)
        assert A.T is not A
        np.testing.assert_allclose(A.T @ v, v @ ntk.NTK(2)(X, other.copy()), rtol=1e-13)


def test_a_transpose_is_an_operator_like_its_own() -> None:
    X, Y = rows(12, 3, np.dtype(np.float64)), rows(7, 3, np.dtype(np.float64), seed=1)
    A = ntk.KernelOperator(ntk.NTK(1), X, Y)
    for turned in (A.T, pickle.loads(pickle.dumps(A.T)), copy.copy(A.H)):
        assert turned.shape == (7, 12)
        np.testing.assert_array_equal(turned @ np.eye(12), ntk.KernelOperator(ntk.NTK(1), Y, X) @ np.eye(12))
        np.testing.assert_array_equal(turned.T @ np.eye(7), A @ np.eye(7))


@pytest.mark.parametrize("Y", [None, rows(9, 3, np.dtype(np.float64), seed=1)], ids=["symmetric", "rectangular"])
def test_what_a_mask_hides_is_not_multiplied(Y: np.ndarray | None) -> None:
    A = ntk.KernelOperator(ntk.NTK(1), rows(12, 3, np.dtype(np.float64)), Y)
    for operator in (A, A.T):
        n, m = operator.shape
        hidden, left = np.ma.masked_less(np.arange(m), 1), np.ma.masked_less(np.arange(n), 1)
        for multiply in (
            lambda operator=operator, v=hidden: operator @ v,
            lambda operator=operator, v=hidden: operator.matvec(v),
            lambda operator=operator, v=hidden: operator.matmat(v[:, None]),
            lambda operator=operator, v=left: v @ operator,
            lambda operator=operator, v=left: operator.rmatvec(v),
        ):
            with pytest.raises(ValueError, match="vectors must not have masked values"):
                multiply()
        np.testing.assert_array_equal(operator @ np.ma.array(np.ones(m)), operator @ np.ones(m))


def test_pickled_and_copied() -> None:
    X, Y = rows(40, 3, np.dtype(np.float64)), 1e-200 * rows(20, 3, np.dtype(np.float64), seed=1)
    for operator in (
        ntk.KernelOperator(ntk.NTK(2, bias_variance=0.1), X, ridge=0.5, n_threads=1),
        ntk.KernelOperator(ntk.NTK(2), X, Y),
    ):
        v = np.ones(operator.shape[1])
        for twin in (pickle.loads(pickle.dumps(operator)), copy.deepcopy(operator)):
            np.testing.assert_array_equal(twin @ v, operator @ v)


@pytest.mark.parametrize(
    ("arguments", "error_type", "message"),
    [
        ({"ridge": -1.0}, ValueError, "ridge must be >= 0; got -1.0"),
        ({"ridge": float("nan")}, ValueError, "ridge must be finite"),
        ({"ridge": "1"}, TypeError, "ridge must be a real number"),
        ({"ridge": 1.0, "Y": np.ones((2, 3))}, ValueError, "ridge must be 0 where Y is given"),
        ({"Y": np.ones((2, 4))}, ValueError, "same number of columns"),
        ({"X": np.full((2, 3), np.nan)}, ValueError, "X must be finite"),
        ({"dtype": np.int32}, ValueError, "dtype must be float32 or float64"),
        ({"n_threads": 0}, ValueError, "n_threads must be a whole number >= 1"),
        ({"backend": "gpu"}, ValueError, "backend must be one of"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_bad_arguments_are_refused(arguments: dict, error_type: type, message: str) -> None:
    X = arguments.pop("X", np.ones((4, 3)))
    with pytest.raises(error_type, match=message):
        ntk.KernelOperator(ntk.NTK(1), X, **arguments)


#: The seam between SciPy and the operator: before 1.18 it passes vectors and matrices, since then any number of axes.
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,), (2, 0)], ids=str)
def test_batches_of_vectors_and_matrices(shape: tuple[int, ...]) -> None:
    X, Y = rows(12, 3, np.dtype(np.float64)), rows(7, 3, np.dtype(np.float64), seed=1)
    generator = np.random.default_rng(0)
    for operator, matrix in (
        (ntk.KernelOperator(ntk.NTK(1), X, ridge=0.5), ntk.NTK(1)(X) + 0.5 * np.eye(12)),
        (ntk.KernelOperator(ntk.NTK(1), X, Y), ntk.NTK(1)(X, Y)),
        (ntk.KernelOperator(ntk.NTK(1), X, Y[:1]), ntk.NTK(1)(X, Y[:1])),
    ):
        n, m = matrix.shape
        for inner, dense, times, columns in (
            (m, matrix, operator._matvec, operator._matmat),
            (n, matrix.T, operator._rmatvec, operator._rmatmat),
        ):
            v, V = generator.standard_normal((*shape, inner)), generator.standard_normal((*shape, inner, 3))
            product = times(v)
            assert product.shape == (*shape, len(dense))
            np.testing.assert_allclose(product, v @ dense.T, rtol=1e-12, atol=1e-12)
            product = columns(V)
            assert product.shape == (*shape, len(dense), 3)
            np.testing.assert_allclose(product, dense @ V, rtol=1e-12, atol=1e-12)
            for wrong in (np.ones((*shape, inner + 1)), np.ones((*shape, inner + 1, 1)) if inner > 1 else np.ones(3)):
                with pytest.raises(ValueError, match="dimension mismatch"):
                    times(wrong)
            with pytest.raises(ValueError, match="dimension mismatch"):
                columns(np.ones((*shape, inner + 1, inner)))


@pytest.mark.skipif(np.lib.NumpyVersion(scipy.__version__) < "1.18.0", reason="SciPy passes no batches")
def test_batches_through_scipy() -> None:
    X = rows(12, 3, np.dtype(np.float64))
    A, K, V = ntk.KernelOperator(ntk.NTK(1), X), ntk.NTK(1)(X), np.random.default_rng(0).random((5, 12, 1))
    np.testing.assert_allclose(A @ V, K @ V, rtol=1e-12)
    np.testing.assert_allclose(A.matvec(V[..., 0]), V[..., 0] @ K, rtol=1e-12)
    np.testing.assert_allclose((A + A).T @ V, 2 * K @ V, rtol=1e-12)


def test_sparse_factors() -> None:
    X, V = rows(12, 3, np.dtype(np.float64)), scipy.sparse.eye(12, 3, format="csr")
    np.testing.assert_allclose(ntk.KernelOperator(ntk.NTK(1), X) @ V, ntk.NTK(1)(X)[:, :3], rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_that_fit_are_right_although_sums_on_the_way_overflow(engine: Engine, dtype: np.dtype) -> None:
    """Terms near the largest number cancel; a little more, and the product itself does not fit."""
    largest = float(np.finfo(dtype).max)
    generator = np.random.default_rng(0)
    with engine.selected() as backend:
        for _ in range(4):
            size = 10 ** generator.uniform(0, 0.4 * np.log10(largest))
            X = rows(40, 3, np.dtype(np.float64)).astype(dtype)
            K = ntk.NTK(1)(X.astype(np.float64))
            operator = ntk.KernelOperator(ntk.NTK(1), size * X, backend=backend)
            v = generator.standard_normal(40)
            v *= 0.9 / np.abs(K @ v).max()
            scaled = v / size * largest / size  # of float64 even where the operator is not
            found = (operator @ scaled).astype(np.float64) / largest
            np.testing.assert_allclose(found, K @ v, atol=1e-4 if dtype == np.float32 else 1e-13)
            with pytest.raises(ValueError, match=f"A product with vectors up to .* overflows {dtype}"):
                operator @ (1.2 * scaled)


def test_a_product_of_float32_that_overflows_says_what_to_do() -> None:
    X = np.full((3, 2), 1e18, dtype=np.float32)
    with pytest.raises(ValueError, match=r"vectors up to 1e\+03 overflows float32: pass dtype='float64'"):
        ntk.KernelOperator(ntk.NTK(1), X) @ np.full(3, 1e3)
    np.testing.assert_allclose(ntk.KernelOperator(ntk.NTK(1), X, dtype=np.float64) @ np.full(3, 1e3), 6e39, rtol=1e-6)
    small = ntk.KernelOperator(ntk.NTK(1), np.full((1, 2), 1e-15, dtype=np.float32))
    np.testing.assert_allclose(small @ np.array([1e60]), 2e30, rtol=1e-6)


def test_bad_vectors_are_refused() -> None:
    A = ntk.KernelOperator(ntk.NTK(1), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"(?i)dimension mismatch"):
        A @ np.ones(5)
    with pytest.raises(TypeError, match="Vectors must hold real numbers; got dtype complex128"):
        A @ np.ones(4, dtype=complex)
    with pytest.raises(ValueError, match="diagonal needs a symmetric operator"):
        ntk.KernelOperator(ntk.NTK(1), np.ones((4, 3)), np.ones((4, 3))).diagonal()
