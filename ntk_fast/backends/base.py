"""What a backend is: squared norms of rows, and tiles of a Gram matrix, stored or multiplied. All else is shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ntk_fast.lower.program import Program
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.lower.spatial_rows import RowExecutor
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.tiling import FillTile, Tile

#: Adds one tile's products with vectors to row sums (n_vectors, rows of the tile) and, in a symmetric matrix, to column
#: sums (n_vectors, columns of the tile). Both are writeable `PADDING` numbers beyond their ends.
MultiplyTile = Callable[[Tile, NDArray[np.floating], NDArray[np.floating]], None]

#: Compiled tiles read vectors and write sums a whole machine vector at a time: NTK_PADDING in csrc/ntk_tile.h.
PADDING = 16


@dataclass(frozen=True, eq=False)
class TileTask:
    """One Gram matrix. Symmetric (`y` is None): tiles compute the diagonal and above, once for both halves."""

    program: Program | SpatialProgram
    x: Rows
    y: Rows | None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.x), len(self.x if self.y is None else self.y)

    @property
    def dtype(self) -> np.dtype:
        return self.x.values.dtype


@dataclass(frozen=True, eq=False)
class GramTask(TileTask):
    """A Gram matrix to fill; symmetric, tiles store both halves."""

    out: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class ProductTask(TileTask):
    """A Gram matrix to multiply and forget; symmetric, tiles leave out the diagonal."""

    vectors: NDArray[np.floating]  # (n_vectors, n_columns + PADDING or more): contiguous rows that end in zeros


@dataclass(frozen=True, eq=False)
class AdjointTask(TileTask):
    """Derivatives of ``sum(weights * K)`` with respect to row parameters and scales; `program` is `reversible`."""

    weights: NDArray[np.float64]  # (n, m), rows contiguous; symmetric if `y` is None


#: Adds one tile's derivatives to sums by its rows, (n_parameters + 1, rows), and by its columns, writeable
#: `SUM_PADDING` numbers beyond their ends: by each parameter, and last by the logarithm of the scale.
DifferentiateTile = Callable[[Tile, NDArray[np.float64], NDArray[np.float64]], None]

#: NTK_SUM_PADDING in csrc/ntk_tile.h.
SUM_PADDING = 32


class Backend(Protocol):
    """One way to compute; instances never change, and are shared between threads."""

    @property
    def name(self) -> str:
        """One of `BACKENDS`."""

    @property
    def instruction_set(self) -> str | None:
        """The one that all tables and tiles are for; None where there is no choice."""

    def __hash__(self) -> int:
        """Backends are keys of what is kept for them."""

    #: Whether filling tiles, and multiplying them, calls BLAS, which is then held to one thread.
    uses_blas: bool
    #: About what an entry costs for each layer that is evaluated, on one thread: tiles are cut by it.
    seconds_per_layer: float
    multiplies_with_blas: bool

    def square_norms(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the squared norms of rows, right to about the last bit, and what that bit leaves."""

    def pieces(self, dtype: np.dtype) -> int:
        """Return how many pieces a coefficient table has; 0 for a backend that evaluates functions themselves."""

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        """Return the dtype in which rows of a dtype bring their parameters."""

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        """Return the rows and columns of a tile."""

    def fill_tile(self, task: GramTask) -> FillTile:
        """Return a function that fills tiles of a task, with scratch memory of its own."""

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        """Return a function that multiplies tiles of a task, with scratch memory of its own."""


@runtime_checkable
class Differentiator(Protocol):
    """What a backend is besides where it has a reverse mode."""

    def differentiate_tile(self, task: AdjointTask) -> DifferentiateTile:
        """Return a function that differentiates tiles of a task, with scratch memory of its own."""


@runtime_checkable
class ImageBackend(Protocol):
    """What a backend is besides whose tiles may be of images: of tasks whose program is spatial."""

    #: About what a term of an entry costs, as `SpatialProgram.cost` counts them, on one thread.
    seconds_per_term: float

    def image_block(self, program: SpatialProgram) -> tuple[int, int]:
        """Return the images of x and of y of a tile."""

    def rows_at_a_time(self, program: SpatialProgram) -> int:
        """Return how many images are prepared together."""

    def row_executor(self, program: SpatialProgram, values: NDArray[np.floating]) -> RowExecutor | None:
        """Return what runs images with themselves; None for the reference."""
