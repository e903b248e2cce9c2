"""Pairs of images with nearly equal windows under a pool, in twice the digits.

A pool subtracts what windows are to themselves from what they are to each other, so that of a distance d between two
windows about 1e-16 / d is lost, and the angles of the activations after it are as wrong. Where that matters (see
`Evaluation.lost`), the few pairs concerned come here: all cosines that a pool sums, of the images with themselves and
with each other, are computed with 32 digits, of which 16 are left of any distance.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from weakref import WeakKeyDictionary

import numpy as np

from ntk_fast.layers.window import seen_positions
from ntk_fast.lower.evaluate import State
from ntk_fast.lower.positions import Pairs, n_positions
from ntk_fast.lower.spatial_evaluate import Evaluation, Side, and_zero, weights_of
from ntk_fast.lower.spatial_program import (
    ArrangeStep,
    ConvolveStep,
    GatherStep,
    PointStep,
    SpatialProgram,
    SpatialStep,
)
from ntk_fast.lower.wide import Wide
from ntk_fast.lower.wide_angle import of_angle
from ntk_fast.lower.wide_series import has_tail, summed

#: What pools may take of an entry by subtractions, as `Evaluation.lost` has it.
LARGEST_LOSS = {np.dtype(np.float64): 1e-14, np.dtype(np.float32): 1e-6}
#: About what a term of a filter or pool costs here, and an activation: of the angle, by a series, and with a tail.
SECONDS_PER_TERM, SECONDS_OF_ANGLE, SECONDS_OF_SERIES, SECONDS_OF_TAIL = 3e-7, 1e-6, 1.5e-5, 2.5e-5
#: Of each watched pool the inverse norms of what its windows sum to, (n_outputs, n).
Norms = dict[int, Wide]
#: Images of a program whose norms are kept, at most: of many that are all near each other each is needed many times.
MOST_KEPT = 4096
_kept: WeakKeyDictionary[SpatialProgram, dict[bytes, Norms]] = WeakKeyDictionary()


def near_state(program: SpatialProgram, x: Side, y: Side, poll: Callable[[], None] | None = None) -> State:
    """Return the state at the output of pairs of images, one of x with each of y."""
    norms = _norms_of(program, x, poll), _norms_of(program, y, poll)
    return _WideEvaluation(program, program.pairs, x, y, norms, poll).run()


def seconds_of_pair(program: SpatialProgram) -> float:
    """Return about what a pair costs here: 0 where there is none."""
    total = 0.0
    for node in program.before_watched:
        step, planes = program.steps[node - 1], program.pairs.of_nodes[node]
        if planes is not None:
            total += planes.n_pairs * _seconds_of(program, step)
    return total


def _seconds_of(program: SpatialProgram, step: SpatialStep) -> float:
    if not isinstance(step, PointStep) or step.map is None:
        return SECONDS_PER_TERM * program.n_terms_of_pair(step)
    if step.map.activation.homogeneity is not None:
        return SECONDS_OF_ANGLE
    return SECONDS_OF_TAIL if has_tail(step.map) else SECONDS_OF_SERIES


def _norms_of(program: SpatialProgram, side: Side, poll: Callable[[], None] | None) -> Norms:
    """Return the norms of images, computed where they are not kept: they cost as much as the pairs."""
    kept = _kept.setdefault(program, {})
    keys = [
        blake2b(np.ascontiguousarray(image).tobytes() + np.ascontiguousarray(planes).tobytes()).digest()
        for image, planes in zip(side.values, side.planes.T, strict=True)
    ]
    known = {key: kept[key] for key in keys if key in kept}
    missing = [k for k, key in enumerate(keys) if key not in known]
    if missing:
        some = Side(side.values[missing], side.planes[:, missing])
        itself = _WideEvaluation(program, program.row_pairs, some, some, None, poll)
        for node in sorted(program.before_watched):
            itself.widen(node, program.steps[node - 1])
        new = {keys[k]: {node: norm[:, at] for node, norm in itself.norms.items()} for at, k in enumerate(missing)}
        known |= new
        if len(kept) + len(new) <= MOST_KEPT:
            kept.update(new)
    return {node: Wide.stacked([known[key][node] for key in keys]) for node in program.watched}


class _WideEvaluation(Evaluation):
    """An evaluation whose cosines before watched pools are wide; without norms, of images with themselves."""

    def __init__(
        self,
        program: SpatialProgram,
        pairs: Pairs,
        x: Side,
        y: Side,
        norms: tuple[Norms, Norms] | None,
        poll: Callable[[], None] | None,
    ) -> None:
        super().__init__(program, pairs, x, y, poll)
        self._cosines: dict[int, Wide] = {}
        self._given = norms
        self.norms: Norms = {}

    def step(self, node: int, step: SpatialStep) -> None:
        super().step(node, step)
        if node not in self._program.before_watched or self._pairs.of_nodes[node] is None:
            return
        self.widen(node, step)
        cosine, state = self._cosines[node], self._states[node]
        one = Wide.of(np.ones_like(cosine.high))
        m, p = np.maximum((one - cosine).high, 0), np.maximum((one + cosine).high, 0)
        self._states[node] = State(m, p, state.tangent, state.rest)

    def widen(self, node: int, step: SpatialStep) -> None:
        """Compute the cosines of a node, and forget those that were needed for it alone."""
        if self._pairs.of_nodes[node] is None:
            return
        match step:
            case ArrangeStep():
                cosine = self._wide_pixels(node, step)
            case ConvolveStep():
                cosine = self._wide_sums(node, step)
            case PointStep():
                cosine = self._wide_points(node, step)
            case GatherStep():
                cosine = self._wide_pool(node, step)
        self._cosines[node] = cosine
        self.forget_before(node, step, self._cosines)

    def _at(self, node: int, left: Wide, right: Wide) -> tuple[Wide, Wide]:
        """Return numbers of positions, (n_positions, n), at a node's pairs."""
        planes = self.planes(node)
        return left[planes.left], right[planes.right]

    def _wide_pixels(self, node: int, step: ArrangeStep) -> Wide:
        planes, channels = self.planes(node), step.shape[-1]
        pixels = [side.values.reshape(len(side.values), -1, channels).T for side in (self._x, self._y)]
        x, y = pixels  # (channels, n_positions, n)
        sums = Wide.of_product(x[:, planes.left], y[:, planes.right]).total()
        norms = [Wide.of_product(part, part).total().inverse_root() for part in pixels]
        inverse, other_inverse = self._at(node, *norms)
        return sums * inverse * other_inverse

    def _wide_sums(self, node: int, step: ConvolveStep) -> Wide:
        planes, before, cosine = self.planes(node), self.planes(step.source), self._cosines[step.source]
        n_seen, seen = n_positions(before.grid), seen_positions(step.window)
        roots, shares, biases = [], [], []
        for side in (self._x, self._y):
            root = side.planes[step.root : step.root + n_seen]
            inverse, tau = (side.planes[first : first + n_positions(planes.grid)] for first in (step.inverse, step.tau))
            of_taps = and_zero(root)[seen]
            scale, bias = Wide.of(inverse), Wide.of(tau)
            norm = (Wide.of_product(of_taps, of_taps).total() * (scale * scale) + bias * bias).inverse_root()
            roots.append(root)
            shares.append(scale * norm)
            biases.append(bias * norm)
        weighed = Wide.of_product(roots[0][before.left], roots[1][before.right]) * cosine
        weighed = Wide(and_zero(weighed.high), and_zero(weighed.low))
        total = Wide.of(np.zeros((planes.n_pairs, weighed.high.shape[1])))
        for some in self._some_taps(seen, planes.n_pairs):
            total = total + weighed[before.pairs(some[:, planes.left], some[:, planes.right])].total()
        share, other_share = self._at(node, shares[0], shares[1])
        own_bias, other_bias = self._at(node, biases[0], biases[1])
        return total * share * other_share + own_bias * other_bias

    def _wide_points(self, node: int, step: PointStep) -> Wide:
        instruction, planes = step.instruction, self.planes(node)
        sources = [self._wide_source(source, node) for source in instruction.sources]
        if instruction.is_product:
            cosine = sources[0]
            for other in sources[1:]:
                cosine = cosine * other
            return cosine
        n = n_positions(planes.grid)
        rows = slice(step.first, step.first + step.n_planes * n)
        parameters = [side.planes[rows].reshape(step.n_planes, n, side.planes.shape[1]) for side in (self._x, self._y)]
        if step.map is not None:
            if step.map.activation.homogeneity is not None:
                return of_angle(sources[0], step.map.activation)
            placed = step.map.placed
            x, y = (part[placed.first : placed.first + placed.count] for part in parameters)
            sources = [summed(step.map, sources[0], (x, y), (planes.left, planes.right), self._poll)]
            parameters = [part[: placed.first] for part in parameters]
        if not len(parameters[0]):
            return sources[0]
        shares = []
        for part in map(Wide.of, parameters):
            shares.append(part * (part * part).total().inverse_root())
        both = shares[0][:, planes.left] * shares[1][:, planes.right]
        total = Wide.of(np.zeros_like(both.high[0]))
        for share, source in zip(instruction.shares, sources, strict=True):
            total = total + both[share] * source
        return total if instruction.bias < 0 else total + both[instruction.bias]

    def _wide_source(self, source: int, node: int) -> Wide:
        own, planes, cosine = self.planes(source), self.planes(node), self._cosines[source]
        if own.grid != planes.grid or len(own.offsets) == len(planes.offsets):
            return cosine
        return cosine[own.pairs(planes.left, planes.right)]

    def _wide_pool(self, node: int, step: GatherStep) -> Wide:
        planes, before, cosine = self.planes(node), self.planes(step.source), self._cosines[step.source]
        n_seen, n_own = n_positions(before.grid), n_positions(planes.grid)
        x, seen = weights_of(self._x, step, n_seen, n_own)
        y, _ = weights_of(self._y, step, n_seen, n_own)
        total = Wide.of(np.zeros((planes.n_pairs, cosine.high.shape[1])))
        for tap, positions in enumerate(seen):
            weight, left, start = x[tap][planes.left], positions[planes.left], 0
            for others in self._some_taps(seen, planes.n_pairs):
                right = others[:, planes.right]
                pairs = before.pairs(np.broadcast_to(left, right.shape), right)
                other = y[start : start + len(others)][:, planes.right]
                start += len(others)
                # where a tap is outside, its weight is 0
                total = total + (Wide.of_product(np.broadcast_to(weight, other.shape), other) * cosine[pairs]).total()
        if self._given is None:
            zero = planes.plane_of((0,) * len(planes.grid))
            self.norms[node] = total[slice(*planes.starts[zero : zero + 2].tolist())].inverse_root()
            norms = self.norms[node], self.norms[node]
        else:
            norms = self._given[0][node], self._given[1][node]
        inverse, other_inverse = self._at(node, *norms)
        return total * inverse * other_inverse
