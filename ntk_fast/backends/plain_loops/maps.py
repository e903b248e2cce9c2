"""What activations do to pairs, in plain loops: the maps of `ntk_fast.layers`, a row against some columns at a time.

A map replaces m and p of the state, and puts D, by which the tangent is multiplied, into part SLOPE. `x` is the row's
parameters, `y` those of the columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops.series import MIDDLE
from ntk_fast.backends.plain_loops.state import (
    CHORD,
    EVEN,
    EVEN_SLOPE,
    HALF,
    ODD,
    ODD_SLOPE,
    OFFSET,
    RUN,
    SCRATCH,
    SLOPE,
    TWO,
    M,
    P,
)
from ntk_fast.backends.plain_loops.tables import arcsine, compiled, inlined, look_up, sum_powers
from ntk_fast.backends.plain_loops.tails import add_tails, before_terms, has_tail, tail_parts
from ntk_fast.layers.near_pairs import BENDING, GAUSS_NODES, GAUSS_WEIGHTS

KINDS = ("fold", "table", "exponential", "gaussian", "erf", "gelu", "sine", "polynomial")
FOLD, TABLE, EXPONENTIAL, GAUSSIAN, ERF, GELU, SINE, POLYNOMIAL = range(8)


@compiled
def chords(state: Any, opposite: Any, n: Any) -> None:
    """Put the chords of the states into their row CHORD."""
    n = min(n, RUN)
    for j in range(n):
        opposite[j] = state[P * RUN + j] < state[M * RUN + j]
        state[CHORD * RUN + j] = np.sqrt(HALF * min(state[M * RUN + j], state[P * RUN + j]))


@compiled
def fold(state: Any, opposite: Any, n: Any, linear: Any, share: Any, turn: Any, tables: Any, terms: Any) -> None:
    """ReLU and its kind: see `layers.relu`. D is replaced by 1 - D, which keeps its digits.

    `terms`: where the polynomials of `fold_coefficients` start and stop in `tables`; `turn`: 4 share / pi.
    """
    n = min(n, RUN)
    for j in range(n):
        opposite[j] = state[P * RUN + j] < state[M * RUN + j]
        state[OFFSET * RUN + j] = HALF * min(state[M * RUN + j], state[P * RUN + j]) - MIDDLE
    sum_powers(tables, terms, state, n)
    lesser, is_linear = min(linear, share), linear >= share
    for j in range(n):
        m, p = state[M * RUN + j], state[P * RUN + j]
        nearer = min(m, p)
        square = HALF * nearer
        chord = np.sqrt(square)
        bent = chord * square * state[SCRATCH * RUN + j]
        folded = nearer - bent  # 1 - kappa of |z|
        turned = turn * chord * state[SLOPE * RUN + j]
        # negative cosines: between those of z and of |z|, from the nearer ones on, or a weight's rounding would show
        m_far = m + lesser * (folded - m) if is_linear else folded + lesser * (m - folded)
        p_far = p + lesser * (TWO - folded - p) if is_linear else TWO - folded + lesser * (p - (TWO - folded))
        m_near = m - share * bent
        state[M * RUN + j] = m_far if opposite[j] else m_near
        state[P * RUN + j] = p_far if opposite[j] else TWO - m_near
        state[SLOPE * RUN + j] = TWO * share - turned if opposite[j] else turned


@compiled
def univariate(state: Any, opposite: Any, n: Any, parity: Any, power: Any, tables: Any, terms: Any, scale: Any) -> None:
    """A map that is two tables: see `lower.program.UnivariateMap`. `scale`: scales, then stretches."""
    n = min(n, RUN)
    chords(state, opposite, n)
    look_up(tables, terms, scale[0], scale[2], parity == 0, state, opposite, SCRATCH, n)
    look_up(tables, terms[2:], scale[1], scale[3], parity == 0, state, opposite, SLOPE, n)
    for j in range(n):
        chord = state[CHORD * RUN + j]
        factor = chord if power == 1 else chord * chord
        nearer = state[SCRATCH * RUN + j] * factor
        if parity == 0 and opposite[j]:
            nearer = state[SCRATCH * RUN + j]
        swapped = parity == -1 and opposite[j]
        state[M * RUN + j] = TWO - nearer if swapped else nearer
        state[P * RUN + j] = nearer if swapped else TWO - nearer
        if parity == 1 and opposite[j]:
            state[SLOPE * RUN + j] = -state[SLOPE * RUN + j]


@compiled
def exponential(state: Any, n: Any, x: Any, y: Any) -> None:
    """See `layers.exponential`."""
    n = min(n, RUN)
    for j in range(n):
        step, rates = (x[0] - y[0, j]) + (x[1] - y[1, j]), (x[0] + x[1]) * (y[0, j] + y[1, j])
        exponent = 0.5 * step * step + rates * state[M * RUN + j]
        shortfall = -np.expm1(-exponent)
        state[M * RUN + j] = shortfall
        state[P * RUN + j] = 2 - shortfall
        state[SLOPE * RUN + j] = rates * (1 - shortfall)


@compiled
def gaussian(state: Any, n: Any, x: Any, y: Any) -> None:
    """See `layers.gaussian`."""
    n = min(n, RUN)
    for j in range(n):
        m, p = state[M * RUN + j], state[P * RUN + j]
        product, kept = x[0] * y[0, j], x[1] * y[1, j]
        lost = product * m * p + 0.5 * ((x[0] - y[0, j]) ** 2 + (x[1] - y[1, j]) ** 2)
        cosine = np.sqrt(kept / (lost + kept))
        shortfall = lost / (lost + kept) / (1 + cosine)
        state[M * RUN + j] = shortfall
        state[P * RUN + j] = 2 - shortfall
        state[SLOPE * RUN + j] = product * (0.5 * (p - m)) * cosine / (lost + kept)


@inlined
def noise_shortfall(x2: Any, x3: Any, y2: Any, y3: Any) -> Any:
    """1 - alpha alpha' of shares of signal and of noise, as a sum of positive terms."""
    return x3 * y3 + 0.5 * ((x2 - y2) * (x2 - y2) + (x3 - y3) * (x3 - y3))


