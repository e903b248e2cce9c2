"""What tiles need to know of images: the variances of every node at every position, and the planes made of them.

Variances follow from those before, position by position, as those of rows do. Where positions are summed independently
of each other, in pools and attention, they take what the image is to itself between its own positions: so steps run
on every image with itself, and each finds in the planes what the steps before have left there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.pair_state import cosine_of
from ntk_fast.layers.window import OUTSIDE, seen_positions
from ntk_fast.lower.accuracy import row_tolerance
from ntk_fast.lower.near_images import LARGEST_LOSS, near_state
from ntk_fast.lower.position_sums import plain, ratio, relative, roots_of, sums_seen
from ntk_fast.lower.positions import n_positions
from ntk_fast.lower.row_forms import RowValues, moment_of, scaled_fraction
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.spatial_compile import arranged
from ntk_fast.lower.spatial_evaluate import Evaluation, Side, added
from ntk_fast.lower.spatial_program import (
    ArrangeStep,
    ConvolveStep,
    GatherStep,
    PointStep,
    SpatialProgram,
    SpatialStep,
)
from ntk_fast.lower.steps import Attend, Convolve, Map, Mix, Multiply, Plan, Pool, Promote, Step

#: A patch whose root variance is 2^-FAINT of the brightest position before it counts as blank: its inverse would
#: overflow, or products of two of them, as tiles take them.
FAINT = {np.dtype(np.float64): 400, np.dtype(np.float32): 50}


@dataclass(frozen=True, eq=False)
class Pixels:
    """Some images, safe to multiply, and the norms of their pixels."""

    values: Reals  # (n, n_features), each image perhaps scaled by a power of two
    inverse: Reals  # (n_positions, n): of `values`; 0 for a pixel of zeros
    square: Scaled  # (n_positions, n): of the images given


@dataclass(frozen=True, eq=False)
class SpatialValues:
    """Of some images: their planes, and S and T at the output of each with itself."""

    planes: Reals  # (n_planes, n)
    variance: Scaled  # (n,)
    tangent: Scaled


class RowExecutor(Protocol):
    """Runs a program on images with themselves, segment by segment; planes are (n_planes, n)."""

    def begin(self, segment: int, planes: Reals) -> None:
        """Finish the pools and attention that a segment begins with, and store their mu in the planes."""

    def run(self, segment: int, planes: Reals) -> None:
        """Run the other steps of a segment."""

    def state(self, node: int) -> Reals:
        """Return m, p and t of a node that later segments take, (3, n_pairs, n), once its segment has run."""

    def output(self) -> Reals:
        """Return m, p, t and what is lost at the output, (4, n)."""


class SpatialRows:
    """One run on images with themselves."""

    def __init__(
        self,
        plan: Plan,
        program: SpatialProgram,
        pixels: Pixels,
        dtype: np.dtype,
        executor: RowExecutor | None = None,
    ) -> None:
        """`dtype`: what tiles compute in; `executor`: None for an `Evaluation`."""
        self._plan, self._program, self._pixels, self._dtype = arranged(plan), program, pixels, dtype
        n = len(pixels.values)
        self._planes = np.zeros((program.n_parameters, n))
        side = Side(pixels.values, self._planes)
        self._run = Evaluation(program, program.row_pairs, side, side)
        self._executor = executor
        self._variances = {0: Scaled.of(np.zeros((1, n)))}

    def values(self) -> SpatialValues:
        """Return all planes, and what the output is."""
        last = len(self._plan.steps)
        steps = list(enumerate(zip(self._plan.steps, self._program.steps, strict=True), start=1))
        if self._executor is None:
            for node, (step, own) in steps:
                self._variances[node] = self._prepared(node, step, own)
            state = self._run.state(last)
            slope, rest, lost = state.tangent[0].copy(), state.rest[0], self._run.lost
        else:
            self._execute(steps, self._executor)
            _, _, slope, lost = self._executor.output()
            rest = np.zeros_like(slope)
        for k in np.flatnonzero(lost > LARGEST_LOSS[self._dtype]).tolist():
            some = slice(k, k + 1)
            itself = Side(self._pixels.values[some], self._planes[:, some])
            slope[k], rest[k] = near_state(self._program, itself, itself).tangent[0, 0], 0.0
        tangent = Scaled.of(slope, rest)
        output = self._variances[last]
        variance = output[0]
        return SpatialValues(self._planes, variance, tangent * variance)

    def _execute(self, steps: list[tuple[int, tuple[Step, SpatialStep]]], executor: RowExecutor) -> None:
        """Segment by segment: its pools' mu, its other planes, and the weights of the pools that are summed in it."""
        scales: dict[int, Scaled] = {}
        segments = self._program.row_pairs.segments
        for segment in range(max(segments) + 1):
            executor.begin(segment, self._planes)
            for node, (_, own) in steps:
                if node in scales and segments[node] == segment:
                    assert isinstance(own, GatherStep)
                    mu = self._planes[own.mu : own.mu + n_positions(self._program.grids[node])]
                    self._variances[node] = scales[node] * Scaled.of(1 - mu)
            for node, (step, own) in steps:
                if segments[node] == segment and node not in scales:
                    self._variances[node] = self._stored(step, own)
            for node, (step, own) in steps:
                if isinstance(step, Pool) and node not in scales and step.source in self._variances:
                    assert isinstance(own, GatherStep)
                    scales[node] = self._weigh_pool(step, own)
            executor.run(segment, self._planes)
            for node, (step, own) in steps:
                if isinstance(step, Attend) and node not in scales and step.source in self._variances:
                    assert isinstance(own, GatherStep)
                    scales[node] = self._weigh_attention(step, own)

    def _prepared(self, node: int, step: Step, own: SpatialStep) -> Scaled:
        """Store the planes of a step, run it, and return the node's variances, (n_positions, n)."""
        if isinstance(own, GatherStep):
            assert isinstance(step, Pool | Attend)
            return self._gathered(node, step, own)
        variance = self._stored(step, own)
        self._run.step(node, own)
        return variance

    def _stored(self, step: Step, own: SpatialStep) -> Scaled:
        """Store the planes of a step that gathers nothing, and return the variances."""
        match own:
            case ArrangeStep():
                self._store(own.inverse, self._pixels.inverse)
                return self._pixels.square
            case ConvolveStep():
                assert isinstance(step, Convolve)
                return self._convolved(step, own)
            case _:
                assert isinstance(own, PointStep)
                return self._at_points(step, own)

    def _state(self, node: int) -> Reals:
        """Return m, p and t of a node, (3, n_pairs, n)."""
        if self._executor is not None:
            return self._executor.state(node)
        state = self._run.state(node)
        return np.stack([state.m, state.p, state.tangent + state.rest])

    def _store(self, first: int, planes: Reals) -> None:
        flat = planes.reshape(-1, planes.shape[-1])
        self._planes[first : first + len(flat)] = flat

    def _convolved(self, step: Convolve, own: ConvolveStep) -> Scaled:
        before, weight = self._variances[step.source], scaled_fraction(step.weight / step.window.n_taps)
        variance = weight * sums_seen(before, step.window) + scaled_fraction(step.bias)
        own_root = roots_of(variance)
        root, exponent = relative(roots_of(before))
        inverse, inverse_exponent = ratio(roots_of(weight), own_root)
        inverse_exponent = inverse_exponent + exponent
        is_blank = variance.is_zero | (inverse_exponent > FAINT[self._dtype])
        tau = plain(ratio(roots_of(scaled_fraction(step.bias)), own_root))
        self._store(own.root, root)
        self._store(own.inverse, np.where(is_blank, 0.0, plain((inverse, inverse_exponent))))
        self._store(own.tau, np.where(is_blank, 1.0, tau))
        return variance

    def _gathered(self, node: int, step: Pool | Attend, own: GatherStep) -> Scaled:
        scale = self._weigh_pool(step, own) if isinstance(step, Pool) else self._weigh_attention(step, own)
        sums = self._run.gathered(node, own)
        mu = np.minimum(sums.m[self._equal_positions(node)], 1.0)
        self._store(own.mu, mu)
        self._run.keep(node, own, self._run.normalised(node, own, sums))
        return scale * Scaled.of(1 - mu)

    def _weigh_pool(self, step: Pool, own: GatherStep) -> Scaled:
        """Store what alpha is made of, and return the variances if mu were 0."""
        root, exponent = relative(roots_of(self._variances[step.source]))
        self._store(own.root, root)
        seen = seen_positions(step.window)
        total = _sum(np.where(seen[..., None] == OUTSIDE, 0.0, root[seen]))
        with np.errstate(divide="ignore"):
            self._store(own.inverse, np.where(total > 0, 1 / total, 0.0))
        scale = Scaled.of(total, 0.0, exponent)
        return scaled_fraction(step.weight) * scale * scale

    def _weigh_attention(self, step: Attend, own: GatherStep) -> Scaled:
        root, exponent = relative(roots_of(self._variances[step.source]))
        weights = self._attention(step) * root[:, None]  # (position seen, own position, n)
        total = _sum(np.abs(weights))
        self._store(own.root, weights / np.where(total > 0, total, 1.0))
        scale = Scaled.of(total, 0.0, exponent)
        return scale * scale

    def _equal_positions(self, node: int) -> slice:
        """Return which pairs of positions of a node have i = i'."""
        planes = self._run.planes(node)
        zero = planes.plane_of((0,) * len(planes.grid))
        return slice(*planes.starts[zero : zero + 2].tolist())

    def _attention(self, step: Attend) -> Reals:
        """Return G[i', i] of each image, transposed: (position seen, own position, n)."""
        root = self._variances[step.source].root().plain()
        planes = self._run.planes(step.source)
        m, p, _ = self._state(step.source)
        n_seen = n_positions(planes.grid)
        covariance = np.empty((n_seen, n_seen, root.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            covariance[planes.right, planes.left] = cosine_of(m, p) * root[planes.left] * root[planes.right]
            weights = float(step.scale) * covariance
        if not np.isfinite(weights).all():
            raise ValueError(
                "network: the weights of an Attention are out of float64's range; scale the rows or query_key_scale "
                "down."
            )
        match step.zeta:
            case "softmax":
                powers = np.exp(weights - weights.max(axis=0))
                return powers / _sum(powers)
            case "relu":
                return np.maximum(weights, 0)
            case _:
                return weights

    def _at_points(self, step: Step, own: PointStep) -> Scaled:
        variances = [self._variances[source] for source in own.instruction.sources]
        match step:
            case Mix(_, weights, bias, _):
                parts = [scaled_fraction(weight) * q for weight, q in zip(weights, variances, strict=True)]
                if bias:
                    parts.append(scaled_fraction(bias) * Scaled.of(np.ones_like(variances[0].high)))
                variance = parts[0]
                for part in parts[1:]:
                    variance = variance + part
                if step.has_shares:
                    shares = np.array([(part / variance).root().plain() for part in parts])
                    shares[0] = np.where(variance.is_zero, 1.0, shares[0])
                    self._store(own.first, shares)
            case Map(_, activation, place):
                variance = _mapped(variances[0], activation, place)
                self._store_map(variances[0].plain(), activation, own)
            case Multiply():
                variance = variances[0]
                for other in variances[1:]:
                    variance = variance * other
            case Promote(source):
                tangent = self._state(source)[2][self._equal_positions(source)]
                variance = Scaled.of(tangent) * variances[0]
                self._store(own.first, (variances[0] / variance).root().plain())
            case _:  # a LayerNorm
                variance = variances[0] / variances[0]
        return variance

    def _store_map(self, variance: Reals, activation: ActivationLayer, own: PointStep) -> None:
        """Store the row parameters of an activation, as if every position of every image were a row."""
        assert own.map is not None
        flat, parts = variance.reshape(-1), []
        if activation.separates_mean:
            parts.append(RowValues.mean_shares_of(flat, activation))
        if own.map.n_parameters:
            parts.append(activation.row_parameters(flat, row_tolerance(self._dtype), own.map.n_parameters))
        first = own.first
        for part in parts:
            self._store(first, part.reshape(len(part), *variance.shape))
            first += part.size // variance.shape[1]


def _mapped(variance: Scaled, activation: ActivationLayer, place: str) -> Scaled:
    degree = activation.homogeneity
    if degree is None:
        return moment_of(variance, activation.second_moment, place)
    return Scaled.of(float(activation.gain)) * (variance**degree if degree else variance / variance)


def _sum(terms: Reals) -> Reals:
    """Return the sum over the first axis in its order."""
    return added(np.zeros(terms.shape[1:]), terms.copy())
