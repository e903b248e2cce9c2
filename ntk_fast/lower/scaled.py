"""Numbers >= 0 far outside the range of float64, with twice its digits: what the variances of rows are computed in.

A value is (high + low) * 2**exponent with high in [1/2, 1), or 0. Depth neither over- nor underflows, powers of powers
lose no digits, and rows of norm 1e-150 are as good as any.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals, two_product, two_sum

Integers = NDArray[np.int64]

#: How float64 numbers are stored.
FRACTION_BITS, BIAS = 52, 1023
#: Powers of two that are sure to be normal numbers, and to have no share in a sum with others.
LARGEST_SHIFT = 1000


@dataclass(frozen=True, eq=False)
class Scaled:
    """An array of them."""

    high: Reals
    low: Reals
    exponent: Integers

    @staticmethod
    def of(high: Any, low: Any = 0.0, exponent: Any = 0) -> Scaled:
        """Bring `high` into [1/2, 1)."""
        high, low = np.asarray(high, dtype=np.float64), np.asarray(low, dtype=np.float64)
        bits = high.view(np.int64)
        shift = (bits >> FRACTION_BITS) - (BIAS - 1)
        if (np.abs(shift) < LARGEST_SHIFT).all():
            mantissa = (bits - (shift << FRACTION_BITS)).view(np.float64)
            low = low * _power_of_two(-shift)
        else:  # zeros among them, or numbers at the ends of the range
            mantissa, shift = np.frexp(high)
            low = np.ldexp(low, -shift)
        return Scaled(mantissa, low, np.asarray(exponent, dtype=np.int64) + shift)

    @staticmethod
    def of_fraction(number: Fraction) -> Scaled:
        exponent = number.numerator.bit_length() - number.denominator.bit_length()
        numerator, denominator = number.numerator << max(0, -exponent), number.denominator << max(0, exponent)
        high = numerator / denominator  # of whole numbers: rounded once
        above, below = high.as_integer_ratio()
        return Scaled.of(high, (numerator * below - above * denominator) / (denominator * below), exponent)

    @property
    def is_zero(self) -> NDArray[np.bool_]:
        return self.high == 0

    def plain(self) -> Reals:
        """Return float64, infinite or 0 where it is out of range."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.high + self.low, np.clip(self.exponent, -5000, 5000).astype(np.int32))

    def __getitem__(self, at: Any) -> Scaled:
        return Scaled(self.high[at], self.low[at], self.exponent[at])

    def where(self, condition: Any, other: Scaled) -> Scaled:
        """Return these where the condition holds, else the others."""
        return Scaled(
            np.where(condition, self.high, other.high),
            np.where(condition, self.low, other.low),
            np.where(condition, self.exponent, other.exponent),
        )

    def __add__(self, other: Scaled) -> Scaled:
        top = np.where(
            self.is_zero,
            other.exponent,
            np.where(other.is_zero, self.exponent, np.maximum(self.exponent, other.exponent)),
        )
        own, others = (_power_of_two(np.clip(part.exponent - top, -LARGEST_SHIFT, 0)) for part in (self, other))
        total, error = two_sum(self.high * own, other.high * others)
        return _at_most_one(total, error + self.low * own + other.low * others, top)

    def __mul__(self, other: Scaled) -> Scaled:
        product, error = two_product(self.high, other.high)
        low, is_small = error + (self.high * other.low + self.low * other.high), product < 0.5
        factor = 1.0 + is_small
        return Scaled(product * factor, low * factor, self.exponent + other.exponent - is_small)

    def __truediv__(self, other: Scaled) -> Scaled:
        """Divide; 0 where the divisor is 0."""
        divisor = np.where(other.is_zero, 1.0, other.high)
        quotient = self.high / divisor
        product, error = two_product(quotient, divisor)
        rest = ((self.high - product) - error + self.low - quotient * other.low) / divisor
        quotient, rest = (np.where(other.is_zero, 0.0, part) for part in (quotient, rest))
        return _at_most_one(quotient, rest, self.exponent - other.exponent)

    def __pow__(self, power: int) -> Scaled:
        if power == 0:
            return Scaled.of(np.ones_like(self.high))
        result = self
        for _ in range(power - 1):
            result = result * self
        return result

    def root(self) -> Scaled:
        """Return the square root."""
        odd = self.exponent & 1
        high, low = (np.where(odd, 2 * part, part) for part in (self.high, self.low))
        root = np.sqrt(high)
        square, error = two_product(root, root)
        rest = ((high - square) - error + low) / np.where(root == 0, 1.0, 2 * root)
        return _at_most_one(root, rest, (self.exponent - odd) >> 1)


def _at_most_one(high: Reals, low: Reals, exponent: Integers) -> Scaled:
    """Bring `high` from [1/2, 2) into [1/2, 1)."""
    is_large = high >= 1
    factor = 1.0 - 0.5 * is_large
    return Scaled(high * factor, low * factor, exponent + is_large)


def _power_of_two(exponent: Integers) -> Reals:
    """Return 2**exponent, up to LARGEST_SHIFT either way."""
    return ((exponent + BIAS) << FRACTION_BITS).view(np.float64)


#: The squared norm of a unit row.
UNIT = Scaled.of(np.ones(1))
