"""Expectations of a pair of Gaussians in closed form, by kind of activation, as textbooks have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
from mpmath import mpf

from ntk_fast import layers
from ntk_fast.layers.relu import PiecewiseLinear
from ntk_fast.layers.sine import Sinusoid


def angle_between(q: Any, q_other: Any, covariance: Any) -> Any:
    """Angle of two vectors, a right one for a zero vector."""
    if not q or not q_other:
        return mpmath.pi / 2
    return mpmath.atan2(mpmath.sqrt(max(q * q_other - covariance**2, 0)), covariance)


def _half_lines(order: int, angle: Any) -> Any:
    """The arc-cosine functions, J_n of Cho & Saul (2009), Eqs. 4 to 6, over 2 pi: E[max(0, u)^n max(0, v)^n]."""
    sine, cosine, supplement = mpmath.sin(angle), mpmath.cos(angle), mpmath.pi - angle
    if order == 0:
        return supplement / (2 * mpmath.pi)
    if order == 1:
        return (sine + supplement * cosine) / (2 * mpmath.pi)
    if order == 2:
        return (3 * sine * cosine + supplement * (1 + 2 * cosine**2)) / (2 * mpmath.pi)
    if order == 3:
        return (4 * sine + 11 * sine * cosine**2 + supplement * (9 * cosine + 6 * cosine**3)) / (2 * mpmath.pi)
    # E[max(0, cos t)^n max(0, cos(t - angle))^n] of directions, times E[r^(2n)] = 2^n n!
    ends = [angle - mpmath.pi / 2, angle / 2, mpmath.pi / 2]
    integral = mpmath.quad(lambda t: (mpmath.cos(t) * mpmath.cos(t - angle)) ** order, ends)
    return mpmath.mpf(2) ** order * mpmath.factorial(order) * integral / (2 * mpmath.pi)


def _piecewise_linear(layer: PiecewiseLinear, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    """With r(z) = max(0, z) the activation is r(z) - slope r(-z): four pairs of half-lines."""
    slope = mpf(layer.negative_slope)
    angle = angle_between(q, q_other, covariance)
    supplement = mpmath.pi - angle
    value = (1 + slope**2) * _half_lines(1, angle) - 2 * slope * _half_lines(1, supplement)
    derivative = (1 + slope**2) * _half_lines(0, angle) + 2 * slope * _half_lines(0, supplement)
    return mpmath.sqrt(q * q_other) * value, derivative


def _rectified(order: int) -> Callable[[Any, Any, Any, Any], tuple[Any, Any]]:
    def expectations(layer: Any, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
        n = layer.homogeneity if order < 0 else order
        angle = angle_between(q, q_other, covariance)
        root = mpmath.sqrt(q * q_other)
        if not root:  # max(0, z)^n is 0 for a row of zeros, also where n is 0
            return mpf(0), mpf(0)
        value = root**n * _half_lines(n, angle)
        return value, n * n * root ** (n - 1) * _half_lines(n - 1, angle) if n else mpf(0)

    return expectations


def _sign(layer: Any, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    value = 1 - 2 * angle_between(q, q_other, covariance) / mpmath.pi if q and q_other else mpf(0)
    return value, mpf(0)


def _erf(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """(2/pi) asin(2c / sqrt((1 + 2a)(1 + 2b))) (Williams 1997), of height erf(rate z) + offset."""
    square = mpf(layer.rate) ** 2
    a, b, c = square * a, square * b, square * c
    root = mpmath.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c * c)
    height = mpf(layer.height) ** 2
    value = mpf(layer.offset) ** 2 + height * 2 / mpmath.pi * mpmath.atan2(2 * c, root)
    return value, height * square * 4 / (mpmath.pi * root)


def _gelu(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    product = (1 + a) * (1 + b)
    root = mpmath.sqrt(product - c * c)
    angle = mpmath.atan2(c, root)
    value = c / 4 + (c * angle + (c * c + a * b * root**2) / (product * root)) / (2 * mpmath.pi)
    slope = mpf(1) / 4 + angle / (2 * mpmath.pi)
    slope += c / (2 * mpmath.pi * root) * (1 / root**2 + (1 - a * b) / product + 1)
    return value, slope


def _exp(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    rate, amplitude = mpf(layer.rate), mpf(layer.amplitude)
    value = amplitude**2 * mpmath.exp(rate**2 * ((a + b) / 2 + c))
    return value, rate**2 * value


def _rbf(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    gamma = mpf(layer.gamma)
    value = mpmath.exp(-gamma * (a + b - 2 * c))
    return value, 2 * gamma * value


def _sine(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Of A sin(B z + f); a cosine is a sine a quarter of a turn ahead."""
    frequency, amplitude = mpf(layer.frequency) ** 2, mpf(layer.amplitude) ** 2 / 2
    doubled = mpmath.cos(2 * mpf(layer.phase)) * (-1 if isinstance(layer, layers.Cos) else 1)
    of_difference, of_sum = (mpmath.exp(-frequency * (a + b + sign * 2 * c) / 2) for sign in (-1, 1))
    return (
        amplitude * (of_difference - doubled * of_sum),
        amplitude * frequency * (of_difference + doubled * of_sum),
    )


