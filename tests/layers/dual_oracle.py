"""Duals of activations, by means that the package does not use.

Closed forms are evaluated in many digits as the literature has them: there cancellation does not matter. Where there is
none, the trapezoidal rule in the plane integrates squares of differences of the two normalised features: it converges
geometrically for analytic functions, and has nothing to cancel for near rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from ntk_fast.layers.activation import ActivationLayer

#: E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] of variances a, b and covariance c.
Dual = Callable[[Any, Any, Any], tuple[Any, Any]]


def erf(rate: Any = 1, height: Any = 1, offset: Any = 0) -> Dual:
    def dual(a, b, c):
        a, b, c = (rate * rate * part for part in (a, b, c))
        root = mp.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c * c)
        value = 2 / mp.pi * mp.atan2(2 * c, root)
        return offset**2 + height**2 * value, height**2 * rate**2 * 4 / (mp.pi * root)

    return dual


def gelu(a, b, c):
    product, root = (1 + a) * (1 + b), mp.sqrt((1 + a) * (1 + b) - c * c)
    angle = mp.atan2(c, root)
    value = c / 4 + (c * angle + (c * c + a * b * root**2) / (product * root)) / (2 * mp.pi)
    bracket = 1 / root**2 + (1 - a * b) / product + 1
    return value, mpf(1) / 4 + angle / (2 * mp.pi) + c / (2 * mp.pi * root) * bracket


def sine(amplitude: float = 1, frequency: float = 1, phase: Any = 0) -> Dual:
    amplitude, frequency = mpf(amplitude), mpf(frequency)

    def dual(a, b, c):
        with_sum = mp.exp(-(frequency**2) * (a + b + 2 * c) / 2) * mp.cos(2 * phase)
        with_difference = mp.exp(-(frequency**2) * (a + b - 2 * c) / 2)
        half = amplitude**2 / 2
        return half * (with_difference - with_sum), half * frequency**2 * (with_difference + with_sum)

    return dual


def cosine(a, b, c):
    """Of cos(z), whose phase is exactly a right angle."""
    with_sum, with_difference = mp.exp(-(a + b + 2 * c) / 2), mp.exp(-(a + b - 2 * c) / 2)
    return (with_difference + with_sum) / 2, (with_difference - with_sum) / 2


def gaussian(exponent: float) -> Dual:
    e = mpf(exponent)

    def dual(a, b, c):
        root = mp.sqrt((1 - 2 * e * a) * (1 - 2 * e * b) - 4 * e**2 * c**2)
        return 1 / root, 4 * e**2 * c / root**3

    return dual


def exponential(rate: float) -> Dual:
    square = mpf(rate) ** 2

    def dual(a, b, c):
        value = mp.exp(square * ((a + b) / 2 + c))
        return value, square * value

    return dual


def rbf(gamma: float) -> Dual:
    def dual(a, b, c):
        value = mp.exp(-mpf(gamma) * (a + b - 2 * c))
        return value, 2 * mpf(gamma) * value

    return dual


def polynomial(coefficients: Any) -> Dual:
    """By Isserlis' theorem: E[u^i v^j] counts pairings, k of them between u and v."""
    numbers = [mpf(number) for number in coefficients]

    def moment(i, j, a, b, c):
        total = mpf(0)
        for k in range(i % 2, min(i, j) + 1, 2):
            if (j - k) % 2 == 0:
                inner, outer = (i - k) // 2, (j - k) // 2
                pairings = mp.factorial(i) * mp.factorial(j) / (mp.factorial(k) * 2 ** (inner + outer))
                total += pairings / (mp.factorial(inner) * mp.factorial(outer)) * c**k * a**inner * b**outer
        return total

    def dual(a, b, c):
        size = range(len(numbers))
        value = sum(numbers[i] * numbers[j] * moment(i, j, a, b, c) for i in size for j in size)
        slope = sum(i * j * numbers[i] * numbers[j] * moment(i - 1, j - 1, a, b, c) for i in size[1:] for j in size[1:])
        return value, slope

    return dual


def leaky_relu(slope: float) -> Dual:
    """From four pairs of half-lines, with Cho & Saul's J_1 and J_0."""
    s = mpf(slope)

    def dual(a, b, c):
        sine, cosine = mp.sqrt(max(a * b - c * c, 0)) / mp.sqrt(a * b), c / mp.sqrt(a * b)
        angle = mp.atan2(sine, cosine)

        def kappa(angle, cosine):
            return (sine + (mp.pi - angle) * cosine) / mp.pi

        value = ((1 + s * s) * kappa(angle, cosine) - 2 * s * kappa(mp.pi - angle, -cosine)) / 2
        derivative = ((1 + s * s) * (1 - angle / mp.pi) + 2 * s * angle / mp.pi) / 2
        return mp.sqrt(a * b) * value, derivative

    return dual


def sign(a, b, c):
    return 1 - 2 / mp.pi * mp.atan2(mp.sqrt(max(a * b - c * c, 0)), c), mpf(0)


def step(a, b, c):
    return (1 + sign(a, b, c)[0]) / 4, mpf(0)


def rectified_square(a, b, c):
    sine, cosine = mp.sqrt(max(a * b - c * c, 0)) / mp.sqrt(a * b), c / mp.sqrt(a * b)
    rest = mp.pi - mp.atan2(sine, cosine)
    value = a * b * (3 * sine * cosine + rest * (1 + 2 * cosine**2)) / (2 * mp.pi)
    return value, 4 * mp.sqrt(a * b) * (sine + rest * cosine) / (2 * mp.pi)


