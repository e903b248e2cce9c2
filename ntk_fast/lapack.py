"""LAPACK's long routines on symmetric matrices: in place, and without the interpreter's lock.

SciPy's wrappers hold that lock: for the minutes that the eigenvectors of 10 000 rows take, no progress is shown and no
Ctrl-C heard. Here the same routines of the same library are called through the pointers that SciPy exports for Cython,
by way of `threads.aside`.

A symmetric matrix in C order is its own transpose, and what LAPACK, which thinks in Fortran's order, calls the upper
triangle is the lower one here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.threads import aside

Reals = NDArray[np.float64]
Tick = Callable[[], None]

#: Rows of which what lies above the diagonal is cleared, or mirrored, at a time.
BLOCK_ROWS = 256


@lru_cache(maxsize=8)
def _routine(name: str, n_arguments: int) -> Any:
    """Return a routine of SciPy's LAPACK, all of whose arguments are pointers."""
    from scipy import LowLevelCallable
    from scipy.linalg import cython_lapack

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    exported = LowLevelCallable.from_cython(cython_lapack, name)
    address = pointer(exported.function, exported.signature.encode())
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address)


def _call(name: str, *arguments: bytes | int | NDArray[Any], tick: Tick | None) -> int:
    """Call a routine with letters, whole numbers and arrays, and return its `info`, the last argument of each."""
    info = ctypes.c_int(0)
    held = [*map(_in_memory, arguments), info]
    pointers = [each.ctypes.data if isinstance(each, np.ndarray) else ctypes.addressof(each) for each in held]
    routine = _routine(name, len(pointers))

    def run() -> None:
        routine(*pointers)
        held.clear()  # until here the memory is needed, also if nobody waits for the routine any more

    aside(run, tick)
    if info.value < 0:
        raise RuntimeError(f"LAPACK's {name} refuses its argument {-info.value}")
    return info.value


def _in_memory(argument: bytes | int | NDArray[Any]) -> Any:
    """Return what has an address: an array, or a letter or number that a pointer can point to."""
    if isinstance(argument, np.ndarray):
        return argument
    return ctypes.c_char(argument) if isinstance(argument, bytes) else ctypes.c_int(argument)


def _check(matrix: Reals) -> int:
    """Return the size of a matrix that a routine may work in."""
    n = len(matrix)
    assert matrix.dtype == np.float64
    assert matrix.shape == (n, n)
    assert matrix.flags.c_contiguous
    assert matrix.flags.writeable
    return n


def cholesky_in_place(matrix: Reals, tick: Tick | None = None) -> bool:
    """Overwrite a positive definite matrix with L, A = L L^T, zero above the diagonal; False if it is not one."""
    n = _check(matrix)
    if n == 0:
        return True
    if _call("dpotrf", b"U", n, matrix, n, tick=tick):
        return False
    _clear_above_diagonal(matrix)
    return True


def reciprocal_condition(lower: Reals, norm: float, tick: Tick | None = None) -> float:
    """Return an estimate of 1 / (|A| |A^-1|) in the 1-norm, from L and `norm`, that of A."""
    n = _check(lower)
    result, size = np.ones(1), np.array([norm])
    if n:
        work, whole = np.empty(3 * n), np.empty(n, dtype=np.intc)
        _call("dpocon", b"U", n, lower, n, size, result, work, whole, tick=tick)
    return float(result[0])


def pivoted_cholesky_in_place(matrix: Reals, tolerance: float, tick: Tick | None = None) -> NDArray[np.intp]:
    """Overwrite a positive semi-definite matrix with L of its pivots, A[pivots][:, pivots] = L L^T.

    Returns the pivots, largest remaining diagonal first, until none exceeds `tolerance`; they are L's rows and columns.
    """
    n = _check(matrix)
    if n == 0:
        return np.zeros(0, dtype=np.intp)
    pivots, rank = np.zeros(n, dtype=np.intc), np.zeros(1, dtype=np.intc)
    limit, work = np.array([tolerance]), np.empty(2 * n)
    _call("dpstrf", b"U", n, matrix, n, pivots, rank, limit, work, tick=tick)
    _clear_above_diagonal(matrix)
    return pivots[: rank[0]].astype(np.intp) - 1


def invert_cholesky_in_place(lower: Reals, tick: Tick | None = None) -> None:
    """Overwrite L with the inverse of L L^T, both halves of it."""
    n = _check(lower)
    if n == 0:
        return
    _call("dpotri", b"U", n, lower, n, tick=tick)
    for rows, after in _diagonal_blocks(n):
        square = np.tril(lower[rows, rows])
        lower[rows, rows] = square + np.tril(square, -1).T
        lower[rows, after] = lower[after, rows].T


def eigh_in_place(matrix: Reals, *, vectors: bool = True, tick: Tick | None = None) -> Reals:
    """Return the eigenvalues, increasing, and overwrite a symmetric matrix with the eigenvectors, in rows.

    By divide and conquer, in twice the memory of the matrix besides. Without `vectors` the matrix is lost.
    """
    n = _check(matrix)
    values = np.empty(n)
    if n == 0:
        return values
    job, work, whole = b"V" if vectors else b"N", np.empty(1), np.empty(1, dtype=np.intc)
    _call("dsyevd", job, b"U", n, matrix, n, values, work, -1, whole, -1, tick=None)  # asks how much memory it needs
    work, whole = np.empty(int(work[0])), np.empty(int(whole[0]), dtype=np.intc)
    failed = _call("dsyevd", job, b"U", n, matrix, n, values, work, len(work), whole, len(whole), tick=tick)
    if failed:
        raise RuntimeError("the eigenvalues of the matrix could not be computed: dsyevd did not converge")
    return values


def _clear_above_diagonal(matrix: Reals) -> None:
    for rows, after in _diagonal_blocks(len(matrix)):
        matrix[rows, rows] = np.tril(matrix[rows, rows])
        matrix[rows, after] = 0.0


def _diagonal_blocks(n: int) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of rows, each with the columns after its square block on the diagonal."""
    for start in range(0, n, BLOCK_ROWS):
        yield slice(start, start + BLOCK_ROWS), slice(start + BLOCK_ROWS, None)
