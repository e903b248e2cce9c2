"""Sums and products together with their rounding errors: Knuth's, Veltkamp's and Dekker's classics, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating]


def two_sum(a: Reals, b: Reals) -> tuple[Reals, Reals]:
    """Return a + b and its rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _halves(a: Reals) -> tuple[Reals, Reals]:
    """Split float64 numbers into two of 26 bits."""
    high = a * 134217729.0  # 2^27 + 1
    high = high - (high - a)
    return high, a - high


def two_product(a: Reals, b: Reals) -> tuple[Reals, Reals]:
    """Return a * b and its rounding error, for float64."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    product = a * b
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def product(a: Reals, b: Reals) -> Reals:
    """Return the matrix product a @ b of float64 matrices as if in twice the digits, on any processor alike."""
    total: Reals = np.zeros((a.shape[0], b.shape[1]))
    error = np.zeros_like(total)
    for column, row in zip(a.T, b, strict=True):
        term, term_error = two_product(column[:, None], row)
        total, sum_error = two_sum(total, term)
        error += term_error + sum_error
    return total + error


def square_norms(values: NDArray[np.floating]) -> tuple[Reals, Reals]:
    """Return the squared norms of rows, correctly rounded but for rare ties, and their rounding errors."""
    total: Reals = np.zeros(len(values))
    error: Reals = np.zeros(len(values))
    with np.errstate(over="ignore", invalid="ignore"):
        for column in values.T.astype(np.float64, copy=False):
            square, square_error = two_product(column, column)
            total, sum_error = two_sum(total, square)
            error += square_error + sum_error
        # beyond the range of float64 the error terms are NaN, and the plain sum is what says so
        return two_sum(total, np.where(np.isfinite(error), error, 0.0))
