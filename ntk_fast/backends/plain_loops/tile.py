"""A tile in plain loops: chords from dot products, the program column by column, entries. Compiled by Numba.

Instructions are the outer loop and columns the inner one, so that a processor's vectors are columns, and what a row and
a run of columns need stays in the first-level cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops import maps
from ntk_fast.backends.plain_loops.rests import exactly, fold_again, forget_rest, keep_sides, mix_again, put_sides
from ntk_fast.backends.plain_loops.state import (
    CHORD,
    M_REST,
    N_KEPT,
    ONE,
    REST,
    RUN,
    SLOPE,
    TANGENT,
    TWO,
    VECTORS,
    M,
    P,
)
from ntk_fast.backends.plain_loops.tables import compiled, look_up

#: What an instruction's numbers are; it takes its sources from START to STOP.
DESTINATION, MAP, BIAS, ADDS_OWN, START, STOP, KIND = range(7)
#: Kinds of instructions: one source, which a map may change, or many, or their product, or the tangent's promotion.
MIX, SUM, PRODUCT, PROMOTION = range(4)


@compiled
def transpose(values: Any, transposed: Any) -> None:
    """transposed = values^T, a cache line of it at a time; NumPy goes element by element, through as many pages."""
    n_rows, n_columns = values.shape
    for start in range(0, n_rows, 8):
        stop = min(start + 8, n_rows)
        for j in range(n_columns):
            for i in range(start, stop):
                transposed[j, i] = values[i, j]


@exactly
def two_product(a: Any, b: Any) -> Any:
    """a * b and its rounding error (Dekker)."""
    high_a = a * 134217729.0
    high_a = high_a - (high_a - a)
    high_b = b * 134217729.0
    high_b = high_b - (high_b - b)
    low_a, low_b = a - high_a, b - high_b
    product = a * b
    return product, ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b


@compiled
def dot_products(x: Any, y: Any, out: Any, offset: Any) -> None:
    """out = x y, of row i from column i - offset on; of what is left of it at least zeros.

    Not by BLAS, whose order of summation, and so the last bits, depends on the shape of a tile.
    """
    n_features = x.shape[1]
    eights = n_features - n_features % 8
    out[:] = 0.0
    for start in range(0, out.shape[1], RUN):
        stop = min(start + RUN, out.shape[1])
        n_rows = min(len(x), stop + offset)
        for first in range(0, n_rows, 16):  # so many rows of the result stay in the first-level cache
            last = min(first + 16, n_rows)
            for k in range(0, eights, 8):
                y0, y1, y2, y3 = y[k, start:stop], y[k + 1, start:stop], y[k + 2, start:stop], y[k + 3, start:stop]
                y4, y5, y6, y7 = y[k + 4, start:stop], y[k + 5, start:stop], y[k + 6, start:stop], y[k + 7, start:stop]
                for i in range(first, last):
                    x0, x1, x2, x3 = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
                    x4, x5, x6, x7 = x[i, k + 4], x[i, k + 5], x[i, k + 6], x[i, k + 7]
                    row = out[i, start:stop]
                    for j in range(len(row)):
                        total = row[j] + x0 * y0[j] + x1 * y1[j] + x2 * y2[j] + x3 * y3[j]
                        row[j] = total + x4 * y4[j] + x5 * y5[j] + x6 * y6[j] + x7 * y7[j]
            for k in range(eights, n_features):
                for i in range(first, last):
                    row, last_y = out[i, start:stop], y[k, start:stop]
                    for j in range(len(row)):
                        row[j] = row[j] + x[i, k] * last_y[j]


@exactly
def square_chord_of_rows(x: Any, y: Any, a: Any, b: Any, opposite: Any) -> Any:
    """The squared chord of two rows to full relative accuracy: see `numpy_chords.square_chords_of_rows`."""
    signed = -b if opposite else b
    w_k = 0.0
    k = 0
    for i in range(len(x)):
        w = x[i] * a + y[i] * signed
        if abs(w) > abs(w_k):
            w_k, k = w, i
    if w_k == 0.0:
        return 0.0
    x_k, y_k = np.float64(x[k]), np.float64(y[k])
    square_m = square_w = along = 0.0
    for i in range(len(x)):
        w = x[i] * a + y[i] * signed
        first, first_rest = two_product(np.float64(x[i]), y_k)
        second, second_rest = two_product(x_k, np.float64(y[i]))
        m = ((first - second) + (first_rest - second_rest)) * (a * b)
        square_m += m * m
        square_w += w * w
        along += m * w
    square_sine = min(max(square_m * square_w - along * along, 0.0) / (w_k * w_k), 1.0)
    return square_sine / (2 + 2 * np.sqrt(1 - square_sine))


@compiled
def square_chords(
    dots: Any, x: Any, y: Any, a: Any, b: Any, near: Any, square: Any, opposite: Any, start: Any, n: Any
) -> None:
    """Squared chords of a row and n columns, and which are opposite, from their dot products."""
    n_near = 0
    inverse = b[start : start + n]
    for j in range(n):
        cosine = dots[j] * (a * inverse[j])
        opposite[j] = cosine < 0
        lost = 0.5 - 0.5 * abs(cosine)
        square[j] = 0.0 if lost < 0.0 else lost
        n_near += lost < near
    if n_near > 0:
        for j in range(n):
            if square[j] < near:
                square[j] = square_chord_of_rows(x, y[start + j], np.float64(a), np.float64(b[start + j]), opposite[j])


@compiled
def copy(given: Any, kept: Any, keeps_m_rest: Any) -> None:
    """Copy what a register keeps; assignments of slices are slower."""
    for j in range(N_KEPT * RUN if keeps_m_rest else M_REST * RUN):
        kept[j] = given[j]


@compiled
def mix(instruction: Any, plane: Any, x: Any, y: Any, state: Any, n: Any, has_derivative: Any) -> None:
    """Mix the state, in which a map has left D, or else 1 - D, with a bias."""
    n = min(n, RUN)
    bias, own = instruction[BIAS], np.float64(instruction[ADDS_OWN])
    row, row_bias, share, share_of_bias = x[plane], x[bias], y[plane], y[bias]
    for j in range(n):
        m, t = state[M * RUN + j], state[TANGENT * RUN + j]
        step, bias_step = row - share[j], row_bias - share_of_bias[j]
        rho, tau = row * share[j], row_bias * share_of_bias[j]
        gap = 0.5 * (step * step + bias_step * bias_step)
        lost = tau + gap  # 1 - rho, with digits of its own
        shortfall = (m - lost * m if lost < 0.5 else rho * m) + gap
        state[M * RUN + j] = shortfall
        state[P * RUN + j] = rho * state[P * RUN + j] + tau + lost
        cosine, taken, slope = own * (1.0 - shortfall), rho * t, state[SLOPE * RUN + j]
        change = (cosine - (lost * t + slope * taken)) + state[REST * RUN + j]
        total = t + change
        keeps_most = lost < 0.5 and not has_derivative
        direct = slope * taken + cosine if has_derivative else taken - slope * taken + cosine
        state[TANGENT * RUN + j] = total if keeps_most else direct
        state[REST * RUN + j] = change - (total - t) if keeps_most else 0.0


@compiled
def add(instruction: Any, sources: Any, shares: Any, x: Any, y: Any, registers: Any, state: Any, n: Any) -> None:
    """Put the sum of registers of independent branches, and of a bias, into the state."""
    n = min(n, RUN)
    bias, own = instruction[BIAS], np.float64(instruction[ADDS_OWN])
    row_bias, share_of_bias = x[bias], y[bias]
    for j in range(n):
        step = row_bias - share_of_bias[j]
        gap = 0.5 * step * step
        state[M * RUN + j] = gap
        state[P * RUN + j] = gap + 2 * row_bias * share_of_bias[j]
        state[TANGENT * RUN + j] = state[REST * RUN + j] = 0.0
    for k in range(len(sources)):
        source, row, share = registers[sources[k]], x[shares[k]], y[shares[k]]
        for j in range(n):
            step, rho = row - share[j], row * share[j]
            gap = 0.5 * step * step
            state[M * RUN + j] += rho * source[M * RUN + j] + gap
            state[P * RUN + j] += rho * source[P * RUN + j] + gap
            state[TANGENT * RUN + j] += rho * source[TANGENT * RUN + j]
            state[REST * RUN + j] += rho * source[REST * RUN + j]
    for j in range(n):
        state[TANGENT * RUN + j] += own * (1.0 - state[M * RUN + j])


@compiled
def multiply(sources: Any, registers: Any, state: Any, n: Any) -> None:
    """Cosines multiply, and t = t_1 c_2 + t_2 c_1; nothing in 1 - |c_1 c_2| cancels."""
    n = min(n, RUN)
    copy(registers[sources[0]], state, False)
    for j in range(n):
        state[TANGENT * RUN + j] += state[REST * RUN + j]
        state[REST * RUN + j] = 0.0
    for k in range(1, len(sources)):
        other = registers[sources[k]]
        for j in range(n):
            m, p, other_m, other_p = state[M * RUN + j], state[P * RUN + j], other[M * RUN + j], other[P * RUN + j]
            u, v = p if p < m else m, other_p if other_p < other_m else other_m
            opposite = (p < m) != (other_p < other_m)
            nearer = u + (ONE - u) * v
            t, other_t = state[TANGENT * RUN + j], other[TANGENT * RUN + j] + other[REST * RUN + j]
            state[TANGENT * RUN + j] = t * (ONE - other_m) + other_t * (ONE - m)
            state[M * RUN + j] = TWO - nearer if opposite else nearer
            state[P * RUN + j] = nearer if opposite else TWO - nearer


@compiled
def promote(plane: Any, x: Any, y: Any, state: Any, n: Any) -> None:
    """The tangent in the place of the covariance."""
    n = min(n, RUN)
    row, share = x[plane], y[plane]
    for j in range(n):
        cosine = row * share[j] * (state[TANGENT * RUN + j] + state[REST * RUN + j])
        state[M * RUN + j] = 1.0 - cosine if cosine < 1.0 else 0.0
        state[P * RUN + j] = 1.0 + cosine if cosine > -1.0 else 0.0
        state[TANGENT * RUN + j] = state[REST * RUN + j] = 0.0


@compiled
def apply_map(code: Any, constants: Any, tables: Any, state: Any, opposite: Any, n: Any, x: Any, y: Any) -> Any:
    """Apply a map to the state; returns whether D is in the state, or else 1 - D. `code`: kind, first plane, parity,
    power, and where its two tables start and stop, or those of `tails`."""
    kind, first, parity = code[0], code[1], code[2]
    own, columns = x[first:], y[first:]
    odd, even = constants[0], constants[1]
    if kind == maps.FOLD:
        maps.fold(state, opposite, n, odd, even, constants[2], tables, code[4:])
        return False
    if kind == maps.TABLE:
        maps.univariate(state, opposite, n, parity, code[3], tables, code[4:], constants[2:])
        return True
    if kind == maps.EXPONENTIAL:
        maps.exponential(state, n, own, columns)
        return True
    if kind == maps.GAUSSIAN:
        maps.gaussian(state, n, own, columns)
        return True
    if kind == maps.ERF:
        maps.erf(state, n, own, columns)
    elif kind == maps.GELU:
        maps.gelu(state, n, own, columns)
    elif kind == maps.SINE:
        maps.sine(state, n, own, columns, odd, even)
    else:
        maps.polynomial(state, opposite, n, own, columns, parity, tables, code, constants)
    maps.mend_near(state, n, kind, own, columns, parity, tables, code, constants)
    return True


@compiled
def begin(square: Any, opposite: Any, register: Any, n: Any) -> None:
    """The rows' covariance, from their chords, and no tangent."""
    n = min(n, RUN)
    for j in range(n):
        nearer = 2.0 * square[j]
        register[M * RUN + j] = 2.0 - nearer if opposite[j] else nearer
        register[P * RUN + j] = nearer if opposite[j] else 2.0 - nearer
        register[TANGENT * RUN + j] = register[REST * RUN + j] = register[M_REST * RUN + j] = 0.0


