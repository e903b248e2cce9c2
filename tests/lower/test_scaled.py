"""Numbers beyond the range of floats, with twice their digits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntk_fast.lower.scaled import Scaled

EPSILON = Fraction(1, 2**52)
positive = st.floats(1e-300, 1e300)


def exact(number: Scaled) -> Fraction:
    power = Fraction(2) ** int(number.exponent.flat[0])
    return (Fraction(float(number.high.flat[0])) + Fraction(float(number.low.flat[0]))) * power


def one(value: float, exponent: int = 0) -> Scaled:
    return Scaled.of(np.array([value]), 0.0, exponent)


@given(positive)
def test_they_are_the_numbers(value):
    assert one(value).plain()[0] == value
    assert exact(Scaled.of_fraction(Fraction(value) / 3)) == pytest.approx(Fraction(value) / 3, rel=1e-31)


@given(positive, positive, st.integers(-3000, 3000), st.integers(-3000, 3000))
def test_arithmetic_has_twice_the_digits_and_no_bounds(a, b, i, j):
    x, y = one(a, i), one(b, j)
    for got, expected in (
        (x + y, exact(x) + exact(y)),
        (x * y, exact(x) * exact(y)),
        (x / y, exact(x) / exact(y)),
        (x**3, exact(x) ** 3),
    ):
        assert abs(exact(got) / expected - 1) < 8 * EPSILON**2
    assert abs(exact(x.root()) ** 2 / exact(x) - 1) < 8 * EPSILON**2


def test_zero_is_zero():
    zero = one(0.0)
    assert (zero + one(2.0)).plain()[0] == 2
    assert (zero * one(2.0)).plain()[0] == (zero / one(2.0)).plain()[0] == (one(2.0) / zero).plain()[0] == 0
    assert zero.root().plain()[0] == 0
