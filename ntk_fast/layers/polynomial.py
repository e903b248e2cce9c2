"""Polynomials: finite Hermite expansions.

    z^k = sum_j f_kj He_(k - 2j)(z),    He_k(sqrt(q) z) = sum_j f_kj sqrt(q)^(k - 2j) (q - 1)^j He_(k - 2j)(z)

with f_kj = k! / (2^j j! (k - 2j)!), and He_n / sqrt(n!) of norm one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.polynomial import hermite_e, polynomial

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer, reals
from ntk_fast.layers.arc_cosine import check_order
from ntk_fast.layers.hermite_map import HermiteMap
from ntk_fast.layers.pair_state import place
from ntk_fast.layers.row_curve import RowCurve, motion_of
from ntk_fast.validation import check_finite_number


def _factor(k: int, j: int) -> float:
    """The share of h_(k - 2j) in z^k, or in He_k: k! / (2^j j! (k - 2j)!) sqrt((k - 2j)!)."""
    exact = Fraction(math.factorial(k), 2**j * math.factorial(j) * math.factorial(k - 2 * j))
    return float(exact) * math.sqrt(math.factorial(k - 2 * j))


@lru_cache(maxsize=64)
def monomial_series(degree: int) -> dict[int, Fraction]:
    """Return the coefficients by power of the cosine that z^degree makes of a cosine; they add up to 1."""
    gain = math.prod(range(1, 2 * degree, 2))
    found = {}
    for j in range(degree // 2 + 1):
        n = degree - 2 * j
        whole = math.factorial(degree) // (2**j * math.factorial(j) * math.factorial(n))
        found[n] = Fraction(whole * whole * math.factorial(n), gain)
    return found


@dataclass(frozen=True, repr=False)
class Monomial(ActivationLayer):
    """z^degree, a function of the angle alone: cosine' = sum_n a_n^2 cosine^n with fixed coefficients.

    Parameters
    ----------
    degree : int
        1 to 60.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Monomial(2).gain
    Fraction(3, 1)
    """

    map_kind: ClassVar[str] = "table"
    formula: ClassVar[str] = "(q q')^(n/2) sum_k c_k^2 cosine^k, c_k: Hermite coefficients of z^n"
    degree: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_order(self.degree, "degree", 1))

    @property
    def parity(self) -> int:
        return -1 if self.degree % 2 else 1

    @property
    def homogeneity(self) -> int:
        return self.degree

    @property
    def fold(self) -> float:
        return 0.0

    @property
    def gain(self) -> Fraction:
        return Fraction(math.prod(range(1, 2 * self.degree, 2)))

    @property
    def derivative_gain(self) -> Fraction:
        return self.degree**2 * Fraction(math.prod(range(1, 2 * self.degree - 2, 2)))

    def __call__(self, z: Reals) -> Reals:
        return z**self.degree

    def derivative(self, z: Reals) -> Reals:
        return self.degree * z ** (self.degree - 1)

    def second_moment(self, variance: Reals | float) -> Reals:
        with np.errstate(over="ignore"):
            return float(self.gain) * reals(variance) ** self.degree

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        with np.errstate(over="ignore"):
            return float(self.derivative_gain) * reals(variance) ** (self.degree - 1)

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        opposite, nearer = p < m, np.minimum(m, p)
        shares = {n: float(share) for n, share in monomial_series(self.degree).items()}
        cosine = 1 - nearer
        decrease, slope, power, lost = (np.zeros_like(nearer) for _ in range(4))
        power += 1  # cosine^n; and 1 - cosine^n
        for n in range(1, self.degree + 1):
            slope += n * shares.get(n, 0.0) * power
            lost = nearer + cosine * lost
            power = power * cosine
            decrease += shares.get(n, 0.0) * lost
        if self.parity == 1:
            return decrease, 2 - decrease, np.where(opposite, -slope, slope)
        return *place(decrease, opposite), slope


@dataclass(frozen=True, repr=False)
class FiniteExpansion(HermiteMap, abstract=True):
    """A polynomial by its Hermite coefficients and what they become as a row's variance grows."""

    @abstractmethod
    def expansion(self, position: Reals) -> tuple[Reals, Reals, Reals, Reals]:
        """Return c_n / scale for n = 0, 1, ..., (n_rows, n_terms), first and second derivatives, and ln scale.

        Of rows with ln q = position; the derivatives, by it, are over the same scale, which keeps all in range.
        """

    def own_parameters(self, variance: Reals, tolerance: float, most: int | None) -> Reals:
        coefficients, *_ = self.expansion(np.log(variance))
        centred = coefficients[:, 1:].T
        needed = np.full((1, len(variance)), float(len(centred)))
        return np.concatenate([needed, centred / np.sqrt((centred * centred).sum(axis=0))])

    def curve(self) -> RowCurve:
        return _curve_of(self)

    def _sum_of_squares(self, variance: Reals | float, weights: Any) -> Reals:
        """Return sum_n weights_n c_n^2."""
        variance = reals(variance)
        with np.errstate(divide="ignore", over="ignore"):
            coefficients, _, _, log = self.expansion(np.log(np.atleast_1d(variance).ravel()))
            total = (coefficients * coefficients * weights(np.arange(coefficients.shape[1]))).sum(axis=1)
            return (total * np.exp(2 * log)).reshape(variance.shape)[()]

    def second_moment(self, variance: Reals | float) -> Reals:
        return self._sum_of_squares(variance, np.ones_like)

    def centred_moment(self, variance: Reals | float) -> Reals:
        return self._sum_of_squares(variance, lambda n: n > 0)

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        variance = np.maximum(reals(variance), np.finfo(np.float64).smallest_normal)
        return self._sum_of_squares(variance, lambda n: n) / variance

    def mean(self, variance: Reals | float) -> Reals:
        variance = reals(variance)
        with np.errstate(divide="ignore", over="ignore"):
            coefficients, _, _, log = self.expansion(np.log(np.atleast_1d(variance).ravel()))
            return (coefficients[:, 0] * np.exp(log)).reshape(variance.shape)[()]


