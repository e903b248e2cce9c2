"""The path of integration around the cuts of a kernel's profile, and Gegenbauer functions of the second kind along it.

See `sphere` for what is integrated and why along this path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.special
from numpy.typing import NDArray

from ntk_fast.lower.program import ABSENT
from ntk_fast.spectrum.continuation import Complexes, continued
from ntk_fast.spectrum.power_series import Reals
from ntk_fast.spectrum.unit_rows import UnitRows

#: Heights (T, T') to try, in this order. Activations of nearly equal or opposite slopes need a low T'.
HEIGHTS = [
    (right, left)
    for right in (1.2, 0.9, 0.5, 0.1)
    for left in (1.2, 0.9, 0.6, 0.4, 0.25, 0.15, 0.1, 0.05, 0.02, 0.01, 0.004, 0.002, 0.001, 4e-4, 1e-4)
    if left <= right
]
#: Error of the path's integral of kappa, relative to the size of its terms, that rounding explains: this a layer.
CAUCHY = 1e-15


@dataclass(frozen=True, eq=False)
class Path:
    """Quadrature points and steps from 1 to -1, the other way round than above, and tau + i phi, z = cosh(tau + i phi).

    On the left cut `angle` is that of the point opposite, -z, and `opposite` is true.
    """

    points: Complexes
    steps: Complexes
    angle: Complexes
    opposite: NDArray[np.bool_]

    @property
    def beyond(self) -> Complexes:
        """The points less 1; on a cut their imaginary part is +0."""
        return np.where(self.opposite, self.points - 1, 2 * np.sinh(self.angle / 2) ** 2)

    def second_kind(self, p: int, max_degree: int) -> Complexes:
        """Q_k at the path's points, shape (max_degree + 1, n_points).

        Q_k is the solution of P_k's recurrence that falls with k, so its ratios come from the recurrence run downwards
        from a degree so high that Q is a Bessel function there; z Q_0 - Q_1 = 1 gives Q_0.
        """
        z = np.where(self.opposite, -self.points, self.points)
        order, shift = (p - 3) / 2, (p - 2) / 2
        top = 4 * max_degree + 2000
        start, growth = top + shift, (1 + 1 / (top + shift)) ** order
        near, far = (scipy.special.kve(order, degree * self.angle) for degree in (start, start + 1))
        with np.errstate(invalid="ignore"):  # overflow, near z = 1 in many dimensions: the recurrence forgets its start
            ratio = np.where(np.isfinite(near), far / near * np.exp(-self.angle) * growth, 1.0)
        ratio *= (top + 1) / (top + p - 2)
        ratios = np.empty((max_degree + 1, len(z)), dtype=np.complex128)
        for k in range(top, 0, -1):
            ratio = k / ((2 * k + p - 2) * z - (k + p - 2) * ratio)
            if k <= max_degree:
                ratios[k] = ratio
        ratios[0] = 1 / (z - ratio)
        values = np.cumprod(ratios, axis=0)
        sign = -((-1.0) ** np.arange(max_degree + 1))  # Q_k(-z) = (-1)^(k + 1) Q_k(z)
        return np.where(self.opposite, sign[:, None], 1.0) * values


def path_for(unit: UnitRows) -> Path:
    """Return a path below which kappa is analytic, and along which the quadrature resolves it.

    By Cauchy's theorem it is one along which the integral of kappa is that along [-1, 1].
    """
    halves = [_double_exponential(*ends) for ends in ((0.0, np.pi / 2), (np.pi / 2, np.pi))]
    angle, width = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    expected = -(continued(unit, -2 * np.sin(angle / 2) ** 2 + 0j)[1] * np.sin(angle) * width).sum()
    starts = _cut_starts(unit)
    for right, left in HEIGHTS:
        path = _path(right, left, [start for start in starts if start < left])
        with np.errstate(over="ignore", invalid="ignore"):  # far outside of where kappa is analytic
            terms = continued(unit, path.beyond)[1] * path.steps
        if abs(terms.sum() - expected) <= CAUCHY * (2 + len(unit.instructions.maps)) * np.abs(terms).sum():
            return path
    raise ValueError(
        "kernel has structure at too many scales for sphere_eigenvalues (its profile is not analytic near [-1, 1])."
    )


def _cut_starts(unit: UnitRows) -> list[float]:
    """Where left cuts start: with a bias in a layer that sees the rows, further out. Pieces of the path end there."""
    starts, of_rows = set(), True
    for instruction in unit.instructions.instructions:
        if of_rows and not instruction.is_product and 0 in instruction.sources and instruction.bias != ABSENT:
            weight = unit.share(instruction.shares[instruction.sources.index(0)])
            if weight > 0:
                starts.add(math.acosh(1 + 2 * unit.share(instruction.bias) / weight))
        of_rows = of_rows and instruction.destination != 0
    return sorted(starts)


def _path(right: float, left: float, cut_starts: list[float]) -> Path:
    tau_right, step_right = _double_exponential(0.0, right)
    ends = [0.0, *cut_starts, left]
    pieces = [_double_exponential(low, high) for low, high in pairwise(ends)]
    tau_left, step_left = (np.concatenate(parts)[::-1] for parts in zip(*pieces, strict=True))
    phi, step_across = _double_exponential(0.0, np.pi)
    # tau + i phi; the fourth power: a low left end rises at once, out of where Q_k is not tiny yet
    across = right + (left - right) * (phi / np.pi) ** 4 + 1j * phi
    slope = (left - right) * 4 / np.pi * (phi / np.pi) ** 3
    points = [np.cosh(tau_right) + 0j, np.cosh(across), -np.cosh(tau_left) + 0j]
    steps = [
        np.sinh(tau_right) * step_right + 0j,
        np.sinh(across) * (slope + 1j) * step_across,
        np.sinh(tau_left) * step_left + 0j,
    ]
    opposite = np.repeat([False, False, True], [len(part) for part in points])
    return Path(
        np.concatenate(points),
        np.concatenate(steps),
        np.concatenate([tau_right + 0j, across, tau_left + 0j]),
        opposite,
    )


def straight_line(points: Complexes, values: Complexes) -> Complexes:
    """The line through a function at -1 and at the left cut's other end; P_k is orthogonal to it for k >= 2.

    Taken off, little is left to cancel on a path that is low there.
    """
    ends = np.array([np.argmin(points.real), len(points) - 1])
    (x0, x1), (y0, y1) = points.real[ends], values.real[ends]
    return y1 + (y1 - y0) / (x1 - x0) * (points - x1)


def _double_exponential(low: float, high: float) -> tuple[Reals, Reals]:
    """Nodes and weights of tanh-sinh quadrature: indifferent to what happens at the ends of the interval."""
    step = 1 / 32
    position = np.arange(-104, 105) * step
    stretched = np.pi * np.sinh(position)
    share = 1 / (1 + np.exp(-stretched))
    weight = step * np.pi * np.cosh(position) * share / (1 + np.exp(stretched))
    return low + (high - low) * share, (high - low) * weight
