"""Sign, step and powers of ReLU: the arc-cosine family (Cho & Saul 2009), functions of the angle alone.

With the angle phi of a pair and max(0, z)^n, n >= 0, polar coordinates give

    kappa_n = n! / (2 pi gain_n) int_0^(pi - phi) (cos t + cos phi)^n dt,     gain_n = E[max(0, z)^2n] = (2n - 1)!! / 2,

and d kappa_n / d cosine = n^2 / (2n - 1) kappa_(n-1): positive integrands, which quadrature gives to full relative
accuracy. Tiles have tables of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer, reals
from ntk_fast.layers.pair_state import chord_of, place
from ntk_fast.validation import check_whole_number

#: (2n - 1)!! stays far from the largest float64, and n terms of a table far from cancelling.
LARGEST_ORDER = 60


@dataclass(frozen=True, repr=False)
class Sign(ActivationLayer):
    """-1 where z < 0, 1 where z > 0, 0 at 0. Its derivative is 0: only layers after the last sign have a tangent.

    Examples
    --------
    >>> Sign().gain
    Fraction(1, 1)
    """

    map_kind: ClassVar[str] = "table"
    formula: ClassVar[str] = "1 - 2 angle / pi"

    @property
    def parity(self) -> int:
        return -1

    @property
    def homogeneity(self) -> int:
        return 0

    @property
    def fold(self) -> float:
        return 1.0

    @property
    def gain(self) -> Fraction:
        return Fraction(1)

    @property
    def derivative_gain(self) -> Fraction:
        return Fraction(0)

    def __call__(self, z: Reals) -> Reals:
        return np.sign(z)

    def derivative(self, z: Reals) -> Reals:
        return np.zeros_like(z)

    def second_moment(self, variance: Reals | float) -> Reals:
        return np.where(reals(variance) > 0, 1.0, 0.0)

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return np.zeros(np.shape(variance))

    @property
    def second_derivative(self) -> Callable[[Reals, Reals], Reals]:
        return lambda m, p: np.zeros_like(m)

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        nearer = (4 / np.pi) * np.arcsin(chord_of(m, p))
        return *place(nearer, p < m), np.zeros_like(nearer)


@dataclass(frozen=True, repr=False)
class RectifiedPower(ActivationLayer, abstract=True):
    """max(0, z)^order, with 0^0 = 0."""

    map_kind: ClassVar[str] = "table"
    formula: ClassVar[str] = "gain (q q')^(n/2) kappa_n(angle), Cho & Saul's order n"

    @property
    def order(self) -> int:
        raise NotImplementedError

    @property
    def homogeneity(self) -> int:
        return self.order

    @property
    def fold(self) -> float:
        return 0.5

    @property
    def gain(self) -> Fraction:
        return _gain(self.order)

    @property
    def derivative_gain(self) -> Fraction:
        return self.order**2 * _gain(self.order - 1) if self.order else Fraction(0)

    def __call__(self, z: Reals) -> Reals:
        return np.where(z > 0, np.maximum(z, 0.0) ** self.order, 0.0)

    def derivative(self, z: Reals) -> Reals:
        if self.order == 0:
            return np.zeros_like(z)
        return np.where(z > 0, self.order * np.maximum(z, 0.0) ** (self.order - 1), 0.0)

    def second_moment(self, variance: Reals | float) -> Reals:
        variance = reals(variance)
        with np.errstate(over="ignore"):
            return np.where(variance > 0, float(self.gain) * variance**self.order, 0.0)

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        variance = reals(variance)
        with np.errstate(over="ignore"):
            powers = variance ** max(self.order - 1, 0)
        return np.where(variance > 0, float(self.derivative_gain) * powers, 0.0)

    @property
    def second_derivative(self) -> Callable[[Reals, Reals], Reals]:
        return self._second_derivative

    def _second_derivative(self, m: Reals, p: Reals) -> Reals:
        """Kappa two orders below, or 1 / (pi sin(angle)); then 0 for parallel rows, whose angle nothing moves."""
        if self.order == 0:
            return np.zeros_like(m)
        if self.order == 1:
            sine = np.sqrt(m * p)
            return np.where(sine > 0, 1 / np.pi / np.where(sine > 0, sine, 1.0), 0.0)
        angle = 2 * np.arctan2(np.sqrt(m), np.sqrt(p))
        return _ratio(self.order) * _ratio(self.order - 1) * kappa(self.order - 2, np.pi - angle)

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        angle, opposite = 2 * np.arcsin(chord_of(m, p)), p < m
        # from y and from -y, not from the nearer of them
        away, supplement = np.where(opposite, np.pi - angle, angle), np.where(opposite, angle, np.pi - angle)
        if self.order == 0:
            return away / np.pi, 2 - away / np.pi, np.zeros_like(away)
        ratio = _ratio(self.order)
        nodes, weights = _gauss(24 + self.order)
        near = np.where(opposite, 0.0, angle)[..., None] * nodes
        lost = (kappa(self.order - 1, np.pi - near) * np.sin(near) * weights).sum(-1)
        decrease = np.where(opposite, 1 - kappa(self.order, supplement), np.where(opposite, 0.0, angle) * lost * ratio)
        return decrease, 2 - decrease, ratio * kappa(self.order - 1, supplement)


@dataclass(frozen=True, repr=False)
class Step(RectifiedPower):
    """1 where z > 0, else 0. Its derivative is 0, as that of :class:`Sign`.

    Examples
    --------
    >>> Step().gain
    Fraction(1, 2)
    """

    @property
    def order(self) -> int:
        return 0


@dataclass(frozen=True, repr=False)
class RectifiedMonomial(RectifiedPower):
    """max(0, z)^degree.

    Parameters
    ----------
    degree : int
        0 to 60; 0 is the step, 1 is ReLU.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> RectifiedMonomial(2).gain
    Fraction(3, 2)
    """

    degree: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_order(self.degree, "degree", 0))

    @property
    def order(self) -> int:
        return self.degree


def check_order(value: object, name: str, least: int) -> int:
    """Return a degree for which moments stay in range."""
    number = check_whole_number(value, name, least)
    if number > LARGEST_ORDER:
        raise ValueError(f"{name} must be a whole number from {least} to {LARGEST_ORDER}; got {number}.")
    return number


def _ratio(order: int) -> float:
    """The derivative of kappa_n by the cosine, over kappa_(n-1)."""
    return order**2 / (2 * order - 1)


def _gain(order: int) -> Fraction:
    return Fraction(math.prod(range(1, 2 * order, 2)), 2)


def _gauss(n: int) -> tuple[Reals, Reals]:
    """Gauss-Legendre nodes and weights on 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return 0.5 * (1 + nodes), 0.5 * weights


def kappa(order: int, supplement: Reals) -> Reals:
    """Return the arc-cosine function of pi - angle, 0 at 0 and 1 at pi, to relative accuracy."""
    nodes, weights = _gauss(16 + order)
    inside, whole = supplement[..., None] * nodes, supplement[..., None]
    # cos t - cos(supplement) as a product: nothing cancels
    ray = np.sin(0.5 * (whole + inside)) * np.sin(0.5 * (whole - inside))
    return supplement / np.pi * ((2 * ray) ** order @ weights) * (math.factorial(order) / (2 * float(_gain(order))))
