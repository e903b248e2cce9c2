"""Matrix products and passes over rows, cut into pieces that all cores share.

The pieces do not depend on the number of threads, and BLAS runs on one thread in each: results are the same to the last
bit for every number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ntk_fast.schedule.threads import single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Tile, make_tiles, ranges, run_tiles

Reals = NDArray[np.float64]

#: Rows and columns of a product's tile: long enough for BLAS to run at its speed, and a tile stays in L2.
PRODUCT_TILE = (256, 512)
#: Rows and columns of a Gram matrix's tile: small, so that little of a symmetric one is computed twice.
GRAM_TILE = (128, 128)
#: Multiplications below which a product stays on one thread: starting others takes 0.1 ms, this many about 0.5 ms.
WORTH_THREADS = 2**24
#: Entries of a block of rows in an elementwise pass: 256 kB, of which a thread has a few; and its rows at least, as a
#: pass may keep one row a block.
BLOCK_ENTRIES, BLOCK_ROWS = 2**15, 16


def product(
    a: Reals, b: Reals, out: Reals, n_threads: int, finish: Callable[[slice, slice], None] | None = None
) -> Reals:
    """Compute ``out = a @ b.T``; `finish` is called for each tile of the result while it is in the cache."""

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        np.matmul(a[rows], b[columns].T, out=out[rows, columns])
        if finish is not None:
            finish(rows, columns)

    tiles = make_tiles(len(a), len(b), symmetric=False, block_rows=PRODUCT_TILE[0], block_columns=PRODUCT_TILE[1])
    _run(tiles, fill, n_threads if out.size * a.shape[1] > WORTH_THREADS else 1)
    return out


def add_gram(out: Reals, factors: list[tuple[Reals, Reals | None]], n_threads: int, shift: float = 0.0) -> None:
    """Add to `out` the Hadamard product of ``x @ y.T`` over the pairs (x, y) of `factors`, shift added to the last.

    Of arrays (n_rows, n_positions, n_units), the sum of it over all pairs of positions. Where y is None it is x, and
    only tiles on and above the diagonal are filled: see :func:`mirror`.
    """
    symmetric = factors[0][1] is None
    first = factors[0][0]
    n_positions = first.shape[1] if first.ndim == 3 else 1
    block_rows, block_columns = (max(1, block // n_positions) for block in GRAM_TILE)

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        grams = [vectors(x[rows]) @ vectors((x if y is None else y)[columns]).T for x, y in factors]
        if shift:
            grams[-1] += shift
        total = math.prod(grams[1:], start=grams[0])
        if first.ndim == 3:
            total = total.reshape(rows.stop - rows.start, n_positions, -1, n_positions).sum(axis=(1, 3))
        out[rows, columns] += total

    tiles = make_tiles(*out.shape, symmetric=symmetric, block_rows=block_rows, block_columns=block_columns)
    _run(tiles, fill, n_threads)


def vectors(units: Reals) -> Reals:
    """Return units as a matrix, a row for each position of each row."""
    return units.reshape(-1, units.shape[-1])


def mirror(out: Reals, n_threads: int) -> None:
    """Copy what lies above the diagonal to below it."""

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        if rows == columns:
            below = np.tril_indices(rows.stop - rows.start, -1)
            out[rows, columns][below] = out[rows, columns].T[below]
        else:
            out[columns, rows] = out[rows, columns].T

    tiles = make_tiles(*out.shape, symmetric=True, block_rows=GRAM_TILE[0], block_columns=GRAM_TILE[1])
    run_tiles(tiles, lambda: fill, n_threads)


def row_blocks(n_rows: int, width: int) -> list[slice]:
    """Cut rows of `width` entries into blocks of about `BLOCK_ENTRIES`."""
    n = max(BLOCK_ROWS, BLOCK_ENTRIES // width)
    return list(ranges(n_rows, n))


def over_row_blocks(shape: tuple[int, int], work: Callable[[slice], None], n_threads: int) -> None:
    """Call ``work(rows)`` for every block of rows of a matrix, on all threads."""
    tiles = [Tile(block.start, block.stop, 0, shape[1]) for block in row_blocks(*shape)]
    _run(tiles, lambda tile: work(slice(tile.row_start, tile.row_stop)), n_threads)


def _run(tiles: list[Tile], fill: FillTile, n_threads: int) -> None:
    """Fill tiles with NumPy on several threads. What overflows shows in the result, which the caller looks at."""

    def quietly(tile: Tile) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            fill(tile)

    with single_threaded_blas():
        run_tiles(tiles, lambda: quietly, n_threads)
