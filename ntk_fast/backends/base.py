"""What a backend is: squared norms of rows, and tiles of a Gram matrix. Everything else is shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ntk_fast.profile import Entry
    from ntk_fast.recursion import Recursion
    from ntk_fast.rows import Rows


@dataclass(frozen=True)
class Tile:
    """Half-open ranges of rows and columns."""

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int

    @property
    def n_entries(self) -> int:
        return (self.row_stop - self.row_start) * (self.column_stop - self.column_start)


#: Fills one tile of the matrix; called from several threads at once, each with a function of its own.
FillTile = Callable[[Tile], None]


@dataclass(frozen=True, eq=False)
class GramTask:
    """One Gram matrix to fill. Symmetric (`y` is None): tiles compute the diagonal and above, and store both halves."""

    recursion: Recursion
    entry: Entry | None  # compiled for this backend's tables; None if it evaluates the recursion itself
    x: Rows
    y: Rows | None
    out: NDArray[np.floating]


class Backend(Protocol):
    """One way to compute; instances are stateless and shared between threads."""

    name: str
    #: Whether tiles call BLAS, which is then held to one thread.
    uses_blas: bool

    def square_norms(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the squared norms of rows, right to about the last bit."""

    def pieces(self, dtype: np.dtype) -> int:
        """Return how many pieces a coefficient table has; 0 for a backend that evaluates the recursion itself."""

    def block_shape(self, n_features: int, dtype: np.dtype) -> tuple[int, int]:
        """Return the rows and columns of a tile."""

    def fill_tile(self, task: GramTask) -> FillTile:
        """Return a function that fills tiles of a task, with scratch memory of its own."""
