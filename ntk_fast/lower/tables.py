"""Functions of the chord as short tables of polynomials: fitted, checked on a grid of their own, and refused if wrong.

In the chord the functions that networks are made of are analytic on each half, cosine >= 0 and cosine < 0, so a few
Chebyshev terms on a few pieces give them to the last bit. Deep profiles crowd near chord 0; the change of variable
position = chord * scale / (1 + stretch * chord) spreads them out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ntk_fast.compensated import Reals, product
from ntk_fast.lower.program import Table

Truths = NDArray[np.bool_]
ChordFunction = Callable[[Reals, Truths], Reals]

#: Just above sqrt(1/2), the largest chord: rounding must not carry a cosine of 0 into a piece that does not exist.
LARGEST_CHORD = float(np.sqrt(0.5) * (1 + 1e-6))

STRETCHES = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(frozen=True)
class Fineness:
    """What a dtype's tables aim at."""

    coefficient: float  # a Chebyshev term below this is left out
    largest_degree: int
    rounding: float  # what evaluating a table in this dtype costs


FINENESS = {
    np.dtype(np.float64): Fineness(coefficient=2.5e-16, largest_degree=47, rounding=8e-16),
    np.dtype(np.float32): Fineness(coefficient=1e-8, largest_degree=23, rounding=2e-7),
}


def _scale(pieces: int, stretch: float) -> float:
    return pieces * (1 + stretch * LARGEST_CHORD) / LARGEST_CHORD


