"""Arrays of numbers with twice the digits of float64.

A number is high + low, with low below the last digit of high (Dekker 1971): about 1e-32 of it, which is what a
difference needs from which the last digits of a distance come by a square root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ntk_fast.compensated import Reals, two_product, two_sum


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

    def where(self, chosen: Any, other: Wide) -> Wide:
        """Return these numbers where `chosen`, elsewhere the other ones."""
        return Wide(np.where(chosen, self.high, other.high), np.where(chosen, self.low, other.low))

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


def chebyshev_sum(coefficients: Reals, x: Wide) -> Wide:
    """Return sum_k coefficients_k T_k(x), by Clenshaw's recurrence."""
    before, here = Wide.of(np.zeros_like(x.high)), Wide.of(np.zeros_like(x.high))
    twice = x.scaled(2.0)
    for coefficient in coefficients[:0:-1].tolist():
        before, here = here, (twice * here - before).plus(coefficient)
    return (x * here - before).plus(float(coefficients[0]))
