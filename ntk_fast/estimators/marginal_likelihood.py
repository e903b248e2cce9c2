"""The marginal likelihood of a Gaussian process.

With A = K + noise_variance I and a = A^-1 y, the targets have the log marginal likelihood

    log p(y) = -1/2 y^T A^-1 y - 1/2 log det A - n/2 log(2 pi),   d log p(y) = 1/2 tr((a a^T - A^-1) dA).

An unknown mean of the targets is put at its most likely value, 1^T A^-1 y / 1^T A^-1 1: unlike the average, that takes
nothing off which the prior explains. Of the kernel it needs only the Gram matrix, and derivatives of a weighted sum of
that matrix's entries (`derivatives`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.derivatives import VARIANCES, LogParameters, contracted_derivatives
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.solvers.base import Report, silent
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix

Reals = NDArray[np.floating]

NOISE = "noise_variance"
FITTED = (*VARIANCES, NOISE)
#: Of a variance.
LARGEST_LOGARITHM = 300


@dataclass(frozen=True, eq=False)
class Model:
    """A kernel and a noise variance, as a vector of the logarithms that are fitted: theta, the noise last."""

    parameters: LogParameters
    noise_variance: float | NDArray[np.float64]  # of each row, (n,): as they are, not fitted
    fits_noise: bool
    fits_mean: bool = False  # whether targets have an unknown mean, too, at its most likely value

    @property
    def kernel(self) -> Kernel:
        return self.parameters.kernel

    @property
    def names(self) -> list[str]:
        """Of the entries of theta."""
        return [*self.parameters.names, *([NOISE] if self.fits_noise else [])]

    @property
    def fits_all(self) -> bool:
        """Whether no variance that there is stays as it is given."""
        if not isinstance(self.kernel, NTK | NNGP):
            return self.fits_noise
        every = replace(self.parameters, fitted=VARIANCES)
        has_fixed_noise = not self.fits_noise and np.any(self.noise_variance)
        return len(every.groups) == len(self.parameters.groups) > 0 and not has_fixed_noise

    @property
    def theta(self) -> Reals:
        noise = [np.log(self.noise_variance)] if self.fits_noise else []
        return np.append(self.parameters.theta, noise)

    def at(self, theta: ArrayLike) -> Model:
        theta = np.asarray(theta, dtype=np.float64)
        own = self.parameters.theta
        n_parameters = len(own) + self.fits_noise
        if theta.shape != (n_parameters,):
            raise ValueError(f"theta must have shape {(n_parameters,)}; got {theta.shape}.")
        if not (np.abs(theta) <= LARGEST_LOGARITHM).all():
            raise ValueError(
                f"theta must hold logarithms from -{LARGEST_LOGARITHM} to {LARGEST_LOGARITHM}; got {theta}."
            )
        noise = math.exp(theta[-1]) if self.fits_noise else self.noise_variance
        return replace(self, parameters=self.parameters.at(theta[: len(own)]), noise_variance=noise)

    def factorise(
        self, X: NDArray[np.floating], n_threads: int | None = None, report: Report = silent
    ) -> CholeskyFactor:
        matrix = gram_matrix(self.kernel, X, n_threads, report, copies=2)
        return CholeskyFactor.in_place(matrix, self.noise_variance, report)

    def log_likelihood(
        self,
        X: NDArray[np.floating],
        targets: Reals,
        with_gradient: bool,
        n_threads: int | None = None,
        report: Report = silent,
    ) -> tuple[float, Reals]:
        """Return log p(targets), summed over their columns, and its gradient with respect to theta (or zeros)."""
        factor = self.factorise(X, n_threads, report)
        if self.fits_mean:
            targets = targets - most_likely_mean(targets, factor)
        coefficients = factor.solve(targets)
        n_targets = targets.shape[1]
        value = log_density(targets, coefficients, factor)
        gradient = np.zeros(len(self.names))
        if with_gradient and len(gradient):
            weights = factor.inverse_in_place(report)
            weights *= -n_targets / 2
            weights += coefficients @ (coefficients.T / 2)
            if self.fits_noise:
                gradient[-1] = self.noise_variance * np.trace(weights)
            n_variances = len(gradient) - self.fits_noise
            if n_variances:
                gradient[:n_variances] = contracted_derivatives(
                    self.parameters,
                    X,
                    weights,
                    n_threads=n_threads,
                    progress=lambda done, total: report("Derivatives", done / total),
                )
        return value, gradient


def most_likely_mean(targets: Reals, factor: CholeskyFactor) -> NDArray[np.float64]:
    """Return 1^T A^-1 y / 1^T A^-1 1 of each target; log p is flat there, so the gradient needs no term for it."""
    ones = factor.solve(np.ones((len(targets), 1)))
    return np.asarray((ones.T @ targets)[0] / ones.sum(), dtype=np.float64)


def log_density(targets: Reals, coefficients: Reals, factor: CholeskyFactor) -> float:
    """Return log p(targets), summed over their columns, of A and a = A^-1 y."""
    n, n_targets = targets.shape
    constant = n_targets * (factor.log_determinant + n * math.log(2 * math.pi)) / 2
    return float(-np.vdot(targets, coefficients) / 2 - constant)
