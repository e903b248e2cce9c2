"""Homogeneous activations, whose cosines are functions of the angle alone, in twice the digits.

Such an activation is a z^d + b sign(z) z^d. What either part makes of a cosine is odd or even in it, and with the angle
f to the nearer of y and -y, m = 1 - |cosine|, and the arc-cosine function kappa_d (`layers.arc_cosine`)

    M(cosine) = sum_n c_n^2 cosine^n,       G(|cosine|) = M(|cosine|) - 2 (-1)^d kappa_d(pi - f)

as max(0, z)^d has half of both. Here kappa_d(pi - f) = m^(d + 1/2) times a function that is analytic about [0, 1].
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import kappa
from ntk_fast.layers.polynomial import monomial_series
from ntk_fast.lower.wide import Wide, chebyshev_sum

#: Windows whose m is less are equal: a sign takes its root.
ROUNDING = 1e-30
#: Terms of Chebyshev series of that function, which leave out less than 1e-17 of it.
N_TERMS = 24


def of_angle(cosine: Wide, activation: ActivationLayer) -> Wide:
    """Return the cosine that a homogeneous activation makes of one.

    Its first 16 digits are right, and all of its differences: it is a fixed polynomial of what is given, and of a root.
    """
    degree, fold = activation.homogeneity, activation.fold
    assert degree is not None
    is_opposite = cosine.high < 0
    near = (-cosine).where(is_opposite, cosine)
    power = _power(near, degree)
    if not fold:
        return (-power).where(is_opposite & (degree % 2 == 1), power)
    folded = power + _supplement(near, degree).scaled(2.0 if degree % 2 else -2.0)
    odd, even = (power, folded) if degree % 2 else (folded, power)
    odd = (-odd).where(is_opposite, odd)
    power, folded = (odd, even) if degree % 2 else (even, odd)
    one = Wide.of(np.ones_like(near.high))
    share = Wide.of(np.full_like(near.high, fold))
    return share * folded + (one - share) * power


def _power(near: Wide, degree: int) -> Wide:
    """Return M, which is exactly 1 at 1."""
    square, total = near * near, Wide.of(np.zeros_like(near.high))
    for share in monomial_series(degree).values():  # highest power first
        high = float(share)
        total = (total * square).plus(high).plus(float(share - Fraction(high)))
    return total * near if degree % 2 else total


def _supplement(near: Wide, degree: int) -> Wide:
    """Return kappa(pi - f)."""
    one = Wide.of(np.ones_like(near.high))
    m = one - near
    m = m.where(m.high > ROUNDING, Wide.of(np.zeros_like(m.high)))
    power = m * m.inverse_root()
    for _ in range(degree):
        power = power * m
    coefficients, correction = _series(degree)
    return power * chebyshev_sum(coefficients, m.scaled(2.0) - one).plus(correction)


@lru_cache(maxsize=64)
def _series(degree: int) -> tuple[Reals, float]:
    """Chebyshev coefficients of kappa(pi - f) / m^(degree + 1/2) in 2 m - 1, and what makes an odd G 0 at 0."""
    angles = np.pi * (np.arange(N_TERMS) + 0.5) / N_TERMS
    m = np.cos(0.5 * angles) ** 2
    values = kappa(degree, 2 * np.arcsin(np.sqrt(0.5 * m))) / m ** (degree + 0.5)
    coefficients = np.cos(np.outer(np.arange(N_TERMS), angles)) @ values * (2 / N_TERMS)
    coefficients[0] /= 2
    at_zero = sum(map(Fraction, coefficients.tolist()))
    return coefficients, 0.0 if degree % 2 else float(monomial_series(degree)[0] / 2 - at_zero)
