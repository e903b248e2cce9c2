"""Activations by their Hermite coefficients, in twice the digits: cosine' = sum_n a_n a_n' cosine^n.

What is left of a distance needs no coefficients of many digits, only the same ones wherever a row comes: float64
numbers taken as exact are those of a row that is nearly the same. All else about the sum is exact: see `wide`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.hermite_map import BEFORE, HermiteMap
from ntk_fast.layers.hermite_tails import N_NODES
from ntk_fast.layers.window import Positions
from ntk_fast.lower.program import PairMap
from ntk_fast.lower.wide import Wide
from ntk_fast.lower.wide_tails import tail, tail_of_itself

#: Terms of a row, at most: what is beyond them is left out, and with it about as much of a distance.
FEWEST_TERMS, MOST_TERMS = 16, 512
#: What the last terms together may have of the derivative at cosine 1.
LEFT_OUT = 1e-14


def has_series(pair_map: PairMap) -> bool:
    """Whether an activation is summed here."""
    activation = pair_map.activation
    if isinstance(activation, HermiteMap):
        return True
    return pair_map.n_parameters > 0 and activation.variance_of(np.full((pair_map.n_parameters, 1), 0.5)) is not None


def has_tail(pair_map: PairMap) -> bool:
    """Whether there is a tail behind the sum."""
    return isinstance(pair_map.activation, HermiteMap) and pair_map.activation.has_tail


def _coefficients_of(pair_map: PairMap, parameters: Reals) -> Reals:
    """Return |a_0|, |a_1|, ... of rows, (n_terms, ...), from their row parameters, (n_parameters, ...)."""
    activation = pair_map.activation
    if isinstance(activation, HermiteMap):
        own = parameters[activation.n_before :]
        return np.concatenate([np.zeros_like(own[:1]), own])
    variances = activation.variance_of(parameters)
    assert variances is not None
    values, where = np.unique(variances, return_inverse=True)
    series = [_enough_terms(activation.cosine_series, float(variance)) for variance in values]
    table = np.zeros((max(map(len, series), default=1), len(values)))
    for k, terms in enumerate(series):
        table[: len(terms), k] = np.sqrt(terms)
    return table[:, where.reshape(variances.shape)]


def _enough_terms(series_of: Callable[[float, int], Reals | None], variance: float) -> Reals:
    n_terms = FEWEST_TERMS
    while True:
        series = series_of(variance, n_terms)
        assert series is not None
        slope = np.arange(n_terms) * series
        if n_terms >= MOST_TERMS or slope[-n_terms // 4 :].sum() <= LEFT_OUT * slope.sum():
            return series
        n_terms *= 2


def summed(
    pair_map: PairMap,
    cosine: Wide,
    parameters: tuple[Reals, Reals],
    at: tuple[Positions, Positions],
    poll: Callable[[], None] | None,
) -> Wide:
    """Return the sum for wide cosines, (n_pairs, n), of rows with parameters (n_parameters, n_positions, n)."""
    x, y = (_coefficients_of(pair_map, part) for part in parameters)
    squares = [Wide.of_product(part, part).total() for part in (x, y)]
    present = [n for n in range(min(len(x), len(y))) if x[n].any() and y[n].any()]
    parities = {n % 2 for n in present}
    step = 2 if len(parities) == 1 else 1  # of an odd or even activation, a polynomial in the square
    power = cosine * cosine if step == 2 else cosine
    total = Wide.of(np.zeros_like(cosine.high))
    for n in range(max(present, default=-1), -1, -step):
        if poll is not None:
            poll()
        total = total * power + Wide.of_product(x[n][at[0]], y[n][at[1]])
    if step == 2 and 1 in parities:
        total = total * cosine
    if has_tail(pair_map):
        x, y = (part[BEFORE : BEFORE + 2 * N_NODES] for part in parameters)
        total = total + tail(cosine, x, y, at, poll)
        squares = [square + tail_of_itself(part) for square, part in zip(squares, (x, y), strict=True)]
    own, other = (square.inverse_root() for square in squares)
    return total * own[at[0]] * other[at[1]]
