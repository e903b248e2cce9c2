"""Rounding errors that are kept are kept exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ntk_fast.backends import available_backends, choose_backend
from ntk_fast.compensated import product, square_norms, two_product, two_sum

numbers = st.floats(-1e100, 1e100, allow_subnormal=False).filter(lambda value: value == 0 or abs(value) > 1e-100)


@given(numbers, numbers)
def test_a_sum_and_its_error_are_the_exact_sum(a, b):
    total, error = two_sum(np.array([a]), np.array([b]))
    assert total[0] == a + b
    assert Fraction(float(total[0])) + Fraction(float(error[0])) == Fraction(a) + Fraction(b)


@given(numbers, numbers)
def test_a_product_and_its_error_are_the_exact_product(a, b):
    product, error = two_product(np.array([a]), np.array([b]))
    assert product[0] == a * b
    assert Fraction(float(product[0])) + Fraction(float(error[0])) == Fraction(a) * Fraction(b)


@given(st.lists(numbers, min_size=1, max_size=40))
def test_squared_norms_are_correctly_rounded(row):
    exact = sum(Fraction(value) ** 2 for value in row)
    values = np.array([row])
    total, rest = square_norms(values)
    assert abs(Fraction(float(total[0])) - exact) <= Fraction(float(np.spacing(total[0]))) * Fraction(501, 1000)
    assert abs(Fraction(float(total[0])) + Fraction(float(rest[0])) - exact) <= exact * Fraction(1, 10**30)
    for backend in available_backends():
        squares, _ = choose_backend(backend).square_norms(values)
        assert abs(Fraction(float(squares[0])) - exact) <= Fraction(float(np.spacing(squares[0])))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40))
def test_a_matrix_product_is_right_to_twice_the_digits(pairs):
    """Also where its terms cancel."""
    a, b = (np.array([*column, *column]) for column in zip(*pairs, strict=True))
    b[len(pairs) :] *= -(1 - 2.0**-40)
    terms = [Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    exact, size = sum(terms), sum(map(abs, terms))
    found = Fraction(float(product(a[None, :], b[:, None])[0, 0]))
    assert abs(found - exact) <= abs(exact) * Fraction(2) ** -52 + size * len(a) ** 2 * Fraction(2) ** -104