def _chebyshev_coefficients(
    function: ChordFunction, pieces: int, two_sided: bool, stretches: tuple[float, ...], degree: int
) -> list[Reals]:
    """Coefficients (degree + 1, pieces, twice as many if two-sided) per stretch, on equal pieces of the position.

    Not by BLAS: its rounding errors, which differ between processors, reach the size at which terms are left out. Of
    `NNGP(1, "abs")` they made 22 terms out of 11 on a Zen 4.
    """
    n = degree + 1
    quarter_turns = np.outer(np.arange(n), 2 * np.arange(n) + 1) % (4 * n)  # reduced exactly: cos of large arguments
    cosines = np.cos(quarter_turns * np.pi / (2 * n))
    position = np.arange(pieces)[:, None] + 0.5 + cosines[1] / 2
    chord = np.array([position / (_scale(pieces, stretch) - stretch * position) for stretch in stretches])
    if two_sided:
        chord = np.concatenate([chord, chord], axis=1)
    opposite = np.zeros(chord.shape, dtype=bool)
    opposite[:, pieces:] = True
    weights = cosines * (2 / n)
    weights[0] /= 2
    fits = []
    for values in function(chord, opposite):
        # the rounding errors of the weights then count as much as the function varies, and not as it is large
        middle = values[:, n // 2]
        fit = product(weights, (values - middle[:, None]).T)
        fit[0] += middle
        fits.append(fit)
    return fits


def _n_terms(coefficients: Reals, tolerance: float) -> int | None:
    """Terms to keep, so that what is dropped is below the tolerance; None if the tail is not.

    A tail of nothing but the function's own rounding errors is dropped whole: at the end of a piece they would add up.
    """
    sizes = np.abs(coefficients).max(axis=1)
    size = max(1.0, float(sizes[0]))
    noise = float(sizes[len(sizes) // 2 :].max())
    tolerance = tolerance * size
    if noise < 4e-15 * size:
        tolerance = max(tolerance, noise)
    kept = np.flatnonzero(sizes > tolerance)
    n_terms = int(kept[-1]) + 1 if len(kept) else 1
    return n_terms if n_terms <= len(coefficients) - 2 else None


@lru_cache(maxsize=64)
def _powers_of_chebyshev(n_terms: int) -> Reals:
    """Column k: the powers of the offset in T_k(2 offset)."""
    columns = np.zeros((n_terms, n_terms))
    for k, unit in enumerate(np.eye(n_terms)):
        row = chebyshev.cheb2poly(unit[: k + 1])
        columns[: k + 1, k] = row * 2.0 ** np.arange(k + 1)
    return columns


def _powers(coefficients: Reals, n_terms: int, dtype: np.dtype) -> NDArray[np.floating]:
    """Powers of the offset from a piece's centre, -1/2 to 1/2, as one 64-byte aligned table."""
    powers = product(_powers_of_chebyshev(n_terms), coefficients[:n_terms])
    size = powers.size * dtype.itemsize
    buffer = np.zeros(size + 64, dtype=np.uint8)
    start = -buffer.ctypes.data % 64
    table = buffer[start : start + size].view(dtype).reshape(powers.shape)
    table[:] = powers
    return table


def look_up(table: Table, chord: Reals, opposite: Truths, two_sided: bool) -> Reals:
    """Evaluate a table as tiles do, in its own dtype."""
    dtype = table.coefficients.dtype
    chord = chord.astype(dtype)
    pieces = table.coefficients.shape[1] // (2 if two_sided else 1)
    z = chord * dtype.type(table.scale) / (1 + dtype.type(table.stretch) * chord) - dtype.type(0.5)
    piece = np.clip(np.rint(z), 0, pieces - 1)
    offset = z - piece
    column = piece.astype(np.int64) + np.where(opposite & two_sided, pieces, 0)
    result = table.coefficients[-1][column]
    for row in table.coefficients[-2::-1]:
        result = result * offset + row[column]
    return result


def _check_grid(pieces: int) -> Reals:
    """Chords that are dense towards 0 and at the ends of pieces, for any stretch."""
    logarithmic = np.geomspace(1e-12, LARGEST_CHORD / (1 + 2e-6), 400)
    even = (np.arange(16 * pieces) + 0.37) / (16 * pieces) * np.sqrt(0.5)
    return np.concatenate([[0.0], logarithmic, even])


def fit_table(
    function: ChordFunction,
    pieces: int,
    dtype: np.dtype,
    *,
    two_sided: bool,
    error: float,
    stretches: tuple[float, ...] = (0.0,),
    weight: Callable[[Reals], Reals] | None = None,
) -> Table | None:
    """Return the shortest table of a function that is right to `error`, or None if there is none.

    Parameters
    ----------
    function : callable
        ``function(chord, opposite)``, on arrays of any shape.
    pieces : int
        Columns of the table; two-sided, half of them are cosine >= 0 and half cosine < 0.
    error : float
        The largest |table - function| that is accepted; the rounding of the table's own dtype is on top.
    stretches : tuple of float
        Candidates.
    weight : callable, optional
        ``weight(chord)``: what an error counts, 1 by default.
    """
    fineness = FINENESS[dtype]
    per_side = pieces // 2 if two_sided else pieces
    tolerance = max(fineness.coefficient, error / 8)
    fits = _chebyshev_coefficients(function, per_side, two_sided, stretches, fineness.largest_degree)
    candidates = [
        (n_terms, stretch, fit)
        for fit, stretch in zip(fits, stretches, strict=True)
        if np.isfinite(fit).all() and (n_terms := _n_terms(fit, tolerance)) is not None
    ]
    chord = _check_grid(per_side)
    sides = [np.zeros(len(chord), dtype=bool), np.ones(len(chord), dtype=bool)][: 2 if two_sided else 1]
    for n_terms, stretch, fit in sorted(candidates, key=lambda candidate: candidate[:2]):
        table = Table(_powers(fit, n_terms, dtype), stretch, _scale(per_side, stretch))
        errors = 0.0
        for opposite in sides:
            values = look_up(table, chord, opposite, two_sided).astype(np.float64)
            wrong = np.abs(values - function(chord, opposite))
            errors = max(errors, float((wrong if weight is None else wrong * weight(chord)).max()))
        if errors <= error + fineness.rounding * max(1.0, float(np.abs(fit[0]).max())):
            return table
    return None
