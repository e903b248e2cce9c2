"""Factors, inverses and eigenvalues in place, against SciPy's; and long calls that can be interrupted."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.linalg

from ntk_fast import lapack
from ntk_fast.threads import aside

SIZES = [0, 1, 2, 7, 255, 256, 300, 600]


def positive_definite(n: int, rank: int | None = None) -> np.ndarray:
    factor = np.random.default_rng(n).standard_normal((n, n + 3 if rank is None else rank))
    return factor @ factor.T


@pytest.mark.parametrize("n", SIZES)
def test_cholesky_and_inverse(n):
    matrix = positive_definite(n)
    work = matrix.copy()
    assert lapack.cholesky_in_place(work)
    expected = scipy.linalg.cholesky(matrix, lower=True) if n else matrix
    np.testing.assert_allclose(work, expected, rtol=1e-9, atol=1e-12)
    assert not np.triu(work, 1).any()
    lapack.invert_cholesky_in_place(work)
    np.testing.assert_array_equal(work, work.T)
    np.testing.assert_allclose(work @ matrix, np.eye(n), atol=1e-6)


def test_what_is_not_positive_definite():
    assert not lapack.cholesky_in_place(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert not lapack.cholesky_in_place(np.zeros((3, 3)))


@pytest.mark.parametrize(("n", "rank"), [(0, 0), (1, 1), (10, 4), (300, 17), (300, 300)])
def test_pivoted_cholesky_finds_the_rank(n, rank):
    matrix = positive_definite(n, rank)
    work = matrix.copy()
    pivots = lapack.pivoted_cholesky_in_place(work, 1e-10 * n)
    assert len(pivots) == len(set(pivots.tolist())) == rank
    lower = work[:rank, :rank]
    np.testing.assert_allclose(lower @ lower.T, matrix[np.ix_(pivots, pivots)], rtol=1e-10, atol=1e-10 * n)
    assert (np.diff(lower.diagonal()) <= 1e-12 * n).all(), "largest first"


@pytest.mark.parametrize("n", SIZES)
def test_eigenvalues_and_eigenvectors(n):
    matrix = positive_definite(n) - 0.5 * np.eye(n)
    vectors = matrix.copy()
    values = lapack.eigh_in_place(vectors)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(vectors.T @ (values[:, None] * vectors), matrix, rtol=1e-10, atol=1e-10 * n)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(n), atol=1e-12 * n)
    np.testing.assert_allclose(lapack.eigh_in_place(matrix, vectors=False), values, rtol=1e-10, atol=1e-10)


def test_what_a_routine_cannot_do_is_an_error_of_ours():
    with pytest.raises(RuntimeError, match="refuses its argument 2"):
        lapack._call("dpotrf", b"U", -1, np.eye(2), 2, tick=None)


def test_results_and_errors_of_a_call_aside():
    assert aside(lambda: threading.current_thread()) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 / 0)


def test_ticks_while_a_call_runs():
    ticks = []
    aside(lambda: [len(ticks) > 3 or time.sleep(0.01) for _ in range(1000)], lambda: ticks.append(1))
    assert len(ticks) > 3


@pytest.mark.parametrize(
    "call",
    [
        "lapack.eigh_in_place(matrix)",
        "lapack.cholesky_in_place(matrix)",
        "lapack.pivoted_cholesky_in_place(matrix, 0.0)",
        "lapack.invert_cholesky_in_place(matrix)",
    ],
)
def test_an_interrupt_is_heard_while_lapack_runs(call):
    """And not when the routine has come to its end, which takes it seconds with this matrix."""
    code = f"""
import os, signal, threading
import numpy as np
from ntk_fast import lapack

matrix, running, finished = np.eye(5000) + 0.5, threading.Event(), []
routine = lapack._routine

def interrupt():
    running.wait()
    os.kill(os.getpid(), signal.SIGINT)

def watched(name, n_arguments):
    def call(*pointers):
        running.set()
        routine(name, n_arguments)(*pointers)
        finished.append(name)
    return call

lapack._routine = watched
threading.Thread(target=interrupt, daemon=True).start()
try:
    {call}
except KeyboardInterrupt:
    print("heard", finished)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "heard []\n", done
