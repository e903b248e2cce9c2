"""The units in which variances are fitted: those of the data, whatever the data's own.

Rows count in units of their root mean square norm and targets in units of their deviation. No row is divided by that:
for the rows and targets as they are the weight variances of the layers that see the rows are 1/row_square times as
large, and the last layer's variances, with the noise, target_square times. Networks without such layers are fitted to
rows and targets that are divided (`estimators.scaling`). So a fit takes the same way, and predicts the same, in every
unit. What is fitted is given in these units, and everything else as it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ntk_fast.caller import on_trial
from ntk_fast.derivatives import contracted_diagonal_derivatives
from ntk_fast.estimators.likelihood_search import maximise
from ntk_fast.estimators.marginal_likelihood import Model
from ntk_fast.estimators.network_ends import on_rows
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.schedule.threads import single_threaded_blas
from ntk_fast.solvers.base import Report
from ntk_fast.validation import shortened

Reals = NDArray[np.floating]

#: Of starts: how many times the bias variances given, and what share of the targets' mean square is noise.
BIAS_FACTORS = (1.0, 0.03)
NOISE_SHARES = (0.1, 0.003)
#: How far below and above the least and the largest start variances are fitted; and the noise, in units of the targets.
BOUNDS = (1e-5, 1e5)
NOISE_BOUNDS = (1e-10, 1e5)
#: The largest logarithm of the number by which a prior is brought to the scale of the targets.
SCALES = 60.0
#: The change of a logarithm of a likelihood to stop at; and of one of many rows, which is in the tens of thousands.
TOLERANCE, TOLERANCE_OF_MANY = 1e-6, 1e-2
#: Factorising so small a matrix gains nothing from BLAS's threads, and loses five times where processors are busy.
MOST_ROWS_FOR_ONE_THREAD = 500


@dataclass(frozen=True)
class StandardUnits:
    """What counts as 1: a squared norm of rows, and a square of targets."""

    row_square: float
    target_square: float

    def enter(self, model: Model) -> Model:
        """Return the model as given, for targets divided by their unit."""
        kernel, fitted = model.kernel, model.parameters.fitted
        if not isinstance(kernel, NTK | NNGP):
            return model
        weights, biases = _variances(kernel)
        if "weight_variance" in fitted:
            weights[on_rows(kernel) or []] /= self.row_square
        else:
            weights[-1] /= self.target_square
        if "bias_variance" not in fitted:
            biases[-1] /= self.target_square
        noise = model.noise_variance if model.fits_noise else model.noise_variance / self.target_square
        return _with(model, kernel, weights, biases, noise)

    def leave(self, model: Model, given: Model) -> Model:
        """Return the fitted model for the targets as they are; what was not fitted is as it was given."""
        kernel, fitted = model.kernel, model.parameters.fitted
        if not isinstance(kernel, NTK | NNGP):
            return model
        weights, biases = _variances(kernel)
        given_weights, given_biases = _variances(given.kernel)
        weights[-1] *= self.target_square
        biases[-1] *= self.target_square
        if "weight_variance" not in fitted:
            weights = given_weights
        elif model.parameters.powers is not None and not model.parameters.per_layer and given_weights.all():
            # only their product matters: keep the layers' proportions
            weights = given_weights * np.exp(np.log(weights / given_weights).mean())
        if "bias_variance" not in fitted:
            biases = given_biases
        noise = model.noise_variance * self.target_square if model.fits_noise else given.noise_variance
        return _with(model, kernel, weights, biases, noise)


def _variances(kernel: Kernel) -> tuple[Reals, Reals]:
    weights, biases = kernel.variances  # type: ignore[attr-defined]
    return np.array(weights), np.array(biases)


def _with(model: Model, kernel: Kernel, weights: Reals, biases: Reals, noise: float | NDArray[np.float64]) -> Model:
    changed = kernel.with_variances(weights.tolist(), biases.tolist())  # type: ignore[attr-defined]
    return replace(model, parameters=replace(model.parameters, kernel=changed), noise_variance=noise)


#: Of a model, and whether the gradient is wanted: the value, and the gradient.
Likelihood = Callable[[Model, bool, Report], tuple[float, Reals]]


@dataclass(frozen=True, eq=False)
class Search:
    """How variances are looked for: from how many starts more, drawn by what, and who hears of it."""

    n_restarts: int
    generator: Any
    report: Report

    def fit(
        self,
        model: Model,
        X: NDArray[np.floating],
        units: StandardUnits,
        size: float,
        *likelihoods: Likelihood,
        determined: Sequence[str] | None = None,
    ) -> tuple[float, Model]:
        """Return the largest likelihood found, and the model that has it.

        `size` is the targets' mean square. Of several likelihoods the first, a cheaper one, says where the next starts.
        Warns where the last leaves at a bound what it should determine; by default all that is fitted.
        """
        inside = units.enter(model)
        if not model.names:
            return likelihoods[-1](inside, False, self.report)[0], model
        evaluations = itertools.count(1)
        starts, bounds = starts_and_bounds(inside, X, size)
        steepness = _steepness(inside, X)
        restarts = [self.generator.uniform(*bounds) for _ in range(self.n_restarts)]
        for likelihood in likelihoods:

            def at(theta: Reals, with_gradient: bool, likelihood: Likelihood = likelihood) -> tuple[float, Reals]:
                number = next(evaluations)

                def report_within(stage: str, share: float | None) -> None:
                    self.report(f"{model.kernel.title}, likelihood {number}: {stage}", share)

                return likelihood(inside.at(theta), with_gradient, report_within)

            tolerance = TOLERANCE if likelihood is likelihoods[0] else TOLERANCE_OF_MANY
            named = model.names if determined is None else determined
            named = named if likelihood is likelihoods[-1] else ()
            with on_trial(), single_threaded_blas() if len(X) <= MOST_ROWS_FOR_ONE_THREAD else nullcontext():
                value, theta = maximise(
                    at, starts, restarts, bounds, model.names, shortened(model.kernel), named, tolerance, steepness
                )
            starts, restarts = [theta], []
        return value, units.leave(inside.at(theta), model)


def _steepness(model: Model, X: NDArray[np.floating]) -> Reals:
    """Return by which powers of each parameter the prior's mean square grows, or the noise; 1/4 at least."""
    has_variances = len(model.names) > int(model.fits_noise)
    total = contracted_diagonal_derivatives(model.parameters, X, np.ones(len(X))) if has_variances else np.empty(0)
    size = float(model.kernel.diag(X, dtype=np.float64).sum()) or 1.0
    powers = np.append(total / size, np.ones(int(model.fits_noise)))
    return np.maximum(np.abs(powers), 0.25)


