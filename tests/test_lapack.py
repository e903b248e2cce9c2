"""Factors, inverses, eigenvalues and bases in place, against NumPy's; and that nothing runs on after an interrupt."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ntk_fast import lapack
from ntk_fast.lapack import cholesky, divide_and_conquer, eigenvalues, products
from ntk_fast.lapack.divide_and_conquer import tridiagonal_eigh
from ntk_fast.lapack.routines import call_checked

SIZES = [0, 1, 2, 7, 255, 256, 257, 600]


def positive_definite(n: int, rank: int | None = None) -> np.ndarray:
    factor = np.random.default_rng(n).standard_normal((n, n + 3 if rank is None else rank))
    return factor @ factor.T


@pytest.fixture(params=[products.PIECE, 1e4], ids=["whole", "pieces"])
def _in_pieces(request, monkeypatch):
    monkeypatch.setattr(products, "PIECE", request.param)


@pytest.mark.usefixtures("_in_pieces")
@pytest.mark.parametrize("shape", [(0, 3, 2), (1, 1, 1), (3, 0, 2), (200, 70, 1), (1, 300, 65), (150, 90, 200)])
def test_products_of_views_of_any_layout(shape):
    n, k, m = shape
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((n, k)), generator.standard_normal((k, m))
    wide, tall = generator.standard_normal((n, k + 5)), generator.standard_normal((k, m + 9))
    wide[:, 2 : k + 2], tall[:, :m] = left, right
    for a in (left, np.asfortranarray(left), wide[:, 2 : k + 2]):
        for b in (right, np.asfortranarray(right), tall[:, :m]):
            np.testing.assert_allclose(lapack.product(a, b), left @ right, rtol=1e-12, atol=1e-12)
    out = np.ones((n, m + 4))
    lapack.add_product(out[:, 1 : m + 1], left, right, -2.0)
    np.testing.assert_allclose(out[:, 1 : m + 1], 1 - 2 * left @ right, rtol=1e-12, atol=1e-12)
    assert (out[:, [0, *range(m + 1, m + 4)]] == 1).all()
    square = np.ones((n, n))
    products.add_gram(square, left, 0.5)
    np.testing.assert_allclose(np.tril(square), np.tril(1 + left @ left.T / 2), rtol=1e-12, atol=1e-12)
    assert (np.triu(square, 1) == np.triu(np.ones((n, n)), 1)).all()


@pytest.mark.usefixtures("_in_pieces")
@pytest.mark.parametrize("n", SIZES)
def test_cholesky_and_inverse(n):
    matrix = positive_definite(n)
    work = matrix.copy()
    assert lapack.cholesky_in_place(work)
    np.testing.assert_allclose(work @ work.T, matrix, rtol=1e-12, atol=1e-12 * n)
    assert not np.triu(work, 1).any()
    if n:
        condition = lapack.reciprocal_condition(work, np.abs(matrix).sum(axis=0).max()) * np.linalg.cond(matrix, 1)
        assert 1 - 1e-6 <= condition <= 3, "an upper bound, and a good one"
    columns = np.random.default_rng(1).standard_normal((n, 3))
    for transposed in (False, True):
        solved = columns.copy()
        lapack.solve_lower_in_place(work, solved, transposed=transposed)
        np.testing.assert_allclose((work.T if transposed else work) @ solved, columns, atol=1e-8)
    divided = columns.T.copy()
    lapack.divide_by_lower_transpose_in_place(divided, work)
    np.testing.assert_allclose(divided @ work.T, columns.T, atol=1e-8)
    lapack.invert_cholesky_in_place(work)
    np.testing.assert_array_equal(work, work.T)
    np.testing.assert_allclose(work @ matrix, np.eye(n), atol=1e-6)


def test_what_is_not_positive_definite():
    assert not lapack.cholesky_in_place(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert not lapack.cholesky_in_place(np.zeros((3, 3)))
    assert not lapack.cholesky_in_place(np.diag(np.arange(299.0, -1.0, -1.0)))


@pytest.mark.parametrize(("n", "rank"), [(0, 0), (1, 1), (10, 4), (300, 17), (300, 64), (300, 300)])
def test_pivoted_cholesky_finds_the_rank(n, rank):
    matrix = positive_definite(n, rank)
    work = matrix.copy()
    pivots = lapack.pivoted_cholesky_in_place(work, 1e-10 * n)
    assert len(pivots) == len(set(pivots.tolist())) == rank
    lower = work[:rank, :rank]
    assert not np.triu(lower, 1).any()
    np.testing.assert_allclose(lower @ lower.T, matrix[np.ix_(pivots, pivots)], rtol=1e-10, atol=1e-10 * n)
    assert (np.diff(lower.diagonal()) <= 1e-12 * n).all(), "largest first"


def spectra(n: int) -> dict[str, np.ndarray]:
    """Matrices whose eigenvalues are of every kind: apart, repeated, zero, in clusters, over many decades."""
    generator = np.random.default_rng(n)
    normal = generator.standard_normal((n, n))
    basis, _ = np.linalg.qr(normal)
    rows = generator.standard_normal((n, 2))
    second = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    return {
        "apart": normal + normal.T,
        "repeated": np.diag(np.arange(n) % 3.0),
        "all but one equal": np.ones((n, n)),
        "zeros": np.zeros((n, n)),
        "low rank": normal[:, : n // 3] @ normal[:, : n // 3].T,
        "smooth kernel": np.exp(-((rows[:, None] - rows) ** 2).sum(axis=-1)),
        "graded": basis * np.logspace(0, -20, n) @ basis.T,
        "pairs nearly equal": second + np.diag(np.abs(np.arange(n) - n // 2).astype(float)),
        "tiny": 1e-250 * (normal + normal.T),
        "huge": 1e250 * (normal + normal.T),
    }


@pytest.mark.parametrize(
    ("n", "leaf"), [(2, 1), (3, 1), (6, 1), (6, 3), (40, 1), (65, 3), (65, 100), (130, 20), (270, 50)]
)
def test_eigenvalues_and_eigenvectors(n, leaf, monkeypatch):
    """With a matrix that is cut into parts of one row, of some, or not at all."""
    monkeypatch.setattr(divide_and_conquer, "LARGEST_LEAF", leaf)
    monkeypatch.setattr(eigenvalues, "MOST_ROWS_AT_ONCE", leaf)
    for name, matrix in spectra(n).items():
        vectors = matrix.copy()
        values = lapack.eigh_in_place(vectors)
        expected = np.linalg.eigh(matrix)[0]
        size = np.abs(expected).max() or 1.0
        case = f"{name}, {n} rows"
        assert np.abs(values - expected).max() <= 1e-14 * size, case
        assert np.abs(vectors.T @ (values[:, None] / size * vectors) - matrix / size).max() <= 1e-14, case
        assert np.abs(vectors @ vectors.T - np.eye(n)).max() <= 2e-14, case
        alone = lapack.eigh_in_place(matrix.copy(), vectors=False)
        assert np.abs(alone - expected).max() <= 1e-14 * size, case


def test_a_matrix_of_usual_size():
    n = 1100
    matrix = spectra(n)["smooth kernel"]
    vectors = matrix.copy()
    values = lapack.eigh_in_place(vectors)
    assert np.abs(vectors.T @ (values[:, None] * vectors) - matrix).max() <= 1e-14 * values[-1]
    assert np.abs(vectors @ vectors.T - np.eye(n)).max() <= 1e-13


def test_a_tridiagonal_matrix_with_known_eigenvalues():
    n = 1500
    values, ends = tridiagonal_eigh(np.full(n, 2.0), np.full(n - 1, -1.0), lapack.no_tick, vectors=False)
    angles = np.pi * np.arange(1, n + 1) / (n + 1)
    np.testing.assert_allclose(values, 2 - 2 * np.cos(angles), atol=1e-15 * n)
    np.testing.assert_allclose(np.abs(ends[:, 0]), np.sqrt(2 / (n + 1)) * np.sin(angles), atol=1e-13)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (64, 64), (200, 65), (300, 130)])
@pytest.mark.parametrize("kind", ["normal", "columns of zeros", "repeated columns", "graded"])
def test_bases_and_singular_values(shape, kind):
    k = shape[1]
    matrix = np.random.default_rng(0).standard_normal(shape)
    if kind == "columns of zeros":
        matrix[:, 1::2] = 0
    elif kind == "repeated columns":
        matrix = np.repeat(matrix, 2, axis=1)[:, :k].copy()
    elif kind == "graded":
        matrix *= np.logspace(0, -18, k)
    basis, triangle = lapack.qr_in_place(matrix.copy())
    np.testing.assert_allclose(basis @ triangle, matrix, atol=1e-13)
    np.testing.assert_allclose(basis.T @ basis, np.eye(k), atol=1e-13)
    for each in (matrix, matrix.T):
        left, values, right = lapack.svd(each)
        np.testing.assert_allclose(left * values @ right.T, each, atol=1e-13)
        np.testing.assert_allclose(values, np.linalg.svd(each, compute_uv=False), atol=1e-13)


def test_what_a_routine_cannot_do_is_an_error_of_ours():
    with pytest.raises(RuntimeError, match="refuses its argument 2"):
        call_checked("dpotrf", b"U", -1, np.eye(2), 2)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(
    "routine",
    [
        lapack.cholesky_in_place,
        lapack.invert_cholesky_in_place,
        lambda matrix, tick: lapack.pivoted_cholesky_in_place(matrix, 0.0, tick),
        lambda matrix, tick: lapack.eigh_in_place(matrix, tick=tick),
        lambda matrix, tick: lapack.eigh_in_place(matrix, vectors=False, tick=tick),
        lambda matrix, tick: lapack.svd(matrix, tick),
        lambda matrix, tick: lapack.product(matrix, matrix, tick),
    ],
)
def test_long_routines_come_in_pieces(routine, monkeypatch):
    """Between any two of which they can be left."""
    monkeypatch.setattr(products, "PIECE", 1e5)
    monkeypatch.setattr(cholesky, "BLOCK", 32)
    monkeypatch.setattr(divide_and_conquer, "LARGEST_LEAF", 50)
    monkeypatch.setattr(eigenvalues, "MOST_ROWS_AT_ONCE", 50)
    ticks = []
    routine(positive_definite(300), lambda: ticks.append(1))
    assert len(ticks) > 5
    left = iter(range(len(ticks) // 2))

    def tick() -> None:
        if next(left, None) is None:
            raise Interrupted

    with pytest.raises(Interrupted):
        routine(positive_definite(300), tick)


@pytest.mark.parametrize(
    "call",
    [
        "ntk.NTKRegressor(kernel, ridge=0.1, solver='cholesky').fit(X, y)",
        "ntk.NTKRegressor(kernel, ridge='loo', solver='cholesky').fit(X, y)",
        "ntk.NTKGaussianProcessRegressor(kernel, fitted=()).fit(X, y)",
        "ntk.GradientFlowRegressor(kernel).fit(X, y)",
    ],
)
def test_ctrl_c_is_heard_nothing_runs_on_and_the_process_ends(call):
    code = f"""
import os, signal, threading, time
import numpy as np
import ntk_fast as ntk
from ntk_fast.lapack import routines

X, kernel = np.random.default_rng(0).standard_normal((2500, 3)), ntk.NTK(2, bias_variance=0.1)
y, running, calls = X[:, 0], threading.Event(), []
routine = routines._routine

def watched(name, n_arguments):
    def call(*pointers):
        calls.append(name)
        if len(calls) == 7:
            running.set()
        routine(name, n_arguments)(*pointers)
    return call

def interrupt():
    running.wait()
    os.kill(os.getpid(), signal.SIGINT)

routines._routine = watched
threading.Thread(target=interrupt, daemon=True).start()
try:
    {call}
except KeyboardInterrupt:
    n_calls = len(calls)
    time.sleep(0.2)
    print("heard", len(calls) - n_calls)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "heard 0\n"), done
