"""The kernels at 50 digits, straight from the equations, evaluated on the very floats given: what tests compare with.

It shares nothing with the package but the kernel objects' parameters: exact rational dot products, then the covariance
of a pair of pre-activations, layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

import ntk_fast as ntk
from ntk_fast.activations import activation_of
from ntk_fast.kernels import Kernel

DIGITS = 50

Row = tuple[float, ...]


def _kappa0(phi: mpf) -> mpf:
    return (mp.pi - phi) / mp.pi


def _kappa1(phi: mpf) -> mpf:
    return (mp.sin(phi) + (mp.pi - phi) * mp.cos(phi)) / mp.pi


def _kappa2(phi: mpf) -> mpf:
    """Cho & Saul (2009), Eq. 6, over its value 3 pi at angle 0."""
    cosine = mp.cos(phi)
    return (3 * mp.sin(phi) * cosine + (mp.pi - phi) * (1 + 2 * cosine**2)) / (3 * mp.pi)


def _real(number: Fraction | float) -> mpf:
    exact = Fraction(number)
    return mpf(exact.numerator) / exact.denominator


@dataclass(frozen=True)
class Covariance:
    """Sigma(x, y), Sigma(x, x) and Sigma(y, y) of one layer, and the angle that they span."""

    xy: mpf
    xx: mpf
    yy: mpf
    phi: mpf


def _covariance(xy: mpf, xx: mpf, yy: mpf) -> Covariance:
    if xx == 0 or yy == 0:  # by convention at right angles
        return Covariance(mpf(0), xx, yy, mp.pi / 2)
    cosine = xy / mp.sqrt(xx * yy)
    return Covariance(xy, xx, yy, mp.acos(max(mpf(-1), min(mpf(1), cosine))))


def _input_covariance(x: Row, y: Row, weight: float, bias: float) -> Covariance:
    """Sigma_0 = v_0 x.y + b_0; rational until the angle, so that equal directions have angle 0 exactly."""
    rows = [[Fraction(value) for value in row] for row in (x, y)]
    xy, xx, yy = (
        Fraction(weight) * sum((a * b for a, b in zip(rows[i], rows[j], strict=True)), Fraction(0)) + Fraction(bias)
        for i, j in ((0, 1), (0, 0), (1, 1))
    )
    square_sine = xx * yy - xy * xy
    phi = mp.atan2(mp.sqrt(_real(square_sine)), _real(xy)) if xx and yy else mp.pi / 2
    return Covariance(_real(xy), _real(xx), _real(yy), phi)


def _arc_cosine(kernel: ntk.ArcCosine, x: Row, y: Row) -> mpf:
    """E[h(u) h(v)], h(z) = max(0, z)^n, applied to itself: Cho & Saul (2009), section 2.3, with 1/2 a layer."""
    kappa = (_kappa0, _kappa1, _kappa2)[kernel.order]
    gain = mpf((1, 1, 3)[kernel.order]) / 2  # E[h(z)^2] of a standard normal z
    layer = _input_covariance(x, y, 1.0, 0.0)
    for _ in range(kernel.depth):
        # max(0, z)^n is 0 for a row of zeros, also where n is 0
        xx, yy = (gain * q**kernel.order if q else q for q in (layer.xx, layer.yy))
        layer = _covariance(mp.sqrt(xx * yy) * kappa(layer.phi), xx, yy)
    return layer.xy


def _network(kernel: Any, x: Row, y: Row) -> tuple[mpf, mpf]:
    """Sigma_L and Theta_L of z -> max(0, z) - slope max(0, -z), in terms of ReLU's two arc-cosine functions."""
    slope = _real(activation_of(kernel.activation).slope)
    weights, biases = (
        value if isinstance(value, tuple) else (value,) * (kernel.depth + 1)
        for value in (kernel.weight_variance, kernel.bias_variance)
    )
    layer = _input_covariance(x, y, weights[0], biases[0])
    theta = layer.xy
    for weight, bias in zip(map(_real, weights[1:]), map(_real, biases[1:]), strict=True):
        same, other = layer.phi, mp.pi - layer.phi  # the angles of (u, v) and of (u, -v)
        moment = mp.sqrt(layer.xx * layer.yy) * ((1 + slope**2) * _kappa1(same) - 2 * slope * _kappa1(other)) / 2
        derivative = ((1 + slope**2) * _kappa0(same) + 2 * slope * _kappa0(other)) / 2
        gain = weight * (1 + slope**2) / 2
        xy, xx, yy = weight * moment + bias, gain * layer.xx + bias, gain * layer.yy + bias
        theta = xy + weight * theta * derivative
        layer = _covariance(xy, xx, yy)
    return layer.xy, theta


@lru_cache(maxsize=None)
def exact_entry(kernel: Kernel, x: Row, y: Row) -> mpf:
    """Return kernel(x, y) to about 50 digits."""
    with mpmath.workdps(DIGITS):
        if isinstance(kernel, ntk.ArcCosine):
            return _arc_cosine(kernel, x, y)
        sigma, theta = _network(kernel, x, y)
        return theta if isinstance(kernel, ntk.NTK) else sigma


def as_row(row: NDArray[Any]) -> Row:
    return tuple(map(float, row))


def exact_gram(kernel: Kernel, X: NDArray[Any], Y: NDArray[Any]) -> list[list[mpf]]:
    """Return kernel(X, Y) to about 50 digits."""
    return [[exact_entry(kernel, as_row(x), as_row(y)) for y in Y] for x in X]


def exact_diagonal(kernel: Kernel, X: NDArray[Any]) -> list[mpf]:
    return [exact_entry(kernel, as_row(x), as_row(x)) for x in X]


@dataclass(frozen=True)
class Worst:
    """The entry that is furthest off."""

    error: float  # over sqrt(K(x, x) K(y, y))
    i: int
    j: int
    got: float
    expected: mpf
    x: NDArray[Any]
    y: NDArray[Any]

    def __str__(self) -> str:
        with np.printoptions(precision=17, floatmode="unique", threshold=20):
            return (
                f"error {self.error:.3g} at [{self.i}, {self.j}]: got {self.got!r}, "
                f"expected {mpmath.nstr(self.expected, 20)}\n  x = {self.x!r}\n  y = {self.y!r}"
            )


def worst_entry(kernel: Kernel, X: NDArray[Any], Y: NDArray[Any], K: NDArray[np.floating]) -> Worst:
    """Compare a Gram matrix with the exact one. Errors within the dtype's smallest subnormal count as none."""
    assert K.shape == (len(X), len(Y))
    smallest = float(np.finfo(K.dtype).smallest_subnormal)
    worst = Worst(-1.0, 0, 0, 0.0, mpf(0), X[:0], Y[:0])
    with mpmath.workdps(DIGITS):
        x_diagonal, y_diagonal = exact_diagonal(kernel, X), exact_diagonal(kernel, Y)
        for i, row in enumerate(exact_gram(kernel, X, Y)):
            for j, expected in enumerate(row):
                got = float(K[i, j])
                difference = abs(mpf(got) - expected) if np.isfinite(got) else mpf("inf")
                scale = mp.sqrt(x_diagonal[i] * y_diagonal[j])
                if difference <= smallest:
                    error = 0.0
                else:
                    error = float(difference / scale) if scale else float("inf")
                if not error <= worst.error:
                    worst = Worst(error, i, j, got, expected, X[i], Y[j])
    return worst