def elu(alpha: float) -> Dual:
    """Of v given u, exponentials and half-lines have means in closed form; what is left is one integral over u."""
    alpha = mpf(alpha)

    def given(mean, deviation):
        """E[sigma(v)] and E[sigma'(v)] for v of this mean and deviation."""
        if not deviation:
            return (mean, mpf(1)) if mean > 0 else (alpha * mp.expm1(mean), alpha * mp.exp(mean))
        t = mean / deviation
        above, grown = mp.ncdf(t), alpha * mp.exp(mean + deviation**2 / 2) * mp.ncdf(-t - deviation)
        return mean * above + deviation * mp.npdf(t) + grown - alpha * mp.ncdf(-t), above + grown

    def dual(a, b, c):
        first, second = mp.sqrt(a), mp.sqrt(b)
        if a == b == c:  # one integral less
            square = mpf(1) / 2 - 2 * mp.exp(a / 2) * mp.ncdf(-first) + mp.exp(2 * a) * mp.ncdf(-2 * first)
            return a / 2 + alpha**2 * square, mpf(1) / 2 + alpha**2 * mp.exp(2 * a) * mp.ncdf(-2 * first)
        cosine = c / (first * second)
        sine = mp.sqrt(max((1 - cosine) * (1 + cosine), 0))

        def integrand(k):
            return lambda z: given(first * z, 0)[k] * given(second * cosine * z, second * sine)[k] * mp.npdf(z)

        steep = {sign * factor * sine for sign in (1, -1) for factor in (1, 3, 7) if factor * sine < 2}
        points = sorted({mpf(point) for point in (-11, -6, -3, 0, 3, 6, 11)} | steep)
        return tuple(mp.quad(integrand(k), points, method="gauss-legendre", maxdegree=4) for k in (0, 1))

    return dual


@dataclass(frozen=True)
class Pair:
    """Two rows before an activation: variances, and the cosine as `nearer` = 1 - |cosine| and a sign."""

    variance: float
    other: float
    nearer: float
    sign: int

    @property
    def m_and_p(self) -> tuple[float, float]:
        return (self.nearer, 2 - self.nearer) if self.sign > 0 else (2 - self.nearer, self.nearer)


@dataclass(frozen=True)
class Answer:
    """After it: the roots of 1 - cosine and of 1 + cosine, and D."""

    chord: float
    opposite_chord: float
    slope: float

    def error(self, got: Answer) -> float:
        """The largest error; that of D over its size, if it is above 1."""
        slope = abs(self.slope - got.slope) / max(1.0, abs(self.slope))
        return max(abs(self.chord - got.chord), abs(self.opposite_chord - got.opposite_chord), slope)


def exact(dual: Dual, pair: Pair, digits: int = 100) -> Answer:
    with mpmath.workdps(digits):
        a, b = mpf(pair.variance), mpf(pair.other)
        root = mp.sqrt(a * b)
        value, slope = dual(a, b, pair.sign * (1 - mpf(pair.nearer)) * root)
        norm = mp.sqrt(dual(a, a, a)[0] * dual(b, b, b)[0])
        complements = (mp.sqrt(max(1 - s * value / norm, 0)) for s in (1, -1))
        return Answer(*map(float, complements), float(slope * root / norm))


def by_quadrature(activation: ActivationLayer, pair: Pair, step: float = 1 / 8) -> Answer:
    grid = np.arange(-11, 11 + step / 2, step)
    weight = np.exp(-0.5 * grid**2) * step / np.sqrt(2 * np.pi)
    plane = weight[:, None] * weight
    sine = np.sqrt(pair.nearer * (2 - pair.nearer))
    u = np.sqrt(pair.variance) * grid[:, None]
    v = np.sqrt(pair.other) * (pair.sign * (1 - pair.nearer) * grid[:, None] + sine * grid)
    norms = [np.sqrt((activation(np.sqrt(q) * grid) ** 2) @ weight) for q in (pair.variance, pair.other)]
    features = activation(u) / norms[0], activation(v) / norms[1]
    complements = (np.sqrt(0.5 * ((features[0] - s * features[1]) ** 2 * plane).sum()) for s in (1, -1))
    slope = (activation.derivative(u) * activation.derivative(v) * plane).sum()
    return Answer(*complements, slope * np.sqrt(pair.variance * pair.other) / (norms[0] * norms[1]))


def mapped(activation: ActivationLayer, pair: Pair, tolerance: float = 1e-14) -> Answer:
    """What the package makes of a pair: the map, and the mean's mix where it is left to one."""
    variances = np.array([pair.variance, pair.other])
    parameters = activation.row_parameters(variances, tolerance)
    m, p = (np.array([part]) for part in pair.m_and_p)
    m, p, slope = activation.map_pairs(m, p, parameters[:, :1], parameters[:, 1:])
    if activation.separates_mean:
        moment = activation.second_moment(variances)
        r, s = np.sqrt(activation.centred_moment(variances) / moment)
        tau, mean = activation.mean(variances) / np.sqrt(moment)
        gap = 0.5 * ((r - s) ** 2 + (tau - mean) ** 2)
        m, p, slope = r * s * m + gap, r * s * p + 2 * tau * mean + gap, r * s * slope
    return Answer(float(np.sqrt(m[0])), float(np.sqrt(p[0])), float(slope[0]))
