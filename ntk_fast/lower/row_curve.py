"""The curve that an activation's normalised features run along as a row's variance grows: arc length and curvature.

b(q) = sigma(sqrt(q) z) / N(q) is a unit vector in the space of functions of a standard normal z (see `near_pairs`). Its
derivatives by lambda = ln q come from one-dimensional Gaussian expectations. With u = sqrt(q) z, s = sigma(u),
L = (u/2) d/du, and kappa = E[s Ls] / N^2,

    b'  = (Ls - kappa s) / N                                            |b'| is the speed: `ell` is its integral
    b'' = (L^2 s - 2 kappa Ls + (kappa^2 - kappa') s) / N               kappa' = (E[(Ls)^2] + E[s L^2 s]) / N^2 - 2 kappa^2
    bend = (|b''|^2 - (b''.b' / |b'|)^2) / |b'|^4

Differences are taken pointwise, so that nothing cancels where sigma is nearly a power of z. Speed and bend are held as
Chebyshev series on pieces of lambda of length one, and `ell` is measured from lambda = 0: a row's numbers depend on its
own variance alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev

from ntk_fast.compensated import Reals

if TYPE_CHECKING:
    from ntk_fast.layers.activation import ActivationLayer

#: |b'| and bend as functions of lambda.
SpeedAndBend = Callable[[Reals], tuple[Reals, Reals]]

#: Chebyshev terms of a piece: the functions are analytic for |imaginary part| < pi/2, where 16 give 1e-13 or better.
TERMS = 18
NODES = np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(NODES, TERMS - 1))

#: Below this speed a curve stands still, and its bend is rounding noise.
STANDSTILL = 1e-11
LARGEST_BEND = 1e6


class RowCurve:
    """Arc length and squared curvature of a curve, for rows of any variance."""

    def __init__(self, speed_and_bend: SpeedAndBend) -> None:
        self._speed_and_bend = speed_and_bend
        self._pieces: dict[int, tuple[Reals, Reals]] = {}

    def _piece(self, piece: int) -> tuple[Reals, Reals]:
        """Chebyshev coefficients of ell from the piece's start, and of bend."""
        if piece not in self._pieces:
            speed, bend = self._speed_and_bend(piece + 0.5 + 0.5 * NODES)
            ell = chebyshev.chebint(TO_COEFFICIENTS @ speed, lbnd=-1, scl=0.5)
            self._pieces[piece] = ell, TO_COEFFICIENTS @ bend
        return self._pieces[piece]

    def _start(self, piece: int) -> float:
        """Return ell where the piece starts."""
        between = range(piece) if piece > 0 else range(piece, 0)
        return float(np.copysign(sum(self._piece(k)[0].sum() for k in between), piece))

    def ell_and_bend(self, variance: Reals) -> Reals:
        """Return ell and bend of rows of these variances, (2, n_rows)."""
        position = np.log(variance)
        floor = np.floor(position)
        pieces, which = np.unique(floor.astype(np.int64), return_inverse=True)
        ell = np.array([self._piece(int(piece))[0] for piece in pieces]).reshape(len(pieces), -1)
        bend = np.array([self._piece(int(piece))[1] for piece in pieces]).reshape(len(pieces), -1)
        start = np.array([self._start(int(piece)) for piece in pieces])
        offset = 2 * (position - floor) - 1
        return np.stack([start[which] + _series(ell, which, offset), np.maximum(_series(bend, which, offset), 0.0)])


def _series(coefficients: Reals, which: Reals, x: Reals) -> Reals:
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
#: Steps in ln u of the central differences that give L of (u/2) sigma'.
STEP = 2e-3


def _by_quadrature(activation: ActivationLayer, position: Reals) -> tuple[Reals, Reals]:
    octaves = FINEST + max(0, int(np.ceil(position.max() / np.log(4))))
    z, weight = gaussian_panels(octaves)
    u = np.exp(position / 2)[:, None] * z

    def advance(u: Reals) -> Reals:
        return 0.5 * u * activation.derivative(u)

    value = activation.rise(u) if activation.separates_mean else activation(u)
    first = advance(u)
    near, far = (advance(u * np.exp(step)) - advance(u * np.exp(-step)) for step in (STEP, 2 * STEP))
    second = (8 * near - far) / (24 * STEP)  # half the derivative by ln u
    if activation.separates_mean:
        value, first, second = (part - (part @ weight)[:, None] for part in (value, first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _speed_and_bend(value, first, second, weight)


def _speed_and_bend(value: Reals, first: Reals, second: Reals, weight: Reals) -> tuple[Reals, Reals]:
    value, first, second = (part / np.sqrt((value * value) @ weight)[:, None] for part in (value, first, second))
    kappa = ((value * first) @ weight)[:, None]
    forward = first - kappa * value
    kappa_slope = (((first * first) + value * second) @ weight)[:, None] - 2 * kappa**2
    turning = second - 2 * kappa * first + (kappa**2 - kappa_slope) * value
    speed = np.sqrt((forward * forward) @ weight)
    sideways = turning - ((turning * forward) @ weight / speed**2)[:, None] * forward
    bend = (sideways * sideways) @ weight / speed**4
    moves = speed > STANDSTILL
    return np.where(np.isfinite(speed), speed, 0.0), np.where(moves, np.minimum(bend, LARGEST_BEND), 0.0)
