"""K_nm on workers: what `solvers.streamed.StreamedMatrix` is on one machine, block by block the same sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend
from ntk_fast.backends.engines import Engine
from ntk_fast.cluster.remote import Remote
from ntk_fast.cluster.workers import check_client
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.tiling import Progress, Tile
from ntk_fast.solvers.streamed import Operation, Reals, StreamedMatrix, row_blocks


def _streamed(
    kernel: Kernel, weights: NDArray[np.float64] | None, backend: Backend, rows: Any, centres: Any
) -> StreamedMatrix:
    return StreamedMatrix(kernel, rows, centres, 1, weights, backend)


class StreamedOnWorkers:
    """A `Streamed` matrix: workers sum blocks of rows, and the client adds these sums in the order of the rows."""

    def __init__(
        self,
        client: Any,
        engine: Engine,
        kernel: Kernel,
        rows: NDArray[np.floating],
        centres: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        check_client(client)
        build = partial(_streamed, kernel, weights)
        self._remote = Remote(client, engine, build, [("rows", rows), ("centres", centres)])
        self._shape = (len(rows), len(centres))
        self._seconds_of_row: float = self._remote.look(_seconds_of_row)

    def sum(self, operation: Operation, n_columns: int, progress: Progress | None = None) -> Reals:
        total = np.zeros((self._shape[1], n_columns))

        def take(number: int, part: Reals) -> None:
            nonlocal total
            total += part

        self._each(StreamedMatrix.sum_of_block, operation, n_columns, take, progress)
        return total

    def rows_of(self, operation: Operation, n_columns: int, progress: Progress | None = None) -> Reals:
        parts: list[Reals] = []
        take = lambda number, part: parts.append(part)  # noqa: E731
        self._each(StreamedMatrix.rows_of_block, operation, n_columns, take, progress)
        return np.concatenate(parts) if parts else np.empty((0, n_columns))

    def _each(
        self,
        method: Callable[..., Reals],
        operation: Operation,
        n_columns: int,
        take: Callable[[int, Reals], None],
        progress: Progress | None,
    ) -> None:
        # an operation with n_columns results takes about as many multiplications an entry, and twice that
        of_row = self._seconds_of_row + 2e-11 * self._shape[1] * n_columns
        self._remote.each(
            OfBlocks(method.__name__, operation, n_columns),
            row_blocks(*self._shape),
            lambda block: (block.row_stop - block.row_start) * of_row,
            take,
            progress,
        )


def _seconds_of_row(matrix: StreamedMatrix) -> float:
    return matrix.seconds_of_row


@dataclass(frozen=True, eq=False)
class OfBlocks:
    """What a method of a streamed matrix makes of blocks."""

    method: str
    operation: Operation
    n_columns: int

    def __call__(self, matrix: StreamedMatrix, blocks: dict[int, Tile]) -> list[Reals]:
        method = getattr(matrix, self.method)
        return [method(block, self.operation, self.n_columns) for block in blocks.values()]
