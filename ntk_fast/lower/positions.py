"""Which pairs of positions each node of a plan is needed at, found from its output backwards.

Pairs (i, i') are kept by their offset i - i': activations and convolutions of stride 1 keep it, so that a *plane*, all
pairs of one offset, goes through them on its own. After Flatten the output sees offset 0 alone, through a pool of 2 x 2
before it offsets up to 1, through a global pool all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.layers.window import OUTSIDE, Grid, Positions, Window
from ntk_fast.lazy import lazy
from ntk_fast.lower.steps import Arrange, Attend, Convolve, Plan, Pool, Promote, Step

#: Of every offset from -(n - 1) to n - 1 along each dimension, whether it is needed.
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PlaneSet:
    """The pairs of positions of a node, numbered plane by plane, and within a plane by i, row by row.

    Plane k holds all pairs (i, i - offsets[k]) with both on the grid: i is in a rectangle, from max(0, offset) to grid
    + min(0, offset) along each dimension. Without positions there is one plane of one pair.
    """

    grid: Grid
    offsets: Positions  # (n_offsets, n_dimensions), in lexicographic order

    @lazy
    def starts(self) -> Positions:
        """The number of each plane's first pair, and of all pairs: (n_offsets + 1,)."""
        sizes = np.prod(np.array(self.grid, dtype=np.int64) - np.abs(self.offsets), axis=1)
        return np.concatenate([[0], np.cumsum(sizes)])

    @property
    def n_pairs(self) -> int:
        return int(self.starts[-1])

    @lazy
    def left(self) -> Positions:
        """Position i of each pair, a single number: row by row."""
        return self._flat(self._left)

    @lazy
    def right(self) -> Positions:
        """Position i' of each pair."""
        offset = np.repeat(self.offsets, np.diff(self.starts), axis=0)
        return self._flat(self._left - offset)

    @lazy
    def _left(self) -> Positions:
        if not self.grid:
            return np.zeros((1, 0), dtype=np.int64)
        rectangles = []
        for offset in self.offsets:
            ranges = [
                np.arange(max(0, step), n + min(0, step)) for step, n in zip(offset.tolist(), self.grid, strict=True)
            ]
            rectangles.append(np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(self.grid)))
        return np.concatenate(rectangles)

    def _flat(self, positions: Positions) -> Positions:
        if not self.grid:
            return np.zeros(len(positions), dtype=np.int64)
        return np.asarray(np.ravel_multi_index(tuple(positions.T), self.grid), dtype=np.int64)

    @lazy
    def _plane_numbers(self) -> Positions:
        """Of every offset, shifted by the grid less 1, the number of its plane or `OUTSIDE`."""
        if not self.grid:
            return np.zeros((), dtype=np.int64)
        numbers = np.full([2 * n - 1 for n in self.grid], OUTSIDE, dtype=np.int64)
        numbers[tuple((self.offsets + np.array(self.grid, dtype=np.int64) - 1).T)] = np.arange(len(self.offsets))
        return numbers

    def plane_of(self, offset: Iterable[int]) -> int:
        """Return the number of an offset's plane, or `OUTSIDE`."""
        shifted = tuple(step + n - 1 for step, n in zip(offset, self.grid, strict=True))
        inside = all(0 <= step < 2 * n - 1 for step, n in zip(shifted, self.grid, strict=True))
        return int(self._plane_numbers[shifted]) if inside else OUTSIDE

    def pairs(self, left: Positions, right: Positions) -> Positions:
        """Return the numbers of pairs of flat positions; `OUTSIDE` where a position is, or no plane holds the pair."""
        inside = (left >= 0) & (right >= 0)
        if not self.grid:
            return np.where(inside, 0, OUTSIDE)
        rank = np.zeros(inside.shape, dtype=np.int64)
        shifted = []
        coordinates = [np.unravel_index(np.where(inside, part, 0), self.grid) for part in (left, right)]
        for n, i, other in zip(self.grid, *coordinates, strict=True):
            offset = i - other
            shifted.append(offset + n - 1)
            rank = rank * (n - np.abs(offset)) + (i - np.maximum(0, offset))
        plane = self._plane_numbers[tuple(shifted)]
        return np.where(inside & (plane >= 0), self.starts[plane] + rank, OUTSIDE)


