"""A Gram matrix as a factor: products with vectors, summed in an order that depends on nobody's speed.

Tiles are grouped into blocks whose sizes follow what entries cost. The sums of a block are those of its tiles, in their
order; the product is the sum over blocks, in theirs. So threads, and workers of a cluster, which take whole blocks,
round alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import PADDING, Backend, ProductTask, TileTask
from ntk_fast.compensated import Reals
from ntk_fast.gram import prepare, seconds_of_entry, tile_shape
from ntk_fast.lower.limit import Limit
from ntk_fast.lower.program import Program
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.in_order import InOrder
from ntk_fast.schedule.threads import single_threaded_blas
from ntk_fast.schedule.tiling import FillTile, Tile, make_tiles, run_tiles, stop_if_asked, tiles_within

#: Of a block, about, on one thread, or several times that on a busy machine; a matrix that takes less than
#: `FEWEST_BLOCKS` of them has smaller ones.
SECONDS_A_BLOCK, FEWEST_BLOCKS = 0.5, 32

#: Sums of a block by its rows, (n_vectors, rows), and by its columns, or None where the matrix has a `y`.
BlockSums = tuple[Reals, Reals | None]


class Factor(Protocol):
    """A matrix that can be multiplied, wherever that is done."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def diagonal(self) -> Reals | None:
        """That of a symmetric matrix, (n,) of float64; None of another."""

    @property
    def largest(self) -> float:
        """A bound of all entries."""

    def multiply(self, vectors: NDArray[np.floating]) -> Reals:
        """Return products with `padded` vectors, (n_vectors, n_rows); those of a symmetric one lack its diagonal's."""

    def transposed(self) -> Factor:
        """Return the transpose of a matrix that is not symmetric."""


@dataclass(frozen=True, eq=False)
class PreparedFactor:
    """Rows, and columns unless they are the same, prepared for a program's tiles."""

    program: Program | SpatialProgram
    x: Rows
    y: Rows | None
    backend: Backend

    @classmethod
    def of(
        cls,
        kernel: Limit,
        x_values: NDArray[np.floating],
        y_values: NDArray[np.floating] | None,
        backend: Backend,
    ) -> PreparedFactor:
        """Prepare checked rows, and refuse those whose kernel values overflow."""
        x, y, program = prepare(kernel, x_values, y_values, backend)
        return cls(program, x, y, backend)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.x), len(self.x if self.y is None else self.y)

    @property
    def dtype(self) -> np.dtype:
        return self.x.values.dtype

    @property
    def diagonal(self) -> Reals | None:
        return self.x.diagonal if self.y is None else None

    @property
    def largest(self) -> float:
        other = self.x if self.y is None else self.y
        return float(self.x.root_diagonal.max(initial=0.0)) * float(other.root_diagonal.max(initial=0.0))

    def transposed(self) -> PreparedFactor:
        """Return the transpose of a matrix that is not symmetric."""
        assert self.y is not None
        return PreparedFactor(self.program, self.y, self.x, self.backend)

    @property
    def is_of_images(self) -> bool:
        """Whether the rows are images or sequences."""
        return isinstance(self.program, SpatialProgram)

    @property
    def seconds_of_entry(self) -> float:
        return seconds_of_entry(self.program, self.x.values.shape[1], self.backend)

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of a block, whole tiles."""
        n_entries = math.prod(self.shape) / (2 if self.y is None else 1)
        side = math.isqrt(int(min(SECONDS_A_BLOCK / self.seconds_of_entry, n_entries / FEWEST_BLOCKS)))
        rows, columns = self._tile_shape
        return max(1, side // rows) * rows, max(1, side // columns) * columns

    @property
    def _tile_shape(self) -> tuple[int, int]:
        return tile_shape(TileTask(self.program, self.x, self.y), self.backend)

    def tiles(self, block: Tile) -> list[Tile]:
        """Return the tiles of a block in their order."""
        rows, columns = self._tile_shape
        return tiles_within(block, symmetric=self.y is None, block_rows=rows, block_columns=columns)

    def blocks(self) -> list[Tile]:
        """Return the blocks in the order in which their sums are added."""
        rows, columns = self.block_shape
        return make_tiles(*self.shape, symmetric=self.y is None, block_rows=rows, block_columns=columns)

    def single_threaded(self) -> AbstractContextManager[None]:
        """Hold BLAS to one thread if it takes part."""
        calls_blas = self.backend.multiplies_with_blas or self.program.dtype != self.dtype
        return single_threaded_blas() if calls_blas else nullcontext()

    def multiplier(self, vectors: NDArray[np.floating]) -> Callable[[Tile], BlockSums]:
        """Return a function that returns the sums of a tile, with memory of its own."""
        task = ProductTask(self.program, self.x, self.y, vectors)
        multiply, n_vectors = self.backend.multiply_tile(task), len(vectors)

        def sums_of(tile: Tile) -> BlockSums:
            n_rows, n_columns = tile.row_stop - tile.row_start, tile.column_stop - tile.column_start
            both = padded(2 * n_vectors, max(n_rows, n_columns), self.dtype)
            row_sums, column_sums = both[:n_vectors, :n_rows], both[n_vectors:, :n_columns]
            multiply(tile, row_sums, column_sums)
            return row_sums, column_sums if self.y is None else None

        return sums_of

    def multiply_block(self, block: Tile, vectors: NDArray[np.floating]) -> BlockSums:
        """Return the sums of a block, on the calling thread."""
        sums, sums_of = _Sums(block, len(vectors), self.y is None), self.multiplier(vectors)
        for tile in self.tiles(block):
            stop_if_asked()
            sums.add(tile, sums_of(tile))
        return sums.rows, sums.columns


class _Sums:
    """Sums by the rows and, of a symmetric matrix, by the columns of a block."""

    def __init__(self, block: Tile, n_vectors: int, symmetric: bool) -> None:
        self.block = block
        self.rows = np.zeros((n_vectors, block.row_stop - block.row_start))
        self.columns = np.zeros((n_vectors, block.column_stop - block.column_start)) if symmetric else None

    def add(self, tile: Tile, sums: BlockSums) -> None:
        row_sums, column_sums = sums
        first = self.block.row_start
        self.rows[:, tile.row_start - first : tile.row_stop - first] += row_sums
        if self.columns is not None:
            assert column_sums is not None
            first = self.block.column_start
            self.columns[:, tile.column_start - first : tile.column_stop - first] += column_sums


def add_block(total: Reals, block: Tile, sums: BlockSums) -> None:
    """Add a block's sums to those of the whole matrix, (n_vectors, n_rows)."""
    row_sums, column_sums = sums
    total[:, block.row_start : block.row_stop] += row_sums
    if column_sums is not None:
        total[:, block.column_start : block.column_stop] += column_sums


