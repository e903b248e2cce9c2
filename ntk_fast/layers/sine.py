"""Sine and cosine.

sin(b z + f) = o sin(b z) + e cos(b z), with o = cos f and e = sin f; the mean is e exp(-v/2), v = b^2 q. Without it,
with u = |b| sqrt(q), y = u u' |cosine|, h = 1 - exp(-y) and G = exp(-(u - u')^2 / 2 - u u' (1 - |cosine|)),

    S = amplitude^2 G / 2 [+- o^2 h (2 - h) + e^2 h^2]
    dS/dy = amplitude^2 G / 2 [o^2 (1 + (1 - h)^2) +- e^2 h (2 - h)]

for positive and negative cosines: an odd and an even part. Over amplitude^2, the variance is
1/g^2 = [o^2 (1 - exp(-2v)) + e^2 (1 - exp(-v))^2] / 2. The row parameters after `ell` and `bend` are u, in two parts,
and g.

The curve of such an activation has coordinates sqrt(w_k), with probabilities w_k proportional to v^k / k! times o^2 or
e^2: an exponential family in ln v. So |b'|^2 = Var(k) / 4, and `bend` is the kurtosis less the squared skewness.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import reals, special
from ntk_fast.layers.curved import CurvedActivation, Parts
from ntk_fast.layers.exponential import check_nonzero, in_two_parts, poisson, step_and_product
from ntk_fast.layers.row_curve import RowCurve
from ntk_fast.validation import check_finite_number


@dataclass(frozen=True, repr=False)
class Sinusoid(CurvedActivation, abstract=True):
    """``amplitude * (odd_share * sin(frequency * z) + even_share * cos(frequency * z))``: see the module."""

    map_kind: ClassVar[str] = "sine"
    formula: ClassVar[str] = "amplitude^2/2 (r(m) - cos(2 phase) r(p)), r = exp(-frequency^2 (q + q' -+ 2 S)/2)"

    amplitude: float = 1.0
    frequency: float = 1.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "frequency"):
            object.__setattr__(self, name, check_nonzero(getattr(self, name), name))
        object.__setattr__(self, "phase", check_finite_number(self.phase, "phase"))

    @property
    def shares(self) -> tuple[float, float]:
        """o and e; one of them is 0 exactly where the activation is even or odd."""
        raise NotImplementedError

    @property
    def map_constants(self) -> tuple[float, ...]:
        """o^2 and e^2."""
        odd, even = self.shares
        return odd**2, even**2

    @property
    def parity(self) -> int:
        odd, even = self.shares
        return 1 if odd == 0 else -1 if even == 0 else 0

    @property
    def separates_mean(self) -> bool:
        return self.shares[1] != 0

    def __call__(self, z: Reals) -> Reals:
        odd, even = self.shares
        angle = self.frequency * z
        return self.amplitude * (odd * np.sin(angle) + even * np.cos(angle))

    def rise(self, z: Reals) -> Reals:
        odd, even = self.shares
        angle = self.frequency * z
        return self.amplitude * (odd * np.sin(angle) - 2 * even * np.sin(0.5 * angle) ** 2)

    def derivative(self, z: Reals) -> Reals:
        odd, even = self.shares
        angle = self.frequency * z
        return self.amplitude * self.frequency * (odd * np.cos(angle) - even * np.sin(angle))

    def _angle_variance(self, variance: Reals | float) -> Reals:
        """v, that of frequency * z."""
        return self.frequency**2 * reals(variance)

    def mean(self, variance: Reals | float) -> Reals:
        return self.amplitude * self.shares[1] * np.exp(-0.5 * self._angle_variance(variance))

    def centred_moment(self, variance: Reals | float) -> Reals:
        return self.amplitude**2 * self._spread(self._angle_variance(variance))

    def second_moment(self, variance: Reals | float) -> Reals:
        return self._moment(variance, *self.shares)

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        odd, even = self.shares
        return self.frequency**2 * self._moment(variance, even, odd)

    def _moment(self, variance: Reals | float, odd: float, even: float) -> Reals:
        decay = np.expm1(-2 * self._angle_variance(variance))
        return 0.5 * self.amplitude**2 * (even**2 * (2 + decay) - odd**2 * decay)

    def _spread(self, angle_variance: Reals) -> Reals:
        odd, even = self.shares
        return 0.5 * (even**2 * np.expm1(-angle_variance) ** 2 - odd**2 * np.expm1(-2 * angle_variance))

    def own_parameters(self, variance: Reals, tolerance: float, most: int | None) -> Reals:
        angle_variance = self._angle_variance(variance)
        return np.concatenate([in_two_parts(np.sqrt(angle_variance)), 1 / np.sqrt(self._spread(angle_variance))[None]])

    def variance_of(self, parameters: Reals) -> Reals:
        return ((parameters[2] + parameters[3]) / self.frequency) ** 2

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        odd, even = self.shares
        series = poisson(float(self._angle_variance(variance)), n_terms)
        series[1::2] *= odd**2
        series[::2] *= even**2
        if self.separates_mean:
            series[0] = 0.0
        return self.amplitude**2 * series / self.centred_moment(variance)

    def parts(self, m: Reals, x: Reals, y: Reals) -> Parts:
        odd, even = self.shares
        step, product = step_and_product(x, y)
        half = 0.5 * np.exp(-0.5 * step**2 - product * m)
        rise = -np.expm1(-product * (1 - m))
        # in this order nothing overflows in float32: the normalisations g of tiny rows are up to 1e34
        scaled, slope = half * (rise * x[2]), half * (product * x[2])
        return Parts(
            odd**2 * (scaled * ((2 - rise) * y[2])),
            even**2 * (scaled * (rise * y[2])),
            odd**2 * (slope * ((1 + (1 - rise) ** 2) * y[2])) if odd else np.zeros_like(half),
            even**2 * (slope * (rise * (2 - rise) * y[2])),
        )

    def curve(self) -> RowCurve:
        return _sine_curve(self)


@dataclass(frozen=True, repr=False)
class Sin(Sinusoid):
    """``amplitude * sin(frequency * z + phase)``.

    Parameters
    ----------
    amplitude, frequency : float, default 1
        Not 0.
    phase : float, default 0

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> round(Sin().gain, 12)  # (1 - exp(-2)) / 2
    0.432332358382
    """

    @property
    def shares(self) -> tuple[float, float]:
        return float(np.cos(self.phase)), float(np.sin(self.phase))


@dataclass(frozen=True, repr=False)
class Cos(Sinusoid):
    """``amplitude * cos(frequency * z + phase)``.

    Parameters
    ----------
    amplitude, frequency : float, default 1
        Not 0.
    phase : float, default 0

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Cos().parity
    1
    """

    @property
    def shares(self) -> tuple[float, float]:
        return float(-np.sin(self.phase)), float(np.cos(self.phase))


#: v beyond which the probabilities w_k are Poisson's to the last digit, and terms that they need up to there.
POISSON, N_TERMS = 50.0, 160
#: v below which `bend` has its limit.
LEAST_ANGLE_VARIANCE = 1e-8


@lru_cache(maxsize=256)
def _sine_curve(activation: Sinusoid) -> RowCurve:
    odd, even = activation.shares
    k = np.arange(1.0, N_TERMS)
    shares = np.where(k % 2 == 1, odd**2, even**2)
    k, shares = k[shares > 0], shares[shares > 0]

    def moments(angle_variance: Reals) -> tuple[Reals, Reals]:
        """Return the variance of k, and its kurtosis less its squared skewness."""
        log = np.log(shares) + k * np.log(angle_variance)[:, None] - special().gammaln(k + 1)
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        offset = k - k[0] - (weight @ (k - k[0]))[:, None]
        square = (weight * offset**2).sum(axis=1, keepdims=True)
        skewness = (weight * offset**3).sum(axis=1, keepdims=True) / square
        rest = offset**2 - square - skewness * offset
        return square[:, 0], 1 + (weight * rest**2).sum(axis=1) / square[:, 0] ** 2

    def motion(position: Reals) -> tuple[Reals, Reals, Reals]:
        angle_variance = activation.frequency**2 * np.exp(position)
        speed_square, _ = moments(np.minimum(angle_variance, POISSON))
        _, bend = moments(np.clip(angle_variance, LEAST_ANGLE_VARIANCE, POISSON))
        large = angle_variance >= POISSON
        speed = 0.5 * np.sqrt(np.where(large, angle_variance, speed_square))
        return speed, np.where(large, 3 + 0 * angle_variance, bend), np.full(angle_variance.shape, np.inf)

    return RowCurve(motion)
