"""Matrix products in pieces, after each of which Ctrl-C is heard.

A call into BLAS cannot be stopped, and the interpreter can neither hear Ctrl-C nor end while one runs. So there is no
long call: what is long is a loop over pieces of a fraction of a second, on the calling thread. Nothing runs on after an
interrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ntk_fast.lapack.routines import Reals, call, leading_dimension
from ntk_fast.schedule.tiling import ranges

#: Called between pieces.
Tick = Callable[[], None]

#: Additions and multiplications in a piece: 0.01 s on two fast processors, 0.1 s on a slow one.
PIECE = 1e9
#: The least side of a piece: below it, BLAS spends its time on moving numbers.
LEAST_SIDE = 64


def no_tick() -> None:
    """The tick of those who want none."""


def add_product(out: Reals, left: Reals, right: Reals, factor: float = 1.0, tick: Tick = no_tick) -> None:
    """Add ``factor * left @ right`` to `out`, whose rows are contiguous; the factors may be views, transposed ones too.

    Rows that are written must be no part of the factors, unless one piece writes them all.
    """
    n_rows, n_columns = out.shape
    n_inner = left.shape[1]
    if not (n_rows and n_columns and n_inner):
        return
    if n_columns == 1 and left.strides[1] == left.itemsize:
        _add_vector_product(out, left, right, factor, tick)
        return
    left_letter, left_dimension = _as_fortran(left)
    right_letter, right_dimension = _as_fortran(right)
    for rows, columns in _pieces(n_rows, n_columns, n_inner):
        part = out[rows, columns]
        # a matrix in C order is its own transpose in Fortran's: out^T += right^T left^T
        call(
            "dgemm", right_letter, left_letter, part.shape[1], part.shape[0], n_inner, float(factor),
            right[:, columns], right_dimension, left[rows], left_dimension, 1.0, part, leading_dimension(out),
        )  # fmt: skip
        tick()


def _add_vector_product(out: Reals, left: Reals, right: Reals, factor: float, tick: Tick) -> None:
    """Add a product with one column, for which BLAS's product of matrices would copy `left`."""
    n_inner = left.shape[1]
    for rows in ranges(len(out), max(1, int(PIECE / (2 * n_inner)))):
        part = out[rows]
        call(
            "dgemv", b"T", n_inner, len(part), float(factor), left[rows], leading_dimension(left),
            right, _step(right), 1.0, part, _step(part),
        )  # fmt: skip
        tick()


def _step(column: Reals) -> int:
    """Return the distance of the numbers of a column."""
    return max(1, column.strides[0] // column.itemsize)


def add_gram(out: Reals, rows: Reals, factor: float = 1.0, tick: Tick = no_tick) -> None:
    """Add ``factor * rows @ rows.T`` to the lower triangle of a square matrix, whose rows are contiguous."""
    if not rows.size:
        return
    letter, dimension = _as_fortran(rows)
    for block in ranges(len(out), max(LEAST_SIDE, int((PIECE / rows.shape[1]) ** 0.5))):
        left = slice(0, block.start)
        add_product(out[block, left], rows[block], rows[left].T, factor, tick)
        square, part = out[block, block], rows[block]
        # the lower triangle in C order is the upper one in Fortran's
        call(
            "dsyrk", b"U", b"T" if letter == b"N" else b"N", len(square), part.shape[1], float(factor),
            part, dimension, 1.0, square, leading_dimension(out),
        )  # fmt: skip
        tick()


def product(left: Reals, right: Reals, tick: Tick = no_tick) -> Reals:
    """Return ``left @ right``."""
    out = np.zeros((left.shape[0], right.shape[1]))
    add_product(out, left, right, tick=tick)
    return out


def _as_fortran(factor: Reals) -> tuple[bytes, int]:
    """Return whether the transpose of a view is stored by columns ("N") or by rows ("T"), and their distance."""
    if factor.strides[1] == factor.itemsize or factor.shape[1] == 1:
        return b"N", leading_dimension(factor)
    assert factor.strides[0] == factor.itemsize or factor.shape[0] == 1
    return b"T", leading_dimension(factor.T)


def _pieces(n_rows: int, n_columns: int, n_inner: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of the pieces of a product, as square as they can be."""
    numbers = max(PIECE / (2 * n_inner), LEAST_SIDE**2)
    width = n_columns if numbers >= n_rows * n_columns else max(LEAST_SIDE, int(numbers**0.5))
    width = max(width, int(numbers / n_rows))
    for rows in ranges(n_rows, max(1, int(numbers / min(width, n_columns)))):
        for columns in ranges(n_columns, width):
            yield rows, columns
