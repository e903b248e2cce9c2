"""Arrays of numbers with twice the digits of float64, and what alpha z + beta |z| makes of cosines in them.

A number is high + low, with low below the last digit of high (Dekker 1971): about 1e-32 of it, which is what a
difference needs from which the last digits of a distance come by a square root.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ntk_fast.compensated import Reals, two_product, two_sum
from ntk_fast.layers.relu import sine_minus_angle_cosine

#: Terms of a Chebyshev series of (sin f - f cos f) / sin(f / 2)^3 for f up to a right angle.
N_TERMS = 24


@dataclass(frozen=True, eq=False)
class Wide:
    """An array of them."""

    high: Reals
    low: Reals

    @staticmethod
    def of(numbers: Reals) -> Wide:
        return Wide(numbers, np.zeros_like(numbers))

    @staticmethod
    def of_product(a: Reals, b: Reals) -> Wide:
        """Return a * b of float64 numbers, exactly."""
        return Wide(*two_product(a, b))

    @staticmethod
    def stacked(parts: list[Wide]) -> Wide:
        """Return columns beside each other."""
        return Wide(np.stack([part.high for part in parts], -1), np.stack([part.low for part in parts], -1))

    def __getitem__(self, at: Any) -> Wide:
        return Wide(self.high[at], self.low[at])

    def __neg__(self) -> Wide:
        return Wide(-self.high, -self.low)

    def __add__(self, other: Wide) -> Wide:
        total, error = two_sum(self.high, other.high)
        return _normal(total, error + (self.low + other.low))

    def __sub__(self, other: Wide) -> Wide:
        total, error = two_sum(self.high, -other.high)
        return _normal(total, error + (self.low - other.low))

    def __mul__(self, other: Wide) -> Wide:
        product, error = two_product(self.high, other.high)
        return _normal(product, error + (self.high * other.low + self.low * other.high))

    def scaled(self, power_of_two: float) -> Wide:
        """Return the product with a power of two."""
        return Wide(power_of_two * self.high, power_of_two * self.low)

    def plus(self, number: float) -> Wide:
        """Return the sum with one float64 number."""
        total = self.high + number
        part = total - self.high
        return _normal(total, (self.high - (total - part)) + (number - part) + self.low)

    def inverse_root(self) -> Wide:
        """Return 1 / sqrt; 0 of 0."""
        is_zero = self.high <= 0
        safe = Wide(np.where(is_zero, 1.0, self.high), np.where(is_zero, 0.0, self.low))
        guess = Wide.of(1 / np.sqrt(safe.high))
        rest = Wide.of(np.ones_like(guess.high)) - safe * (guess * guess)
        result = guess + Wide.of(0.5 * guess.high * rest.high)
        return Wide(np.where(is_zero, 0.0, result.high), np.where(is_zero, 0.0, result.low))

    def total(self) -> Wide:
        """Return the sum over the first axis, in pairs."""
        terms = self
        while len(terms.high) > 1:
            half = len(terms.high) // 2
            rest = terms[2 * half :]
            terms = terms[:half] + terms[half : 2 * half]
            if len(rest.high):
                terms = Wide(np.concatenate([terms.high, rest.high]), np.concatenate([terms.low, rest.low]))
        return terms[0]


def _normal(high: Reals, low: Reals) -> Wide:
    total = high + low
    return Wide(total, low - (total - high))


@lru_cache(maxsize=1)
def _series() -> Reals:
    """Chebyshev coefficients of (sin f - f cos f) / sin(f / 2)^3 in 4 sin(f / 2)^2 - 1."""

    def function(x: Reals) -> Any:
        chord = np.sqrt((x + 1) / 4)
        return np.pi * sine_minus_angle_cosine(2 * np.arcsin(chord)) / chord**3

    return np.polynomial.chebyshev.chebinterpolate(function, N_TERMS - 1)


def folded(cosine: Wide, fold: float) -> Wide:
    """Return (1 - fold) cosine + fold kappa of wide cosines, kappa = |cosine| + (2/pi) (sin f - f cos f): see `relu`.

    Of kappa the first 16 digits are right, and all of its differences: it is one polynomial of what is given.
    """
    is_opposite = cosine.high < 0
    near = Wide(np.abs(cosine.high), np.where(is_opposite, -cosine.low, cosine.low))
    one = Wide.of(np.ones_like(near.high))
    m = one - near
    m = Wide(np.maximum(m.high, 0.0), np.where(m.high > 0, m.low, 0.0))
    x = m.scaled(2.0) - one
    before, here = Wide.of(np.zeros_like(m.high)), Wide.of(np.zeros_like(m.high))
    twice = x.scaled(2.0)
    for coefficient in _series()[:0:-1].tolist():  # Clenshaw
        before, here = here, (twice * here - before).plus(coefficient)
    series = (x * here - before).plus(float(_series()[0]))
    square = m.scaled(0.5)
    cube = square * square * square.inverse_root()
    kappa = near + Wide.of(np.full_like(m.high, 2 / np.pi)) * (cube * series)
    share = Wide.of(np.full_like(m.high, fold))
    return share * kappa + (one - share) * cosine
