"""Windows over positions: what filters and pools see of a grid, with strides, gaps and padding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PADDINGS = ("SAME", "VALID", "CIRCULAR")

#: Positions along each dimension; () for a single thing without positions.
Grid = tuple[int, ...]
#: Numbers of positions, row by row; or `OUTSIDE`.
Positions = NDArray[np.int64]

OUTSIDE = -1


def shown(grid: Grid) -> str:
    """Return a grid as sentences have it: "8 x 8"."""
    return " x ".join(map(str, grid))


@dataclass(frozen=True)
class Window:
    """Windows on a grid: that of output position o sees strides * o + dilation * d - before, for d below the sizes.

    What lies outside the grid is 0, or the other side where `is_circular`.
    """

    grid: Grid
    sizes: Grid
    strides: Grid
    dilation: Grid
    before: Grid
    is_circular: bool
    output: Grid  # (): there is one window, and what it makes has no position

    @staticmethod
    def whole(grid: Grid) -> Window:
        """Return the one window that is the grid."""
        ones = (1,) * len(grid)
        return Window(grid, grid, ones, ones, (0,) * len(grid), False, ())

    @staticmethod
    def padded(grid: Grid, sizes: Grid, strides: Grid, dilation: Grid, padding: str) -> Window:
        """Return windows with a padding by name, XLA's SAME: zeros on both sides, the odd one after.

        Raises
        ------
        ValueError
            If nothing is left, or if strides do not divide a circle; the reason as the end of a sentence.
        """
        spans = tuple(step * (size - 1) + 1 for size, step in zip(sizes, dilation, strict=True))
        if padding == "VALID":
            if any(span > n for span, n in zip(spans, grid, strict=True)):
                raise ValueError(
                    f"a window that spans {shown(spans)} does not fit on {shown(grid)} positions with VALID padding; "
                    "make it smaller, or pad with SAME."
                )
            output = tuple((n - span) // s + 1 for n, span, s in zip(grid, spans, strides, strict=True))
            return Window(grid, sizes, strides, dilation, (0,) * len(grid), False, output)
        if padding == "CIRCULAR" and any(n % s for n, s in zip(grid, strides, strict=True)):
            raise ValueError(f"with CIRCULAR padding strides must divide the positions, {shown(grid)}; got {strides}.")
        output = tuple(-(-n // s) for n, s in zip(grid, strides, strict=True))
        excess = [max((m - 1) * s + span - n, 0) for m, s, span, n in zip(output, strides, spans, grid, strict=True)]
        before = tuple(zeros // 2 for zeros in excess)
        return Window(grid, sizes, strides, dilation, before, padding == "CIRCULAR", output)

    @property
    def n_taps(self) -> int:
        """How many positions a window has, those outside the grid included."""
        return math.prod(self.sizes)

    @property
    def taps(self) -> Iterator[Grid]:
        """What each tap adds to strides * output position, in row-major order."""
        return (
            tuple(step * d - zeros for d, step, zeros in zip(tap, self.dilation, self.before, strict=True))
            for tap in itertools.product(*map(range, self.sizes))
        )

    @property
    def is_one_position(self) -> bool:
        """Whether every window sees the position of its own number, and no other."""
        return self.grid == self.output and self.n_taps == 1


@lru_cache(maxsize=128)
def seen_positions(window: Window) -> Positions:
    """Return the flat position that each tap sees of each output, (n_taps, n_outputs), or `OUTSIDE`; read-only."""
    outputs = np.indices(window.output or (1,) * len(window.grid)).reshape(len(window.grid), -1)
    result = np.empty((window.n_taps, outputs.shape[1]), dtype=np.int64)
    grid = np.array(window.grid, dtype=np.int64)[:, None]
    for row, tap in zip(result, window.taps, strict=True):
        seen = outputs * np.array(window.strides)[:, None] + np.array(tap)[:, None]
        if window.is_circular:
            seen %= grid
        inside = ((seen >= 0) & (seen < grid)).all(axis=0)
        row[:] = OUTSIDE
        row[inside] = np.ravel_multi_index(tuple(seen[:, inside]), window.grid)
    result.setflags(write=False)
    return result