@lru_cache(maxsize=256)
def _curve_of(activation: FiniteExpansion) -> RowCurve:
    def motion(position: Reals) -> tuple[Reals, Reals, Reals]:
        value, first, second, _ = activation.expansion(position)
        value, first, second = (part[:, 1:] / np.abs(value[:, 1:]).max(1)[:, None] for part in (value, first, second))
        with np.errstate(divide="ignore", invalid="ignore"):
            return motion_of(value, first, second, np.ones(value.shape[1]))

    return RowCurve(motion)


@dataclass(frozen=True, repr=False)
class Polynomial(FiniteExpansion):
    """``sum(coefficients[k] * z**k)``.

    Parameters
    ----------
    coefficients : sequence of float
        Lowest power first, of degree 1 to 60.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Polynomial([0.0, 1.0, 0.5]).gain  # 1 + 3/4
    1.75
    """

    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        given = self.coefficients
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(f"coefficients must be a sequence of numbers, lowest power first; got {given!r}.")
        numbers = [check_finite_number(number, "coefficients") for number in given]
        while numbers and numbers[-1] == 0:
            numbers.pop()
        if len(numbers) < 2:
            raise ValueError(f"coefficients must have a power of z other than z^0; got {tuple(given)!r}.")
        check_order(len(numbers) - 1, "the degree of coefficients", 1)
        object.__setattr__(self, "coefficients", tuple(numbers))

    @property
    def parity(self) -> int:
        return -1 if not any(self.coefficients[::2]) else 1 if not any(self.coefficients[1::2]) else 0

    def __call__(self, z: Reals) -> Reals:
        return polynomial.polyval(z, self.coefficients)

    def derivative(self, z: Reals) -> Reals:
        return polynomial.polyval(z, polynomial.polyder(self.coefficients))

    def expansion(self, position: Reals) -> tuple[Reals, Reals, Reals, Reals]:
        powers = [k for k, number in enumerate(self.coefficients) if number]
        matrix = np.zeros((len(powers), len(self.coefficients)))
        for row, k in enumerate(powers):
            for j in range(k // 2 + 1):
                matrix[row, k - 2 * j] = self.coefficients[k] * _factor(k, j)
        half = 0.5 * np.array(powers)
        logs = np.array([np.zeros_like(position) if k == 0 else 0.5 * k * position for k in powers]).T
        log = logs.max(axis=1)
        monomials = np.exp(logs - np.where(np.isfinite(log), log, 0.0)[:, None])
        return monomials @ matrix, (monomials * half) @ matrix, (monomials * half**2) @ matrix, log


@dataclass(frozen=True, repr=False)
class Hermite(FiniteExpansion):
    """The normalised Hermite polynomial h_degree = He_degree / sqrt(degree!), of whatever variance arrives.

    Parameters
    ----------
    degree : int
        1 to 60.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Hermite(3).gain
    1.0
    """

    degree: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_order(self.degree, "degree", 1))

    @property
    def parity(self) -> int:
        return -1 if self.degree % 2 else 1

    @property
    def _series(self) -> Reals:
        return np.eye(self.degree + 1)[-1] / math.sqrt(math.factorial(self.degree))

    def __call__(self, z: Reals) -> Reals:
        return hermite_e.hermeval(z, self._series)

    def derivative(self, z: Reals) -> Reals:
        return hermite_e.hermeval(z, hermite_e.hermeder(self._series))

    def expansion(self, position: Reals) -> tuple[Reals, Reals, Reals, Reals]:
        # over (1 + q)^(degree / 2): powers of q / (1 + q) and of (q - 1) / (q + 1)
        share, balance = 1 / (1 + np.exp(-position)), np.tanh(0.5 * position)
        value, first, second = (np.zeros((len(position), self.degree + 1)) for _ in range(3))
        for j in range(self.degree // 2 + 1):
            n = self.degree - 2 * j
            factor, half = _factor(self.degree, j) / math.sqrt(math.factorial(self.degree)), n / 2
            here = share**half * balance**j
            once = j * share ** (half + 1) * balance ** max(j - 1, 0)
            twice = j * (j - 1) * share ** (half + 2) * balance ** max(j - 2, 0)
            value[:, n] = factor * here
            first[:, n] = factor * (half * here + once)
            second[:, n] = factor * (half**2 * here + (2 * half + 1) * once + twice)
        return value, first, second, 0.5 * self.degree * np.logaddexp(0.0, position)
