"""Indicators and ramps of two correlated normal variables beyond thresholds: their covariances, to the last digits.

For u, v standard normal of correlation c, with density phi(h, k; t) of correlation t,

    A(c) = cov(1(u > h), 1(v > k)) = int_0^c phi(h, k; t) dt,
    B(c) = int_0^c A(t) dt = int_0^c (c - t) phi(h, k; t) dt = cov((u - h)+, (v - k)+) - c Phi(-h) Phi(-k)

(Plackett 1954). Up to c = 0.9 these are integrals of a smooth function of the angle asin(t). Nearer to 1, where phi has
a singularity if h = k and nearly has one else, what lacks to their values at 1 is integrated, by x = sqrt(1 - t^2):

    int_c^1 (1, t - c) phi dt = 1/(2 pi) int_0^a (1, (a^2 - x^2)/(t + c)) exp(-d^2/(2 x^2)) g(x) dx,
    g(x) = exp(-h k/(1 + t)) / t,     d = h - k,     a = sqrt(1 - c^2),

in which three terms of the smooth part by powers of x^2 are taken exactly, and the rest by Gauss's rule (as Drezner &
Wesolowsky 1990 and Genz 2004 do for A alone).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import special

#: 1 - c below which covariances are taken from their values at 1.
NEAR_ONE = 0.08
#: Nodes of Gauss's rule, and fewer up to the correlation LOW.
NODES, FEW_NODES, LOW = 24, 12, 0.5
#: Terms of a continued fraction, and from where on they suffice.
FRACTIONS, LEAST_FRACTION = 60, 3.0
_ROOT_TWO_PI = np.sqrt(2 * np.pi)

#: A weight, and thresholds h and k.
Pairs = Sequence[tuple[float, Reals, Reals]]


def density(z: Reals) -> Reals:
    return np.exp(-0.5 * z * z) / _ROOT_TWO_PI


def tail_moments(h: Reals) -> tuple[Reals, Reals, Reals]:
    """E[1(u > h)], E[(u - h)+] and E[(u - h)+^2], each to relative accuracy.

    I_n = E[(u - h)+^n] / n! has I_n / I_(n-1) = 1 / (h + (n + 1) I_(n+1) / I_n), a continued fraction where h is large.
    """
    mass = special().ndtr(-h)
    ramp = density(h) - h * mass
    square = mass - h * ramp
    held = np.maximum(h, LEAST_FRACTION)
    ratio, before = np.zeros_like(held), np.zeros_like(held)
    for n in range(FRACTIONS, 0, -1):
        ratio, before = 1 / (held + (n + 1) * ratio), ratio
    far = h >= LEAST_FRACTION
    return mass, np.where(far, mass * ratio, ramp), np.where(far, 2 * mass * ratio * before, square)


def ramp_mean(h: Reals) -> Reals:
    """E[(u - h)+]."""
    return tail_moments(h)[1]


def covariances_at_one(pairs: Pairs) -> tuple[Reals, Reals]:
    """The sums over pairs of weight A and weight B, at correlation 1."""
    parts = [[weight * part for part in _at_one(h, k)] for weight, h, k in pairs]
    return np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)


def _at_one(h: Reals, k: Reals) -> tuple[Reals, Reals]:
    """A and B at correlation 1."""
    ndtr = special().ndtr
    low, high = np.minimum(h, k), np.maximum(h, k)
    indicator = ndtr(-high) * ndtr(low)
    # both to the right of 0: if both are to the left, mirrored
    mirrored = high < 0
    inner, outer = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    mass, ramp, square = tail_moments(outer)
    whole = square + (outer - inner) * ramp
    same = whole - ramp_mean(inner) * ramp - special().ndtr(-inner) * mass
    apart = indicator - ramp_mean(-low) * ramp_mean(high)
    return indicator, np.where((low < 0) & (high > 0), apart, same)


def covariances(pairs: Pairs, cosine: Reals) -> tuple[Reals, Reals]:
    """The sums over pairs of weight A and weight B, at correlations from 0 to 1 - NEAR_ONE."""
    low = cosine < LOW
    if low.any() and not low.all():
        total = np.empty((2, *cosine.shape))
        for some in (low, ~low):
            total[:, some] = covariances([(weight, h[some], k[some]) for weight, h, k in pairs], cosine[some])
        return total[0], total[1]
    angle = np.arcsin(cosine)
    halves = [(weight, 0.5 * (h - k) ** 2, h * k) for weight, h, k in pairs]
    first, second = np.zeros_like(angle), np.zeros_like(angle)
    for node, share in zip(*_RULES[FEW_NODES if low.all() else NODES], strict=True):
        sine = np.sin(angle * node)
        outer, inner = -1 / (1 + sine), 1 / (1 - sine)
        # (h^2 + k^2 - 2 h k s) / (2 (1 - s^2))
        part = sum(weight * np.exp((step * inner + product) * outer) for weight, step, product in halves)
        part = share * part
        first += part
        second += part * (cosine - sine)
    whole = angle / (2 * np.pi)
    return whole * first, whole * second


def lacking(pairs: Pairs, m: Reals) -> tuple[Reals, Reals]:
    """The sums over pairs of weight int_c^1 (1, t - c) phi dt, at correlations c = 1 - m from 1 - NEAR_ONE to 1.

    Each integral to relative accuracy.
    """
    square = m * (2 - m)
    a, c = np.maximum(np.sqrt(square), 1e-100), 1 - m
    u = 1 / (1 + c)
    first, second = np.zeros_like(a), np.zeros_like(a)
    known = []
    for weight, h, k in pairs:
        d, product = np.abs(h - k), h * k
        # over exp(-d^2/(2 a^2)): int_0^a x^(2 i) exp(-d^2/(2 x^2)) dx
        moments = [a - d * np.sqrt(np.pi / 2) * special().erfcx(d / a / np.sqrt(2))]
        for power in (1, 2, 3):
            moments.append((a * square**power - d * d * moments[-1]) / (2 * power + 1))
        # g(x) = exp(-h k/2) (1 + p x^2 + q x^4 + ...), and over t + c likewise
        p = (4 - product) / 8
        q = p * (12 - product) / 16
        terms = (u, u * (p + 0.5 * u), u * (q + 0.5 * p * u + u / 8 + 0.25 * u * u))
        common = weight * np.exp(-0.5 * (d / a) ** 2 - 0.5 * product)
        first += common * (moments[0] + p * moments[1] + q * moments[2])
        for i, term in enumerate(terms):
            second += common * term * (square * moments[i] - moments[i + 1])
        known.append((weight, d, product, p, q, terms))
    for node, share in zip(*_RULES[NODES], strict=True):
        x = a * node
        x_square = x * x
        t = np.sqrt(1 - x_square)
        own, other = share * a, share * a * (square - x_square)
        for weight, d, product, p, q, terms in known:
            exponent = -0.5 * (d / x) ** 2
            smooth = np.exp(exponent - product / (1 + t)) / t
            taken = np.exp(exponent - 0.5 * product)
            first += weight * own * (smooth - taken * (1 + x_square * (p + x_square * q)))
            powers = terms[0] + x_square * (terms[1] + x_square * terms[2])
            second += weight * other * (smooth / (t + c) - taken * powers)
    return first / (2 * np.pi), second / (2 * np.pi)


def _rule(n: int) -> tuple[Reals, Reals]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return 0.5 + 0.5 * nodes, 0.5 * weights


_RULES = {n: _rule(n) for n in (FEW_NODES, NODES)}
