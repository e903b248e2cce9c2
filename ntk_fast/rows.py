"""Rows as tiles take them: the numbers themselves, and per row what the mathematics needs besides.

The numbers are not normalised, so a kernel entry is a function of the very floats given, and usually not even copied.
Only rows whose squares would leave the range of the dtype are scaled, each by its own power of two, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend
from ntk_fast.compensated import Reals, square_norms
from ntk_fast.profile import Entry
from ntk_fast.recursion import Recursion, Scaled, plain, scaled, square_root
from ntk_fast.validation import refuse_not_finite

#: Squared norms for which products of two rows are sure to keep full relative precision.
SAFE_SQUARES = {np.dtype(np.float64): (2.0**-400, 2.0**400), np.dtype(np.float32): (2.0**-60, 2.0**60)}


@dataclass(frozen=True, eq=False)
class Rows:
    """Prepared rows of one matrix; `scale`, `rho` and `tau` are those of one kernel."""

    values: NDArray[np.floating]  # (n, n_features)
    inverse_norm: NDArray[np.floating]  # (n,); 0 for a zero row
    diagonal: NDArray[np.float64]  # (n,): K(x, x)
    root_diagonal: NDArray[np.float64]  # (n,): its square root, which may be in range when K(x, x) is not
    scale: NDArray[np.float64]  # (n,): an entry is scale * scale' * (profile or recursion)
    rho: NDArray[np.floating]  # (n_layers + 1, n); without layers (0, n)
    tau: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.values)

    def part(self, rows: slice) -> Rows:
        """Return some of the rows; only `rho` and `tau` are copied."""
        rho, tau = (np.ascontiguousarray(parameter[:, rows]) for parameter in (self.rho, self.tau))
        return Rows(
            self.values[rows],
            self.inverse_norm[rows],
            self.diagonal[rows],
            self.root_diagonal[rows],
            self.scale[rows],
            rho,
            tau,
        )


def measure(
    values: NDArray[np.floating], name: str, recursion: Recursion, backend: Backend
) -> tuple[NDArray[np.floating], NDArray[np.float64], Scaled, Reals | float]:
    """Return rows that are safe to multiply and their inverse norms; of the rows given, squared norms and their excess.

    The excess, a squared norm's relative rounding error, is 0 unless the recursion is sensitive to it.
    """
    squares = backend.square_norms(values)
    low, high = SAFE_SQUARES[values.dtype]
    unsafe = ~((squares >= low) & (squares <= high))
    exponent = np.zeros(len(values), dtype=np.int64)
    if unsafe.any() and (squares[unsafe].any() or values[unsafe].any()):
        refuse_not_finite(values, name)
        _, power = np.frexp(np.abs(values).max(axis=1))
        values = np.ldexp(values, -power[:, None])
        squares = backend.square_norms(values)
        exponent = 2 * power.astype(np.int64)
    with np.errstate(divide="ignore"):
        inverse = np.where(squares > 0, 1 / np.sqrt(squares), 0.0)
    excess: Reals | float = 0.0
    if recursion.dual.order > 1:
        sums, rests = square_norms(values)
        excess = np.where(sums > 0, ((sums - squares) + rests) * inverse * inverse, 0.0)
    return values, inverse, scaled(squares, exponent), excess


def prepare_rows(
    values: NDArray[np.floating], name: str, recursion: Recursion, entry: Entry | None, backend: Backend
) -> Rows:
    """Check that rows are finite, and compute what tiles of this kernel need.

    With an `entry` rows and parameters have its dtype, as compiled tiles take them; with None parameters are float64,
    and all that the recursion itself needs.
    """
    dtype = np.dtype(np.float64) if entry is None else entry.value.dtype
    if entry is not None:
        values = values.astype(dtype, copy=False)
    values, inverse_norm, square_norm, excess = measure(values, name, recursion, backend)
    diagonal = recursion.diagonal(square_norm, excess)
    root_diagonal = plain(square_root(diagonal))
    in_layers = entry is None or entry.n_layers > 0
    scale = plain(square_root(recursion.variance(square_norm, excess))) if in_layers else root_diagonal
    if in_layers:
        parameters = recursion.row_parameters(square_norm)
        rho, tau = (np.ascontiguousarray(part, dtype=dtype) for part in (parameters.rho, parameters.tau))
    else:
        rho = tau = np.empty((0, len(values)), dtype=dtype)
    return Rows(values, inverse_norm.astype(dtype, copy=False), plain(diagonal), root_diagonal, scale, rho, tau)
