"""Cholesky factors, their inverses and condition numbers, in the memory of the matrix.

By blocks: each is factorised, or inverted, by LAPACK, and its share of all that follows is added there by products of
few columns and many rows, which are nearly all of the work and come in pieces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ntk_fast.lapack.products import Tick, add_gram, add_product, no_tick, product
from ntk_fast.lapack.routines import Reals, call, call_checked, check_square
from ntk_fast.lapack.triangular import BLOCK, divide_by_lower_transpose_in_place, solve_lower_in_place
from ntk_fast.schedule.tiling import ranges

#: Pivots of a block: what is not a matrix product grows with it.
PIVOTS = 64


def cholesky_in_place(matrix: Reals, tick: Tick = no_tick) -> bool:
    """Overwrite a positive definite matrix with L, A = L L^T, zero above the diagonal; False if it is not one."""
    n = check_square(matrix)
    for block in ranges(n, BLOCK):
        square, below = matrix[block, block], slice(block.stop, n)
        # what LAPACK, in Fortran's order, calls the upper triangle is the lower one here
        if call_checked("dpotrf", b"U", len(square), square, n):
            return False
        square[...] = np.tril(square)
        matrix[block, below] = 0.0
        columns = matrix[below, block]
        divide_by_lower_transpose_in_place(columns, square, tick)
        add_gram(matrix[below, below], columns, -1.0, tick)
    return True


def reciprocal_condition(lower: Reals, norm: float, tick: Tick = no_tick) -> float:
    """Return an estimate of 1 / (|A| |A^-1|) in the 1-norm, from L and `norm`, that of A (Higham, 1988, dlacn2)."""
    n = check_square(lower)
    if n == 0:
        return 1.0
    vector, work, signs = np.zeros((n, 1)), np.zeros(n), np.zeros(n, dtype=np.intc)
    estimate, stage, state = np.zeros(1), np.zeros(1, dtype=np.intc), np.zeros(3, dtype=np.intc)
    while True:
        call("dlacn2", n, work, vector, signs, estimate, stage, state)
        if stage[0] == 0:
            break
        solve_lower_in_place(lower, vector, tick=tick)
        solve_lower_in_place(lower, vector, transposed=True, tick=tick)
    size = float(estimate[0]) * norm
    return 1 / size if np.isfinite(size) and size > 0 else 0.0


def pivoted_cholesky_in_place(matrix: Reals, tolerance: float, tick: Tick = no_tick) -> NDArray[np.intp]:
    """Overwrite a positive semi-definite matrix with L of its pivots, A[pivots][:, pivots] = L L^T.

    Returns the pivots, largest remaining diagonal first, until none exceeds `tolerance`; they are L's rows and columns.
    """
    n = check_square(matrix)
    pivots, rank = np.arange(n), 0
    remaining = matrix.diagonal().copy()
    for block in ranges(n, PIVOTS):
        for column in range(block.start, block.stop):
            pivot = column + int(np.argmax(remaining[column:]))
            if not remaining[pivot] > tolerance:
                break
            _swap(matrix, column, pivot)
            for each in (pivots, remaining):
                each[[column, pivot]] = each[[pivot, column]]
            # this block's columns are not subtracted yet from what follows it
            done, below = slice(block.start, column), slice(column + 1, n)
            diagonal = np.sqrt(remaining[column])
            values = matrix[below, column, None]
            add_product(values, matrix[below, done], matrix[column, done, None], -1.0, tick)
            values /= diagonal
            matrix[column, column] = diagonal
            remaining[below] -= values[:, 0] ** 2
            rank = column + 1
        if rank < block.stop:
            break
        columns = matrix[block.stop :, block]
        add_gram(matrix[block.stop :, block.stop :], columns, -1.0, tick)
        remaining[block.stop :] = matrix.diagonal()[block.stop :]
    for block in ranges(rank, BLOCK):
        matrix[block, block] = np.tril(matrix[block, block])
        matrix[block, block.stop :] = 0.0
    return pivots[:rank]


def _swap(matrix: Reals, first: int, second: int) -> None:
    """Exchange two rows and columns of a symmetric matrix of which the lower triangle is there, before `first` of L."""
    if first == second:
        return
    between, after = slice(first + 1, second), slice(second + 1, None)
    matrix[[first, second], :first] = matrix[[second, first], :first]
    matrix[between, first], matrix[second, between] = matrix[second, between], matrix[between, first].copy()
    matrix[after, [first, second]] = matrix[after, [second, first]]
    matrix[[first, second], [first, second]] = matrix[[second, first], [second, first]]


def invert_cholesky_in_place(lower: Reals, tick: Tick = no_tick) -> None:
    """Overwrite L with the inverse of L L^T, both halves of it."""
    n = check_square(lower)
    blocks = list(ranges(n, BLOCK))
    for block in blocks:  # L^-1, whose rows before this block are there; those after it hold sums of products with them
        square, left, below = lower[block, block], slice(0, block.start), slice(block.stop, n)
        call_checked("dtrtri", b"U", b"N", len(square), square, n)
        row = product(square, lower[block, left], tick)
        columns = lower[below, block].copy()
        lower[block, left] = -row
        add_product(lower[below, left], columns, lower[block, left], 1.0, tick)
        lower[below, block] = product(columns, square, tick)
    for block in blocks:  # L^-T L^-1, the sum of products of blocks of rows
        square, left = lower[block, block].copy(), slice(0, block.start)
        row = lower[block, left].copy()
        add_gram(lower[left, left], row.T, 1.0, tick)
        lower[block, left] = product(square.T, row, tick)
        lower[block, block] = square.T @ square
    for block in blocks:
        square = np.tril(lower[block, block])
        lower[block, block] = square + np.tril(square, -1).T
        lower[block, block.stop :] = lower[block.stop :, block].T