def _gaussian(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    exponent, amplitude = mpf(layer.exponent), mpf(layer.amplitude) ** 2
    square = (1 - 2 * exponent * a) * (1 - 2 * exponent * b) - 4 * exponent**2 * c**2
    value = amplitude / mpmath.sqrt(square)
    return value, 4 * exponent**2 * c * value / square


def _powers(layer: Any) -> list[Any]:
    """The coefficients of an activation that is a polynomial, lowest power first."""
    if isinstance(layer, layers.Monomial):
        return [mpf(0)] * layer.degree + [mpf(1)]
    if isinstance(layer, layers.Polynomial):
        return [mpf(number) for number in layer.coefficients]
    before, here = [mpf(1)], [mpf(0), mpf(1)]  # He_(n+1) = z He_n - n He_(n-1)
    for n in range(1, layer.degree):
        ahead = [mpf(0), *here]
        for k, number in enumerate(before):
            ahead[k] -= n * number
        before, here = here, ahead
    return [number / mpmath.sqrt(mpmath.factorial(layer.degree)) for number in here]


def _polynomial(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """By Hermite coefficients: z^k = sum_j k! / (2^j j! (k - 2j)!) He_(k - 2j), and Mehler's formula.

    He_n(u / sqrt a) He_n(v / sqrt b) has mean n! (c / sqrt(a b))^n: powers of c remain, and whole powers of a and b.
    """
    powers = _powers(layer)

    def coefficients(variance: Any) -> list[Any]:
        """Of He_n, over sqrt(variance)^n."""
        result = [mpf(0)] * len(powers)
        for k, number in enumerate(powers):
            for j in range(k // 2 + 1):
                pairings = mpmath.factorial(k) / (2**j * mpmath.factorial(j) * mpmath.factorial(k - 2 * j))
                result[k - 2 * j] += number * pairings * variance**j
        return result

    products = [x * y * mpmath.factorial(n) for n, (x, y) in enumerate(zip(*map(coefficients, (a, b)), strict=True))]
    value = mpmath.fsum(product * c**n for n, product in enumerate(products))
    return value, mpmath.fsum(n * product * c ** (n - 1) for n, product in enumerate(products) if n)


#: Expectations in closed form by kind of activation.
CLOSED_FORMS: dict[type, Callable[[Any, Any, Any, Any], tuple[Any, Any]]] = {
    PiecewiseLinear: _piecewise_linear,
    layers.Step: _rectified(0),
    layers.RectifiedMonomial: _rectified(-1),
    layers.Sign: _sign,
    layers.Erf: _erf,
    layers.SigmoidLike: _erf,
    layers.Gelu: _gelu,
    layers.Exp: _exp,
    layers.Rbf: _rbf,
    layers.Gaussian: _gaussian,
    layers.Monomial: _polynomial,
    layers.Polynomial: _polynomial,
    layers.Hermite: _polynomial,
    Sinusoid: _sine,
}