@dataclass(frozen=True, eq=False)
class FactorOnThreads:
    """A `Factor` that threads of this process multiply."""

    prepared: PreparedFactor
    n_threads: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.prepared.shape

    @property
    def dtype(self) -> np.dtype:
        return self.prepared.dtype

    @property
    def diagonal(self) -> Reals | None:
        return self.prepared.diagonal

    @property
    def largest(self) -> float:
        return self.prepared.largest

    def transposed(self) -> FactorOnThreads:
        return FactorOnThreads(self.prepared.transposed(), self.n_threads)

    def multiply(self, vectors: NDArray[np.floating]) -> Reals:
        prepared = self.prepared
        total = np.zeros((len(vectors), self.shape[0]))
        tiles: list[Tile] = []
        block_of_last: dict[int, Tile] = {}  # by the position of its last tile
        for block in prepared.blocks():
            tiles += prepared.tiles(block)
            block_of_last[len(tiles) - 1] = block
        position = {tile: index for index, tile in enumerate(tiles)}
        ends = iter(block_of_last.values())
        symmetric = prepared.y is None
        sums: _Sums | None = None

        def take(index: int, sums_of_tile: BlockSums) -> None:
            nonlocal sums
            if sums is None:
                sums = _Sums(next(ends), len(vectors), symmetric)
            sums.add(tiles[index], sums_of_tile)
            if index in block_of_last:
                add_block(total, sums.block, (sums.rows, sums.columns))
                sums = None

        in_order = InOrder(take)

        def make_fill() -> FillTile:
            sums_of = prepared.multiplier(vectors)
            return lambda tile: in_order.put(position[tile], sums_of(tile))

        with prepared.single_threaded():
            run_tiles(tiles, make_fill, self.n_threads)
        return total


def padded(n_vectors: int, length: int, dtype: np.dtype) -> NDArray[np.floating]:
    """Return zeros for vectors that compiled tiles read or write `PADDING` beyond their ends, (n_vectors, more).

    Rows are an odd number of cache lines apart: those of a power-of-two length share a few cache sets.
    """
    per_line = 64 // dtype.itemsize
    lines = -(-(length + PADDING) // per_line)
    return np.zeros((n_vectors, (lines | 1) * per_line), dtype=dtype)
