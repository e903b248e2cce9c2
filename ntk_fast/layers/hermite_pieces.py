"""Hermite coefficients by quadrature, on pieces of ln q: see `expanded`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.hermite_tails import N_NODES, START, fit_tails, tail_sums, tails_at_one
from ntk_fast.layers.near_pairs import NEAR
from ntk_fast.layers.row_curve import FINEST, NODES, TO_COEFFICIENTS

#: Terms that are kept at most; what steeper activations reach with them is measured, and said.
MOST_TERMS = 768
#: But so many where they are worth it: where they make an error a small share of what it is.
STEEP_TERMS, WORTH = 1536, 1e-2
#: What terms beyond MOST_TERMS aim at.
STEEP_TOLERANCE = 1e-10
#: A tolerance below this would count rounding errors.
LEAST_TOLERANCE = 5e-14
#: Parts of a piece of ln q within which all rows take the same number of terms.
PARTS = 8
#: A share of the last panel in a moment that shows it to be infinite, or beyond these panels.
UNBOUNDED = 1e-9
#: What the sums of a series may lack by rounding.
ROUNDING = 1e-12
#: What a tail may be off by that is said to be one: a share of what slopes lack without it.
FITTING = 1e-2


@dataclass(frozen=True, eq=False)
class Piece:
    """What rows with ln q on a piece need: Chebyshev coefficients over it, the first axis; and its series' rests."""

    terms: Reals  # (n_nodes, n_terms): a_1, a_2, ...
    tail: Reals  # (n_nodes, 2 N_NODES): see `hermite_tails`; (n_nodes, 0): none
    mean: Reals  # of sigma(z) - sigma(0)
    log_centred: Reals
    log_slope: Reals  # ln E[sigma'(z)^2]
    rests: Reals  # (PARTS, n_terms + 1): of the terms of sum n a_n^2, over its value, those after n
    lacking: Reals  # (PARTS, n_terms + 1): what a pair of such rows lacks after n terms, over a tolerance
    missing: Reals  # (PARTS,): likewise what is neither among the terms nor in the tail

    def needed(self, tolerance: float) -> NDArray[np.int64]:
        """Return the number of terms that rows need, for each part of the piece."""
        return _first(_is_within(self.lacking, tolerance))

    def carried(self, tolerance: float) -> NDArray[np.int64]:
        """Return the number of terms that are not 0."""
        enough = _is_within(np.sqrt(self.rests), max(tolerance, LEAST_TOLERANCE))
        return np.maximum(_first(enough), self.needed(tolerance))

    def lacks(self, part: int, n_terms: int) -> float:
        """Return the error of the derivative's dual at cosine 1, over its value."""
        return float(self.rests[part, n_terms] + self.missing[part])


def _is_within(rests: Reals, tolerance: float) -> NDArray[np.bool_]:
    """Return where what is left after so many terms is small enough."""
    enough = rests <= tolerance
    enough[:, MOST_TERMS:] |= rests[:, MOST_TERMS:] <= STEEP_TOLERANCE
    return enough


