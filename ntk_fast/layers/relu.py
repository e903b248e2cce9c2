"""ReLU, leaky ReLU and the absolute value: linear on either side of zero.

Such an activation is alpha z + beta |z|, a mix of the identity and of the absolute value in the shares
linear = alpha^2 / (alpha^2 + beta^2) and fold = beta^2 / (alpha^2 + beta^2). Normalised,

    cosine' = linear cosine + fold kappa(cosine),      kappa = (2/pi) (sin f + (pi/2 - f) cos f)    (Cho & Saul 2009)
    D = linear + fold (1 - 2 f / pi), less where the pair is opposite: linear - fold (1 - 2 f / pi)

with the angle f to the nearer of y and -y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals, two_sum
from ntk_fast.layers.activation import ActivationLayer, reals
from ntk_fast.layers.pair_state import place
from ntk_fast.validation import check_finite_number


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


@lru_cache(maxsize=256)
def _gain(slope: float) -> Fraction:
    """Return E[sigma(z)^2], exactly."""
    return (1 + Fraction(slope) ** 2) / 2


@lru_cache(maxsize=256)
def _share(slope: float) -> float:
    """Return the share of the identity; that of the absolute value is its share at the opposite slope."""
    return float((1 + Fraction(slope)) ** 2 / (4 * _gain(slope)))


@dataclass(frozen=True, repr=False, eq=False)
class PiecewiseLinear(ActivationLayer, abstract=True):
    """z where z > 0, slope * z elsewhere; equal where the slopes are: a leaky ReLU of slope 0 is a ReLU."""

    map_kind: ClassVar[str] = "fold"
    formula: ClassVar[str] = "gain sqrt(q q') (linear cosine + fold (2/pi) (sin f + (pi/2 - f) cos f))"

    @property
    def negative_slope(self) -> float:
        """The slope for negative arguments: 0 for ReLU, -1 for the absolute value."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PiecewiseLinear) and self.negative_slope == other.negative_slope

    def __hash__(self) -> int:
        return hash((PiecewiseLinear, self.negative_slope))

    @property
    def parity(self) -> int:
        return {-1.0: 1, 1.0: -1}.get(self.negative_slope, 0)

    @property
    def homogeneity(self) -> int:
        return 1

    @property
    def gain(self) -> Fraction:
        return _gain(self.negative_slope)

    @property
    def derivative_gain(self) -> Fraction:
        return self.gain

    @property
    def fold(self) -> float:
        """The share beta^2 / (alpha^2 + beta^2) of the absolute value, 0 to 1."""
        return _share(-self.negative_slope)

    @property
    def linear(self) -> float:
        """The share alpha^2 / (alpha^2 + beta^2) of the identity: 1 - fold, with its own digits."""
        return _share(self.negative_slope)

    @property
    def map_constants(self) -> tuple[float, ...]:
        return self.linear, self.fold

    def __call__(self, z: Reals) -> Reals:
        return np.where(z > 0, z, self.negative_slope * z)

    def derivative(self, z: Reals) -> Reals:
        return np.where(z > 0, 1.0, self.negative_slope)

    @property
    def lipschitz(self) -> float:
        return max(1.0, abs(self.negative_slope))

    def value(self, *units: Reals) -> Reals:
        (z,), slope = units, self.negative_slope
        if slope == 0:
            return np.maximum(z, 0.0)
        return (np.maximum if slope <= 1 else np.minimum)(z, slope * z)

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        positive, slope = units[0] > 0, self.negative_slope
        return np.asarray((positive if slope == 0 else positive * (1.0 - slope) + slope) * tangents[0])

    def second_moment(self, variance: Reals | float) -> Reals:
        return float(self.gain) * reals(variance)

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return np.full(np.shape(variance), float(self.gain))

    @property
    def second_derivative(self) -> Callable[[Reals, Reals], Reals]:
        return self._second_derivative

    def _second_derivative(self, m: Reals, p: Reals) -> Reals:
        """2 fold / (pi sin(angle)); 0 for parallel rows, whose angle nothing moves."""
        sine = np.sqrt(m * p)
        return np.where(sine > 0, 2 * self.fold / np.pi / np.where(sine > 0, sine, 1.0), 0.0)

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        m, p, _, derivative, _ = self.map_with_rests(m, p, 0.0, x, y)
        return m, p, derivative

    def map_with_rests(
        self, m: Reals, p: Reals, m_rest: Reals | float, x: Reals, y: Reals
    ) -> tuple[Reals, Reals, Reals, Reals, Reals]:
        nearer, opposite = np.minimum(m, p), p < m
        angle = 2 * np.arcsin(np.sqrt(0.5 * nearer))
        bent = 2 * sine_minus_angle_cosine(angle)  # nearer - bent: 1 - kappa
        turned = self.fold * (2 / np.pi) * angle
        loss = np.where(opposite, 2 * self.fold - turned, turned)
        # a negative cosine's are between those of z and of |z|: from the nearer ones on
        far, stays = m - p + bent, self.linear >= self.fold
        step = np.where(
            opposite,
            (self.fold * far if stays else self.linear * far - bent) - m_rest,
            m_rest - self.fold * bent,
        )
        nearer, rest = two_sum(nearer, step)
        m, p = place(nearer, opposite & stays)
        return m, p, np.where(opposite & stays, -rest, rest), 1 - loss, loss


@dataclass(frozen=True, repr=False, eq=False)
class Relu(PiecewiseLinear):
    """max(0, z).

    Examples
    --------
    >>> Relu().gain, Relu()
    (Fraction(1, 2), Relu())
    """

    @property
    def negative_slope(self) -> float:
        return 0.0


@dataclass(frozen=True, repr=False, eq=False)
class LeakyRelu(PiecewiseLinear):
    """z where z > 0, ``slope * z`` elsewhere.

    Parameters
    ----------
    slope : float, default 0.01
        Any finite number.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> LeakyRelu(slope=0.2)
    LeakyRelu(slope=0.2)
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", check_finite_number(self.slope, "slope") + 0.0)  # no -0.0, which is 0.0

    @property
    def negative_slope(self) -> float:
        return self.slope


@dataclass(frozen=True, repr=False, eq=False)
class Abs(PiecewiseLinear):
    """|z|.

    Examples
    --------
    >>> Abs().gain, Abs().fold
    (Fraction(1, 1), 1.0)
    """

    @property
    def negative_slope(self) -> float:
        return -1.0
