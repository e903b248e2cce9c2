"""Tables of functions of the chord: piecewise Chebyshev series, as the powers that compiled tiles evaluate.

A table has equal pieces in the position, chord * scale / (1 + stretch * chord): half of them for cosine >= 0, then as
many for cosine < 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ntk_fast.compensated import Reals, product
from ntk_fast.duals import Truths

#: A function of the chord, and of whether the pair is opposite.
OfChord = Callable[[Reals, Truths], Reals]

#: Just above sqrt(1/2), the largest chord: rounding must not carry a cosine of 0 into a piece that does not exist.
LARGEST_CHORD = float(np.sqrt(0.5) * (1 + 1e-6))


def fit(function: OfChord, half: int, stretches: tuple[float, ...], degree: int) -> list[Reals]:
    """Chebyshev coefficients (degree + 1, 2 * half), per stretch, of a function on equal pieces of the chord.

    Not by BLAS: its rounding errors, which differ between processors, reach the size at which terms are left out. Of
    `NNGP(1, "abs")` they made 22 terms out of 11 on a Zen 4.
    """
    n = degree + 1
    quarter_turns = np.outer(np.arange(n), 2 * np.arange(n) + 1) % (4 * n)  # reduced exactly: cos of large arguments
    cosines = np.cos(quarter_turns * np.pi / (2 * n))
    position = np.arange(half)[:, None] + 0.5 + cosines[1] / 2
    chord = np.array([position / (scale_of(half, stretch) - stretch * position) for stretch in stretches])
    chord = np.concatenate([chord, chord], axis=1)
    opposite = np.zeros(chord.shape, dtype=bool)
    opposite[:, half:] = True
    weights = cosines * (2 / n)
    weights[0] /= 2
    return [product(weights, values.T) for values in function(chord, opposite)]


def scale_of(half: int, stretch: float) -> float:
    """Return the scale with which positions go from 0 to half the pieces."""
    return half * (1 + stretch * LARGEST_CHORD) / LARGEST_CHORD


def count_terms(coefficients: Reals, tolerance: float) -> int:
    """Terms to keep, so that what is dropped is below the tolerance; more than there are if the tail is not."""
    sizes = np.abs(coefficients).max(axis=1)
    kept = np.flatnonzero(sizes > tolerance * max(1.0, sizes[0]))
    n_terms = int(kept[-1]) + 1 if len(kept) else 1
    return n_terms if n_terms <= len(coefficients) - 2 else len(coefficients) + 1


def as_powers(coefficients: Reals, n_terms: int, dtype: np.dtype) -> NDArray[np.floating]:
    """Powers of the offset from a piece's centre, -1/2 to 1/2, as one 64-byte aligned table."""
    powers = np.zeros((n_terms, coefficients.shape[1]))
    for piece, column in enumerate(coefficients[:n_terms].T):
        row = chebyshev.cheb2poly(column)
        powers[: len(row), piece] = row * 2.0 ** np.arange(len(row))
    size = powers.size * dtype.itemsize
    buffer = np.zeros(size + 64, dtype=np.uint8)
    start = -buffer.ctypes.data % 64
    table = buffer[start : start + size].view(dtype).reshape(powers.shape)
    table[:] = powers
    return table


def evaluate(table: NDArray[np.floating], chord: Reals, opposite: Truths, scale: float, stretch: float) -> Reals:
    """Evaluate a table as tiles do, in its dtype."""
    half = table.shape[1] // 2
    position = chord.astype(np.float64)
    position = position * scale / (1 + stretch * position) - 0.5
    piece = np.clip(np.rint(position), 0, half - 1)
    offset = (position - piece).astype(table.dtype)
    coefficients = table[:, piece.astype(np.int64) + half * opposite]
    result = coefficients[-1]
    for row in coefficients[-2::-1]:
        result = result * offset + row
    return result
