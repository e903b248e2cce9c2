"""A Gaussian process on rows with labels, by Laplace's approximation: a latent function for each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.derivatives import contracted_derivatives
from ntk_fast.estimators.laplace import LaplacePosterior
from ntk_fast.estimators.marginal_likelihood import Model
from ntk_fast.kernels import Kernel
from ntk_fast.solvers.base import Report
from ntk_fast.solvers.cholesky import gram_matrix

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LaplaceProcess:
    """Rows and labels, the variances to be found."""

    rows: NDArray[np.floating]  # (n, n_features)
    labels: NDArray[np.bool_]  # (n_latents, n): whether a row is of the class
    max_iterations: int
    n_threads: int | None

    def posteriors(self, kernel: Kernel, report: Report) -> list[LaplacePosterior]:
        """Return the latent function of each class."""
        K = gram_matrix(kernel, self.rows, self.n_threads, report, copies=3 + len(self.labels))
        return [LaplacePosterior.of(K, is_one, self.max_iterations, report) for is_one in self.labels]

    def log_likelihood(self, model: Model, with_gradient: bool, report: Report) -> tuple[float, Reals]:
        """Return the mean of the classes' log marginal likelihoods, and its gradient by theta (or zeros)."""
        K = gram_matrix(model.kernel, self.rows, self.n_threads, report, copies=4)
        total, weights, gradient = 0.0, np.zeros_like(K if with_gradient else K[:0]), np.zeros(len(model.names))
        for is_one in self.labels:
            posterior = LaplacePosterior.of(K, is_one, self.max_iterations, report)
            total += posterior.log_likelihood
            if with_gradient:
                posterior.add_weights(K, weights, report)
        if with_gradient and len(gradient):
            weights /= len(self.labels)
            gradient[:] = contracted_derivatives(
                model.parameters,
                self.rows,
                weights,
                n_threads=self.n_threads,
                progress=lambda done, total: report("Derivatives", done / total),
            )
        return total / len(self.labels), gradient
