"""The marginal likelihood of a Gaussian process, and the variances that maximise it.

With A = K + noise_variance I and a = A^-1 y, the targets have the log marginal likelihood

    log p(y) = -1/2 y^T A^-1 y - 1/2 log det A - n/2 log(2 pi),   d log p(y) = 1/2 tr((a a^T - A^-1) dA).

It is maximised by the logarithms of the variances (L-BFGS-B, with the derivatives of `ntk_fast.derivatives`), from
those given and from those that bring the prior to the scale of the targets.
"""

from __future__ import annotations

import itertools
import math
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize
from sklearn.exceptions import ConvergenceWarning

from ntk_fast.derivatives import VARIANCES, VarianceParameters, contracted_derivatives
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.solvers.base import Report, silent
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix
from ntk_fast.threads import single_threaded_blas
from ntk_fast.validation import check_whole_number

Reals = NDArray[np.floating]

NOISE = "noise_variance"
FITTED = (*VARIANCES, NOISE)
#: How far below and above the least and the largest start variances are fitted; and the least and the largest noise, in
#: units of the targets' mean square.
BOUNDS = (1e-5, 1e5)
NOISE_BOUNDS = (1e-10, 1e5)
#: Of a variance.
LARGEST_LOGARITHM = 300
#: Of targets, their mean square.
EXTREME_SIZES = (1e-100, 1e100)
#: The largest logarithm of the number by which a prior is brought to the scale of the targets.
SCALES = 60.0
#: How near to a bound, in logarithms, a fitted variance is as good as at it.
AT_BOUND = 1e-3
#: Factorising so small a matrix gains nothing from BLAS's threads, and loses five times where processors are busy.
MOST_ROWS_FOR_ONE_THREAD = 500


@dataclass(frozen=True)
class Model:
    """A kernel and a noise variance, as a vector of the logarithms that are fitted: theta, the noise last."""

    variances: VarianceParameters
    noise_variance: float
    fits_noise: bool

    @property
    def kernel(self) -> Kernel:
        return self.variances.kernel

    @property
    def names(self) -> list[str]:
        """Of the entries of theta."""
        return [*self.variances.names, *([NOISE] if self.fits_noise else [])]

    @property
    def theta(self) -> Reals:
        noise = [math.log(self.noise_variance)] if self.fits_noise else []
        return np.append(self.variances.theta, noise)

    def at(self, theta: ArrayLike) -> Model:
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != self.theta.shape:
            raise ValueError(f"theta must have shape {self.theta.shape}; got {theta.shape}.")
        if not (np.abs(theta) <= LARGEST_LOGARITHM).all():
            raise ValueError(
                f"theta must hold logarithms from -{LARGEST_LOGARITHM} to {LARGEST_LOGARITHM}; got {theta}."
            )
        n_variances = len(self.variances.groups)
        noise = math.exp(theta[-1]) if self.fits_noise else self.noise_variance
        kernel = self.variances.kernel_at(theta[:n_variances])
        return replace(self, variances=replace(self.variances, kernel=kernel), noise_variance=noise)

    def factorise(self, X: NDArray[np.floating], report: Report = silent) -> CholeskyFactor:
        return CholeskyFactor.in_place(gram_matrix(self.kernel, X, None, report, copies=2), self.noise_variance, report)

    def log_likelihood(
        self, X: NDArray[np.floating], targets: Reals, with_gradient: bool, report: Report = silent
    ) -> tuple[float, Reals]:
        """Return log p(targets), summed over their columns, and its gradient with respect to theta (or zeros)."""
        factor = self.factorise(X, report)
        coefficients = factor.solve(targets)
        n, n_targets = targets.shape
        value = (
            -np.vdot(targets, coefficients) / 2 - n_targets * (factor.log_determinant + n * math.log(2 * math.pi)) / 2
        )
        gradient = np.zeros_like(self.theta)
        if with_gradient and len(gradient):
            weights = factor.inverse_in_place(report)
            weights *= -n_targets / 2
            weights += coefficients @ (coefficients.T / 2)
            n_variances = len(self.variances.groups)
            if n_variances:
                gradient[:n_variances] = contracted_derivatives(
                    self.variances, X, weights, progress=lambda done, total: report("Derivatives", done / total)
                )
            if self.fits_noise:
                gradient[-1] = self.noise_variance * np.trace(weights)
        return float(value), gradient


