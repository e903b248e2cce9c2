"""Expectations of a pair of Gaussians by quadrature, of activations that have no closed form."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from ntk_fast import layers
from ntk_fast.high_precision.closed_forms import angle_between
from ntk_fast.layers.activation import ActivationLayer

#: The digits that quadratures go for, at most; of others, so many are guards.
QUADRATURE_DIGITS, GUARDS = 30, 25


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


def quadrature_digits() -> int:
    return max(15, min(mpmath.mp.dps - GUARDS, QUADRATURE_DIGITS))


def _sine_of(cosine: Any, digits: int) -> Any:
    """0 where its square is nothing but rounding."""
    square = (1 - cosine) * (1 + cosine)
    return mpmath.sqrt(square) if square > mpf(10) ** (-digits - 5) else mpf(0)


def in_the_plane(
    function: Callable[[Any], tuple[Any, Any]], singularity: Any, a: Any, b: Any, c: Any
) -> tuple[Any, Any]:
    """By the trapezoidal rule over independent x and y, u = sqrt(a) x and v = sqrt(b) (cosine x + sine y).

    Its error falls like exp(d^2 / 2 - 2 pi d / step) for integrands that are analytic where |Im x|, |Im y| < d.
    """
    digits = quadrature_digits()
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


def over_u(
    of_number: Callable[[Any], tuple[Any, Any]],
    given: Callable[[Any, Any], tuple[Any, Any]],
    roots: tuple[Any, Any],
    cosine: Any,
    sine: Any,
    ends: list[Any],
) -> tuple[Any, Any]:
    """Integrate over u = roots[0] z what v has for a mean given u: `given` of its mean and its deviation then."""

    def expected(part: int) -> Any:
        return mpmath.quad(
            lambda z: (
                of_number(roots[0] * z)[part] * given(roots[1] * cosine * z, roots[1] * sine)[part] * mpmath.npdf(z)
            ),
            ends,
            method="gauss-legendre",
        )

    return expected(0), expected(1)


def elu(layer: layers.Elu, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Given u, exponentials and half-lines of v have means in closed form; what is left is one integral over u."""
    alpha = mpf(layer.alpha)
    digits = quadrature_digits()

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
        return over_u(of_number, given, roots, cosine, sine, ends)


#: Panels of a quarter-turn or less, and of radii; nodes each.
TURNS, RADII, NODES = 12, 40, 16


def of_a_function(layer: ActivationLayer, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Of a function of float64 numbers, in float64: over directions and radii, so that a corner at 0 costs nothing.

    With u = sqrt(a) r cos t and v = sqrt(b) r cos(t - angle) for the angle between the rows, corners are the four
    directions where u or v is 0.
    """
    root, other = float(mpmath.sqrt(a)), float(mpmath.sqrt(b))
    angle = float(angle_between(a, b, c))
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
