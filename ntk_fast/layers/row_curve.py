"""The curve that an activation's normalised features run along as a row's variance grows: arc length and curvature.

b(q) = sigma(sqrt(q) z) / N(q) is a unit vector in the space of functions of a standard normal z (see `near_pairs`). Its
derivatives by lambda = ln q come from one-dimensional Gaussian expectations. With u = sqrt(q) z, s = sigma(u),
L = (u/2) d/du, and kappa = E[s Ls] / N^2,

    b' = (Ls - kappa s) / N                            |b'| is the speed: `ell` is its integral
    bend = 1 + |the part of L^2 s / N that is orthogonal to b and b'|^2 / |b'|^4

because b''.b = -|b'|^2, and what else b'' has is a multiple of b, b' and L^2 s. Differences are taken pointwise, so
that nothing cancels where sigma is nearly a power of z; where rounding hides what the bend of small rows is measured
from, it is continued as a polynomial in sqrt(q). Speed and bend are held as Chebyshev series on pieces of
lambda of length one, and `ell` is measured from lambda = 0: a row's numbers depend on its own variance alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.lazy import lazy

#: |b'|, bend, and the size of what bend was measured from (infinite: it is exact), as functions of lambda.
Motion = Callable[[Reals], tuple[Reals, Reals, Reals]]

#: Chebyshev terms of a piece: the functions are analytic for |imaginary part| < pi/2, where 16 give 1e-13 or better.
TERMS = 18
NODES = np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(NODES, TERMS - 1))

#: Parts of unit vectors that may be rounding noise of the differences below, and that give a bend to some 7 digits.
NOISE, CLEAR = 1e-12, 1e-7
LARGEST_BEND = 1e30
#: The piece below which speeds are a power of q: their corrections are of the order of sqrt(q).
POWER_LAW = -32
#: Pieces, and the degree in sqrt(q), from which the bend of small rows is continued.
CONTINUED_FROM, CONTINUED_DEGREE = 5, 9


class RowCurve:
    """Arc length and squared curvature of a curve, for rows of any variance."""

    def __init__(self, motion: Motion) -> None:
        self._motion = motion
        self._pieces: dict[int, tuple[Reals, Reals]] = {}

    def _piece(self, piece: int) -> tuple[Reals, Reals]:
        """Chebyshev coefficients of ell from the piece's start, and of bend."""
        if piece not in self._pieces:
            position = piece + 0.5 + 0.5 * NODES
            speed, bend, size = self._motion(position)
            ell = chebyshev.chebint(TO_COEFFICIENTS @ speed, lbnd=-1, scl=0.5)
            if piece < 0 and size.min() < CLEAR:
                bend = self._continued_bend(np.exp(position / 2))
            self._pieces[piece] = ell, TO_COEFFICIENTS @ bend
        return self._pieces[piece]

    def _continued_bend(self, root: Reals) -> Reals:
        series, scale = self._bend_of_small_rows
        return np.maximum(polynomial.polyval(root / scale, series), 1.0)

    @lazy
    def _bend_of_small_rows(self) -> tuple[Reals, float]:
        """A polynomial in sqrt(q) / scale, fitted where the bend of small rows is clear; 1 if it is so nowhere."""
        points = []
        for piece in range(-1, -40, -1):
            position = piece + 0.5 + 0.5 * NODES
            _, bend, size = self._motion(position)
            if size.min() < CLEAR:
                break
            points.append((np.exp(position / 2), bend, size))
        if len(points) < CONTINUED_FROM:
            return np.ones(1), 1.0
        root, bend, size = (np.concatenate(part) for part in zip(*points[-CONTINUED_FROM:], strict=True))
        scale = float(root.max())
        weight = np.minimum(size, 1e-2)
        return polynomial.polyfit(root / scale, bend, CONTINUED_DEGREE, w=weight), scale

    def _start(self, piece: int) -> float:
        """Return ell where the piece starts."""
        between = range(piece) if piece > 0 else range(piece, 0)
        return float(np.copysign(sum(self._piece(k)[0].sum() for k in between), piece))

    @lazy
    def _power_law(self) -> tuple[float, float]:
        """The speed where `POWER_LAW` starts, and its exponent."""
        (speed, before), *_ = self._motion(np.array([POWER_LAW, POWER_LAW - 1.0]))
        return float(speed), float(np.clip(np.log(speed / before), 0.25, 100)) if min(speed, before) > 0 else 1.0

    def ell_and_bend(self, variance: Reals) -> Reals:
        """Return ell and bend of rows of these variances, (2, n_rows)."""
        logarithm = np.log(variance)
        position = np.maximum(logarithm, POWER_LAW)
        floor = np.floor(position)
        pieces, which = pieces_of(floor)
        ell = np.array([self._piece(int(piece))[0] for piece in pieces]).reshape(len(pieces), TERMS + 1)
        bend = np.array([self._piece(int(piece))[1] for piece in pieces]).reshape(len(pieces), TERMS)
        start = np.array([self._start(int(piece)) for piece in pieces])
        offset = 2 * (position - floor) - 1
        result = np.stack([start[which] + _series(ell, which, offset), np.maximum(_series(bend, which, offset), 0.0)])
        small = np.flatnonzero(logarithm < POWER_LAW)
        if len(small):
            speed, exponent = self._power_law
            result[0, small] += speed / exponent * np.expm1(exponent * (logarithm[small] - POWER_LAW))
        return result


