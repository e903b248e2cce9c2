"""Tables and elementary functions in plain loops, compiled by Numba: tables have two columns, one of which is selected.

A table that is looked up by an index would be gathered, which costs more than the polynomial; of two numbers, vectors
of them are blended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

#: Columns of every table: the two halves of the chords, or cosine >= 0 and cosine < 0.
PIECES = 2

#: Contraction lets multiplications and additions fuse; nothing else about the arithmetic may change.
FAST = {"contract"}
compiled = njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
inlined = njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", inline="always")


def _arcsine_coefficients() -> NDArray[np.float64]:
    """Of (asin(z) / z - 1) / z^2 by powers of z^2, for z up to 1/2."""

    def rest(square: NDArray[np.float64]) -> NDArray[np.float64]:
        z = np.sqrt(np.maximum(square, 1e-4))
        series = sum(c * square**k for k, c in enumerate((1 / 6, 3 / 40, 15 / 336, 105 / 3456, 945 / 42240)))
        return np.where(square < 1e-4, series, (np.arcsin(z) / z - 1) / z**2)

    fit = Chebyshev.interpolate(rest, 16, domain=[0.0, 0.25])
    return np.asarray(fit.convert(kind=Polynomial).coef, dtype=np.float64)


ARCSINE = _arcsine_coefficients()


@inlined
def arcsine(x: Any, complement: Any) -> Any:
    """Return asin(x) for 0 <= x <= 1, to relative accuracy, given 1 - x with digits of its own."""
    steep = x > 0.5
    z = np.sqrt(0.5 * complement) if steep else x
    square = z * z
    total = ARCSINE[16] + 0.0 * z
    for k in range(15, -1, -1):
        total = total * square + ARCSINE[k]
    near = z + z * square * total
    return 0.5 * np.pi - 2.0 * near if steep else near


@compiled
def look_up(
    table: Any, scale: Any, stretch: Any, two_sided: Any, chord: Any, opposite: Any, result: Any, n: Any
) -> None:
    """result = table(chord), for n chords; one-sided, the second column is the second half of the chords."""
    half = table.dtype.type(0.5)
    one = table.dtype.type(1.0)
    for j in range(n):
        z = chord[j] * scale
        if stretch != 0.0:
            z = z / (one + chord[j] * stretch)
        second = opposite[j] if two_sided else z >= one
        offset = z - half if two_sided or not second else z - half - one
        total = table[len(table) - 1, 1] if second else table[len(table) - 1, 0]
        for k in range(len(table) - 2, -1, -1):
            total = total * offset + (table[k, 1] if second else table[k, 0])
        result[j] = total
