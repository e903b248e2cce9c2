"""Tails of Hermite expansions (`layers.hermite_tails`) in twice the digits: polynomials of the chord or of the cosine.

Next to cosine 1 and -1 the functions tau are the Chebyshev series that tiles have tables of, elsewhere the first terms
of their sums; where one takes over from the other both are below 1e-11, and agree to 16 digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.hermite_tails import LARGEST_SQUARE, LEAST_COSINE, N_NODES, chord_series, power_series
from ntk_fast.layers.window import Positions
from ntk_fast.lower.wide import Wide, chebyshev_sum

#: Below LEAST_COSINE, terms beyond this have less than 1e-33.
LAST = 144


def tail(cosine: Wide, x: Reals, y: Reals, at: tuple[Positions, Positions], poll: Callable[[], None] | None) -> Wide:
    """Return sum_i g_i g_i' tau_i of wide cosines, (n_pairs, n), given g at the nodes, (2 N_NODES, n_positions, n)."""
    total, shape = Wide.of(np.zeros_like(cosine.high)), cosine.high.shape
    opposite = cosine.high < 0
    near = (-cosine).where(opposite, cosine)
    for some, functions in (near.high >= LEAST_COSINE, _near_one), (near.high < LEAST_COSINE, _far_from_one):
        if not some.any():
            continue
        sums = Wide.of(np.zeros(int(some.sum())))
        sign = np.where(opposite[some], -1.0, 1.0)
        for k, function in enumerate(functions(near[some])):
            if poll is not None:
                poll()
            own, other = (np.broadcast_to(part[k][seen], shape)[some] for part, seen in ((x, at[0]), (y, at[1])))
            product = Wide.of_product(own, other)
            part = product * function
            sums = sums + (part if k < N_NODES else Wide(sign * part.high, sign * part.low))
        total.high[some], total.low[some] = sums.high, sums.low
    return total


def tail_of_itself(x: Reals) -> Wide:
    """Return sum_i g_i^2 tau_i(1)."""
    total = Wide.of(np.zeros_like(x[0]))
    for own, function in zip(x, _at_one(), strict=True):
        total = total + Wide.of_product(own, own) * function
    return total


@lru_cache(maxsize=1)
def _at_one() -> tuple[Wide, ...]:
    return tuple(_near_one(Wide.of(np.ones(1))))


def _near_one(cosine: Wide) -> Iterator[Wide]:
    m = Wide.of(np.ones_like(cosine.high)) - cosine
    square = m.where(m.high > 0, Wide.of(np.zeros_like(m.high))).scaled(0.5)
    chord = square * square.inverse_root()
    position = (chord * Wide.of(np.full_like(chord.high, 2 / np.sqrt(LARGEST_SQUARE)))).plus(-1.0)
    for coefficients in chord_series():
        yield chebyshev_sum(coefficients, position)


def _far_from_one(cosine: Wide) -> Iterator[Wide]:
    square = cosine * cosine
    for parity in (0, 1):
        powers, coefficients = power_series(parity, LAST)
        first = Wide.of(np.ones_like(cosine.high))
        for _ in range(int(powers[0])):
            first = first * cosine
        for row in coefficients:
            total = Wide.of(np.zeros_like(cosine.high))
            for coefficient in row[::-1].tolist():
                total = (total * square).plus(coefficient)
            yield first * total