def starts_and_bounds(model: Model, X: NDArray[np.floating], size: float) -> tuple[list[Reals], Reals]:
    """Return where to look for the variances, for targets of this mean square, and between what: (2, n_parameters)."""
    theta = model.theta
    is_bias = np.array([name.startswith("bias_variance") for name in model.names], dtype=bool)
    is_noise, is_weight = np.zeros(len(theta), dtype=bool), np.zeros(len(theta), dtype=bool)
    is_weight[: len(model.parameters.groups)] = True
    is_weight &= ~is_bias
    if model.fits_noise:
        is_noise[-1] = True
    starts = [theta]
    for factor in BIAS_FACTORS if is_bias.any() else (1.0,):
        scaled = _with_size(model, theta + np.where(is_bias, math.log(factor), 0.0), is_weight, is_bias, X, size)
        for share in NOISE_SHARES if model.fits_noise else (1.0,):
            starts.append(np.where(is_noise, math.log(share * size), scaled))
    bounds = np.array([np.min(starts, axis=0) + math.log(BOUNDS[0]), np.max(starts, axis=0) + math.log(BOUNDS[1])])
    if model.fits_noise:
        bounds[:, -1] = np.log(np.array(NOISE_BOUNDS) * size)
    return starts, bounds


def _with_size(
    model: Model,
    theta: Reals,
    is_weight: NDArray[np.bool_],
    is_bias: NDArray[np.bool_],
    X: NDArray[np.floating],
    size: float,
) -> Reals:
    """Return the theta where variances are multiplied by one number so that the prior has this mean square.

    Bias variances by its power if that is less: they must not come to outweigh the rows.
    """
    n_layers = len(_variances(model.kernel)[0]) if isinstance(model.kernel, NTK | NNGP) else 1

    def moved(shift: float) -> Reals:
        return theta + np.where(is_weight, shift, np.where(is_bias, min(shift, n_layers * shift), 0.0))

    def excess(shift: float) -> float:
        try:
            diagonal = model.at(moved(shift)).kernel.diag(X, dtype=np.float64)
        except ValueError:  # it overflows
            return math.inf
        return math.log(max(float(diagonal.mean()), 1e-300) / size)

    low, high = -SCALES / n_layers, SCALES / n_layers
    if (is_weight | is_bias).any() and excess(low) < 0 < excess(high):
        return moved(brentq(excess, low, high, xtol=1e-2))
    return theta