def _first(enough: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where each row is first true, at least 1, and the last place where it is not before."""
    last = enough.shape[1] - 1
    return np.where(enough.any(axis=1), np.clip(enough.argmax(axis=1), 1, last), last)


@dataclass(frozen=True, eq=False)
class _Expansion:
    """Of rows with ln q at the nodes of a piece."""

    position: Reals  # ln q
    u: Reals  # (n_nodes, n_panel_nodes): sqrt(q) z, z > 0
    weight: Reals
    mean: Reals
    centred: Reals
    terms: Reals  # (n_nodes, n_terms)

    def slope(self, activation: ActivationLayer) -> Reals:
        """E[sigma'^2]."""
        return (activation.derivative(self.u) ** 2 + activation.derivative(-self.u) ** 2) @ self.weight


def _expansion(activation: ActivationLayer, index: int, n_terms: int = MOST_TERMS) -> _Expansion:
    position = index + 0.5 + 0.5 * NODES
    z, weight, polynomials = _panels(FINEST + max(0, -(-(index + 1) // 2)), n_terms)
    u = np.exp(position / 2)[:, None] * z
    above, below = (np.broadcast_to(activation.rise(u * sign), u.shape) for sign in (1, -1))
    parts = (above + below) / 2, (above - below) / 2  # even and odd
    coefficients = np.zeros((len(NODES), n_terms + 1))
    for parity, part in enumerate(parts):
        if activation.parity != (-1 if parity == 0 else 1):
            coefficients[:, parity::2] = 2 * (part * weight) @ polynomials[parity::2].T
    mean = coefficients[:, 0]
    densities = ((above - mean[:, None]) ** 2 + (below - mean[:, None]) ** 2) * weight
    centred = densities.sum(axis=1)
    centred[densities[:, -16:].sum(axis=1) > UNBOUNDED * centred] = np.inf
    terms = coefficients[:, 1:] / np.sqrt(np.maximum(centred, np.finfo(np.float64).tiny))[:, None]
    return _Expansion(position, u, weight, mean, centred, terms)


@lru_cache(maxsize=256)
def is_tailed(activation: ActivationLayer) -> bool:
    """Whether the terms that are known do not suffice, and those after the first few are rather a tail."""
    with np.errstate(all="ignore"):
        terms = _expansion(activation, 0).terms
        _, error = fit_tails(terms)
        left = 1 - (terms**2).sum(axis=1)
        jump = np.ptp(activation(np.array([-1e-9, 1e-9])))
    return bool(jump < 1e-6 and (left > ROUNDING).all() and (error < FITTING * MOST_TERMS * left).all())


@lru_cache(maxsize=1024)
def piece_of(activation: ActivationLayer, index: int) -> Piece:
    with np.errstate(all="ignore"):  # infinite moments are refused by who asks for them
        piece = _made_of(activation, _expansion(activation, index), index)
        lacks = piece.lacks(PARTS - 1, piece.terms.shape[1])
        if STEEP_TOLERANCE < lacks < np.inf and not activation.has_tail:
            longer = _made_of(activation, _expansion(activation, index, STEEP_TERMS), index)
            if longer.lacks(PARTS - 1, STEEP_TERMS) < WORTH * lacks:
                return longer
        return piece


def _made_of(activation: ActivationLayer, there: _Expansion, index: int) -> Piece:
    terms: Reals = there.terms
    tail: Reals = np.zeros((len(NODES), 0))
    error: Reals = np.zeros(len(NODES))
    if activation.has_tail:
        tail, error = fit_tails(terms)
        terms = terms[:, :START]
    n = np.arange(1, terms.shape[1] + 1)
    slope = (n * terms**2).sum(axis=1) + of_tails(tail)[2]
    slope *= there.centred / np.exp(there.position)
    if activation.has_derivative or (not activation.has_tail and (1 - (terms**2).sum(axis=1)).max() > ROUNDING):
        slope = there.slope(activation)
    logs = np.log(np.maximum([there.centred, slope], np.finfo(np.float64).tiny))
    held = [TO_COEFFICIENTS @ part for part in (terms, tail, there.mean, *logs)]
    rests = _rests(held[0], held[1], float(error.max()), held[3], held[4], index)
    return Piece(held[0], held[1], held[2], held[3], held[4], *rests)


def of_tails(tail: Reals) -> tuple[Reals, Reals, Reals]:
    """What tails of rows, (n_rows, 2 N_NODES), add at cosine 1: to a_n^2 over even and over odd n, and to n a_n^2."""
    if not tail.shape[1]:
        return (np.zeros(len(tail)),) * 3
    functions, squares = tails_at_one(), (tail * tail).T
    even, even_slope = tail_sums(functions[: N_NODES + 1], squares[:N_NODES])
    odd, odd_slope = tail_sums(functions[N_NODES + 1 :], squares[N_NODES:])
    return even, odd, even_slope + odd_slope


def _rests(
    terms: Reals, tail: Reals, error: float, log_centred: Reals, log_slope: Reals, index: int
) -> tuple[Reals, Reals, Reals]:
    edges = np.linspace(0, 1, PARTS + 1)
    basis = chebyshev.chebvander(2 * edges - 1, len(NODES) - 1)
    squares = (basis @ terms) ** 2
    n = np.arange(1, terms.shape[1] + 1)
    whole = np.exp(basis @ (log_slope - log_centred) + index + edges)

    def sums_after(series: Reals, last: Reals) -> Reals:
        """Of the terms after n, and of the tail, but if n are all terms of the tail."""
        sums = np.cumsum(np.pad(series, ((0, 0), (0, 1)))[:, ::-1], axis=1)[:, ::-1]
        sums[:, :-1] += last[:, None]
        return sums

    even_tail, odd_tail, slope_tail = of_tails(basis @ tail)
    after, even = sums_after(n * squares, slope_tail), sums_after(np.where(n % 2 == 0, squares, 0.0), even_tail)
    chord = sums_after(squares, even_tail + odd_tail) / (2 * np.sqrt(NEAR))
    missing = whole - after[:, 0]
    if tail.shape[1]:
        missing = np.abs(missing) + error
    missing = np.where(missing > ROUNDING * np.maximum(whole, 1), missing, 0.0)
    scale = np.maximum(whole, 1.0)
    even /= np.sqrt(np.maximum(even[:, :1], np.finfo(np.float64).tiny))
    rests = after / scale[:, None]
    parts = rests, np.maximum(rests, np.maximum(even, chord)), missing / scale
    rests, lacking, missing = (np.maximum(part[1:], part[:-1]) for part in parts)
    return rests, lacking, missing


@lru_cache(maxsize=64)
def _panels(octaves: int, n_terms: int) -> tuple[Reals, Reals, Reals]:
    """Nodes z > 0, weights of E[f(z)] there, and h_0, h_1, ... at the nodes, which the panels resolve.

    Beyond z = 16 the density leaves nothing, whatever the degree: |h_n(z)| <= exp(z^2 / 4) 1.09.
    """
    width = 0.5 if n_terms <= MOST_TERMS else 0.25
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-octaves, -1), np.arange(0.5, 16.1, width)])
    nodes, weights = np.polynomial.legendre.leggauss(16)
    z = ((edges[1:] + edges[:-1])[:, None] / 2 + np.diff(edges)[:, None] / 2 * nodes).ravel()
    weight = (np.diff(edges)[:, None] / 2 * weights).ravel() * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    polynomials = np.empty((n_terms + 1, len(z)))
    polynomials[0], polynomials[1] = 1, z
    for n in range(1, n_terms):
        polynomials[n + 1] = (z * polynomials[n] - np.sqrt(n) * polynomials[n - 1]) / np.sqrt(n + 1)
    return z, weight, polynomials
