"""A Gaussian process on all of its rows: the variances, and what is known of the function after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.estimators.marginal_likelihood import Model, log_density, most_likely_mean
from ntk_fast.estimators.standard_units import Search, StandardUnits
from ntk_fast.solvers.base import Report

Reals = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class ProcessPosterior:
    """What is known of a function by its values at some rows.

    With k the kernel of x at them the mean is k^T coefficients and the variance K(x, x) - |L^-1 k|^2. Values at centres
    are not quite known themselves: they add |damped^-1 L^-1 k|^2.
    """

    rows: NDArray[np.floating]  # (n, n_features)
    coefficients: Reals  # (n, n_targets)
    lower: NDArray[np.float64]  # (n, n): L
    damped: NDArray[np.float64] | None  # (n, n)
    mean: Reals  # (n_targets,): of the targets; zeros unless it is fitted
    ones: Reals  # (n,): the innermost factor's inverse times that of targets of 1 ...
    ones_square: float  # ... and 1^T A^-1 1, A the covariance of the targets
    log_likelihood: float


class ExactProcess:
    """Rows and targets, the variances to be found."""

    def __init__(
        self, rows: NDArray[np.floating], targets: NDArray[np.float64], units: StandardUnits, n_threads: int | None
    ) -> None:
        self._rows, self._targets, self._units, self._n_threads = rows, targets, units, n_threads
        self._inside = targets / units.target_square**0.5

    def fit(self, model: Model, search: Search) -> tuple[float, Model]:
        """Return the largest log marginal likelihood found, in standard units, and the model that has it."""

        def likelihood(model: Model, with_gradient: bool, report: Report) -> tuple[float, Reals]:
            return model.log_likelihood(self._rows, self._inside, with_gradient, self._n_threads, report)

        return search.fit(model, self._rows, self._units, float((self._inside**2).mean()) or 1.0, likelihood)

    def posterior(self, model: Model, report: Report) -> ProcessPosterior:
        factor = model.factorise(self._rows, self._n_threads, report)
        mean = most_likely_mean(self._targets, factor) if model.fits_mean else np.zeros(self._targets.shape[1])
        targets = self._targets - mean
        coefficients = factor.solve(targets)
        ones = factor.whiten(np.ones((len(targets), 1)))[:, 0]
        value = log_density(targets, coefficients, factor)
        return ProcessPosterior(self._rows, coefficients, factor.lower, None, mean, ones, float(ones @ ones), value)