@inlined
def parts(
    kind: Any, m: Any, x2: Any, x3: Any, x4: Any, y2: Any, y3: Any, y4: Any, odd_share: Any, even_share: Any
) -> Any:
    """The odd and the even part of the output's cosine at cosine 1 - m >= 0, and their derivatives by it.

    Of parameters 2 to 4 as numbers: of loads inside a loop a compiler cannot tell that they do not change.
    """
    cosine = 1 - m
    if kind == SINE:
        step, turn = (x2 - y2) + (x3 - y3), (x2 + x3) * (y2 + y3)
        half = 0.5 * np.exp(-0.5 * step * step - turn * m)
        rise = -np.expm1(-turn * cosine)
        scaled, slope = half * (rise * x4), half * (turn * x4)
        odd = odd_share * (scaled * ((2 - rise) * y4))
        even = even_share * (scaled * (rise * y4))
        odd_slope = odd_share * (slope * ((1 + (1 - rise) * (1 - rise)) * y4))
        even_slope = even_share * (slope * (rise * (2 - rise) * y4))
        return odd, even, odd_slope, even_slope
    kept, normalisation = x2 * y2, x4 * y4
    noise_m = noise_shortfall(x2, x3, y2, y3)
    noisy_m, noisy_x = kept * m + noise_m, kept * cosine
    root = np.sqrt(noisy_m * (1 + noisy_x))
    arc = arcsine(noisy_x, noisy_m)
    if kind == ERF:
        return normalisation * arc, 0.0 * arc, normalisation * kept / root, 0.0 * arc
    noise = x3 * y3
    inner = noise * noise * (1 + 1 / (root * root)) + noise_m * (1 + kept)
    turned = normalisation * (0.5 / np.pi)
    return (
        0.25 * normalisation * cosine,
        turned * (cosine * arc + kept * (root + noise * cosine * (noise * cosine) / root)),
        0.25 * normalisation,
        turned * (arc + noisy_x / root * inner),
    )


