"""Sphere eigenvalues of networks whose activations are smooth: by power series, in which every term is positive.

On unit rows such a kernel is a power series in the cosine, kappa(t) = sum_n b_n t^n, b_n >= 0 (Schoenberg 1942), that
converges beyond |t| = 1, and

    lambda_k = sum_n b_n int t^n P_k w dt / int w dt = sum_n b_n n! Gamma(p/2) / (2^n ((n - k)/2)! Gamma((n + k + p)/2))

over n = k, k + 2, ...: nothing cancels, however small the eigenvalue. The series of a network is made of those of its
activations by sums, products and compositions of such series.
"""

from __future__ import annotations

import numpy as np
import scipy.special
from numpy.typing import NDArray

from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.lower.program import ABSENT
from ntk_fast.spectrum.unit_rows import UnitRows

Reals = NDArray[np.float64]

#: Terms of the series, until what the last ones add is below this share of every eigenvalue.
TERMS = (256, 512, 1024)
CONVERGED = 1e-12


def series_eigenvalues(unit: UnitRows, n_features: int, max_degree: int) -> Reals | None:
    """Return the eigenvalues over S(x, x) by degree, or None where the kernel has no series that converges fast."""
    for n_terms in TERMS:
        if n_terms < 2 * max_degree:
            continue
        series = _kernel_series(unit, n_terms)
        if series is None:
            return None
        weighted = series[:, None] * _moments(n_terms, n_features, max_degree)
        values = weighted.sum(axis=0)
        if (weighted[-n_terms // 8 :].sum(axis=0) <= CONVERGED * values).all():
            return values
    return None


def _moments(n_terms: int, p: int, max_degree: int) -> Reals:
    """int t^n P_k w / int w, (n_terms, max_degree + 1)."""
    n, k = np.arange(n_terms)[:, None], np.arange(max_degree + 1)
    there = (n >= k) & ((n - k) % 2 == 0)
    half = np.where(there, (n - k) / 2, 0)
    logarithms = scipy.special.gammaln(n + 1) + scipy.special.gammaln(p / 2) - n * np.log(2)
    logarithms = logarithms - scipy.special.gammaln(half + 1) - scipy.special.gammaln((n + k + p) / 2)
    return np.where(there, np.exp(logarithms), 0.0)


def _kernel_series(unit: UnitRows, n_terms: int) -> Reals | None:
    """Return S or T over q, at unit rows, by powers of their cosine."""
    start = np.zeros(n_terms)
    start[1] = 1.0
    registers: dict[int, tuple[Reals, Reals]] = {0: (start, np.zeros(n_terms))}
    covariance, tangent = registers[0]
    for instruction in unit.instructions.instructions:
        sources = [registers[k] for k in instruction.sources]
        if instruction.promotes:
            covariance, tangent = unit.share(instruction.shares[0]) * sources[0][1], np.zeros(n_terms)
        elif instruction.is_product:
            covariance, tangent = sources[0]
            for other, other_tangent in sources[1:]:
                tangent = _times(tangent, other) + _times(covariance, other_tangent)
                covariance = _times(covariance, other)
        else:
            if instruction.map != ABSENT:
                activation = unit.instructions.maps[instruction.map].step.activation
                mapped = _mapped(activation, unit.variances[instruction.map], *sources[0])
                if mapped is None:
                    return None
                sources = [mapped]
            weights = [unit.share(plane) for plane in instruction.shares]
            covariance = sum((w * s for w, (s, _) in zip(weights, sources, strict=True)), np.zeros(n_terms))
            tangent = sum((w * t for w, (_, t) in zip(weights, sources, strict=True)), np.zeros(n_terms))
            if instruction.bias != ABSENT:
                covariance[0] += unit.share(instruction.bias)
            if instruction.adds_own:
                tangent = tangent + covariance
        registers[instruction.destination] = covariance, tangent
    return tangent if unit.has_tangent else covariance


def _times(a: Reals, b: Reals) -> Reals:
    return np.convolve(a, b)[: len(a)]


def _mapped(
    activation: ActivationLayer, variance: float, covariance: Reals, tangent: Reals
) -> tuple[Reals, Reals] | None:
    """The series of an activation's output, and of T times its derivative, by Horner's scheme on series."""
    outer = activation.cosine_series(variance, len(covariance))
    if outer is None:
        return None
    kept = np.flatnonzero(outer > 0)
    last = int(kept[-1]) if len(kept) else 0
    if last and outer[-max(1, len(outer) // 8) :].sum() > 1e-14 * outer.sum():
        return None
    value, slope = np.zeros_like(covariance), np.zeros_like(covariance)
    for n in range(last, -1, -1):
        value = _times(value, covariance)
        value[0] += outer[n]
        if n:
            slope = _times(slope, covariance)
            slope[0] += n * outer[n]
    return value, _times(slope, tangent)
