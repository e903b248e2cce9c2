"""Orthonormal bases and singular values of matrices of any shape.

By Householder reflections in blocks, as in LAPACK's dgeqrf: H_1 H_2 ... = I - V S V^T, so that all but a block's
own columns are matrix products.
"""

from __future__ import annotations

import numpy as np

from ntk_fast.lapack.eigenvalues import eigh_in_place
from ntk_fast.lapack.products import Tick, add_product, no_tick, product
from ntk_fast.lapack.routines import Reals, call, call_checked
from ntk_fast.schedule.tiling import ranges

#: Columns of a block.
BLOCK = 64


def qr_in_place(matrix: Reals, tick: Tick = no_tick) -> tuple[Reals, Reals]:
    """Return Q (n, k) of orthonormal columns and R upper triangular of a matrix (n, k), k <= n, which is lost."""
    n, k = matrix.shape
    reflections = []
    for block in ranges(k, BLOCK):
        size, length, below = block.stop - block.start, n - block.start, slice(block.start, n)
        weights, work, triangle = np.empty(size), np.empty(BLOCK * size), np.zeros((size, size))
        # in Fortran's order the columns are rows, and what is taken apart is their transpose, R^T Q^T
        call_checked("dgelqf", size, length, matrix[below, block], k, weights, work, len(work))
        vectors = np.tril(matrix[below, block], -1)
        vectors.flat[: size * size : size + 1] = 1.0
        call("dlarft", b"F", b"R", length, size, vectors, size, weights, triangle, size)
        tick()
        right = matrix[below, block.stop :]
        add_product(right, vectors, product(triangle, product(vectors.T, right, tick), tick), -1.0, tick)
        reflections.append((below, vectors, triangle))
    triangular = np.triu(matrix[:k])
    basis = np.eye(n, k)
    for below, vectors, triangle in reversed(reflections):
        right = basis[below, below.start :]
        add_product(right, vectors, product(triangle.T, product(vectors.T, right, tick), tick), -1.0, tick)
    return basis, triangular


def svd(matrix: Reals, tick: Tick = no_tick) -> tuple[Reals, Reals, Reals]:
    """Return U (n, k), the singular values, decreasing, and V (m, k) of ``matrix = U diag(s) V^T``, k = min(n, m).

    They are the positive eigenvalues of [[0, A], [A^T, 0]], as exact as the matrix is; vectors of singular values that
    are rounding errors are not orthonormal.
    """
    n, m = matrix.shape
    if n < m:
        right, values, left = svd(matrix.T, tick)
        return left, values, right
    basis, triangular = qr_in_place(np.array(matrix, order="C"), tick)
    both = np.zeros((2 * m, 2 * m))
    both[:m, m:], both[m:, :m] = triangular, triangular.T
    values = eigh_in_place(both, tick=tick)[m:][::-1]
    vectors = np.sqrt(2.0) * both[m:][::-1]
    return product(basis, vectors[:, :m].T, tick), np.maximum(values, 0.0), np.ascontiguousarray(vectors[:, m:].T)
