"""The kernels to many digits, with mpmath: what every faster computation is compared with.

The definitions themselves, one pair of rows at a time, on the very floats given. No mathematics is shared with
`recursion`, `duals` or `profile`: layers are written with angles and with two half-lines per activation, and digits
that a subtraction loses are made up for by carrying more of them. Needs mpmath, which the package itself does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import mpmath

from ntk_fast.activations import activation_of
from ntk_fast.kernels import NNGP, NTK, ArcCosine, Kernel

#: Digits carried beyond those asked for.
GUARD_DIGITS = 20


def exact_value(kernel: Kernel, x: Iterable[Any], y: Iterable[Any], digits: int = 50) -> Any:
    """Return ``kernel(x, y)`` of two rows, in arithmetic of many digits.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    x, y : sequences of n_features floats
        Taken as the exact numbers that they are.
    digits : int, default 50
        Decimal digits of the arithmetic. The result has nearly all of them right, for equal rows about half: there the
        cosine's last digit is the square of the angle's.

    Returns
    -------
    mpmath.mpf

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> mpmath.nstr(exact_value(ntk.NTK(depth=1), [1.0, 0.0], [0.0, 1.0]), 30)  # Eq. 6: 1 / (2 pi)
    '0.159154943091895335768883763373'
    """
    x, y = ([Fraction(float(number)) for number in row] for row in (x, y))
    x_square, y_square, product = _dot(x, x), _dot(y, y), _dot(x, y)
    with mpmath.workdps(digits + GUARD_DIGITS):
        if isinstance(kernel, ArcCosine):
            return _arc_cosine(kernel, x_square, y_square, product)
        assert isinstance(kernel, NNGP | NTK)
        return _network(kernel, x_square, y_square, product)


def _dot(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def _number(value: Any) -> Any:
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _angle(q: Any, q_other: Any, covariance: Any) -> Any:
    """Angle of two vectors, a right one for a zero vector. In fractions the sine is exact, and 0 for parallel ones."""
    if not q or not q_other:
        return mpmath.pi / 2
    square_sine = _number(max(q * q_other - covariance**2, 0))  # an int: mpmath 1.3 compares no fractions
    return mpmath.atan2(mpmath.sqrt(square_sine), _number(covariance))


def _kappa(order: int, angle: Any) -> Any:
    """The arc-cosine functions, J_n of Cho & Saul (2009), Eqs. 4 to 6, over J_n(0)."""
    sine, cosine, rest = mpmath.sin(angle), mpmath.cos(angle), mpmath.pi - angle
    if order == 0:
        return rest / mpmath.pi
    if order == 1:
        return (sine + rest * cosine) / mpmath.pi
    return (3 * sine * cosine + rest * (1 + 2 * cosine**2)) / (3 * mpmath.pi)


def _arc_cosine(kernel: ArcCosine, q: Any, q_other: Any, covariance: Any) -> Any:
    # E[max(0, z)^(2 order)] of a standard normal z
    gain = mpmath.mpf((1, 1, 3)[kernel.order]) / 2
    for _ in range(kernel.depth):
        angle = _angle(q, q_other, covariance)
        # max(0, z)^n is 0 for a row of zeros, also where n is 0
        q, q_other = (_number(part) ** kernel.order if part else mpmath.mpf(0) for part in (q, q_other))
        covariance = gain * mpmath.sqrt(q * q_other) * _kappa(kernel.order, angle)
        q, q_other = gain * q, gain * q_other
    return covariance


def _network(kernel: NNGP | NTK, q: Any, q_other: Any, covariance: Any) -> Any:
    """Sigma_L or Theta_L. With r(z) = max(0, z) an activation is r(z) - slope r(-z): four pairs of half-lines."""
    slope = mpmath.mpf(activation_of(kernel.activation).slope)
    (v, *weights), (b, *biases) = (
        [Fraction(value) for value in values]
        for values in (kernel.recursion.weight_variances, kernel.recursion.bias_variances)
    )
    q, q_other, covariance = (v * part + b for part in (q, q_other, covariance))
    tangent = covariance
    for v, b in zip(weights, biases, strict=True):
        angle = _angle(q, q_other, covariance)
        supplement = mpmath.pi - angle
        q, q_other = _number(q), _number(q_other)
        activated = ((1 + slope**2) * _kappa(1, angle) - 2 * slope * _kappa(1, supplement)) / 2
        derivative = ((1 + slope**2) * _kappa(0, angle) + 2 * slope * _kappa(0, supplement)) / 2
        covariance = _number(v) * mpmath.sqrt(q * q_other) * activated + _number(b)
        tangent = covariance + _number(v) * derivative * _number(tangent)
        q, q_other = (_number(v) * (1 + slope**2) / 2 * part + _number(b) for part in (q, q_other))
    return tangent if isinstance(kernel, NTK) else _number(covariance)