@compiled
def polynomial_parts(m: Any, x: Any, y: Any, j: Any, parity: Any, tables: Any, code: Any, constants: Any) -> Any:
    """The same of a Hermite expansion."""
    cosine = 1 - m
    square = cosine * cosine
    before = before_terms(code)
    odd = even = odd_derivative = even_derivative = 0.0 * cosine
    for n in range(int(max(x[2], y[2, j])), 0, -1):
        if n % 2 and parity <= 0:
            odd_derivative = odd_derivative * square + odd
            odd = odd * square + x[before + n] * y[before + n, j]
        elif not n % 2 and parity >= 0:
            even_derivative = even_derivative * square + even
            even = even * square + x[before + n] * y[before + n, j]
    odd_slope = odd + 2 * square * odd_derivative
    even_slope = 2 * cosine * (even + square * even_derivative)
    odd, even = cosine * odd, square * even
    if has_tail(code):
        tail = tail_parts(m, x, y, j, parity, tables, code, constants)
        return odd + tail[0], even + tail[1], odd_slope + tail[2], even_slope + tail[3]
    return odd, even, odd_slope, even_slope


@inlined
def any_parts(kind: Any, m: Any, x: Any, y: Any, j: Any, parity: Any, tables: Any, code: Any, constants: Any) -> Any:
    if kind == POLYNOMIAL:
        return polynomial_parts(m, x, y, j, parity, tables, code, constants)
    return parts(kind, m, x[2], x[3], x[4], y[2, j], y[3, j], y[4, j], constants[0], constants[1])


@compiled
def near_shortfall(
    kind: Any, m: Any, x: Any, y: Any, j: Any, parity: Any, tables: Any, code: Any, constants: Any
) -> Any:
    """1 - cosine of the output of a near pair, without cancellation: see `layers.near_pairs`; negative: not near."""
    length, mean_bend = x[0] - y[0, j], 0.5 * (x[1] + y[1, j])
    square = length * length
    if abs(length * square * mean_bend) >= BENDING:
        return -1.0
    gap = 0.5 * square * (1 - mean_bend / 12 * square)
    rounding = 0.0
    if kind in (ERF, GELU):
        rounding = noise_shortfall(x[2], x[3], y[2, j], y[3, j]) / (x[2] * y[2, j])
    lost = 0.0
    start, stop = np.sqrt(rounding), np.sqrt(m + rounding)
    whole = max(start + stop, 1e-300)
    for k in range(3):
        if rounding > 0 or (kind == POLYNOMIAL and has_tail(code)):
            root = start + GAUSS_NODES[k] * (m / whole)
            at = m * GAUSS_NODES[k] * ((start + root) / whole)
            weight = GAUSS_WEIGHTS[k] * (2 * root / whole)
        else:
            at, weight = m * GAUSS_NODES[k], GAUSS_WEIGHTS[k]
        _, _, odd_slope, even_slope = any_parts(kind, at, x, y, j, parity, tables, code, constants)
        lost += weight * (odd_slope + even_slope)
    return gap + m * lost


@inlined
def put(
    state: Any, j: Any, opposite: Any, shortfall: Any, odd: Any, even: Any, odd_slope: Any, even_slope: Any
) -> None:
    """All terms are positive, on either side."""
    state[M * RUN + j] = shortfall + 2 * odd if opposite else shortfall
    state[P * RUN + j] = shortfall + 2 * even if opposite else shortfall + 2 * (odd + even)
    state[SLOPE * RUN + j] = odd_slope - even_slope if opposite else odd_slope + even_slope


