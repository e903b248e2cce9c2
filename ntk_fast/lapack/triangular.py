"""Systems with a triangular matrix, many right-hand sides at once, in pieces that end soon."""

from __future__ import annotations

from ntk_fast.lapack.products import PIECE, Tick, add_product, no_tick
from ntk_fast.lapack.routines import Reals, call, leading_dimension
from ntk_fast.schedule.tiling import ranges

#: Rows at a time: large enough that nearly all of the work is matrix products.
BLOCK = 256
#: Right-hand sides that a block is solved with at a time.
SIDES = int(PIECE / BLOCK**2)


def solve_lower_in_place(lower: Reals, columns: Reals, *, transposed: bool = False, tick: Tick = no_tick) -> None:
    """Overwrite columns B, (n, m) with contiguous rows, with L^-1 B, or with L^-T B."""
    starts = range(0, len(lower), BLOCK)
    for start in reversed(starts) if transposed else starts:
        rows = slice(start, min(start + BLOCK, len(lower)))
        if transposed:
            add_product(columns[rows], lower[rows.stop :, rows].T, columns[rows.stop :], -1.0, tick)
        else:
            add_product(columns[rows], lower[rows, :start], columns[:start], -1.0, tick)
        for some in ranges(columns.shape[1], SIDES):
            part = columns[rows, some]
            # in Fortran's order L is U = L^T and the columns are rows: X U = B^T
            call(
                "dtrsm", b"R", b"U", b"T" if transposed else b"N", b"N", part.shape[1], len(part), 1.0,
                lower[rows, rows], leading_dimension(lower), part, leading_dimension(columns),
            )  # fmt: skip
            tick()


def divide_by_lower_transpose_in_place(rows: Reals, lower: Reals, tick: Tick = no_tick) -> None:
    """Overwrite rows B, (m, n) and contiguous each, with B L^-T."""
    for start in range(0, len(lower), BLOCK):
        block = slice(start, min(start + BLOCK, len(lower)))
        add_product(rows[:, block], rows[:, :start], lower[block, :start].T, -1.0, tick)
        for some in ranges(len(rows), SIDES):
            part = rows[some, block]
            call(
                "dtrsm", b"L", b"U", b"T", b"N", part.shape[1], len(part), 1.0,
                lower[block, block], leading_dimension(lower), part, leading_dimension(rows),
            )  # fmt: skip
            tick()
