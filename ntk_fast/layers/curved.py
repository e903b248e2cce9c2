"""Activations whose map depends on the two variances: what their maps have in common.

Such a map is the sum of an odd and of an even function of the cosine, and is taken at |cosine|, where neither is
negative. There 1 - odd - even is the output's shortfall, which near pairs get without cancellation (`near_pairs`); then

    cosine >= 0:  m' = shortfall              p' = shortfall + 2 (odd + even)      D = odd' + even'
    cosine < 0:   m' = shortfall + 2 odd      p' = shortfall + 2 even              D = odd' - even'

with nothing but positive terms, so that pairs which are nearly opposite keep their digits as well.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.near_pairs import near_complement
from ntk_fast.layers.row_curve import RowCurve, row_curve

#: Variances beyond these count as these: the normalised activation has reached its limit, and nothing overflows.
LEAST_VARIANCE, LARGEST_VARIANCE = 1e-34, 1e34


class Parts(NamedTuple):
    """The odd and the even part of the output's cosine at a cosine >= 0, and their derivatives by it."""

    odd: Reals
    even: Reals
    odd_slope: Reals
    even_slope: Reals


@dataclass(frozen=True, repr=False)
class CurvedActivation(ActivationLayer, abstract=True):
    """See the module. Its first two row parameters are `ell` and `bend`; a kind's own follow."""

    def curve(self) -> RowCurve:
        """The curve of the activation, normalised (and without its mean, if that is separated)."""
        return row_curve(self)

    @abstractmethod
    def own_parameters(self, variance: Reals, tolerance: float, most: int | None) -> Reals:
        """Return the row parameters that follow `ell` and `bend`; `most` counts those, too."""

    @abstractmethod
    def parts(self, m: Reals, x: Reals, y: Reals) -> Parts:
        """Return the parts at cosine 1 - m >= 0; even and odd each to relative accuracy. `x`, `y`: own parameters."""

    def rounding(self, x: Reals, y: Reals) -> Reals | None:
        """Return what is added to m under a root that D is a function of; None: D is smooth. See `near_pairs`."""
        return None

    def row_parameters(self, variance: Reals, tolerance: float, most: int | None = None) -> Reals:
        held = np.clip(variance, LEAST_VARIANCE, LARGEST_VARIANCE)
        return np.concatenate([self.curve().ell_and_bend(held), self.own_parameters(held, tolerance, most)])

    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        nearer, opposite = np.minimum(m, p), p < m
        (ell, bend, *_), (other_ell, other_bend, *_) = x, y
        own, other = x[2:], y[2:]
        odd, even, odd_slope, even_slope = self.parts(nearer, own, other)

        def derivative(m: Reals) -> Reals:
            parts = self.parts(m, own, other)
            return parts.odd_slope + parts.even_slope

        shortfall = near_complement(
            nearer, odd + even, (ell, other_ell), (bend, other_bend), derivative, self.rounding(own, other)
        )
        return (
            shortfall + np.where(opposite, 2 * odd, 0.0),
            shortfall + np.where(opposite, 2 * even, 2 * (odd + even)),
            odd_slope + np.where(opposite, -even_slope, even_slope),
        )
