"""Where a function of one's own has corners, if it is straight between them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ntk_fast.compensated import Reals

#: Corners are looked for up to here, on so many cells; beyond, the function must go on straight, as at FAR.
REACH, CELLS = 64.0, 4096
FAR = np.array([100.0, 1e3, 1e5, 1e8])
MOST_CORNERS = 8
#: What values, and slopes times arguments, may be off by rounding.
ROUNDING = 16 * np.finfo(np.float64).eps
#: Corners and slopes this near to a number of few digits are meant to be it.
FEW_DIGITS = 9


class Corners(NamedTuple):
    """A continuous function that is straight but for corners."""

    positions: tuple[float, ...]  # ascending
    slopes: tuple[float, ...]  # one more: between and beyond
    origin: float  # its value at 0


@lru_cache(maxsize=256)
def corners_of(function: Callable[[Reals], Reals]) -> Corners | None:
    """Return the corners of a function; None if there are none away from 0, or too many, or it is not straight."""
    with np.errstate(all="ignore"):
        z = np.linspace(-REACH, REACH, CELLS + 1)
        values = np.asarray(function(z), dtype=np.float64)
        size = np.abs(values).max()
        straight = np.abs(values[2:] - 2 * values[1:-1] + values[:-2]) <= ROUNDING * size
        bent = np.flatnonzero(~straight) + 1
        if not len(bent) or len(bent) > 2 * MOST_CORNERS:
            return None
        # nodes that are bent, and their neighbours, lie between two stretches that are straight
        groups = np.split(bent, np.flatnonzero(np.diff(bent) > 1) + 1)
        edges = [(0, int(groups[0][0]) - 1)]
        for left, right in zip(groups, [*groups[1:], np.array([CELLS + 1])], strict=True):
            edges.append((int(left[-1]) + 1, int(right[0]) - 1))
        if any(last <= first for first, last in edges):
            return None
        slopes = [_rounded((values[last] - values[first]) / (z[last] - z[first])) for first, last in edges]
        positions = []
        for k, ((first, last), (onward, _)) in enumerate(pairwise(edges)):
            bend = slopes[k + 1] - slopes[k]
            if bend == 0:
                return None
            # both lines at the middle, so that rounding is that of numbers near the corner
            middle = 0.5 * (z[last] + z[onward])
            gap = (values[last] + slopes[k] * (middle - z[last])) - (
                values[onward] - slopes[k + 1] * (z[onward] - middle)
            )
            position = _rounded(middle + gap / bend)
            if not z[first] < position < z[edges[k + 1][1]]:
                return None
            positions.append(position)
        found = _symmetric(Corners(tuple(positions), tuple(slopes), float(function(np.zeros(1))[0])), function)
        tried = np.concatenate([0.5 * (z[1:] + z[:-1]) + 1e-3, FAR, -FAR, found.positions, [1e-6, -1e-6]])
        exact = rise(found, tried) + found.origin
        off = np.abs(np.asarray(function(tried), dtype=np.float64) - exact)
        if (off > ROUNDING * np.maximum(size, np.abs(exact))).any() or found.positions == (0.0,):
            return None
    return found


def _rounded(number: float) -> float:
    short = round(float(number), FEW_DIGITS)
    return short if abs(short - number) <= 64 * np.finfo(np.float64).eps * max(1.0, abs(number)) else float(number)


def _symmetric(found: Corners, function: Callable[[Reals], Reals]) -> Corners:
    """Make the corners of an even or odd function those of one, to the last bit."""
    z = np.array([*found.positions, 0.3, 7.0])
    signs = [sign for sign in (1, -1) if np.array_equal(function(-z), sign * np.asarray(function(z)))]
    if not signs:
        return found
    positions = [0.5 * (a - b) for a, b in zip(found.positions, found.positions[::-1], strict=True)]
    slopes = [0.5 * (a - signs[0] * b) for a, b in zip(found.slopes, found.slopes[::-1], strict=True)]
    return Corners(tuple(positions), tuple(slopes), found.origin)


def rise(corners: Corners, z: Reals) -> Reals:
    """Return the function less its value at 0."""
    positions, slopes, _ = corners
    bends = np.diff(slopes)
    at_zero = slopes[sum(position < 0 for position in positions)]
    total = at_zero * z
    for position, bend in zip(positions, bends, strict=True):
        total = total + bend * (np.maximum(position - z, 0.0) if position < 0 else np.maximum(z - position, 0.0))
    return total