@compiled
def finish(state: Any, has_tangent: Any, n: Any) -> None:
    """Put what the kernel is, by its scales, into the tangent's place."""
    n = min(n, RUN)
    for j in range(n):
        tangent = state[TANGENT * RUN + j] + state[REST * RUN + j]
        state[TANGENT * RUN + j] = tangent if has_tangent else 1.0 - state[M * RUN + j]


@compiled
def run(
    instructions: Any,
    sources: Any,
    shares: Any,
    map_codes: Any,
    map_constants: Any,
    tables: Any,
    row: Any,
    columns: Any,
    registers: Any,
    state: Any,
    opposite: Any,
    n: Any,
    keeps_m_rest: Any,
) -> None:
    """The program's instructions on the registers, for a row and n columns; sums and products need a state besides."""
    for step in range(len(instructions)):
        instruction = instructions[step]
        kind, start, stop = instruction[KIND], instruction[START], instruction[STOP]
        here = registers[instruction[DESTINATION]]
        if kind in (PRODUCT, SUM):
            if kind == PRODUCT:
                multiply(sources[start:stop], registers, state, n)
            else:
                add(instruction, sources[start:stop], shares[start:stop], row, columns, registers, state, n)
            copy(state, here, False)
        else:
            if sources[start] != instruction[DESTINATION]:
                copy(registers[sources[start]], here, keeps_m_rest)
            if kind == PROMOTION:
                promote(shares[start], row, columns, here, n)
            else:
                has_derivative = False
                if instruction[MAP] >= 0:
                    code, constants = map_codes[instruction[MAP]], map_constants[instruction[MAP]]
                    if keeps_m_rest:
                        keep_sides(here, n)
                    has_derivative = apply_map(code, constants, tables, here, opposite, n, row, columns)
                    if keeps_m_rest:
                        if code[0] == maps.FOLD:
                            fold_again(here, n, constants[0], constants[1])
                        else:
                            forget_rest(here, n)
                else:
                    for j in range(n):
                        here[SLOPE * RUN + j] = 0.0  # 1 - D
                plane, bias = shares[start], instruction[BIAS]
                if keeps_m_rest:
                    mix_again(row[plane], columns[plane], row[bias], columns[bias], here, n)
                mix(instruction, plane, row, columns, here, n, has_derivative)
                if keeps_m_rest:
                    put_sides(here, n)
        if keeps_m_rest and kind != MIX:
            forget_rest(here, n)


