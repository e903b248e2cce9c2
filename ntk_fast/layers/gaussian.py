"""Gaussian bumps, exp(-z^2) and the like.

For exp(b z^2) with w = -2 b q, E[sigma sigma] = 1 / sqrt((1 + w)(1 + w') - w w' cosine^2). With a = w / (1 + w) and
t = sqrt(1 + 2w) / (1 + w), so that a^2 + t^2 = 1, this is, normalised,

    cosine'^2 = t t' / (N + t t'),    N = a a' (1 - cosine)(1 + cosine) + ((a - a')^2 + (t - t')^2) / 2,
    m' = N / (N + t t') / (1 + cosine'),    D = a a' cosine cosine' / (N + t t'):

positive terms only, however near the pair or small the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer, reals
from ntk_fast.layers.erf import central_binomials
from ntk_fast.layers.exponential import check_nonzero
from ntk_fast.layers.pair_state import cosine_of


@dataclass(frozen=True, repr=False)
class Gaussian(ActivationLayer):
    """``amplitude * exp(exponent * z**2)``. Row parameters: a, t.

    Parameters
    ----------
    amplitude : float, default 1
        Not 0.
    exponent : float, default -1
        Not 0. Where it is positive, variances must stay below 1 / (4 exponent): the second moment is infinite beyond.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Gaussian().second_moment(2.0)  # 1 / sqrt(1 + 4q)
    np.float64(0.3333333333333333)
    """

    map_kind: ClassVar[str] = "gaussian"
    formula: ClassVar[str] = "amplitude^2 / sqrt((1 - 2bq)(1 - 2bq') - 4 b^2 S^2), b = exponent"
    amplitude: float = 1.0
    exponent: float = -1.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "exponent"):
            object.__setattr__(self, name, check_nonzero(getattr(self, name), name))

    @property
    def parity(self) -> int:
        return 1

    def __call__(self, z: Reals) -> Reals:
        return self.amplitude * np.exp(self.exponent * z * z)

    def derivative(self, z: Reals) -> Reals:
        return 2 * self.exponent * z * self(z)

    def second_moment(self, variance: Reals | float) -> Reals:
        return self.amplitude**2 * self._spread(variance) ** -0.5

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return (2 * self.amplitude * self.exponent) ** 2 * reals(variance) * self._spread(variance) ** -1.5

    def _spread(self, variance: Reals | float) -> Reals:
        """1 - 4 exponent q, or NaN where the moments are infinite."""
        spread = 1 - 4 * self.exponent * reals(variance)
        return np.where(spread > 0, spread, np.nan)

    def row_parameters(self, variance: Reals, tolerance: float, most: int | None = None) -> Reals:
        w = -2 * self.exponent * variance
        return np.stack([w / (1 + w), np.sqrt(1 + 2 * w) / (1 + w)])

    def variance_of(self, parameters: Reals) -> Reals:
        return parameters[0] / (1 - parameters[0]) / (-2 * self.exponent)

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        w = -2 * self.exponent * variance
        series = np.zeros(n_terms)
        even = np.arange(len(series[::2]))
        series[::2] = central_binomials(len(even)) * (w / (1 + w)) ** (2 * even) * np.sqrt(1 + 2 * w) / (1 + w)
        return series

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        product, kept = x[0] * y[0], x[1] * y[1]
        lost = product * m * p + 0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2)
        cosine = np.sqrt(kept / (lost + kept))
        shortfall = lost / (lost + kept) / (1 + cosine)
        return shortfall, 2 - shortfall, product * cosine_of(m, p) * cosine / (lost + kept)
