"""Rows as tiles take them: the numbers themselves, and per row what the mathematics needs besides.

The numbers are not normalised, so a kernel entry is a function of the very floats given, and usually not even copied.
Only rows whose squares would leave the range of the dtype are scaled, each by its own power of two, which is exact.
Images are rows, too; what is known of a row without positions, its norm, is known of each of their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.lower.scaled import Scaled


@dataclass(frozen=True, eq=False)
class MeasuredRows:
    """Rows that are safe to multiply, and the norms of the rows given; of images those of all pixels, row by row."""

    values: NDArray[np.floating]  # (n, n_features)
    inverse_norm: NDArray[np.float64]  # (n,) or (n * n_positions,), of `values`; 0 for a zero row
    square_norm: Scaled  # (n,) or (n * n_positions,), of the rows given


@dataclass(frozen=True, eq=False)
class Rows:
    """Prepared rows of one matrix; `scale` and `parameters` are those of one kernel's program."""

    values: NDArray[np.floating]  # (n, n_features)
    inverse_norm: NDArray[np.floating]  # (n,); 0 for a zero row; images have theirs among the parameters, and ones here
    diagonal: Reals  # (n,) of float64: K(x, x)
    root_diagonal: Reals  # (n,): its square root, which may be in range when K(x, x) is not
    scale: Reals  # (n,): an entry is scale * scale' * (profile, or what the instructions leave)
    parameters: NDArray[np.floating]  # (n_parameters, n)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, rows: slice) -> Rows:
        """Return some of the rows; only `parameters` are copied."""
        return Rows(
            self.values[rows],
            self.inverse_norm[rows],
            self.diagonal[rows],
            self.root_diagonal[rows],
            self.scale[rows],
            np.ascontiguousarray(self.parameters[:, rows]),
        )