@compiled
def erf(state: Any, n: Any, x: Any, y: Any) -> None:
    n = min(n, RUN)
    x2, x3, x4, y2, y3, y4 = x[2], x[3], x[4], y[2], y[3], y[4]
    for j in range(n):
        m, p = state[M * RUN + j], state[P * RUN + j]
        nearer, opposite = min(m, p), p < m
        odd, even, odd_slope, even_slope = parts(ERF, nearer, x2, x3, x4, y2[j], y3[j], y4[j], 0.0, 0.0)
        state[CHORD * RUN + j] = nearer
        state[SCRATCH * RUN + j] = 1 - odd - even
        put(state, j, opposite, 1 - odd - even, odd, even, odd_slope, even_slope)


@compiled
def gelu(state: Any, n: Any, x: Any, y: Any) -> None:
    n = min(n, RUN)
    x2, x3, x4, y2, y3, y4 = x[2], x[3], x[4], y[2], y[3], y[4]
    for j in range(n):
        m, p = state[M * RUN + j], state[P * RUN + j]
        nearer, opposite = min(m, p), p < m
        odd, even, odd_slope, even_slope = parts(GELU, nearer, x2, x3, x4, y2[j], y3[j], y4[j], 0.0, 0.0)
        state[CHORD * RUN + j] = nearer
        state[SCRATCH * RUN + j] = 1 - odd - even
        put(state, j, opposite, 1 - odd - even, odd, even, odd_slope, even_slope)


@compiled
def sine(state: Any, n: Any, x: Any, y: Any, odd_share: Any, even_share: Any) -> None:
    n = min(n, RUN)
    x2, x3, x4, y2, y3, y4 = x[2], x[3], x[4], y[2], y[3], y[4]
    for j in range(n):
        m, p = state[M * RUN + j], state[P * RUN + j]
        nearer, opposite = min(m, p), p < m
        odd, even, odd_slope, even_slope = parts(SINE, nearer, x2, x3, x4, y2[j], y3[j], y4[j], odd_share, even_share)
        state[CHORD * RUN + j] = nearer
        state[SCRATCH * RUN + j] = 1 - odd - even
        put(state, j, opposite, 1 - odd - even, odd, even, odd_slope, even_slope)


@inlined
def sum_series(state: Any, n: Any, x: Any, y: Any, before: Any, most: Any, odd: Any, total: Any, slope: Any) -> None:
    """Sum x_k y_k cosine^k over odd or even k, by powers of the cosine's square in part SCRATCH, and its derivative.

    Inlined, as parts of a state must be constants for loops to become vectors; four terms at a time, for which sums are
    loaded and stored once. A pair takes the terms that one of its rows needs, as many as part OFFSET has of it.
    """
    k = most - (most + odd) % 2
    while k > 6 and k > x[2]:
        x0, x1, x2, x3 = x[before + k], x[before + k - 2], x[before + k - 4], x[before + k - 6]
        y0, y1, y2, y3 = y[before + k], y[before + k - 2], y[before + k - 4], y[before + k - 6]
        k0, k1, k2, k3 = float(k), float(k - 2), float(k - 4), float(k - 6)
        for j in range(n):
            square, value, rise = state[SCRATCH * RUN + j], state[total * RUN + j], state[slope * RUN + j]
            needed = state[OFFSET * RUN + j]
            rise = rise * square + value
            value = value * square + (x0 * y0[j] if k0 <= needed else 0.0)
            rise = rise * square + value
            value = value * square + (x1 * y1[j] if k1 <= needed else 0.0)
            rise = rise * square + value
            value = value * square + (x2 * y2[j] if k2 <= needed else 0.0)
            state[slope * RUN + j] = rise * square + value
            state[total * RUN + j] = value * square + (x3 * y3[j] if k3 <= needed else 0.0)
        k -= 8
    while k > 6:  # of which no column needs fewer
        x0, x1, x2, x3 = x[before + k], x[before + k - 2], x[before + k - 4], x[before + k - 6]
        y0, y1, y2, y3 = y[before + k], y[before + k - 2], y[before + k - 4], y[before + k - 6]
        for j in range(n):
            square, value, rise = state[SCRATCH * RUN + j], state[total * RUN + j], state[slope * RUN + j]
            rise = rise * square + value
            value = value * square + x0 * y0[j]
            rise = rise * square + value
            value = value * square + x1 * y1[j]
            rise = rise * square + value
            value = value * square + x2 * y2[j]
            state[slope * RUN + j] = rise * square + value
            state[total * RUN + j] = value * square + x3 * y3[j]
        k -= 8
    while k > 0:
        here, own, least = x[before + k], y[before + k], float(k)
        for j in range(n):
            square, value = state[SCRATCH * RUN + j], state[total * RUN + j]
            state[slope * RUN + j] = state[slope * RUN + j] * square + value
            state[total * RUN + j] = value * square + (here * own[j] if least <= state[OFFSET * RUN + j] else 0.0)
        k -= 2


