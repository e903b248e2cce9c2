"""One hidden layer as a function of the angle: the dual kernels that every depth repeats.

An angle comes as a `chord`, half the distance between the two unit vectors (or between x and -y, where they are nearer:
then `opposite` is true), so chord = sin(angle / 2) is at most sqrt(1/2). Near 0 it keeps the digits that the cosine has
lost. A dual gives ``1 - kappa`` and not kappa, for the same reason: nothing here subtracts two nearly equal numbers.

Cho & Saul, "Kernel methods for deep learning" (2009), is where the arc-cosine functions of order 0, 1 and 2 come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals

Truths = NDArray[np.bool_]


class Dual(Protocol):
    """What one layer does to a variance and to an angle."""

    @property
    def gain(self) -> Fraction:
        """E[sigma(z)^2] for a standard normal z."""

    @property
    def order(self) -> int:
        """The degree of homogeneity: a variance q becomes gain * q**order."""

    @property
    def offset(self) -> float:
        """The value of 1 - kappa at cosine -1."""

    @property
    def leads(self) -> tuple[float, float]:
        """The exact coefficients of chord^2 in 1 - kappa, for cosine >= 0 and < 0; the rest has other powers."""

    @property
    def rest_power(self) -> int:
        """The exponent with which the rest vanishes in the chord."""

    def rest(self, chord: Reals, opposite: Truths) -> Reals:
        """Return what is left of 1 - kappa without its offset and lead."""

    @property
    def slope_offset(self) -> float:
        """The value of 1 - kappa' at cosine -1, with kappa' the dual of the derivative, 1 at angle 0."""

    def slope_rest(self, chord: Reals, opposite: Truths) -> Reals:
        """Return 1 - kappa', less `slope_offset` where the pair is opposite; it vanishes like the chord."""


def complement(dual: Dual, chord: Reals, opposite: Truths, square: Reals | None = None) -> Reals:
    """Return 1 - kappa, in the chord's dtype; `square`: the chord's, where it is known better than by squaring."""
    number = chord.dtype.type
    near, far = map(number, dual.leads)
    lead = np.where(opposite, far, near) * (chord * chord if square is None else square)
    return np.where(opposite, number(dual.offset), number(0)) + (lead + dual.rest(chord, opposite))


def slope_complement(dual: Dual, chord: Reals, opposite: Truths) -> Reals:
    """Return 1 - kappa', in the chord's dtype."""
    number = chord.dtype.type
    return np.where(opposite, number(dual.slope_offset), number(0)) + dual.slope_rest(chord, opposite)


def _power_series(x: Reals, first: int, coefficient: Callable[[int], float]) -> Reals:
    """Sum coefficient(k) x^(2k + 1) for k = first, ..., 12: to the last bit for x <= 2 in the uses below."""
    square = x * x
    total = np.zeros_like(x)
    for k in range(12, first - 1, -1):
        total = total * square + coefficient(k)
    return total * x ** (2 * first + 1)


def sine_minus_angle_cosine(angle: Reals) -> Reals:
    """Return (sin a - a cos a) / pi to full relative accuracy, for angles from 0 to pi/2, or complex ones near 0."""
    series = _power_series(angle, 1, lambda k: (-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1))
    direct = np.sin(angle) - angle * np.cos(angle)
    return np.where(np.abs(angle) < 1, series, direct) / np.pi


def _second_order_rest(angle: Reals) -> Reals:
    """Return (3 sin a cos a - a (1 + 2 cos^2 a)) / (3 pi) for angles from 0 to pi/2, to full relative accuracy."""
    double = 2 * angle
    series = _power_series(double, 2, lambda k: (-1) ** k * (1 - k) / math.factorial(2 * k + 1))
    direct = 1.5 * np.sin(double) - angle * (2 + np.cos(double))
    return np.where(angle < 1, series, direct) / (3 * np.pi)


@dataclass(frozen=True)
class PiecewiseLinear:
    """The duals of the activations alpha z + beta |z| (see `activations`); ReLU's is Cho & Saul's order 1."""

    gain: Fraction
    fold: float  # the share of |z| ...
    linear: float  # ... and of z; they add up to 1, yet near 0 each keeps its own digits
    order: int = 1
    rest_power: int = 3

    @property
    def offset(self) -> float:
        return 2 * self.linear

    @property
    def leads(self) -> tuple[float, float]:
        return 2.0, 2 * (self.fold - self.linear)

    def rest(self, chord: Reals, opposite: Truths) -> Reals:
        return -2 * self.fold * sine_minus_angle_cosine(2 * np.arcsin(chord))

    @property
    def slope_offset(self) -> float:
        return 2 * self.fold

    def slope_rest(self, chord: Reals, opposite: Truths) -> Reals:
        turned = 2 * self.fold * (2 * np.arcsin(chord) / np.pi)
        return np.where(opposite, -turned, turned)


@dataclass(frozen=True)
class Step:
    """Cho & Saul's order 0: kappa0 = 1 - angle / pi, the dual of the Heaviside step."""

    gain: Fraction = Fraction(1, 2)
    order: int = 0
    offset: float = 1.0
    leads: tuple[float, float] = (0.0, 0.0)
    rest_power: int = 1
    slope_offset: float = 1.0

    def rest(self, chord: Reals, opposite: Truths) -> Reals:
        turned = 2 * np.arcsin(chord) / np.pi
        return np.where(opposite, -turned, turned)

    def slope_rest(self, chord: Reals, opposite: Truths) -> Reals:
        raise NotImplementedError("the step has no derivative that a tangent kernel could use")


@dataclass(frozen=True)
class RectifiedSquare:
    """Cho & Saul's order 2, the dual of max(0, z)^2: (3 sin cos + (pi - angle)(1 + 2 cos^2)) / (3 pi)."""

    gain: Fraction = Fraction(3, 2)
    order: int = 2
    offset: float = 1.0
    leads: tuple[float, float] = (8 / 3, 0.0)
    rest_power: int = 4
    slope_offset: float = 1.0

    def rest(self, chord: Reals, opposite: Truths) -> Reals:
        rest = _second_order_rest(2 * np.arcsin(chord))
        return np.where(opposite, rest, -8 / 3 * chord**4 - rest)

    def slope_rest(self, chord: Reals, opposite: Truths) -> Reals:
        raise NotImplementedError("order 2 has no tangent kernel here")
