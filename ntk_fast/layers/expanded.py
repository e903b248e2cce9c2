"""Activations without a closed form: Hermite coefficients by quadrature, to a tolerance.

For a row of variance q, c_n(q) = E[sigma(sqrt(q) z) h_n(z)] are integrals over panels that resolve sigma and h_n. They
are taken at Chebyshev nodes of pieces of ln q of length one and interpolated: a million rows cost no integrals.

A row needs terms until the derivative's series, sum_n n a_n^2, lacks less than the tolerance, and until what is left of
the others is small enough for the chord of pairs that are just not near, and of pairs that are opposite and see nothing
but even terms; a pair needs those of the row that needs more. A row carries more terms than it needs, for pairs with
larger rows, in which only one factor is small: until the root of what is left is within the tolerance.

A kink at 0 leaves too many terms. Where an activation has one, which its coefficients tell, the terms after the first
few are a tail (`hermite_tails`). What else is lacking, of kinks elsewhere and of steep ones, is measured and said.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ntk_fast.caller import warn_caller
from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import reals
from ntk_fast.layers.curved import LARGEST_VARIANCE, LEAST_VARIANCE
from ntk_fast.layers.hermite_map import BEFORE, HermiteMap
from ntk_fast.layers.hermite_pieces import (
    LEAST_TOLERANCE,
    MOST_TERMS,
    PARTS,
    STEEP_TERMS,
    Piece,
    is_tailed,
    of_tails,
    piece_of,
)
from ntk_fast.layers.hermite_tails import START
from ntk_fast.layers.row_curve import NODES, pieces_of

#: Rows that are interpolated at a time: a few hundred terms of them stay in cache.
BLOCK = 64
#: What is promised of D over its value at cosine 1, where tails are.
TAIL_ACCURACY = 1e-9


class AccuracyWarning(UserWarning):
    """A kernel is less accurate than promised; the message says how accurate it is."""


@dataclass(frozen=True, repr=False)
class ExpandedActivation(HermiteMap, abstract=True):
    """See the module. A subclass gives the function and its derivative."""

    @property
    def has_tail(self) -> bool:
        return is_tailed(self)

    def own_parameters(self, variance: Reals, tolerance: float, most: int | None) -> Reals:
        return _Rows(self, variance).coefficients(tolerance, STEEP_TERMS if most is None else most - self.n_before)

    def accuracy(self, variance: Reals) -> float:
        held = np.clip(variance, LEAST_VARIANCE, LARGEST_VARIANCE)
        return max(_Rows(self, held).lacks(LEAST_TOLERANCE, STEEP_TERMS), TAIL_ACCURACY if self.has_tail else 0.0)

    def n_row_parameters(self, largest: float, tolerance: float) -> int:
        held = np.clip(np.array([largest]), LEAST_VARIANCE, LARGEST_VARIANCE)
        return self.n_before + int(_Rows(self, held).needed(tolerance)[0])

    def second_moment(self, variance: Reals | float) -> Reals:
        with np.errstate(over="ignore", invalid="ignore"):  # infinite moments are refused by who asks for them
            return self.centred_moment(variance) + self.mean(variance) ** 2

    def centred_moment(self, variance: Reals | float) -> Reals:
        return continued(variance, lambda held: np.exp(_Rows(self, held).evaluate("log_centred")))

    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        return continued(variance, lambda held: np.exp(_Rows(self, held).evaluate("log_slope")))

    def mean(self, variance: Reals | float) -> Reals:
        variance = reals(variance)
        if not self.separates_mean:
            return np.zeros(variance.shape)
        rise = continued(variance, lambda held: _Rows(self, held).evaluate("mean"))
        return self(np.zeros(1))[0] + rise


def continued(variance: Reals | float, moment: Callable[[Reals], Reals]) -> Reals:
    """Return a moment, and a power of the variance beyond the variances that are looked at."""
    variance = reals(variance)
    flat = variance.reshape(-1)
    held = np.clip(flat, LEAST_VARIANCE, LARGEST_VARIANCE)
    result = moment(held)
    beyond = np.flatnonzero(flat != held)
    if len(beyond):
        inner = np.clip(held[beyond], LEAST_VARIANCE * math.e, LARGEST_VARIANCE / math.e)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            power = np.log(result[beyond] / moment(inner)) / np.log(held[beyond] / inner)
            power = np.where(np.isfinite(power), np.round(2 * power) / 2, 0.0)
            result[beyond] *= (flat[beyond] / held[beyond]) ** power
    return result.reshape(variance.shape)[()]


class _Rows:
    """Rows of given variances, and the pieces that they are on."""

    def __init__(self, activation: ExpandedActivation, variance: Reals) -> None:
        position = np.log(variance)
        floor = np.floor(position)
        which, self._index = pieces_of(floor)
        self._pieces = [piece_of(activation, int(k)) for k in which]
        self._offset = position - floor
        self._part = np.minimum((self._offset * PARTS).astype(np.int64), PARTS - 1)
        self._largest = variance.max(initial=0.0)
        self._activation = activation

    def evaluate(self, name: str) -> Reals:
        columns = np.array([getattr(piece, name) for piece in self._pieces]).reshape(len(self._pieces), len(NODES))
        total = np.zeros_like(self._offset)
        for column, basis in zip(columns.T, _basis(self._offset), strict=True):
            total += column[self._index] * basis
        return total

    def _of_parts(self, count: Callable[[Piece, float], NDArray[np.int64]], tolerance: float) -> NDArray[np.int64]:
        """Return a number of each row that all in its part of a piece have."""
        counts = np.array([count(piece, tolerance) for piece in self._pieces]).reshape(len(self._pieces), PARTS)
        return counts[self._index, self._part]

    def needed(self, tolerance: float) -> NDArray[np.int64]:
        """Return the number of terms that rows need."""
        return self._of_parts(Piece.needed, tolerance)

    def lacks(self, tolerance: float, most: int) -> float:
        """Return the largest error of the derivative's dual at cosine 1, over its value."""
        needed = np.minimum(self.needed(tolerance), most)
        places = {*zip(self._index, self._part, needed, strict=True)}
        return max((self._pieces[index].lacks(part, int(n)) for index, part, n in places), default=0.0)

    def coefficients(self, tolerance: float, most: int) -> Reals:
        """Return the number of terms needed, and the normalised a_n: see `HermiteMap`."""
        needed = np.minimum(self.needed(tolerance), most)
        carried = self._of_parts(Piece.carried, tolerance)
        n_tail = self._activation.n_before - BEFORE
        before = 1 + n_tail
        result = np.zeros((before + min(int(carried.max(initial=1)), most), len(self._offset)))
        result[0] = needed
        worst = self.lacks(tolerance, most)
        for index, piece in enumerate(self._pieces):
            rows = np.flatnonzero(self._index == index)
            n_terms = min(int(carried[rows].max()), most)
            series = np.concatenate([piece.tail, piece.terms[:, :n_terms]], axis=1)
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                # whole blocks, whose sums go node by node, row beside row: the same wherever a row stands
                basis = _basis(np.resize(self._offset[block], BLOCK))
                total = np.einsum("kt,kb->tb", series, basis)[:, : len(block)]
                tail, terms = total[:n_tail], total[n_tail:]
                terms *= np.arange(n_terms)[:, None] < carried[block]
                # over the terms that such rows need, and added one after the other: whatever else there is
                square = np.cumsum(terms * terms, axis=0)[needed[block] - 1, np.arange(len(block))]
                even, odd, _ = of_tails(tail.T)
                norm = np.sqrt(square + even + odd)
                terms[0, norm == 0] = 1.0  # numbers so small that sigma(z) is sigma(0)
                result[1 : before + n_terms, block] = total / np.where(norm == 0, 1.0, norm)
        if worst > max(10 * tolerance, TAIL_ACCURACY if n_tail else 0.0):
            part = f"{START} terms and the tail" if n_tail else f"{max(MOST_TERMS, len(result) - 1)} terms"
            warn_caller(
                f"{self._activation!r} has kinks, or is steep where the variance is {self._largest:.1g}: "
                f"{part} of its Hermite expansion give the derivative's dual to {worst:.1g} only.",
                AccuracyWarning,
                severity=worst,
            )
        return result


def _basis(offset: Reals) -> Reals:
    return np.ascontiguousarray(chebyshev.chebvander(2 * offset - 1, len(NODES) - 1).T)
