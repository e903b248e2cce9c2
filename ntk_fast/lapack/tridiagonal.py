"""A symmetric matrix as Q T Q^T with T tridiagonal, by Householder reflections in blocks (LAPACK's dsytrd and dormtr).

Reflection i is I - tau_i v v^T, with v zero up to row i and 1 in row i + 1. Within a block of columns the matrix is not
changed: with the vectors V and W so far it is A - V W^T - W V^T, and a column costs one product of a vector with A.
(Dongarra, Sorensen & Hammarling, "Block reduction of matrices to condensed forms", 1989.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.lapack.products import Tick, add_product, product
from ntk_fast.lapack.routines import Reals, call, leading_dimension
from ntk_fast.schedule.tiling import ranges

#: Reflections in a block.
BLOCK = 64
#: Rows of the matrix that are updated at a time.
ROWS = 512


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """T by its diagonals, and the reflections whose product is Q."""

    diagonal: Reals  # (n,)
    beside: Reals  # (n - 1,)
    vectors: Reals  # (n, n): row i has, from column i + 1 on, the vector of reflection i
    weights: Reals  # (n,): tau; 0 of what is no reflection

    def rotate_in_place(self, rows: Reals, tick: Tick) -> None:
        """Overwrite the rows z^T of a matrix, eigenvectors of T, with (Q z)^T, those of the whole."""
        n_reflections = max(len(self.weights) - 1, 0)
        for block in reversed(list(ranges(n_reflections, BLOCK))):
            right = slice(block.start + 1, None)
            vectors = np.triu(self.vectors[block, right])
            size, length = vectors.shape
            # H_1 H_2 ... = I - V S V^T; what stands in Fortran's order is S, in C's S^T
            triangle = np.zeros((size, size))
            call("dlarft", b"F", b"C", length, size, vectors, length, self.weights[block], triangle, size)
            weighted = product(triangle, vectors, tick)
            for some in ranges(len(rows), ROWS):
                part = rows[some, right]
                add_product(part, product(part, vectors.T, tick), weighted, -1.0, tick)


def reduce_in_place(matrix: Reals, tick: Tick) -> Tridiagonal:
    """Reduce a symmetric matrix, of which the upper triangle is read, in its memory."""
    n = len(matrix)
    diagonal, beside, weights = np.empty(n), np.zeros(max(n - 1, 0)), np.zeros(n)
    for block in ranges(n, BLOCK):
        both = np.zeros((2 * BLOCK, n))  # rows v_0, w_0, v_1, w_1, ...
        for j, i in enumerate(range(block.start, block.stop)):
            row = matrix[i, i:]
            known, after = both[: 2 * j], slice(i + 1, n)
            _subtract_combination(row, known[:, i:], _exchanged(known[:, i]))
            diagonal[i] = row[0]
            if i == n - 1:
                break
            weight = np.zeros(1)
            call("dlarfg", n - i - 1, row[1:], row[2:] if n - i > 2 else row[1:], 1, weight)
            beside[i], weights[i] = row[1], weight[0]
            row[1] = 1.0
            vector, image = row[1:], both[2 * j + 1, after]
            call("dsymv", b"L", n - i - 1, 1.0, matrix[after, after], n, vector, 1, 0.0, image, 1)
            _subtract_combination(image, known[:, after], _exchanged(_products(known[:, after], vector)))
            image *= weights[i]
            image -= (weights[i] / 2) * _products(image[None], vector) * vector
            both[2 * j, after] = vector
            tick()
        trailing = both[:, block.stop :]
        other = _exchanged(trailing)
        for some in ranges(n - block.stop, ROWS):
            rows = matrix[block.stop :, block.stop :][some]
            v, w = trailing[::2, some], trailing[1::2, some]
            call("dsyr2k", b"L", b"N", len(rows), BLOCK, -1.0, v, 2 * n, w, 2 * n, 1.0, rows[:, some], n)
            add_product(rows[:, some.stop :], trailing[:, some].T, other[:, some.stop :], -1.0, tick)
    return Tridiagonal(diagonal, beside, matrix, weights)


def _exchanged(rows: Reals) -> Reals:
    """Return a copy with each two neighbours in the other's place: w_0, v_0, w_1, v_1, ..."""
    pairs = rows.reshape(len(rows) // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs[:, ::-1]).reshape(rows.shape)


# Not NumPy's products: its BLAS is often another than SciPy's, and threads of both would spin while they wait.


def _subtract_combination(out: Reals, rows: Reals, coefficients: Reals) -> None:
    """Subtract ``coefficients @ rows``."""
    if len(rows):
        call("dgemv", b"N", len(out), len(rows), -1.0, rows, leading_dimension(rows), coefficients, 1, 1.0, out, 1)


def _products(rows: Reals, vector: Reals) -> Reals:
    """Return ``rows @ vector``."""
    found = np.zeros(len(rows))
    if len(rows):
        call("dgemv", b"T", len(vector), len(rows), 1.0, rows, leading_dimension(rows), vector, 1, 0.0, found, 1)
    return found
