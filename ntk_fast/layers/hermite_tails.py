"""What a kink at 0 leaves of a Hermite expansion after its first terms: its tail, as a few functions of the chord.

The coefficients of an activation with a kink at 0 fall like a power of n, so that sums of a thousand terms are right to
some 1e-5. But they fall smoothly: after `START` terms, for even and for odd n apart,

    a_n = (-1)^floor(n/2) w(n)^(1/2) g(x),   x = (START + SHIFT) / (n + SHIFT),   w = x^(5/2) (even n), x^(7/2) (odd n),

with a function g that is analytic about [0, 1]: of exp(z) for z < 0, about 1 / (1 + q/n). (Integrated by parts, a_n is
a sum over the jumps of derivatives at 0, of which each has one power of 1/n more than the one before.) So the product
g g' of two rows is a polynomial in x through a few Chebyshev nodes x_i, with Lagrange's l_i, and

    sum_(n > START) a_n a_n' cosine^n     = sum_i g(x_i) g'(x_i) tau_i(cosine),     tau_i = sum_n w(n) l_i(x) cosine^n

where tau_i are the same functions for all activations and rows. The slope needs one more of them: as n = (START +
SHIFT) / x - SHIFT, with F = g g' and its value F(0) by Lagrange,

    sum_n n a_n a_n' cosine^(n - 1) = [r^2 F(0) tau_0 + sum_i (r (F_i - F(0)) / x_i - SHIFT F_i) tau_i] / cosine

where r = START + SHIFT and tau_0 = sum_n w(n) / (r x) cosine^n. Measured on ELU with alpha from 0.1 to 3, all pairs of
variances: errors of the slope of 2e-13 up to variance 4, of 2e-11 at 16.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev, polynomial

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import special

#: Terms before the tail; SHIFT suits variances of 0 to about 16.
START, SHIFT = 48, 3
REACH = START + SHIFT
#: Nodes for either parity, from 0 to 1.
N_NODES = 7
NODES = 0.5 + 0.5 * np.cos(np.pi * (np.arange(N_NODES) + 0.5) / N_NODES)
#: tau_0, then one tau_i for each node; for even n, then for odd n.
N_FUNCTIONS = 2 * (N_NODES + 1)
#: Below this cosine a tail is left out: cosine^START is less than 1e-11 there, and a tail at cosine 1 about 1e-2.
LEAST_COSINE = 0.59
LARGEST_SQUARE = (1 - LEAST_COSINE) / 2

#: Lagrange's polynomials by powers of x, and their values at 0.
_LAGRANGE = np.array(
    [polynomial.polyfromroots(np.delete(NODES, i)) / np.prod(NODES[i] - np.delete(NODES, i)) for i in range(N_NODES)]
)
AT_ZERO = _LAGRANGE[:, 0].copy()  # contiguous: Numba caches no function of another
#: The degree in x of the polynomial that g is fitted by, on terms up to the last that are known.
FITTED_DEGREE = 12


def _weight(n: Reals, parity: int) -> Reals:
    return (REACH / (n + SHIFT)) ** (2.5 + parity)


def _orders(parity: int, last: int) -> Reals:
    first = START + 1 + (START + 1 - parity) % 2
    return np.arange(first, last + 1, 2, dtype=np.float64)


@lru_cache(maxsize=8)
def _fit(parity: int, last: int) -> tuple[Reals, Reals]:
    """Matrices that take a_n, n > START of a parity, to g at the nodes, and to the a_n of its fit."""
    n = _orders(parity, last)
    root = np.sqrt(_weight(n, parity)) * np.where(n // 2 % 2, -1.0, 1.0)
    basis = chebyshev.chebvander(2 * REACH / (n + SHIFT) - 1, FITTED_DEGREE)
    size = np.sqrt(n)[:, None]  # what counts is sum n a_n^2
    to_series = np.linalg.pinv(size * root[:, None] * basis) * size.T
    at_nodes = chebyshev.chebvander(2 * NODES - 1, FITTED_DEGREE) @ to_series
    return at_nodes, root[:, None] * (basis @ to_series)


def fit_tails(terms: Reals) -> tuple[Reals, Reals]:
    """Return g at the nodes, even n first, and how far the fit is off.

    Parameters
    ----------
    terms : array (n_rows, n_terms)
        a_1, a_2, ... of some rows, more than START of them.

    Returns
    -------
    nodes : array (n_rows, 2 * N_NODES)
    error : array (n_rows,)
        sum of n |a_n^2 - that of the fit| over n > START.
    """
    nodes, error = [], np.zeros(len(terms))
    for parity in (0, 1):
        n = _orders(parity, terms.shape[1])
        own = terms[:, n.astype(np.int64) - 1]
        at_nodes, fitted = _fit(parity, terms.shape[1])
        nodes.append(own @ at_nodes.T)
        error += np.abs(own**2 - (own @ fitted.T) ** 2) @ n
    return np.concatenate(nodes, axis=1), error


def tail_terms(nodes: Reals, last: int) -> Reals:
    """Return a_n^2 of a row for n = START + 1, ..., last, given its g at the nodes."""
    result = np.zeros(max(0, last - START))
    for parity, own in enumerate((nodes[:N_NODES], nodes[N_NODES:])):
        n, shares = power_series(parity, last)
        result[n.astype(np.int64) - START - 1] = np.maximum(own**2 @ shares, 0.0)
    return result


def power_series(parity: int, last: int) -> tuple[Reals, Reals]:
    """Return the n of a parity, START < n <= last, and of each tau_i its terms w(n) l_i(x), (N_NODES, len(n))."""
    n = _orders(parity, last)
    return n, _weight(n, parity) * polynomial.polyval(REACH / (n + SHIFT), _LAGRANGE.T)


# the functions of the chord

#: Terms that are added up one by one; what follows is an integral.
_ADDED = 1000
_DEGREE = 63


def _remainder(m: Reals, parity: int) -> Reals:
    """sum over n > _ADDED of w(n) x^k cosine^n, k = -1, ..., N_NODES - 1, the first over REACH: (len(m), N_NODES + 1).

    (n + SHIFT)^-s = int t^(s - 1) exp(-(n + SHIFT) t) dt / Gamma(s), and a geometric series under the integral.
    """
    edges = np.concatenate([[-100.0], np.arange(-44.0, np.log(0.06) + 0.6, 0.6)])
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    t = np.exp(((edges[1:] + edges[:-1])[:, None] / 2 + half * nodes).ravel())
    powers = 2.5 + parity + np.arange(-1, N_NODES)
    first = _ADDED + 1 + (_ADDED + 1 - parity) % 2
    density = np.exp(-(first + SHIFT) * t)[:, None] * (REACH * t[:, None]) ** powers / special().gamma(powers)
    density[:, 0] /= REACH
    cosine = np.log1p(-m)
    geometric = 1 / -np.expm1(2 * (cosine[:, None] - t))
    return np.exp(first * cosine)[:, None] * (geometric @ (density * (half * weights).reshape(-1, 1)))


@lru_cache(maxsize=1)
def _series() -> Reals:
    """Chebyshev coefficients of the functions over chords from 0 to the largest: (N_FUNCTIONS, _DEGREE + 1)."""
    angles = np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1)
    m = 2 * LARGEST_SQUARE * (0.5 + 0.5 * np.cos(angles)) ** 2
    values = []
    for parity in (0, 1):
        n, terms = power_series(parity, _ADDED)
        terms = np.concatenate([[_weight(n, parity) * (n + SHIFT) / REACH**2], terms])
        rest = _remainder(m, parity)
        rest[:, 1:] = rest[:, 1:] @ _LAGRANGE.T
        values.append(np.exp(n * np.log1p(-m)[:, None]) @ terms.T + rest)
    cosines = np.cos(np.outer(np.arange(_DEGREE + 1), angles)) * (2 / (_DEGREE + 1))
    cosines[0] /= 2
    return (cosines @ np.concatenate(values, axis=1)).T


def chord_series() -> Reals:
    """Return Chebyshev coefficients of the tau_i in 2 chord / sqrt(LARGEST_SQUARE) - 1, (2 N_NODES, number)."""
    return np.delete(_series(), (0, N_NODES + 1), axis=0)


def tail_functions(chord: Reals, which: slice = slice(None)) -> Reals:
    """Return the functions, or some, at chords whose squares are up to LARGEST_SQUARE: (number, *chord.shape)."""
    coefficients = _series()[which]
    position = 2 * chord / np.sqrt(LARGEST_SQUARE) - 1
    before, here = np.ones_like(position), position
    column = (slice(None), *(None,) * np.ndim(chord))
    result = coefficients[:, 0][column] + coefficients[:, 1][column] * position
    for k in range(2, _DEGREE + 1):
        before, here = here, 2 * position * here - before
        result += coefficients[:, k][column] * here
    return result


@lru_cache(maxsize=1)
def tails_at_one() -> Reals:
    """Return the functions at cosine 1."""
    return tail_functions(np.zeros(1))[:, 0]


def tail_sums(functions: Reals, products: Reals) -> tuple[Reals, Reals]:
    """Return a parity's part of the cosine, and of its derivative times the cosine.

    `functions`: tau_0, tau_1, ... of the parity; `products`: g g' at the nodes.
    """
    at_zero = sum(share * product for share, product in zip(AT_ZERO, products, strict=True))
    value, slope = np.zeros_like(at_zero), REACH**2 * at_zero * functions[0]
    for x, product, function in zip(NODES, products, functions[1:], strict=True):
        value = value + product * function
        slope = slope + (REACH / x * (product - at_zero) - SHIFT * product) * function
    return value, slope
