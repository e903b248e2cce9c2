"""From a plan of images to the program that tiles of one dtype execute."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

import numpy as np

from ntk_fast.layers.curved import LARGEST_VARIANCE
from ntk_fast.layers.window import Window
from ntk_fast.lower.accuracy import row_tolerance
from ntk_fast.lower.chord_functions import compiled_map
from ntk_fast.lower.corner_parts import corner_parts
from ntk_fast.lower.positions import Pairs, n_positions
from ntk_fast.lower.program import ABSENT, WHOLE, Instruction, PairMap
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.spatial_program import (
    ArrangeStep,
    ConvolveStep,
    GatherStep,
    PointStep,
    SpatialProgram,
    SpatialStep,
)
from ntk_fast.lower.steps import (
    Arrange,
    Attend,
    Convolve,
    Map,
    Mix,
    Multiply,
    Normalise,
    Plan,
    Pool,
    Promote,
    Step,
    renumbered,
)
from ntk_fast.lower.tails import tail_of


@lru_cache(maxsize=256)
def arranged(plan: Plan) -> Plan:
    """Return a plan in which all that takes the rows is one Arrange, the first step.

    What takes them as they are, without positions, takes the sum over equal positions instead: x.x' = sum_i x_i.x_i'.
    """
    shape = plan.shape
    assert shape is not None
    grid = shape[:-1]
    flat = Convolve(1, Window.whole(grid), Fraction(n_positions(grid)), Fraction(0), False)
    number = {0: 2}
    steps: list[Step] = [Arrange(0, shape), flat]
    for node, step in enumerate(plan.steps, start=1):
        if isinstance(step, Arrange):
            number[node] = 1
        else:
            steps.append(renumbered(step, number))
            number[node] = len(steps)
    return Plan(tuple(steps))


class _Planes:
    """Hands out rows of the planes."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, n_planes: int, positions: int) -> int:
        first = self.count
        self.count += n_planes * positions
        return first


def compile_spatial(
    plan: Plan, has_tangent: bool, dtype: np.dtype, pieces: int, largest_square: Scaled
) -> SpatialProgram:
    """Compile a plan for images none of whose pixels has a squared norm above the largest; `pieces` 0: no tables."""
    exponent = int(np.max(largest_square.exponent[~largest_square.is_zero], initial=0))
    return _compiled(arranged(plan), has_tangent, dtype, pieces, exponent)


@lru_cache(maxsize=64)
def _compiled(plan: Plan, has_tangent: bool, dtype: np.dtype, pieces: int, exponent: int) -> SpatialProgram:
    with np.errstate(over="ignore"):
        largest = list(_largest_variances(plan, float(np.ldexp(1.0, min(exponent, 1000)))))
    planes = _Planes()
    steps = tuple(_compiled_step(plan, node, largest, planes, dtype, pieces) for node in range(1, len(plan.steps) + 1))
    shape = plan.shape
    assert shape is not None
    return SpatialProgram(
        shape,
        steps,
        plan.grids,
        Pairs.behind_output(plan),
        Pairs.of_rows(plan),
        planes.count,
        has_tangent,
        dtype,
    )


def _compiled_step(
    plan: Plan, node: int, largest: list[float], planes: _Planes, dtype: np.dtype, pieces: int
) -> SpatialStep:
    step, grids = plan.steps[node - 1], plan.grids
    own = n_positions(grids[node])
    match step:
        case Arrange(shape=shape):
            return ArrangeStep(shape, planes.take(1, own))
        case Convolve(source, window, _, _, adds_own):
            root = planes.take(1, n_positions(grids[source]))
            return ConvolveStep(source, window, adds_own, root, planes.take(1, own), planes.take(1, own))
        case Pool(source, window, _):
            root = planes.take(1, n_positions(grids[source]))
            return GatherStep(source, window, root, planes.take(1, own), planes.take(1, own))
        case Attend(source):
            return GatherStep(source, None, planes.take(own, own), ABSENT, planes.take(1, own))
        case Map(source, activation):
            n_means = 2 if activation.separates_mean else 0
            pair_map = _compiled_map(step, n_means, largest[source], dtype, pieces)
            shares, bias = ((0,), 1) if n_means else ((WHOLE,), ABSENT)
            instruction = Instruction(node, (source,), shares, bias=bias, map=0)
            n_planes = n_means + pair_map.n_parameters
            return PointStep(instruction, pair_map, planes.take(n_planes, own), n_planes)
        case Mix(sources, _, bias, adds_own) if step.has_shares:
            n_planes = len(sources) + (bias != 0)
            tau = len(sources) if bias else ABSENT
            instruction = Instruction(node, sources, tuple(range(len(sources))), bias=tau, adds_own=adds_own)
            return PointStep(instruction, None, planes.take(n_planes, own), n_planes)
        case Mix(sources, _, _, adds_own):
            return PointStep(Instruction(node, sources, (WHOLE,), adds_own=adds_own), None, planes.count, 0)
        case Normalise(source):
            return PointStep(Instruction(node, (source,), (WHOLE,)), None, planes.count, 0)
        case Multiply(sources):
            return PointStep(Instruction(node, sources, (), is_product=True), None, planes.count, 0)
        case Promote(source):
            return PointStep(Instruction(node, (source,), (0,), promotes=True), None, planes.take(1, own), 1)


def _compiled_map(step: Map, first: int, largest: float, dtype: np.dtype, pieces: int) -> PairMap:
    activation = step.activation
    kind, count, table = activation.map_kind, 0, None
    if activation.homogeneity is None:
        count = activation.n_row_parameters(min(1.01 * largest, LARGEST_VARIANCE), row_tolerance(dtype))
    elif pieces and kind != "fold":
        table = compiled_map(activation, b"", 0, pieces, dtype)
        kind = kind if table is None else "table"
    tail = tail_of(pieces, dtype) if pieces and activation.has_tail and kind == "polynomial" else None
    corners = corner_parts(activation, pieces) if pieces and kind == "corners" else None
    return PairMap(activation, kind, first, count, activation.parity, activation.map_constants, table, tail, corners)


def _largest_variances(plan: Plan, square: float) -> Iterator[float]:
    """Yield of every node a bound of its variances, for pixels whose squared norms are up to this one."""
    bounds = [square]
    yield square
    for step in plan.steps:
        before = [bounds[source] for source in plan.sources(step)]
        match step:
            case Mix(_, weights, bias, _):
                bound = sum(float(w) * q for w, q in zip(weights, before, strict=True)) + float(bias)
            case Convolve(_, _, weight, bias, _):
                bound = float(weight) * before[0] + float(bias)
            case Pool(_, window, weight):
                bound = float(weight) * window.n_taps**2 * before[0]
            case Attend(source, zeta, scale):
                mass = 1.0 if zeta == "softmax" else abs(float(scale)) * n_positions(plan.grids[source]) * before[0]
                bound = mass * mass * before[0]
            case Map(_, activation):
                variances = before[0] * np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 25)])
                bound = float(np.max(activation.second_moment(variances)))
            case Multiply():
                bound = float(np.prod(before))
            case Normalise():
                bound = 1.0
            case Promote():
                bound = LARGEST_VARIANCE
            case _:
                bound = square
        bounds.append(min(bound, LARGEST_VARIANCE) if bound == bound else LARGEST_VARIANCE)
        yield bounds[-1]
