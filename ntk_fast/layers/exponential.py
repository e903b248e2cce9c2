"""Exponentials, and the activation whose kernel is the Gaussian RBF: both have one and the same map.

For exp(b z), S = exp(b^2 ((q + q')/2 + S)); for sqrt(2) sin(sqrt(2 g) z + pi/4), S = exp(-g (q + q' - 2 S)). With
u = |b| sqrt(q), or sqrt(2 g q), both are, normalised,

    cosine' = exp(-E),    E = (u - u')^2 / 2 + u u' m,    D = u u' exp(-E).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer, reals, special
from ntk_fast.validation import check_finite_number, check_positive


def poisson(rate: float, n_terms: int) -> Reals:
    """Return exp(-rate) rate^n / n!: exp(rate (c - 1)) by powers of c."""
    n = np.arange(n_terms)
    return np.exp(n * np.log(rate) - rate - special().gammaln(n + 1)) if rate > 0 else 1.0 * (n == 0)


@dataclass(frozen=True, repr=False)
class Exponential(ActivationLayer, abstract=True):
    """See the module. The row parameters are u, in two parts: see `in_two_parts`."""

    map_kind: ClassVar[str] = "exponential"

    @property
    def squared_rate(self) -> float:
        """u^2 / q."""
        raise NotImplementedError

    def row_parameters(self, variance: Reals, tolerance: float, most: int | None = None) -> Reals:
        return in_two_parts(np.sqrt(self.squared_rate * variance))

    def variance_of(self, parameters: Reals) -> Reals:
        return (parameters[0] + parameters[1]) ** 2 / self.squared_rate

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        return poisson(self.squared_rate * variance, n_terms)

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        step, rates = step_and_product(x, y)
        exponent = 0.5 * step**2 + rates * m
        shortfall = -np.expm1(-exponent)
        return shortfall, 2 - shortfall, rates * np.exp(-exponent)


@dataclass(frozen=True, repr=False)
class Exp(Exponential):
    """``amplitude * exp(rate * z)``.

    Parameters
    ----------
    amplitude : float, default 1
        Not 0.
    rate : float, default 1
        Not 0.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Exp(rate=0.5).second_moment(1.0)  # exp(2 rate^2)
    np.float64(1.6487212707001282)
    """

    formula: ClassVar[str] = "amplitude^2 exp(rate^2 ((q + q')/2 + S))"
    amplitude: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "rate"):
            object.__setattr__(self, name, check_nonzero(getattr(self, name), name))

    @property
    def squared_rate(self) -> float:
        return self.rate * self.rate

    def __call__(self, z: Reals) -> Reals:
        return self.amplitude * np.exp(self.rate * z)

    def derivative(self, z: Reals) -> Reals:
        return self.rate * self(z)

    def second_moment(self, variance: Reals | float) -> Reals:
        with np.errstate(over="ignore"):
            return self.amplitude**2 * np.exp(2 * self.squared_rate * reals(variance))

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return self.squared_rate * self.second_moment(variance)


@dataclass(frozen=True, repr=False)
class Rbf(Exponential):
    """sqrt(2) sin(sqrt(2 gamma) z + pi/4): its kernel is exp(-gamma |u - v|^2) of what the units see.

    Parameters
    ----------
    gamma : float > 0, default 1

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Rbf(gamma=0.7).gain
    1.0
    """

    formula: ClassVar[str] = "exp(-gamma (q + q' - 2 S))"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", check_positive(self.gamma, "gamma"))

    @property
    def squared_rate(self) -> float:
        return 2 * self.gamma

    def __call__(self, z: Reals) -> Reals:
        angle = np.sqrt(2 * self.gamma) * z
        return np.sin(angle) + np.cos(angle)

    def derivative(self, z: Reals) -> Reals:
        angle = np.sqrt(2 * self.gamma) * z
        return np.sqrt(2 * self.gamma) * (np.cos(angle) - np.sin(angle))

    def second_moment(self, variance: Reals | float) -> Reals:
        return np.ones(np.shape(variance))

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return np.full(np.shape(variance), 2 * self.gamma)


def check_nonzero(value: object, name: str) -> float:
    """Return a finite number that is not 0."""
    number = check_finite_number(value, name)
    if number == 0:
        raise ValueError(f"{name} must not be 0: the activation would be constant.")
    return number


def in_two_parts(number: Reals) -> Reals:
    """Return what float32 holds of numbers, and the rest: large numbers lose no digits of their differences."""
    most = float(np.finfo(np.float32).max)
    high = np.clip(number, -most, most).astype(np.float32).astype(np.float64)
    return np.stack([high, number - high])


def step_and_product(x: Reals, y: Reals) -> tuple[Reals, Reals]:
    """Return u - u' and u u' of numbers in two parts, the first row parameters."""
    return (x[0] - y[0]) + (x[1] - y[1]), (x[0] + x[1]) * (y[0] + y[1])
