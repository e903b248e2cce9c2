"""The error function, and the sigmoid that is made of it.

S = (2/pi) asin(2 S / sqrt((1 + 2q)(1 + 2q'))) (Williams 1997) is the map of sign after independent noise is mixed in:
with alpha = sqrt(2q / (1 + 2q)), beta = sqrt(1 / (1 + 2q)), and g = 1 / sqrt(asin(alpha^2)), the mixed pair is

    x = alpha alpha' cosine,    1 - x = alpha alpha' m + beta beta' + gap,    1 + x = alpha alpha' p + beta beta' + gap,
    gap = ((alpha - alpha')^2 + (beta - beta')^2) / 2,    and then
    cosine' = g g' asin(x),     D = g g' alpha alpha' / sqrt((1 - x)(1 + x)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import reals, special
from ntk_fast.layers.curved import CurvedActivation, Parts


@dataclass(frozen=True, repr=False)
class ErrorFunction(CurvedActivation, abstract=True):
    """``offset + height * erf(rate * z)``. Row parameters after `ell` and `bend`: alpha, beta, g."""

    map_kind: ClassVar[str] = "erf"

    rate: ClassVar[float] = 1.0
    height: ClassVar[float] = 1.0
    offset: ClassVar[float] = 0.0

    @property
    def parity(self) -> int:
        return 0 if self.offset else -1

    @property
    def separates_mean(self) -> bool:
        return self.offset != 0

    def __call__(self, z: Reals) -> Reals:
        return self.offset + self.rise(z)

    def rise(self, z: Reals) -> Reals:
        return self.height * special().erf(self.rate * z)

    def derivative(self, z: Reals) -> Reals:
        return (2 / np.sqrt(np.pi) * self.height * self.rate) * np.exp(-((self.rate * z) ** 2))

    def mean(self, variance: Reals | float) -> Reals:
        return np.full(np.shape(variance), self.offset)

    def centred_moment(self, variance: Reals | float) -> Reals:
        q = self.rate**2 * reals(variance)
        return (2 / np.pi * self.height**2) * np.arctan2(2 * q, np.sqrt(1 + 4 * q))

    def second_moment(self, variance: Reals | float) -> Reals:
        return self.offset**2 + self.centred_moment(variance)

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return 4 / np.pi * (self.height * self.rate) ** 2 / np.sqrt(1 + 4 * self.rate**2 * reals(variance))

    def own_parameters(self, variance: Reals, tolerance: float, most: int | None) -> Reals:
        q = self.rate**2 * variance
        angle = np.arctan2(2 * q, np.sqrt(1 + 4 * q))
        return np.stack([np.sqrt(2 * q / (1 + 2 * q)), np.sqrt(1 / (1 + 2 * q)), 1 / np.sqrt(angle)])

    def variance_of(self, parameters: Reals) -> Reals:
        return 0.5 * (parameters[2] / (self.rate * parameters[3])) ** 2

    def rounding(self, x: Reals, y: Reals) -> Reals:
        return noise_shortfall(x, y) / (x[0] * y[0])

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        q = self.rate**2 * variance
        kept = 2 * q / (1 + 2 * q)
        series = np.zeros(n_terms)
        odd = np.arange(1, n_terms, 2)
        series[odd] = central_binomials(len(odd)) / odd * kept**odd
        return series * (2 / np.pi * self.height**2) / self.centred_moment(variance)

    def parts(self, m: Reals, x: Reals, y: Reals) -> Parts:
        kept, normalisation = x[0] * y[0], x[2] * y[2]
        noisy_m, noisy_x = mixed_with_noise(m, x, y)
        root = np.sqrt(noisy_m * (1 + noisy_x))
        zero = np.zeros(np.shape(root))
        return Parts(normalisation * np.arctan2(noisy_x, root), zero, normalisation * kept / root, zero)


@dataclass(frozen=True, repr=False)
class Erf(ErrorFunction):
    """The error function erf(z) = (2 / sqrt(pi)) int_0^z exp(-t^2) dt.

    Examples
    --------
    >>> round(Erf().gain, 12)  # (2/pi) asin(2/3)
    0.464559054398
    """

    formula: ClassVar[str] = "(2/pi) asin(2 S / sqrt((1 + 2q)(1 + 2q')))"


@dataclass(frozen=True, repr=False)
class SigmoidLike(ErrorFunction):
    """(erf(z / 2.4020563531719796) + 1) / 2: within 0.02 of the logistic sigmoid, with a closed form.

    Examples
    --------
    >>> SigmoidLike().mean(1.0)
    array(0.5)
    """

    formula: ClassVar[str] = "1/4 + asin(2 S / sqrt((k + 2q)(k + 2q'))) / (2 pi), k = 2.402...^2"
    rate: ClassVar[float] = 1 / 2.4020563531719796
    height: ClassVar[float] = 0.5
    offset: ClassVar[float] = 0.5


def central_binomials(n_terms: int) -> Reals:
    """Return binom(2k, k) / 4^k for k = 0, 1, ...: the coefficients of 1 / sqrt(1 - x^2) by powers of x^2."""
    k = np.arange(1, n_terms)
    return np.concatenate([[1.0], np.cumprod((2 * k - 1) / (2 * k))])[:n_terms]


def noise_shortfall(x: Reals, y: Reals) -> Reals:
    """Return 1 - alpha alpha' of shares (alpha, beta) of signal and of noise, as a sum of positive terms."""
    return x[1] * y[1] + 0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2)


def mixed_with_noise(m: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals]:
    """Return 1 - x to relative accuracy, and x = alpha alpha' cosine."""
    kept = x[0] * y[0]
    return kept * m + noise_shortfall(x, y), kept * (1 - m)
