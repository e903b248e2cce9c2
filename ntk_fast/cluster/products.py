"""Products on workers: what `products.FactorOnThreads` is on one machine, block by block the same sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend
from ntk_fast.backends.engines import Engine
from ntk_fast.cluster.remote import Remote
from ntk_fast.cluster.rows import for_workers, is_collection
from ntk_fast.cluster.workers import check_client
from ntk_fast.compensated import Reals
from ntk_fast.gram import check_both, image_shape
from ntk_fast.kernels import Kernel
from ntk_fast.operator.factor import BlockSums, PreparedFactor, add_block
from ntk_fast.out_of_core.row_blocks import sliceable
from ntk_fast.rows.stored import RowFile, opened
from ntk_fast.schedule.tiling import Tile, make_tiles
from ntk_fast.validation import check_dtype, check_rows


def _factor(kernel: Kernel, dtype: np.dtype | None, backend: Backend, *rows: Any) -> PreparedFactor:
    x, y = (*rows, None)[:2]
    return PreparedFactor.of(kernel, *check_both(x, y, dtype, image_shape(kernel)), backend)


class FactorOnWorkers:
    """A `Factor` that workers multiply: each has the rows once, a product sends the vectors and fetches sums."""

    def __init__(self, remote: Remote, described: _Described) -> None:
        self._remote, self._described = remote, described

    @classmethod
    def of(cls, client: Any, engine: Engine, kernel: Kernel, X: Any, Y: Any, dtype: Any) -> FactorOnWorkers:
        """Check rows here, or there if they are elsewhere, and have the workers prepare them."""
        check_client(client)
        shape, wanted = image_shape(kernel), None if dtype is None else check_dtype(dtype)
        named = [(name, rows) for name, rows in (("X", X), ("Y", Y)) if rows is not None]
        seen = [sliceable(opened(rows, name), name, shape) for name, rows in named]
        starts = check_both(seen[0][:0], seen[-1][:0] if Y is not None else None, wanted)
        common = starts[0].dtype
        rows = [
            (
                name,
                values
                if isinstance(values := for_workers(given, some, name), RowFile) or is_collection(values)
                else check_rows(values, name, common),
            )
            for (name, given), some in zip(named, seen, strict=True)
        ]
        remote = Remote(client, engine, partial(_factor, kernel, common), rows)
        return cls(remote, remote.look(_described_factor))

    @property
    def shape(self) -> tuple[int, int]:
        return self._described.shape

    @property
    def dtype(self) -> np.dtype:
        return self._described.dtype

    @property
    def diagonal(self) -> Reals | None:
        return self._described.diagonal

    @property
    def largest(self) -> float:
        return self._described.largest

    def transposed(self) -> FactorOnWorkers:
        return FactorOnWorkers(self._remote, self._described.other)

    def multiply(self, vectors: NDArray[np.floating]) -> Reals:
        described = self._described
        rows, columns = described.block_shape
        is_symmetric = described.diagonal is not None
        blocks = make_tiles(*self.shape, symmetric=is_symmetric, block_rows=rows, block_columns=columns)
        total = np.zeros((len(vectors), self.shape[0]))
        self._remote.each(
            Multiply(vectors, described.is_transposed),
            blocks,
            lambda block: block.n_entries * described.seconds_of_entry,
            lambda number, sums: add_block(total, blocks[number], sums),
        )
        return total


@dataclass(eq=False)
class _Described:
    """What the client knows of a factor."""

    shape: tuple[int, int]
    dtype: np.dtype
    diagonal: Reals | None
    largest: float
    block_shape: tuple[int, int]
    seconds_of_entry: float
    is_transposed: bool
    other: Any = None  # the description of the transpose

    @classmethod
    def of(cls, factor: PreparedFactor, is_transposed: bool) -> _Described:
        return cls(
            factor.shape,
            factor.dtype,
            factor.diagonal,
            factor.largest,
            factor.block_shape,
            factor.seconds_of_entry,
            is_transposed,
        )


def _described_factor(factor: PreparedFactor) -> _Described:
    described = _Described.of(factor, False)
    if factor.y is not None:
        described.other = _Described.of(factor.transposed(), True)
        described.other.other = described
    return described


@dataclass(frozen=True, eq=False)
class Multiply:
    """The sums of blocks."""

    vectors: NDArray[np.floating]
    is_transposed: bool

    def __call__(self, factor: PreparedFactor, blocks: dict[int, Tile]) -> list[BlockSums]:
        factor = factor.transposed() if self.is_transposed else factor
        return [factor.multiply_block(block, self.vectors) for block in blocks.values()]
