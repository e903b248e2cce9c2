"""What activations do to a pair of Gaussians, to many digits: textbook forms where there are any, else quadrature.

E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] for u, v of variances q, q' and covariance c. No mathematics is shared
with the maps of `layers`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from ntk_fast import layers
from ntk_fast.high_precision_corners import of_corners
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.corners import corners_of
from ntk_fast.layers.relu import PiecewiseLinear
from ntk_fast.layers.sine import Sinusoid

#: The digits that quadratures go for, at most; of others, so many are guards.
QUADRATURE_DIGITS, GUARDS = 30, 25


def expectations(layer: ActivationLayer, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    """Return E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] for Gaussians of these variances and covariance."""
    return _expectations(layer, q, q_other, covariance, mpmath.mp.prec)


@lru_cache(maxsize=4096)
def _expectations(layer: ActivationLayer, q: Any, q_other: Any, covariance: Any, precision: int) -> tuple[Any, Any]:
    for kind, closed_form in CLOSED_FORMS.items():
        if isinstance(layer, kind):
            return closed_form(layer, q, q_other, covariance)
    for kind, (function, singularity) in ANALYTIC.items():
        if isinstance(layer, kind):
            return _in_the_plane(partial(function, layer), singularity(layer), q, q_other, covariance)
    if isinstance(layer, layers.Elu):
        return _elu(layer, q, q_other, covariance)
    corners = corners_of(layer.function) if isinstance(layer, layers.Activation) else None
    if corners is not None:
        with mpmath.workdps(_digits() + 10):
            return of_corners(corners, q, q_other, covariance)
    return _of_a_function(layer, q, q_other, covariance)


# closed forms


def _angle(q: Any, q_other: Any, covariance: Any) -> Any:
    """Angle of two vectors, a right one for a zero vector."""
    if not q or not q_other:
        return mpmath.pi / 2
    return mpmath.atan2(mpmath.sqrt(max(q * q_other - covariance**2, 0)), covariance)


def _half_lines(order: int, angle: Any) -> Any:
    """The arc-cosine functions, J_n of Cho & Saul (2009), Eqs. 4 to 6, over 2 pi: E[max(0, u)^n max(0, v)^n]."""
    sine, cosine, rest = mpmath.sin(angle), mpmath.cos(angle), mpmath.pi - angle
    if order == 0:
        return rest / (2 * mpmath.pi)
    if order == 1:
        return (sine + rest * cosine) / (2 * mpmath.pi)
    if order == 2:
        return (3 * sine * cosine + rest * (1 + 2 * cosine**2)) / (2 * mpmath.pi)
    if order == 3:
        return (4 * sine + 11 * sine * cosine**2 + rest * (9 * cosine + 6 * cosine**3)) / (2 * mpmath.pi)
    # E[max(0, cos t)^n max(0, cos(t - angle))^n] of directions, times E[r^(2n)] = 2^n n!
    ends = [angle - mpmath.pi / 2, angle / 2, mpmath.pi / 2]
    integral = mpmath.quad(lambda t: (mpmath.cos(t) * mpmath.cos(t - angle)) ** order, ends)
    return mpmath.mpf(2) ** order * mpmath.factorial(order) * integral / (2 * mpmath.pi)


def _piecewise_linear(layer: PiecewiseLinear, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    """With r(z) = max(0, z) the activation is r(z) - slope r(-z): four pairs of half-lines."""
    slope = mpf(layer.negative_slope)
    angle = _angle(q, q_other, covariance)
    supplement = mpmath.pi - angle
    value = (1 + slope**2) * _half_lines(1, angle) - 2 * slope * _half_lines(1, supplement)
    derivative = (1 + slope**2) * _half_lines(0, angle) + 2 * slope * _half_lines(0, supplement)
    return mpmath.sqrt(q * q_other) * value, derivative


def _rectified(order: int) -> Callable[[Any, Any, Any, Any], tuple[Any, Any]]:
    def expectations(layer: Any, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
        n = layer.homogeneity if order < 0 else order
        angle = _angle(q, q_other, covariance)
        root = mpmath.sqrt(q * q_other)
        if not root:  # max(0, z)^n is 0 for a row of zeros, also where n is 0
            return mpf(0), mpf(0)
        value = root**n * _half_lines(n, angle)
        return value, n * n * root ** (n - 1) * _half_lines(n - 1, angle) if n else mpf(0)

    return expectations


def _sign(layer: Any, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    value = 1 - 2 * _angle(q, q_other, covariance) / mpmath.pi if q and q_other else mpf(0)
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

# quadrature


def _tanh(layer: Any, z: Any) -> tuple[Any, Any]:
    value = mpmath.tanh(z)
    return value, 1 - value * value


def _sigmoid(layer: Any, z: Any) -> tuple[Any, Any]:
    value = 1 / (1 + mpmath.exp(-z))
    return value, value * (1 - value)


def _softplus(layer: Any, z: Any) -> tuple[Any, Any]:
    sharpness = mpf(layer.sharpness)
    decay = mpmath.exp(-sharpness * abs(z))
    return max(z, 0) + mpmath.log1p(decay) / sharpness, (1 if z > 0 else decay) / (1 + decay)


def _silu(layer: Any, z: Any) -> tuple[Any, Any]:
    gate = 1 / (1 + mpmath.exp(-z))
    return z * gate, gate * (1 + z * (1 - gate))


#: Activations that are analytic in a strip: z to sigma(z) and sigma'(z), and how far from the real line it reaches.
ANALYTIC: dict[type, tuple[Callable[[Any, Any], tuple[Any, Any]], Callable[[Any], Any]]] = {
    layers.Tanh: (_tanh, lambda layer: mpmath.pi / 2),
    layers.Sigmoid: (_sigmoid, lambda layer: mpmath.pi),
    layers.Softplus: (_softplus, lambda layer: mpmath.pi / mpf(layer.sharpness)),
    layers.Silu: (_silu, lambda layer: mpmath.pi),
}


def _digits() -> int:
    return max(15, min(mpmath.mp.dps - GUARDS, QUADRATURE_DIGITS))


def _sine_of(cosine: Any, digits: int) -> Any:
    """0 where its square is nothing but rounding."""
    square = (1 - cosine) * (1 + cosine)
    return mpmath.sqrt(square) if square > mpf(10) ** (-digits - 5) else mpf(0)


def _in_the_plane(
    function: Callable[[Any], tuple[Any, Any]], singularity: Any, a: Any, b: Any, c: Any
) -> tuple[Any, Any]:
    """By the trapezoidal rule over independent x and y, u = sqrt(a) x and v = sqrt(b) (cosine x + sine y).

    Its error falls like exp(d^2 / 2 - 2 pi d / step) for integrands that are analytic where |Im x|, |Im y| < d.
    """
    digits = _digits()
    with mpmath.workdps(digits + 10):
        roots = mpmath.sqrt(a), mpmath.sqrt(b)
        cosine = c / (roots[0] * roots[1]) if a and b else mpf(0)
        sine = _sine_of(cosine, digits)
        lost = digits * mpmath.ln(10) + 8
        reach = mpmath.sqrt(2 * lost)
        strip = min(reach, mpf("0.95") * singularity / max(*roots, mpf(10) ** -30))
        step = 2 * mpmath.pi * strip / (lost + strip**2 / 2)
        grid = [k * step for k in range(-int(reach / step) - 1, int(reach / step) + 2)]
        weights = [step * mpmath.npdf(x) for x in grid]
        if not sine:
            terms = (
                (function(roots[0] * x), function(roots[1] * cosine * x), w) for x, w in zip(grid, weights, strict=True)
            )
            values, slopes = zip(*((f[0] * g[0] * w, f[1] * g[1] * w) for f, g, w in terms), strict=True)
            return mpmath.fsum(values), mpmath.fsum(slopes)
        least = mpf(10) ** (-digits - 5)
        value = slope = mpf(0)
        for x, weight in zip(grid, weights, strict=True):
            inner, inner_slope = mpf(0), mpf(0)
            for y, other_weight in zip(grid, weights, strict=True):
                if weight * other_weight > least:
                    of_v = function(roots[1] * (cosine * x + sine * y))
                    inner += other_weight * of_v[0]
                    inner_slope += other_weight * of_v[1]
            of_u = function(roots[0] * x)
            value += weight * of_u[0] * inner
            slope += weight * of_u[1] * inner_slope
        return value, slope


def _elu(layer: layers.Elu, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Given u, exponentials and half-lines of v have means in closed form; what is left is one integral over u."""
    alpha = mpf(layer.alpha)
    digits = _digits()

    def of_number(z: Any) -> tuple[Any, Any]:
        return (z, mpf(1)) if z > 0 else (alpha * mpmath.expm1(z), alpha * mpmath.exp(z))

    def given(mean: Any, deviation: Any) -> tuple[Any, Any]:
        if not deviation:
            return of_number(mean)
        t = mean / deviation
        above = mpmath.ncdf(t)
        grown = alpha * mpmath.exp(mean + deviation**2 / 2) * mpmath.ncdf(-t - deviation)
        return mean * above + deviation * mpmath.npdf(t) + grown - alpha * mpmath.ncdf(-t), above + grown

    with mpmath.workdps(digits + 10):
        roots = mpmath.sqrt(a), mpmath.sqrt(b)
        cosine = c / (roots[0] * roots[1]) if a and b else mpf(0)
        sine = _sine_of(cosine, digits)
        steep = {sign * factor * sine for sign in (1, -1) for factor in (1, 3, 8) if factor * sine < 2}
        ends = sorted({mpf(end) for end in (-13, -6, -3, 0, 3, 6, 13)} | steep)

        def expected(k: int) -> Any:
            return mpmath.quad(
                lambda z: (
                    of_number(roots[0] * z)[k] * given(roots[1] * cosine * z, roots[1] * sine)[k] * mpmath.npdf(z)
                ),
                ends,
                method="gauss-legendre",
            )

        return expected(0), expected(1)