def pieces_of(floor: Reals) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the different pieces, and of each row which of them it is on: `np.unique`, without sorting the rows."""
    first = int(floor.min()) if len(floor) else 0
    index = floor.astype(np.int64) - first
    counts = np.bincount(index)
    return np.flatnonzero(counts) + first, (np.cumsum(counts > 0) - 1)[index]


def _series(coefficients: Reals, which: NDArray[np.int64], x: Reals) -> Reals:
    """Evaluate Chebyshev series, row `which` of the coefficients for each x, by Clenshaw's recurrence."""
    ahead = beyond = np.zeros_like(x)
    for column in coefficients.T[:0:-1]:
        ahead, beyond = column[which] + 2 * x * ahead - beyond, ahead
    return coefficients[:, 0][which] + x * ahead - beyond if len(x) else x


@lru_cache(maxsize=256)
def row_curve(activation: ActivationLayer) -> RowCurve:
    """Return the curve of an activation, by quadrature."""
    return RowCurve(lambda position: _by_quadrature(activation, position))


def gaussian_panels(octaves: int) -> tuple[Reals, Reals]:
    """Nodes z on both sides of 0 and weights, density included, of E[f(z)] for f with structure down to 2**-octaves."""
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-octaves, 1), [1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]])
    nodes, weights = np.polynomial.legendre.leggauss(16)
    centre, half = (edges[1:] + edges[:-1])[:, None] / 2, np.diff(edges)[:, None] / 2
    z = (centre + half * nodes).ravel()
    weight = (half * weights).ravel() * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.concatenate([-z[::-1], z]), np.concatenate([weight[::-1], weight])


#: Octaves below min(1, 1 / sqrt(q)) at which an activation may still have structure.
FINEST = 6
#: Central differences in ln u, of order 8.
STEP = 0.02
DIFFERENCES = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280]) / STEP
SECOND_DIFFERENCES = np.array([-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560]) / STEP**2


def _by_quadrature(activation: ActivationLayer, position: Reals) -> tuple[Reals, Reals, Reals]:
    octaves = FINEST + max(0, int(np.ceil(position.max() / np.log(4))))
    z, weight = gaussian_panels(octaves)
    u = np.exp(position / 2)[:, None] * z
    function = activation.rise if activation.separates_mean else activation
    value = function(u)
    ratios = np.exp(STEP * np.arange(1, 5))
    if activation.has_derivative:
        first, second = 0.5 * u * activation.derivative(u), np.zeros_like(u)
        for factor, ratio in zip(DIFFERENCES, ratios, strict=True):
            ahead, behind = (0.5 * u * r * activation.derivative(u * r) for r in (ratio, 1 / ratio))
            second += 0.5 * factor * (ahead - behind)
    else:
        first, second = np.zeros_like(u), 0.25 * SECOND_DIFFERENCES[0] * value
        for factor, second_factor, ratio in zip(DIFFERENCES, SECOND_DIFFERENCES[1:], ratios, strict=True):
            ahead, behind = function(u * ratio), function(u / ratio)
            first += 0.5 * factor * (ahead - behind)
            second += 0.25 * second_factor * (ahead + behind)
    if activation.separates_mean:
        value, first, second = (part - (part @ weight)[:, None] for part in (value, first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        return motion_of(value, first, second, weight)


def motion_of(value: Reals, first: Reals, second: Reals, weight: Reals) -> tuple[Reals, Reals, Reals]:
    """Return what a `Motion` does, given s, Ls and L^2 s as rows of values in which `weight` gives scalar products."""
    value, first, second = (part / np.sqrt((value * value) @ weight)[:, None] for part in (value, first, second))
    forward = first - ((value * first) @ weight)[:, None] * value
    speed = np.sqrt((forward * forward) @ weight)
    direction = forward / speed[:, None]
    for unit in (value, direction, value, direction):
        second = second - ((second * unit) @ weight)[:, None] * unit
    size = np.sqrt((second * second) @ weight)
    sideways = np.where(size > NOISE, size, 0.0) / speed**2
    still = ~(speed > 0)  # NaN, too: a row whose features all vanish
    bend = np.where(still, 1.0, np.minimum(1 + sideways * sideways, LARGEST_BEND))
    return np.where(still, 0.0, speed), bend, np.where(still, 0.0, size)