@compiled
def fill(
    dots: Any,
    x_values: Any,
    y_values: Any,
    x_inverse: Any,
    y_inverse: Any,
    x_scale: Any,
    y_scale: Any,
    x_parameters: Any,
    y_parameters: Any,
    near: Any,
    has_tangent: Any,
    keeps_m_rest: Any,
    profile: Any,
    profile_terms: Any,
    instructions: Any,
    sources: Any,
    shares: Any,
    map_codes: Any,
    map_constants: Any,
    tables: Any,
    registers: Any,
    state: Any,
    columns: Any,
    values: Any,
    offset: Any,
) -> None:
    """values = entries of all rows against all columns, whose dot products are `dots`, of row i from column i - offset
    on; without instructions, `profile` holds the scale and the stretch of the table that is the kernel."""
    n_columns = dots.shape[1]
    square = np.zeros(RUN)
    opposite = np.zeros(RUN, np.bool_)
    for start in range(0, n_columns, RUN):
        n = min(RUN, n_columns - start)
        # whole vectors, of copies of the last column: what is left over of a loop is rounded as a compiler likes
        whole = min(RUN, -(-n // VECTORS) * VECTORS)
        for first in range(0, n, 8):  # a cache line of each plane at a time
            for k in range(len(columns)):
                for j in range(first, min(first + 8, n)):
                    columns[k, j] = y_parameters[start + j, k]
        for j in range(n, whole):
            columns[:, j] = columns[:, n - 1]
        scale = y_scale[start : start + n]
        for i in range(min(len(dots), start + n + offset)):
            square_chords(
                dots[i, start:], x_values[i], y_values, x_inverse[i], y_inverse, near, square, opposite, start, n
            )
            square[n:whole] = square[n - 1]
            opposite[n:whole] = opposite[n - 1]
            result = state
            if len(instructions) == 0:
                chord = state[CHORD * RUN :]
                for j in range(whole):
                    chord[j] = np.sqrt(square[j])
                look_up(tables, profile_terms, profile[0], profile[1], True, state, opposite, TANGENT, whole)
            else:
                begin(square, opposite, registers[0], whole)
                run(
                    instructions,
                    sources,
                    shares,
                    map_codes,
                    map_constants,
                    tables,
                    x_parameters[i],
                    columns,
                    registers,
                    state,
                    opposite,
                    whole,
                    keeps_m_rest,
                )
                result = registers[instructions[-1, DESTINATION]]
                finish(result, has_tangent, whole)
            entries, kappa = values[i, start : start + n], result[TANGENT * RUN :]
            for j in range(n):
                entries[j] = kappa[j] * (x_scale[i] * scale[j])
