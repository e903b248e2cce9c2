"""GELU: z Phi(z), with the normal distribution function Phi.

With x, 1 - x and the shares alpha = sqrt(q / (1 + q)), beta = sqrt(1 / (1 + q)) of a mix with noise as in `erf`,
s = sqrt((1 - x)(1 + x)) and k = alpha alpha', w = beta beta', the dual over sqrt(q q') is

    F = cosine / 4 + [cosine asin(x) + k (s + w^2 cosine^2 / s)] / (2 pi)
    E[s' s'] = 1/4 + [asin(x) + x / s (w^2 (1 + 1 / s^2) + (1 - k)(1 + k))] / (2 pi)

with 1 - k = w + gap: an odd and an even part, positive terms only. On the diagonal, F becomes

    M(q) = 1/4 + [atan2(alpha^2, beta sqrt(1 + alpha^2)) + 2 alpha^2 beta / sqrt(1 + alpha^2)] / (2 pi),

and with g = 1 / sqrt(M): cosine' = g g' F, D = g g' E[s' s']. Small rows see z/2, large ones ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import reals, special
from ntk_fast.layers.curved import CurvedActivation, Parts
from ntk_fast.layers.erf import central_binomials, mixed_with_noise, noise_shortfall


@dataclass(frozen=True, repr=False)
class Gelu(CurvedActivation):
    """The Gaussian error linear unit z Phi(z) (Hendrycks & Gimpel 2016), exactly, not by tanh.

    Row parameters after `ell` and `bend`: alpha, beta, g.

    Examples
    --------
    >>> round(Gelu().gain, 12)
    0.42522148257
    """

    map_kind: ClassVar[str] = "gelu"
    formula: ClassVar[str] = "S/4 + [S asin(x) + sqrt(q q') k (s + w^2 cosine^2 / s)] / (2 pi)"

    def __call__(self, z: Reals) -> Reals:
        return z * special().ndtr(z)

    def derivative(self, z: Reals) -> Reals:
        return special().ndtr(z) + z * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)

    def second_moment(self, variance: Reals | float) -> Reals:
        return reals(variance) * _moment_over_variance(reals(variance))

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        square, beta, root = _shares(reals(variance))
        terms = square * beta * (beta * beta / root + 1 / root**3 + root)
        return 0.25 + (np.arctan2(square, beta * root) + terms) / (2 * np.pi)

    def own_parameters(self, variance: Reals, tolerance: float, most: int | None) -> Reals:
        square, beta, _ = _shares(variance)
        return np.stack([np.sqrt(square), beta, 1 / np.sqrt(_moment_over_variance(variance))])

    def variance_of(self, parameters: Reals) -> Reals:
        return (parameters[2] / parameters[3]) ** 2

    def rounding(self, x: Reals, y: Reals) -> Reals:
        return noise_shortfall(x, y) / (x[0] * y[0])

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        square, beta, _ = _shares(reals(variance))
        series = np.zeros(n_terms + 2)
        k = np.arange(len(series[2::2]))
        # of c asin(x) + kept (sqrt(1 - x^2) + (noise c)^2 / sqrt(1 - x^2)), x = kept c, from c^2 on
        inner = 1 / (2 * k + 1) - square**2 / (2 * k + 2) + beta**4
        series[2::2] = central_binomials(len(k)) * square ** (2 * k + 1) * inner / (2 * np.pi)
        series[0], series[1] = square / (2 * np.pi), 0.25
        return series[:n_terms] / _moment_over_variance(reals(variance))

    def parts(self, m: Reals, x: Reals, y: Reals) -> Parts:
        kept, noise, normalisation = x[0] * y[0], x[1] * y[1], x[2] * y[2]
        noisy_m, noisy_x = mixed_with_noise(m, x, y)
        root = np.sqrt(noisy_m * (1 + noisy_x))
        arc = np.arctan2(noisy_x, root)
        cosine = 1 - m
        inner = noise**2 * (1 + 1 / root**2) + noise_shortfall(x, y) * (1 + kept)
        return Parts(
            normalisation * cosine / 4,
            normalisation / (2 * np.pi) * (cosine * arc + kept * (root + (noise * cosine) ** 2 / root)),
            normalisation * np.full(np.shape(root), 0.25),
            normalisation / (2 * np.pi) * (arc + noisy_x / root * inner),
        )


def _shares(variance: Reals) -> tuple[Reals, Reals, Reals]:
    """alpha^2, beta, and sqrt(1 + alpha^2)."""
    square = variance / (1 + variance)
    return square, np.sqrt(1 / (1 + variance)), np.sqrt(1 + square)


def _moment_over_variance(variance: Reals) -> Reals:
    """M(q), from 1/4 at 0 to ReLU's 1/2."""
    square, beta, root = _shares(variance)
    return 0.25 + (np.arctan2(square, beta * root) + 2 * square * beta / root) / (2 * np.pi)