def at_depth(kernel: Kernel, depth: Any) -> Kernel:
    """Return the same kernel with another number of layers, further ones like its last."""
    depth = check_whole_number(depth, "depths", 1)
    if not isinstance(kernel, NTK | NNGP):
        return replace(kernel, depth=depth)  # type: ignore[type-var]
    recursion = kernel.recursion
    changes = {
        name: (layers + layers[-1:] * depth)[: depth + 1]
        for name, layers in (
            ("weight_variance", recursion.weight_variances),
            ("bias_variance", recursion.bias_variances),
        )
    }
    return replace(kernel, depth=depth, **changes)


def maximise(
    model: Model, X: NDArray[np.floating], targets: Reals, n_restarts: int, generator: Any, report: Report
) -> tuple[float, Model]:
    """Return the largest log marginal likelihood found, and the model that has it."""
    start = model.theta
    if not len(start):
        return model.log_likelihood(X, targets, with_gradient=False, report=report)[0], model
    evaluations = itertools.count(1)

    def evaluate(theta: Reals, with_gradient: bool) -> tuple[float, Reals]:
        number = next(evaluations)

        def report_within(stage: str, share: float | None) -> None:
            report(f"Depth {model.kernel.recursion.depth}, likelihood {number}: {stage}", share)

        return model.at(theta).log_likelihood(X, targets, with_gradient, report_within)

    with np.errstate(over="ignore", under="ignore"):
        size = float((targets**2).mean())
    if targets.any() and not EXTREME_SIZES[0] <= size <= EXTREME_SIZES[1]:
        raise ValueError(
            f"y has a mean square of {size:.3g}, and must have one from {EXTREME_SIZES[0]:g} to {EXTREME_SIZES[1]:g} "
            "to fit variances: scale it, or pass normalize_y=True."
        )
    size = size or 1.0
    starts = [start, _scaled_start(model, X, size)]
    bounds = np.array([np.min(starts, axis=0) + np.log(BOUNDS[0]), np.max(starts, axis=0) + np.log(BOUNDS[1])])
    if model.fits_noise:
        bounds[:, -1] = np.log(size * np.array(NOISE_BOUNDS))
    starts = [np.clip(theta, *bounds) for theta in starts]
    starts += [generator.uniform(*bounds) for _ in range(n_restarts)]

    def objective(theta: Reals) -> tuple[float, Reals]:
        try:
            value, gradient = evaluate(theta, with_gradient=True)
        except ValueError:  # singular here: the line search turns back
            return np.inf, np.zeros_like(theta)
        return -value, -gradient

    with single_threaded_blas() if len(X) <= MOST_ROWS_FOR_ONE_THREAD else nullcontext():
        evaluate(start, with_gradient=False)  # a start that is singular is the caller's to hear of
        found = [minimize(objective, theta, jac=True, method="L-BFGS-B", bounds=bounds.T) for theta in starts]
    best = min(found, key=lambda result: result.fun)
    if not best.success:
        warnings.warn(
            f"The variances of {model.kernel!r} were not fitted to the end: {best.message}; scale the rows and the "
            "targets to about 1, pass normalize_y=True, or start elsewhere.",
            ConvergenceWarning,
            stacklevel=3,
        )
    at_bound = np.flatnonzero(np.abs(best.x - bounds).min(axis=0) < AT_BOUND)
    if len(at_bound):
        names = [model.names[parameter] for parameter in at_bound]
        values = ", ".join(f"{name} = {np.exp(best.x[k]):.2g}" for name, k in zip(names, at_bound, strict=True))
        warnings.warn(
            f"The likelihood is largest at a bound of what was fitted: {values}. Scale the rows and the targets to "
            "about 1, start elsewhere, or leave out of `fitted` what the data do not determine.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return -float(best.fun), model.at(best.x)


def _scaled_start(model: Model, X: NDArray[np.floating], size: float) -> Reals:
    """Return the theta where variances are multiplied by one number so that the prior has the targets' size.

    Bias variances by its power if that is less: they must not come to outweigh the rows.
    """
    theta = model.theta.copy()
    groups = model.variances.groups
    is_bias = np.array([name == "bias_variance" for name, _ in groups], dtype=bool)
    n_layers = model.kernel.recursion.depth + 1

    def moved(shift: float) -> Reals:
        result = theta.copy()
        result[: len(groups)] += np.where(is_bias, min(shift, n_layers * shift), shift)
        return result

    def excess(shift: float) -> float:
        try:
            diagonal = model.at(moved(shift)).kernel.diag(X, dtype=np.float64)
        except ValueError:  # it overflows
            return math.inf
        return math.log(max(float(diagonal.mean()), 1e-300) / size)

    low, high = -SCALES / n_layers, SCALES / n_layers
    if len(groups) and excess(low) < 0 < excess(high):
        theta = moved(brentq(excess, low, high, xtol=1e-2))
    if model.fits_noise:
        theta[-1] = math.log(size / 10)
    return theta
