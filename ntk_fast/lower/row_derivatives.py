"""Derivatives of all that a program takes from rows, by logarithms of a network's variances.

With L = d log q / d theta of a node's variance q, a mix has L = sum_k r_k^2 (L_k + d log w_k) + tau^2 d log b, and its
shares d r_k = r_k (L_k + d log w_k - L) / 2: shares and logarithms only, so that nothing over- or underflows. What an
activation does to a variance is differentiated along log q, by differences of the sixth order. T(x, x) is a sum, too:
its logarithm moves by the mean of what its terms' do, weighted by their shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.lower.instructions import MeanPlanes, SharePlanes
from ntk_fast.lower.row_forms import RowValues, scaled_fraction
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.steps import Map, Mix, Multiply, Normalise, Plan, Promote, Step

Value = TypeVar("Value", float, Reals)

#: A central difference: sum of WEIGHTS[k] f(k STEP) over STEP is f' to the sixth order, errors near 1e-13.
STEP = 2.0**-6
WEIGHTS = {-3: -1 / 60, -2: 9 / 60, -1: -45 / 60, 1: 45 / 60, 2: -9 / 60, 3: 1 / 60}
#: The same from values on one side.
FORWARD_WEIGHTS = {0: -49 / 20, 1: 6.0, 2: -15 / 2, 3: 20 / 3, 4: -15 / 4, 5: 6 / 5, 6: -1 / 6}


def step_for(variance: Reals) -> Reals:
    """Return the step, of an angle or of log q, that suits activations which bend over lengths of 1.

    Their maps do so over angles, and over ratios of the roots of two rows' variances, of 1 / sqrt(q).
    """
    return STEP / np.sqrt(1 + variance)


def central_difference(
    function: Callable[[float], Value], step: float = STEP, weights: Mapping[int, float] = WEIGHTS
) -> Value:
    """Return the derivative of a function of a shift, at 0."""
    return sum(weight * function(k * step) for k, weight in weights.items()) / step  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class LogWeights:
    """d log w_k and d log b of each mix of a plan, by one parameter: (n_sources + 1,) by step, 0 where w or b is."""

    by_step: dict[int, Reals]

    @staticmethod
    def between(plan: Plan, moved: dict[int, Plan]) -> LogWeights:
        """From plans of the parameter times 2^k: weights are polynomials in it, and are differentiated exactly."""
        slopes = _polynomial_slopes(tuple(moved))
        result = {}
        for node, step in enumerate(plan.steps, start=1):
            if isinstance(step, Mix):
                there = {k: other.steps[node - 1] for k, other in moved.items()}
                values = {k: (*mix.weights, mix.bias) for k, mix in there.items() if isinstance(mix, Mix)}
                middle = (*step.weights, step.bias)
                result[node] = np.array(
                    [
                        float(sum((slopes[k] * (values[k][i] - w) for k in values), Fraction(0)) / w) if w else 0.0
                        for i, w in enumerate(middle)
                    ]
                )
        return LogWeights(result)


@lru_cache(maxsize=16)
def _polynomial_slopes(exponents: tuple[int, ...]) -> dict[int, Fraction]:
    """What the values of a polynomial at 2^k, less that at 1, count in its derivative at 1 (Lagrange)."""
    points = {k: Fraction(2) ** k for k in exponents}
    nodes = [*points.values(), Fraction(1)]
    result = {}
    for k, point in points.items():
        slope = 1 / (point - 1)
        for node in nodes:
            if node not in (point, 1):
                slope *= (1 - node) / (point - node)
        result[k] = slope
    return result


@dataclass(frozen=True, eq=False)
class RowDerivatives:
    """Of each row, by each parameter."""

    shares: Reals  # (n_parameters, n_shares, n)
    log_variance: Reals  # (n_parameters, n_maps, n): of the variance before each map
    log_scale: Reals  # (n_parameters, n): of sqrt(q) at the output


def row_derivatives(plan: Plan, rows: RowParameters, directions: Sequence[LogWeights]) -> RowDerivatives:
    """Return the derivatives of `rows` in some directions."""
    values = rows.values
    n_rows = len(values.square_norm.high)
    shape = (len(directions), n_rows)
    logs: list[Reals] = [np.zeros(shape)]
    planes = {
        part.node: slice(part.first, part.first + part.count)
        for part in rows.instructions.planes
        if isinstance(part, SharePlanes)
    }
    moved_shares = np.zeros((len(directions), rows.instructions.n_shares, n_rows))
    tangents = _TangentLogs(values, logs) if any(isinstance(step, Promote) for step in plan.steps) else None
    for node, step in enumerate(plan.steps, start=1):
        match step:
            case Mix(sources, _, bias):
                inner = [logs[source] for source in sources] + ([np.zeros(shape)] if bias else [])
                moved = np.stack(inner, axis=1)
                for along, direction in zip(moved, directions, strict=True):
                    along += direction.by_step[node][: len(inner), None]
                total = moved[:, 0]
                if step.has_shares:
                    shares = rows.shares[planes[node]]
                    total = (shares**2 * moved).sum(axis=1)
                    moved_shares[:, planes[node]] = 0.5 * shares * (moved - total[:, None])
                logs.append(total)
            case Map(source, activation):
                if activation.homogeneity is not None:
                    logs.append(activation.homogeneity * logs[source])
                else:
                    logs.append(logs[source] * _log_slope_of(values.variance(source).plain(), activation.second_moment))
            case Normalise():
                logs.append(np.zeros(shape))
            case Promote(source):
                assert tangents is not None
                logs.append(tangents.logs[source])
                ratio = rows.shares[planes[node]]
                moved_shares[:, planes[node]] = 0.5 * ratio * (logs[source] - logs[node])[:, None]
            case Multiply(sources):
                logs.append(sum((logs[source] for source in sources), np.zeros(shape)))
        if tangents is not None:
            tangents.add(node, step, directions)
    for part in rows.instructions.planes:
        if isinstance(part, MeanPlanes):
            slopes = _mean_share_slopes(values.variance(part.node).plain(), part.step.activation)
            moved_shares[:, part.first : part.first + part.count] = logs[part.node][:, None] * slopes
    maps = [logs[slot.node] for slot in rows.instructions.maps]
    return RowDerivatives(
        moved_shares,
        np.stack(maps, axis=1) if maps else np.zeros((len(directions), 0, n_rows)),
        0.5 * logs[-1],
    )


class _TangentLogs:
    """Derivatives of log T(x, x) at each node, (n_parameters, n); 0 where T is."""

    def __init__(self, values: RowValues, logs: list[Reals]) -> None:
        self._values = values
        self._logs = logs  # those of log q
        self.logs = [np.zeros_like(logs[0])]

    def add(self, node: int, step: Step, directions: Sequence[LogWeights]) -> None:
        """Add the next node, whose log q is known."""
        terms: list[tuple[Scaled, Reals]] = []
        match step:
            case Mix(sources, weights, _, adds_own):
                for k, (source, weight) in enumerate(zip(sources, weights, strict=True)):
                    moved = np.array([direction.by_step[node][k] for direction in directions])
                    share = scaled_fraction(weight) * self._values.tangent(source)
                    terms.append((share, self.logs[source] + moved[:, None]))
                if adds_own:
                    terms.append((self._values.variance(node), self._logs[node]))
            case Map(source, activation):
                terms.append((self._values.tangent(node), self.logs[source] + self._log_slope(source, activation)))
            case Normalise(source):
                terms.append((self._values.tangent(node), self.logs[source] - self._logs[source]))
            case Multiply(sources):
                for position, k in enumerate(sources):
                    share = self._values.tangent(k)
                    for other in (*sources[:position], *sources[position + 1 :]):
                        share = share * self._values.variance(other)
                    terms.append((share, self.logs[k] - self._logs[k] + self._logs[node]))
            case Promote():
                pass
        total = self._values.tangent(node)
        weighted = [(share / total).plain() * moved for share, moved in terms]
        self.logs.append(sum(weighted, np.zeros_like(self._logs[0])))

    def _log_slope(self, source: int, activation: ActivationLayer) -> Reals:
        """What E[sigma'(z)^2] adds."""
        if activation.homogeneity is not None:
            return max(0, activation.homogeneity - 1) * self._logs[source]
        variance = self._values.variance(source).plain()
        return self._logs[source] * _log_slope_of(variance, activation.derivative_second_moment)


def _mean_share_slopes(variance: Reals, activation: ActivationLayer) -> Reals:
    return central_difference(lambda shift: RowValues.mean_shares_of(variance * np.exp(shift), activation))


def _log_slope_of(variance: Reals, moments: Callable[[Reals], Reals]) -> Reals:
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = central_difference(lambda shift: np.log(moments(variance * np.exp(shift))))
    return np.where(np.isfinite(slope), slope, 0.0)