def offsets_behind(step: Step, offset: tuple[int, ...], grid: Grid) -> set[tuple[int, ...]]:
    """Return the offsets at its source, with these positions, that a step needs for one of its own."""
    mask = np.zeros(
        [2 * n - 1 for n in (step.window.output if isinstance(step, Convolve | Pool) else grid)], dtype=bool
    )
    mask[tuple(part + (n + 1) // 2 - 1 for part, n in zip(offset, mask.shape, strict=True))] = True
    needed = _behind(step, mask, grid)
    return {tuple(int(part) for part in row) for row in _offsets(needed)}


def _offsets(mask: Mask) -> Positions:
    middle = np.array([n // 2 for n in mask.shape], dtype=np.int64)
    return np.argwhere(mask) - middle if mask.ndim else np.zeros((1, 0), dtype=np.int64)


def _behind(step: Step, mask: Mask, grid: Grid) -> Mask:
    """Return what a step needs of a source with these positions, for what is needed of it."""
    if not grid:
        return np.ones((), dtype=bool)
    match step:
        case Attend():
            return _all(grid)
        case Convolve(window=window) | Pool(window=window) if window.output or isinstance(step, Pool):
            return _windowed(mask, window, isinstance(step, Pool))
        case Convolve():  # Flatten
            return _none_but_zero(grid)
        case _:
            return mask


def _all(grid: Grid) -> Mask:
    return np.ones([2 * n - 1 for n in grid], dtype=bool)


def _none_but_zero(grid: Grid) -> Mask:
    mask = np.zeros([2 * n - 1 for n in grid], dtype=bool)
    mask[tuple(n - 1 for n in grid)] = True
    return mask


def _windowed(mask: Mask, window: Window, independent: bool) -> Mask:
    """Offsets stride * offset, and with windows that are independent, as far around as two of their taps differ."""
    if not window.output:
        return _all(window.grid)
    result = np.zeros([2 * n - 1 for n in window.grid], dtype=bool)
    offsets = np.argwhere(mask) - (np.array(window.output) - 1)
    around = [
        tuple(step * part for step, part in zip(window.dilation, tap, strict=True))
        for tap in itertools.product(*(range(1 - size, size) for size in window.sizes))
    ]
    nothing = [(0,) * len(window.grid)]
    shifts = list(itertools.product(*((-n, 0) for n in window.grid))) if window.is_circular else nothing
    grid = np.array(window.grid)
    for difference in around if independent else nothing:
        needed = offsets * np.array(window.strides) + np.array(difference)
        if window.is_circular:
            needed = needed % grid
        for shift in shifts:
            shifted = needed + np.array(shift)
            inside = (np.abs(shifted) < grid).all(axis=1)
            result[tuple((shifted[inside] + grid - 1).T)] = True
    return result


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of positions of a plan's nodes; None where a node is needed at none."""

    of_nodes: tuple[PlaneSet | None, ...]
    segments: tuple[int, ...]  # of each node: see `segments`

    @staticmethod
    def behind_output(plan: Plan, output: int | None = None) -> Pairs:
        """Return what the output of a pair of rows needs, by default the last node."""
        return _needed(plan, {len(plan.steps) if output is None else output}, segments(plan))

    @staticmethod
    def of_rows(plan: Plan) -> Pairs:
        """Return what a row with itself is needed at: for the output, and for what sums over several positions."""
        sums = {node for node, step in enumerate(plan.steps, start=1) if isinstance(step, Pool | Attend | Promote)}
        return _needed(plan, sums | {len(plan.steps)}, segments(plan, of_rows=True))

    @property
    def count(self) -> int:
        """How many there are, of all nodes."""
        return sum(planes.n_pairs for planes in self.of_nodes if planes is not None)

    @property
    def largest(self) -> int:
        """How many the node has that has most."""
        return max(planes.n_pairs for planes in self.of_nodes if planes is not None)


def _needed(plan: Plan, roots: set[int], segments: tuple[int, ...]) -> Pairs:
    """Return what is needed so that some nodes are known at offset 0."""
    grids = plan.grids
    masks: list[Mask | None] = [_none_but_zero(grid) if node in roots else None for node, grid in enumerate(grids)]
    for node in range(len(plan.steps), 0, -1):
        step, mask = plan.steps[node - 1], masks[node]
        if mask is None or isinstance(step, Arrange):
            continue
        for source in plan.sources(step):
            needed, known = _behind(step, mask, grids[source]), masks[source]
            masks[source] = needed if known is None else known | needed
    return Pairs(
        tuple(
            None if mask is None else PlaneSet(grid, _offsets(mask)) for mask, grid in zip(masks, grids, strict=True)
        ),
        segments,
    )


def segments(plan: Plan, *, of_rows: bool = False) -> tuple[int, ...]:
    """Return in which segment each node is: offsets mix between two segments, and not within one.

    `of_rows`: of rows with themselves, whose tangents are variances behind a Promote, which are known between segments.
    """
    numbers = [0]
    begins = Pool | Attend | Promote if of_rows else Pool | Attend
    for step in plan.steps:
        number = max(numbers[source] for source in plan.sources(step))
        numbers.append(number + isinstance(step, begins))
    return tuple(numbers)


def n_positions(grid: Grid) -> int:
    """Return how many positions there are: 1 without positions."""
    return math.prod(grid)
