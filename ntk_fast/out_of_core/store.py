"""What a store is: a place for the blocks of one matrix, under a temporary name until it is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ntk_fast.schedule.tiling import Tile


class Store(Protocol):
    """One way to lay a matrix out on the disk."""

    path: Path  # the temporary one
    #: Whether writing a block also writes its mirror image, so that only half of the blocks are computed.
    mirrors: bool

    @property
    def description(self) -> dict[str, Any]:
        """What of the layout shows in the bits on the disk, as JSON."""

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of a block; square where `mirrors`."""

    @property
    def n_parts(self) -> int:
        """Files that the matrix is spread over, each with a size of its own; 0 for one file."""

    def is_lost(self, folder: Path, tile: Tile, sizes: NDArray[np.int64]) -> bool:
        """Whether something of a finished block is not there, or is cut short, at the temporary or the final path.

        `sizes`: of the parts, as the journal has them. What is whole of such a block is not written again.
        """

    def open(self, fresh: bool) -> None:
        """Open the temporary store; `fresh`: make it, whatever a killed process may have left."""

    def write(self, tile: Tile, values: NDArray[np.floating[Any]]) -> None:
        """Write a block of contiguous values; called from several threads at once."""

    def sync(self) -> dict[int, int]:
        """Put what was written on the disk; return the sizes of its parts, by their numbers."""

    def finish(self) -> None:
        """Complete the temporary store, and put all of it on the disk."""

    def close(self) -> None:
        """Let go of files; it may be called twice."""

    def replace(self, path: Path) -> None:
        """Give the finished store its name, in the place of what has it."""

    def remove_replaced(self, path: Path) -> None:
        """Remove what was replaced at a path, where a process was killed before it could."""

    def remove(self) -> None:
        """Remove the temporary store, if there is one."""

    def refuse_to_replace(self, path: Path) -> None:
        """Raise if what is at a path is not what such a store may take the place of."""
