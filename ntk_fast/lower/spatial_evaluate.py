"""The steps of spatial programs executed in NumPy: the reference for all tiles.

All planes of a node at once: arrays (n_pairs, n) of n pairs of images. Planes of the images on the left are (n_planes,
1) or (n_planes, n), those on the right (n_planes, n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.layers.pair_state import cosine_of
from ntk_fast.layers.window import Positions, seen_positions
from ntk_fast.lower.evaluate import State, mapped, mixed, multiplied, promoted
from ntk_fast.lower.positions import Pairs, PlaneSet, n_positions
from ntk_fast.lower.spatial_program import (
    ArrangeStep,
    ConvolveStep,
    GatherStep,
    PointStep,
    SpatialProgram,
    SpatialStep,
    sources_of,
)

#: Numbers of one of a state's parts that a sum over taps takes at a time.
NUMBERS_AT_A_TIME = 1 << 15
#: m of two windows tap by tap, above which an m below its rounding is taken as 0: the windows are equal, but shifted.
FAR_TAPS = 0.01
#: m from which on what rounding takes does not count.
NEAR_WINDOWS = 0.0625
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class Side:
    """Some images: their numbers, (n, n_features), and their planes, (n_planes, n)."""

    values: Reals
    planes: Reals


@dataclass(frozen=True, eq=False)
class Gathered:
    """The sums of a GatherStep, before they are normalised, and the distances that hold m and p."""

    m: Reals
    p: Reals
    tangent: Reals
    distance: Reals
    opposite_distance: Reals


class Evaluation:
    """One run of a program on pairs of images, step by step; states that nothing needs any more are forgotten."""

    def __init__(
        self, program: SpatialProgram, pairs: Pairs, x: Side, y: Side, poll: Callable[[], None] | None = None
    ) -> None:
        """`poll` is called often, and may raise."""
        self._poll = poll
        self._program = program
        self._pairs = pairs
        self._x, self._y = x, y
        self._states: dict[int, State] = {}
        self._last_use = last_uses(program)
        #: Of each pair of images, about what subtractions in watched pools have taken from chords, on average.
        self.lost: Reals = np.zeros(y.planes.shape[1])

    def planes(self, node: int) -> PlaneSet:
        """Return the pairs of positions of a node."""
        planes = self._pairs.of_nodes[node]
        assert planes is not None
        return planes

    def state(self, node: int) -> State:
        return self._states[node]

    def run(self) -> State:
        """Return the state of the last node."""
        for node, step in enumerate(self._program.steps, start=1):
            self.step(node, step)
        return self._states[len(self._program.steps)]

    def step(self, node: int, step: SpatialStep) -> None:
        """Compute a node, if it is needed at any pair of positions."""
        if self._pairs.of_nodes[node] is None:
            return
        match step:
            case ArrangeStep():
                state = self._arranged(node, step)
            case PointStep():
                state = self._at_points(node, step)
            case ConvolveStep():
                state = self._convolved(node, step)
            case GatherStep():
                state = self.normalised(node, step, self.gathered(node, step))
        self.keep(node, step, state)

    def keep(self, node: int, step: SpatialStep, state: State) -> None:
        """Store the state of a node, and forget what was needed for it alone."""
        self._states[node] = state
        self.forget_before(node, step, self._states)

    def forget_before(self, node: int, step: SpatialStep, known: dict[int, Any]) -> None:
        """Forget what was known of the sources that nothing needs after a node."""
        for source in sources_of(step):
            if self._last_use[source] == node:
                known.pop(source, None)

    def _sides(self, node: int, first: int, n_planes: int) -> tuple[Reals, Reals]:
        """Return planes on a node's grid at both positions of its pairs, (n_planes, n_pairs, ...)."""
        planes = self.planes(node)
        shape = n_planes, n_positions(planes.grid), -1
        rows = slice(first, first + shape[0] * shape[1])
        x, y = (side.planes[rows].reshape(shape) for side in (self._x, self._y))
        return np.take(x, planes.left, axis=1), np.take(y, planes.right, axis=1)

    def _arranged(self, node: int, step: ArrangeStep) -> State:
        (inverse,), (other,) = self._sides(node, step.inverse, 1)
        planes, channels = self.planes(node), step.shape[-1]
        x, y = (side.values.reshape(-1, n_positions(planes.grid), channels) for side in (self._x, self._y))
        m = 0.5 * (inverse == 0) + 0.5 * (other == 0)
        p = m.copy()
        for channel in range(channels):
            u, v = x[:, planes.left, channel].T * inverse, y[:, planes.right, channel].T * other
            m += 0.5 * (u - v) ** 2
            p += 0.5 * (u + v) ** 2
        zero = np.zeros_like(m)
        return State(m, p, zero, zero)

    def _at_points(self, node: int, step: PointStep) -> State:
        instruction, planes = step.instruction, self.planes(node)
        sources = [self._at_pairs(source, planes) for source in instruction.sources]
        if instruction.is_product:
            return multiplied(sources)
        x, y = self._sides(node, step.first, step.n_planes) if step.n_planes else (np.empty(0), np.empty(0))
        if instruction.promotes:
            return promoted(sources[0], x[0] * y[0])
        if step.map is not None:
            sources = [mapped(step.map.placed, sources[0], x, y)]
        return mixed(instruction, sources, x, y)

    def _at_pairs(self, source: int, planes: PlaneSet) -> State:
        """Return a source's states at the pairs of positions of a node."""
        own, state = self.planes(source), self._states[source]
        if own.grid != planes.grid or len(own.offsets) == len(planes.offsets):
            return state
        at = own.pairs(planes.left, planes.right)
        return State(state.m[at], state.p[at], state.tangent[at], state.rest[at])

    def _convolved(self, node: int, step: ConvolveStep) -> State:
        planes, source = self.planes(node), self._states[step.source]
        (tau,), (other_tau,) = self._sides(node, step.tau, 1)
        (inverse,), (other_inverse,) = self._sides(node, step.inverse, 1)
        n_seen = n_positions(self.planes(step.source).grid)
        root, other_root = (and_zero(side.planes[step.root : step.root + n_seen]) for side in (self._x, self._y))
        slope = source.tangent + source.rest
        gap = 0.5 * (tau - other_tau) ** 2
        m, p, tangent = np.zeros_like(gap), 2 * tau * other_tau, np.zeros_like(gap)
        for seen in self._some_taps(seen_positions(step.window), planes.n_pairs):
            left, right = seen[:, planes.left], seen[:, planes.right]
            pairs = self.planes(step.source).pairs(left, right)
            share, other_share = root[left] * inverse, other_root[right] * other_inverse
            both = share * other_share  # 0 where a tap is outside
            gap = added(gap, 0.5 * (share - other_share) ** 2)
            m = added(m, both * source.m[pairs])
            p = added(p, both * source.p[pairs])
            tangent = added(tangent, both * slope[pairs])
        m, p = m + gap, p + gap
        if step.adds_own:
            tangent = tangent + cosine_of(m, p)
        return State(m, p, tangent, np.zeros_like(m))

    def _some_taps(self, seen: Positions, n_pairs: int) -> Iterator[Positions]:
        """Yield the positions that taps see of each output, a few taps at a time."""
        at_a_time = max(1, NUMBERS_AT_A_TIME // max(1, n_pairs))
        for start in range(0, len(seen), at_a_time):
            if self._poll is not None:
                self._poll()
            yield seen[start : start + at_a_time]

    def gathered(self, node: int, step: GatherStep) -> Gathered:
        """Return the sums over positions on both sides: within those over positions of x, those over positions of y."""
        if step.window is None:
            return self._attended(node, step)
        planes, source = self.planes(node), self._states[step.source]
        before = self.planes(step.source)
        n_seen, n_own = n_positions(before.grid), n_positions(planes.grid)
        x, seen = weights_of(self._x, step, n_seen, n_own)
        y, _ = weights_of(self._y, step, n_seen, n_own)
        slope = source.tangent + source.rest
        shape = planes.n_pairs, self._y.planes.shape[1]
        m, p, tangent, distance, opposite_distance = (np.zeros(shape) for _ in range(5))
        for tap, positions in enumerate(seen):
            inner: list[Reals] = [np.zeros(shape) for _ in range(3)]
            weight, left, start = x[tap][planes.left], positions[planes.left], 0
            for others in self._some_taps(seen, planes.n_pairs):
                right = others[:, planes.right]
                pairs = before.pairs(np.broadcast_to(left, right.shape), right)
                other = np.take(y[start : start + len(others)], planes.right, axis=1)
                start += len(others)
                mass, (nearer, further) = np.abs(other), _signed(source, pairs, weight, other)
                sums = (mass * nearer, mass * further, other * slope[pairs])
                inner = [added(total, part) for total, part in zip(inner, sums, strict=True)]
            m, p, tangent = m + np.abs(weight) * inner[0], p + np.abs(weight) * inner[1], tangent + weight * inner[2]
            other = y[tap][planes.right]
            nearer, further = _signed(source, before.pairs(left, positions[planes.right]), weight, other)
            square, mass = (np.abs(weight) - np.abs(other)) ** 2, 2 * np.abs(weight * other)
            distance = distance + np.sqrt(square + mass * nearer)
            opposite_distance = opposite_distance + np.sqrt(square + mass * further)
        return Gathered(m, p, tangent, distance, opposite_distance)

    def _attended(self, node: int, step: GatherStep) -> Gathered:
        """Return the same where windows are all there is: first what each position of x is to all sums of y's."""
        planes, before, source = self.planes(node), self.planes(step.source), self._states[step.source]
        n_seen, n_own = n_positions(before.grid), n_positions(planes.grid)
        x, _ = weights_of(self._x, step, n_seen, n_own)
        y, _ = weights_of(self._y, step, n_seen, n_own)
        slope, positions = source.tangent + source.rest, np.arange(n_seen)
        inner = [np.zeros((n_seen, n_own, y.shape[-1])) for _ in range(3)]
        for position, other in zip(positions, y, strict=True):
            if self._poll is not None:
                self._poll()
            pairs = before.pairs(positions, np.full_like(positions, position))[:, None]
            nearer, further = _turned(source.m[pairs], source.p[pairs], other < 0)
            sums = (np.abs(other) * nearer, np.abs(other) * further, other * slope[pairs])
            inner = [total + part for total, part in zip(inner, sums, strict=True)]
        m, p, tangent, distance, opposite_distance = (np.zeros((planes.n_pairs, y.shape[-1])) for _ in range(5))
        for position, own, others, *parts in zip(positions, x, y, *inner, strict=True):
            weight, other = own[planes.left], others[planes.right]
            nearer, further = _turned(parts[0][planes.right], parts[1][planes.right], weight < 0)
            m, p = m + np.abs(weight) * nearer, p + np.abs(weight) * further
            tangent = tangent + weight * parts[2][planes.right]
            same = before.pairs(np.full(1, position), np.full(1, position))
            nearer, further = _turned(source.m[same], source.p[same], (weight < 0) != (other < 0))
            square, mass = (np.abs(weight) - np.abs(other)) ** 2, 2 * np.abs(weight * other)
            distance = distance + np.sqrt(square + mass * nearer)
            opposite_distance = opposite_distance + np.sqrt(square + mass * further)
        return Gathered(m, p, tangent, distance, opposite_distance)

    def normalised(self, node: int, step: GatherStep, sums: Gathered) -> State:
        """Return the state that the sums make; see `GatherStep`."""
        (mu,), (other,) = self._sides(node, step.mu, 1)
        a, b = np.sqrt(np.maximum(1 - mu, 0)), np.sqrt(np.maximum(1 - other, 0))
        is_zero = a * b == 0
        inverse = np.where(is_zero, 0.0, 1 / np.where(is_zero, 1.0, a * b))
        shortfall = 0.5 * ((mu - other) / np.where(is_zero, 1.0, a + b)) ** 2
        rounding = np.finfo(np.float64).eps * (mu + other) * inverse
        nearer, lost = [], []
        for part, distance in ((sums.m, sums.distance), (sums.p, sums.opposite_distance)):
            bound = 0.5 * distance**2 * inverse
            left = np.clip((0.5 * ((part - mu) + (part - other)) - shortfall) * inverse, 0, bound)
            is_equal = (left < 4 * rounding) & (bound > FAR_TAPS)
            taken = rounding / np.sqrt(np.maximum(np.maximum(left, rounding), TINY))
            nearer.append(np.where(is_equal, 0.0, left))
            lost.append(np.where(is_equal | (left >= NEAR_WINDOWS), 0.0, np.minimum(taken, np.sqrt(bound))))
        m, p = nearer
        if node in self._program.watched:  # sums of nothing have m = p = 0, and lose nothing
            taken = np.where(m + p > 1, np.maximum(*lost), 0.0)
            self.lost = np.maximum(self.lost, taken.mean(axis=0))
        return State(m + is_zero, p + is_zero, sums.tangent * inverse, np.zeros_like(m))


def _turned(m: Reals, p: Reals, opposite: NDArray[np.bool_]) -> tuple[Reals, Reals]:
    """Return m and p, exchanged where `opposite`."""
    return np.where(opposite, p, m), np.where(opposite, m, p)


def _signed(source: State, pairs: Positions, weight: Reals, other: Reals) -> tuple[Reals, Reals]:
    """Return m and p of pairs, exchanged where the signs of their weights differ."""
    m, p = source.m[pairs], source.p[pairs]
    if not ((weight < 0).any() or (other < 0).any()):
        return m, p
    return _turned(m, p, (weight < 0) != (other < 0))


def weights_of(side: Side, step: GatherStep, n_seen: int, n_own: int) -> tuple[Reals, Positions]:
    """Return the alpha of each tap and output position, (n_taps, n_outputs, n), and the positions that they see."""
    n = side.planes.shape[1]
    if step.window is None:
        seen = np.broadcast_to(np.arange(n_seen)[:, None], (n_seen, n_own))
        return side.planes[step.root : step.root + n_seen * n_own].reshape(n_seen, n_own, n), seen
    seen = seen_positions(step.window)
    root = side.planes[step.root : step.root + n_seen]
    inverse = side.planes[step.inverse : step.inverse + n_own]
    return and_zero(root)[seen] * inverse, seen


def and_zero(root: Reals) -> Reals:
    """Return roots and, where `OUTSIDE` finds it, a zero."""
    return np.concatenate([root, np.zeros((1, root.shape[1]))])


def added(total: Reals, terms: Reals) -> Reals:
    """Return total + terms[0] + terms[1] + ..., one after the other, whatever the other axes; terms may be lost."""
    terms = np.ascontiguousarray(terms)
    terms[0] += total
    if total.size == 1:  # NumPy adds a single column in pairs
        return np.add.accumulate(terms)[-1]
    return np.add.reduce(terms)


def last_uses(program: SpatialProgram) -> dict[int, int]:
    """Return of each node the last one that takes it."""
    return {source: node for node, step in enumerate(program.steps, start=1) for source in sources_of(step)}