#: Panels of a quarter-turn or less, and of radii; nodes each.
TURNS, RADII, NODES = 12, 40, 16


def _of_a_function(layer: ActivationLayer, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Of a function of float64 numbers, in float64: over directions and radii, so that a corner at 0 costs nothing.

    With u = sqrt(a) r cos t and v = sqrt(b) r cos(t - angle) for the angle between the rows, corners are the four
    directions where u or v is 0.
    """
    root, other = float(mpmath.sqrt(a)), float(mpmath.sqrt(b))
    angle = float(_angle(a, b, c))
    quarter = np.pi / 2
    corners = np.sort([-quarter, quarter, angle - quarter, angle + quarter])
    corners = np.append(corners, corners[0] + 2 * np.pi)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)

    def panels(edges: Any) -> tuple[Any, Any]:
        half = np.diff(edges)[:, None] / 2
        return ((edges[1:] + edges[:-1])[:, None] / 2 + half * nodes).ravel(), (half * weights).ravel()

    radius, radius_weight = panels(np.linspace(0, 12, RADII + 1))
    radius_weight = radius_weight * radius * np.exp(-0.5 * radius**2) / (2 * np.pi)
    value = slope = 0.0
    for start, stop in pairwise(corners):
        turn, turn_weight = panels(np.linspace(start, stop, TURNS + 1))
        u = root * radius[:, None] * np.cos(turn)
        v = other * radius[:, None] * np.cos(turn - angle)
        value += radius_weight @ (layer(u) * layer(v)) @ turn_weight
        slope += radius_weight @ (layer.derivative(u) * layer.derivative(v)) @ turn_weight
    return mpf(value), mpf(slope)