@compiled
def polynomial(
    state: Any, opposite: Any, n: Any, x: Any, y: Any, parity: Any, tables: Any, code: Any, constants: Any
) -> None:
    """Terms outside, columns inside, so that columns are vectors."""
    n = min(n, RUN)
    most = x[2]
    before = before_terms(code)
    for j in range(n):
        most = max(most, y[2, j])
    for j in range(n):
        nearer = min(state[M * RUN + j], state[P * RUN + j])
        state[CHORD * RUN + j] = nearer
        state[SCRATCH * RUN + j] = (1 - nearer) * (1 - nearer)
        state[OFFSET * RUN + j] = max(x[2], y[2, j])
        state[ODD * RUN + j] = state[EVEN * RUN + j] = state[ODD_SLOPE * RUN + j] = state[EVEN_SLOPE * RUN + j] = (
            nearer * 0
        )
    if parity <= 0:
        sum_series(state, n, x, y, before, int(most), 1, ODD, ODD_SLOPE)
    if parity >= 0:
        sum_series(state, n, x, y, before, int(most), 0, EVEN, EVEN_SLOPE)
    for j in range(n):
        cosine, square = 1 - state[CHORD * RUN + j], state[SCRATCH * RUN + j]
        odd, even = state[ODD * RUN + j], state[EVEN * RUN + j]
        state[ODD_SLOPE * RUN + j] = odd + 2 * square * state[ODD_SLOPE * RUN + j]
        state[EVEN_SLOPE * RUN + j] = 2 * cosine * (even + square * state[EVEN_SLOPE * RUN + j])
        state[ODD * RUN + j], state[EVEN * RUN + j] = cosine * odd, square * even
    if has_tail(code):
        add_tails(state, opposite, n, x, y, parity, tables, code, constants)
    for j in range(n):
        odd, even = state[ODD * RUN + j], state[EVEN * RUN + j]
        odd_slope, even_slope = state[ODD_SLOPE * RUN + j], state[EVEN_SLOPE * RUN + j]
        state[SCRATCH * RUN + j] = 1 - odd - even
        put(state, j, state[P * RUN + j] < state[M * RUN + j], 1 - odd - even, odd, even, odd_slope, even_slope)


@compiled
def mend_near(
    state: Any, n: Any, kind: Any, x: Any, y: Any, parity: Any, tables: Any, code: Any, constants: Any
) -> None:
    """Replace what a map took by subtraction where its output is near; its input is kept in row CHORD."""
    n = min(n, RUN)
    near = constants[6]
    for j in range(n):
        if state[SCRATCH * RUN + j] < near:
            shortfall = near_shortfall(kind, state[CHORD * RUN + j], x, y, j, parity, tables, code, constants)
            if shortfall >= 0:
                state[M * RUN + j] = shortfall + (state[M * RUN + j] - state[SCRATCH * RUN + j])
                state[P * RUN + j] = shortfall + (state[P * RUN + j] - state[SCRATCH * RUN + j])
