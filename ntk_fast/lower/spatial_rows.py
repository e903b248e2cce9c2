"""What tiles need to know of images: the variances of every node at every position, and the planes made of them.

Variances follow from those before, position by position, as those of rows do. Where positions are summed independently
of each other, in pools and attention, they take what the image is to itself between its own positions: so steps run
on every image with itself, and each finds in the planes what the steps before have left there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.lower.compile import row_tolerance
from ntk_fast.lower.pair_state import cosine_of
from ntk_fast.lower.positions import OUTSIDE, Positions, n_positions, seen_positions
from ntk_fast.lower.row_forms import RowValues, moment_of, scaled_fraction
from ntk_fast.lower.scaled import Integers, Scaled
from ntk_fast.lower.spatial_compile import arranged
from ntk_fast.lower.spatial_evaluate import Evaluation, Side, added
from ntk_fast.lower.spatial_program import ArrangeStep, ConvolveStep, GatherStep, PointStep, SpatialProgram
from ntk_fast.lower.steps import Attend, Convolve, Map, Mix, Multiply, Plan, Pool, Promote, Step

#: A patch whose root variance is 2^-FAINT of the brightest position before it counts as blank: its inverse would
#: overflow.
FAINT = {np.dtype(np.float64): 900, np.dtype(np.float32): 100}


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


class SpatialRows:
    """One run on images with themselves."""

    def __init__(self, plan: Plan, program: SpatialProgram, pixels: Pixels, dtype: np.dtype) -> None:
        """`dtype`: what tiles compute in."""
        self._plan, self._program, self._pixels, self._dtype = arranged(plan), program, pixels, dtype
        n = len(pixels.values)
        self._planes = np.zeros((program.n_parameters, n))
        side = Side(pixels.values, self._planes)
        self._run = Evaluation(program, program.row_pairs, side, side)
        self._variances = [Scaled.of(np.zeros((1, n)))]

    def values(self) -> SpatialValues:
        """Return all planes, and what the output is."""
        last = len(self._plan.steps)
        for node, (step, own) in enumerate(zip(self._plan.steps, self._program.steps, strict=True), start=1):
            self._variances.append(self._prepared(node, step, own))
        output = self._variances[last]
        variance = Scaled(output.high[0], output.low[0], output.exponent[0])
        state = self._run.state(last)
        return SpatialValues(self._planes, variance, Scaled.of(state.tangent[0], state.rest[0]) * variance)

    def _prepared(self, node: int, step: Step, own: object) -> Scaled:
        """Store the planes of a step, run it, and return the node's variances, (n_positions, n)."""
        match own:
            case ArrangeStep():
                variance = self._pixels.square
                self._store(own.inverse, self._pixels.inverse)
            case ConvolveStep():
                assert isinstance(step, Convolve)
                variance = self._convolved(step, own)
            case GatherStep():
                assert isinstance(step, Pool | Attend)
                return self._gathered(node, step, own)
            case _:
                assert isinstance(own, PointStep)
                variance = self._at_points(step, own)
        self._run.step(node, own)
        return variance

    def _store(self, first: int, planes: Reals) -> None:
        flat = planes.reshape(-1, planes.shape[-1])
        self._planes[first : first + len(flat)] = flat

    def _convolved(self, step: Convolve, own: ConvolveStep) -> Scaled:
        before, weight = self._variances[step.source], scaled_fraction(step.weight / step.window.n_taps)
        total = Scaled.of(np.zeros((1, before.high.shape[1])))
        for seen in seen_positions(step.window):
            total = total + _taken(before, seen)
        variance = weight * total + scaled_fraction(step.bias)
        root, exponent = _relative(before.root())
        inverse = (weight / variance).root()
        inverse = Scaled(inverse.high, inverse.low, inverse.exponent + exponent)
        is_blank = variance.is_zero | (inverse.exponent > FAINT[self._dtype])
        tau = (scaled_fraction(step.bias) / variance).root().plain()
        self._store(own.root, root)
        self._store(own.inverse, np.where(is_blank, 0.0, inverse.plain()))
        self._store(own.tau, np.where(is_blank, 1.0, tau))
        return variance

    def _gathered(self, node: int, step: Pool | Attend, own: GatherStep) -> Scaled:
        root, exponent = _relative(self._variances[step.source].root())
        if isinstance(step, Pool):
            self._store(own.root, root)
            seen = seen_positions(step.window)
            total = _sum(np.where(seen[..., None] == OUTSIDE, 0.0, root[seen]))
            with np.errstate(divide="ignore"):
                self._store(own.inverse, np.where(total > 0, 1 / total, 0.0))
            weight = scaled_fraction(step.weight)
        else:
            weights = self._attention(step) * root[:, None]  # (position seen, own position, n)
            total = _sum(np.abs(weights))
            self._store(own.root, weights / np.where(total > 0, total, 1.0))
            weight = Scaled.of(np.ones(1))
        sums = self._run.gathered(node, own)
        mu = np.minimum(sums.m[self._equal_positions(node)], 1.0)
        self._store(own.mu, mu)
        self._run.keep(node, own, self._run.normalised(node, own, sums))
        scale = Scaled.of(total, 0.0, exponent)
        return weight * scale * scale * Scaled.of(1 - mu)

    def _equal_positions(self, node: int) -> slice:
        """Return which pairs of positions of a node have i = i'."""
        planes = self._run.planes(node)
        zero = planes.plane_of((0,) * len(planes.grid))
        return slice(*planes.starts[zero : zero + 2].tolist())

    def _attention(self, step: Attend) -> Reals:
        """Return G[i', i] of each image, transposed: (position seen, own position, n)."""
        root = self._variances[step.source].root().plain()
        planes, state = self._run.planes(step.source), self._run.state(step.source)
        n_seen = n_positions(planes.grid)
        covariance = np.empty((n_seen, n_seen, root.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            covariance[planes.right, planes.left] = cosine_of(state.m, state.p) * root[planes.left] * root[planes.right]
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
                state = self._run.state(source)
                at = self._equal_positions(source)
                variance = Scaled.of(state.tangent[at], state.rest[at]) * variances[0]
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


def _taken(variance: Scaled, seen: Positions) -> Scaled:
    """Return the variances at some positions, 0 outside."""
    outside = (seen == OUTSIDE)[:, None]
    high, low = (np.where(outside, 0.0, part[seen]) for part in (variance.high, variance.low))
    return Scaled(high, low, variance.exponent[seen])


def _relative(root: Scaled) -> tuple[Reals, Integers]:
    """Return roots over a power of two of each image, the exponent of its largest, and these exponents."""
    lowest = np.iinfo(np.int64).min
    exponent = np.where(root.is_zero, lowest, root.exponent).max(axis=0)
    exponent = np.where(exponent == lowest, 0, exponent)
    return Scaled(root.high, root.low, root.exponent - exponent).plain(), exponent
