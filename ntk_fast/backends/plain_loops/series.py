"""Polynomials that stand for functions of the chord's square: series in fractions, cut by Chebyshev's polynomials."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import zip_longest

import numpy as np

from ntk_fast.compensated import Reals

#: Of the series below: what is beyond them is less than 1e-20 of what is before, at squares up to 1/2.
SERIES_TERMS = 60
#: Of asin(x) / x by powers of x^2.
ARCS = [Fraction(1)]
for k in range(1, SERIES_TERMS):
    ARCS.append(ARCS[-1] * Fraction((2 * k - 1) ** 2, 2 * k * (2 * k + 1)))
#: The degrees that take their place by the dtype that is computed in, to relative errors of 1e-17 and 1e-8.
DEGREES = {np.dtype(np.float64): 19, np.dtype(np.float32): 9}
#: The middle of these squares, from which powers are taken: from 0 their coefficients would cancel.
MIDDLE = np.float32(0.25)


def _composed(series: Sequence[Fraction], constant: Fraction, slope: Fraction) -> list[Fraction]:
    """Return the powers of u in sum_k series[k] (constant + slope u)^k."""
    result: list[Fraction] = []
    for coefficient in reversed(series):
        result = [constant * a + slope * b for a, b in zip([*result, Fraction(0)], [Fraction(0), *result], strict=True)]
        result[0] += coefficient
    return result


def _economised(series: Sequence[Fraction], middle: Fraction, degree: int) -> list[Fraction]:
    """Return a power series on [0, 2 middle] by powers of u = y / middle - 1, without the higher Chebyshev polynomials.

    In fractions: in float64 each of the numbers would be off in the last place, and what they make in the last five.
    """
    powers = _composed(series, middle, middle)
    chebyshev = [[1], [0, 1]]
    while len(chebyshev) < len(powers):
        doubled = [0, *(2 * a for a in chebyshev[-1])]
        chebyshev.append([a - b for a, b in zip_longest(doubled, chebyshev[-2], fillvalue=0)])
    while len(powers) > degree + 1:
        highest = chebyshev[len(powers) - 1]
        share = powers[-1] / highest[-1]
        powers = [a - share * b for a, b in zip(powers[:-1], highest[:-1], strict=True)]
    return powers


@lru_cache(maxsize=2)
def fold_coefficients(dtype: np.dtype) -> tuple[Reals, Reals]:
    """Return R and asin(chord) / chord, which ReLU and its kind take of a pair, by powers of chord^2 - MIDDLE.

    By powers of y = chord^2 R is 16/pi sum_k c_k y^k / (2k + 3), as chord^3 R is the integral of 16/pi x asin x: see
    `layers.relu`.
    """
    middle = Fraction(float(MIDDLE))
    bends = [arc / (2 * k + 3) for k, arc in enumerate(ARCS)]
    first, second = (
        np.array([float(power / middle**k) for k, power in enumerate(_economised(series, middle, DEGREES[dtype]))])
        for series in (bends, ARCS)
    )
    return 16 / np.pi * first, second


#: Of (asin(x) / x - 1) / x^2 by powers of x^2, for x up to 1/2.
ARCSINE = np.array(list(map(float, _composed(_economised(ARCS[1:], Fraction(1, 8), 16), Fraction(-1), Fraction(8)))))
