"""Laplace's approximation of a Gaussian process behind a logistic (Rasmussen & Williams, 2006, algorithms 3.1 to 5.1).

The latent function f has the prior N(0, K), a label t of 0 or 1 the probability pi = 1 / (1 + exp(-f)) of being 1. At
the most likely f, W = pi (1 - pi), B = I + W^1/2 K W^1/2 = L L^T and R = W^1/2 B^-1 W^1/2,

    a = K^-1 f = t - pi,     log p(t) ~ -1/2 a^T f + sum log p(t | f) - 1/2 log det B,
    d log p(t) = sum(weights * dK),     weights = (a a^T - R + u a^T + a u^T) / 2,     u = s - R K s,

with s_i = -1/2 S_ii W_i (1 - 2 pi_i) and S the posterior covariance of f, S_ii W_i = 1 - (B^-1)_ii.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

from ntk_fast import lapack
from ntk_fast.solvers.base import Report, silent, ticks
from ntk_fast.solvers.cholesky import CholeskyFactor

Reals = NDArray[np.float64]

#: By how much the likelihood of the next f must be larger to go on; or, relatively, -1/2 a^T f + sum log p(t | f), for
#: the likelihood may fall at first.
TOLERANCE, TOLERANCE_OF_FIT = 1e-10, 1e-6
#: Shares of Newton's step to try, until that sum does not fall: a whole one may overshoot.
STEPS = 0.5 ** np.arange(12)
#: The logistic is about the sum of these multiples of 1/2 + erf(rate f) / 2, whose means under a normal distribution
#: are known (Williams & Barber, 1998, appendix A).
RATES = np.array([0.41, 0.4, 0.37, 0.44, 0.39])
SHARES = np.array([-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654])


@dataclass(frozen=True, eq=False)
class LaplacePosterior:
    """What is known of one latent function after n labels."""

    residual: Reals  # (n,): t - pi
    root_weights: Reals  # (n,): W^1/2
    factor: Reals  # (n, n): L
    log_likelihood: float

    @classmethod
    def of(
        cls,
        K: Reals,
        labels: NDArray[np.bool_],
        max_iterations: int,
        report: Report = silent,
    ) -> LaplacePosterior:
        """Find the most likely f by Newton's method, from 0."""
        tick = ticks(report, "Most likely latent function")
        value, fit, targets = -np.inf, len(K) * np.log(0.5), labels.astype(np.float64)
        a = latent = np.zeros(len(K))
        for _ in range(max_iterations):
            share = expit(latent)
            weights = share * expit(-latent)
            roots = np.sqrt(weights)
            B = K * roots
            B *= roots[:, None]
            B.flat[:: len(B) + 1] += 1
            lapack.cholesky_in_place(B, tick)
            factor = CholeskyFactor(B)
            b = weights * latent + (targets - share)
            step = b - roots * factor.solve((roots * (K @ b))[:, None])[:, 0] - a
            before, fit_before = value, fit
            for length in STEPS:
                a_next = a + length * step
                latent_next = K @ a_next
                signed = np.where(labels, latent_next, -latent_next)
                fit = float(-a_next @ latent_next / 2 - np.logaddexp(0, -signed).sum())
                if fit >= fit_before:
                    break
            a, latent = a_next, latent_next
            value = fit - factor.log_determinant / 2
            if value - before < TOLERANCE and fit - fit_before < TOLERANCE_OF_FIT * (1 + abs(fit)):
                break
        return cls(targets - share, roots, B, value)

    def add_weights(self, K: Reals, total: Reals, report: Report = silent) -> None:
        """Add to `total`, (n, n), what dK is weighted with in d log p(t). The factor is lost."""
        inverse = CholeskyFactor(self.factor).inverse_in_place(report)
        # (1 - 2 pi) = +-(2 |t - pi| - 1), whichever the label: residuals keep their digits near 0
        imbalance = np.sign(self.residual) * (2 * np.abs(self.residual) - 1)
        s = -(1 - inverse.diagonal()) * imbalance / 2
        inverse *= self.root_weights
        inverse *= self.root_weights[:, None]
        u = s - inverse @ (K @ s)
        a = self.residual
        both = np.column_stack([a / 2 + u, a])
        inverse *= -0.5
        inverse += (both[:, :1] @ both[:, 1:].T + both[:, 1:] @ both[:, :1].T) / 2
        total += inverse


def averaged_logistic(mean: Reals, variance: Reals) -> Reals:
    """Return the mean of 1 / (1 + exp(-f)) over normal f."""
    spread = np.sqrt(1 + 2 * variance[..., None] * RATES**2)
    return (SHARES * (1 + erf(RATES * mean[..., None] / spread))).sum(axis=-1) / 2
