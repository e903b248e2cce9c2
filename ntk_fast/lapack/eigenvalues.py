"""Eigenvalues and eigenvectors of a symmetric matrix, in its memory."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

from ntk_fast.lapack.divide_and_conquer import tridiagonal_eigh
from ntk_fast.lapack.products import Tick, no_tick
from ntk_fast.lapack.routines import Reals, call_checked, check_square
from ntk_fast.lapack.tridiagonal import reduce_in_place
from ntk_fast.schedule.threads import limited_blas

#: Up to so many rows one call of LAPACK takes a fraction of a second.
MOST_ROWS_AT_ONCE = 1000
#: So many rows gain little from threads: each column waits for all of them, for long where processors are busy.
MOST_ROWS_FOR_ONE_THREAD = 2000
#: The largest entry of a matrix lies between this and one over it, or the matrix is scaled.
LEAST_SIZE = 2.0**-400


def eigh_in_place(matrix: Reals, *, vectors: bool = True, tick: Tick = no_tick) -> Reals:
    """Return the eigenvalues, increasing, and overwrite a symmetric matrix with the eigenvectors, in rows.

    In twice the memory of the matrix besides. Without `vectors`, in none to speak of, and the matrix is lost.
    """
    with limited_blas(1) if len(matrix) <= MOST_ROWS_FOR_ONE_THREAD else nullcontext():
        return _eigh_in_place(matrix, vectors, tick)


def _eigh_in_place(matrix: Reals, vectors: bool, tick: Tick) -> Reals:
    n = check_square(matrix)
    if n <= MOST_ROWS_AT_ONCE:
        return _eigh_at_once(matrix, vectors)
    size = max(float(matrix.max()), -float(matrix.min()))
    scale = _power_of_two(size) if size and not LEAST_SIZE <= size <= 1 / LEAST_SIZE else 1.0
    if scale != 1:
        matrix /= scale
    reduced = reduce_in_place(matrix, tick)
    size = _power_of_two(max(np.abs(reduced.diagonal).max(), np.abs(reduced.beside).max()))
    values, rows = tridiagonal_eigh(reduced.diagonal / size, reduced.beside / size, tick, vectors=vectors)
    if vectors:
        reduced.rotate_in_place(rows, tick)
        matrix[...] = rows
    return values * size * scale


def _eigh_at_once(matrix: Reals, vectors: bool) -> Reals:
    n = len(matrix)
    values = np.empty(n)
    if n:
        work, whole = np.empty(1 + 6 * n + 2 * n * n), np.empty(3 + 5 * n, dtype=np.intc)
        job = b"V" if vectors else b"N"
        if call_checked("dsyevd", job, b"U", n, matrix, n, values, work, len(work), whole, len(whole)):
            raise RuntimeError("the eigenvalues of the matrix could not be computed: dsyevd did not converge")
    return values


def _power_of_two(size: float) -> float:
    """Return a power of two near a number: dividing by it changes no bit but the exponent."""
    return float(np.ldexp(1.0, int(np.frexp(size)[1]))) if size else 1.0
