"""A tile in plain loops: chords from dot products, the program column by column, entries. Compiled by Numba.

Instructions are the outer loop and columns the inner one, so that a processor's vectors are columns, and what a row and
a run of columns need stays in the first-level cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ntk_fast.backends import numba_maps as maps
from ntk_fast.backends.numba_maps import CHORD, N_STATES, SLOPE, TANGENT, M, P
from ntk_fast.backends.numba_tables import compiled, look_up

#: Columns at a time.
RUN = 128
#: Of the registers of a program: m, p, the tangent, and what rounding took from it.
N_KEPT = 4
REST = 3
#: Kinds of instructions.
MIX, PRODUCT, PROMOTION = 0, 1, 2

exactly = njit(nogil=True, cache=True, error_model="numpy")  # no contraction: rounding errors are to be known


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
    nearest = 1.0
    for j in range(n):
        cosine = dots[j] * (a * b[start + j])
        opposite[j] = cosine < 0
        square[j] = max(0.5 - 0.5 * abs(cosine), 0.0 * cosine)
        nearest = min(nearest, square[j])
    if nearest < near:
        for j in range(n):
            if square[j] < near:
                square[j] = square_chord_of_rows(x, y[start + j], np.float64(a), np.float64(b[start + j]), opposite[j])


@compiled
def mix(
    instruction: Any, sources: Any, shares: Any, x: Any, y: Any, registers: Any, state: Any, n: Any, turned: Any
) -> None:
    """Mix registers, or the state that a map has left (`turned`: 0 none, 1 with D, 2 with 1 - D), into the state."""
    destination, bias, adds_own = instruction[0], instruction[2], instruction[3]
    kept = registers[destination]
    own = state.dtype.type(adds_own)
    one, half = state.dtype.type(1.0), state.dtype.type(0.5)
    if len(sources) == 1:
        source = registers[sources[0]]
        plane = shares[0]
        row = x[plane] if plane >= 0 else one
        row_bias = x[bias] if bias >= 0 else one * 0
        for j in range(n):
            m = state[M, j] if turned else source[M, j]
            p = state[P, j] if turned else source[P, j]
            t, rest = source[TANGENT, j], source[REST, j]
            column = y[plane, j] if plane >= 0 else one
            column_bias = y[bias, j] if bias >= 0 else one * 0
            step, bias_step = row - column, row_bias - column_bias
            rho, tau = row * column, row_bias * column_bias
            gap = half * (step * step + bias_step * bias_step)
            lost = tau + gap  # 1 - rho, with digits of its own
            kept_m = m - lost * m if lost < half else rho * m
            kept[M, j] = kept_m + gap
            kept[P, j] = rho * p + tau + lost
            cosine = own * (one - kept[M, j])
            taken = rho * t
            if turned == 2:
                turn = state[SLOPE, j]
                less, direct = lost * t + turn * taken, taken - turn * taken + cosine
            elif turned == 1:
                slope = state[SLOPE, j]
                less, direct = t - slope * taken, slope * taken + cosine
            else:
                less, direct = lost * t, taken + cosine
            change = (cosine - less) + rest
            total = t + change
            keeps_most = lost < half and turned != 1
            kept[TANGENT, j] = total if keeps_most else direct
            kept[REST, j] = change - (total - t) if keeps_most else 0 * t
        return
    for j in range(n):
        m = p = t = rest = twice_gap = one * 0
        for k in range(len(sources)):
            source, plane = registers[sources[k]], shares[k]
            step, rho = x[plane] - y[plane, j], x[plane] * y[plane, j]
            twice_gap += step * step
            m += rho * source[M, j]
            p += rho * source[P, j]
            t += rho * source[TANGENT, j]
            rest += rho * source[REST, j]
        if bias >= 0:
            step = x[bias] - y[bias, j]
            twice_gap += step * step
            p += 2 * x[bias] * y[bias, j]
        m += half * twice_gap
        p += half * twice_gap
        kept[M, j] = m
        kept[P, j] = p
        kept[TANGENT, j] = t + own * (one - m)
        kept[REST, j] = rest


@compiled
def multiply(destination: Any, sources: Any, registers: Any, n: Any) -> None:
    """Cosines multiply, and t = t_1 c_2 + t_2 c_1; nothing in 1 - |c_1 c_2| cancels."""
    kept = registers[destination]
    for j in range(n):
        first = registers[sources[0]]
        m, p, t = first[M, j], first[P, j], first[TANGENT, j] + first[REST, j]
        for k in range(1, len(sources)):
            other = registers[sources[k]]
            u, v = min(m, p), min(other[M, j], other[P, j])
            opposite = (p < m) != (other[P, j] < other[M, j])
            cosine, factor = 1 - m, 1 - other[M, j]
            nearer = u + (1 - u) * v
            t = t * factor + (other[TANGENT, j] + other[REST, j]) * cosine
            m = 2 - nearer if opposite else nearer
            p = nearer if opposite else 2 - nearer
        kept[M, j], kept[P, j], kept[TANGENT, j], kept[REST, j] = m, p, t, 0 * t


@compiled
def promote(destination: Any, source: Any, plane: Any, x: Any, y: Any, registers: Any, n: Any) -> None:
    """The tangent in the place of the covariance."""
    kept, given = registers[destination], registers[source]
    one = kept.dtype.type(1.0)
    for j in range(n):
        cosine = x[plane] * y[plane, j] * (given[TANGENT, j] + given[REST, j])
        kept[M, j], kept[P, j] = max(one - cosine, one * 0), max(one + cosine, one * 0)
        kept[TANGENT, j] = kept[REST, j] = one * 0


@compiled
def apply_map(code: Any, constants: Any, tables: Any, state: Any, opposite: Any, n: Any, x: Any, y: Any) -> Any:
    """Apply a map to the state; returns 1 if D, 2 if 1 - D is in the state. `code`: kind, first plane, parity, power,
    tables."""
    kind, first, parity = code[0], code[1], code[2]
    own, columns = x[first:], y[first:]
    odd, even = constants[0], constants[1]
    if kind == maps.FOLD:
        maps.fold(state, opposite, n, odd, even, tables[code[4]], tables[code[5]], constants[2:])
        return 2
    if kind == maps.TABLE:
        maps.univariate(state, opposite, n, parity, code[3], tables[code[4]], tables[code[5]], constants[2:])
        return 1
    if kind == maps.EXPONENTIAL:
        maps.exponential(state, n, own, columns)
        return 1
    if kind == maps.GAUSSIAN:
        maps.gaussian(state, n, own, columns)
        return 1
    if kind == maps.ERF:
        maps.erf(state, n, own, columns)
    elif kind == maps.GELU:
        maps.gelu(state, n, own, columns)
    elif kind == maps.SINE:
        maps.sine(state, n, own, columns, odd, even)
    else:
        maps.polynomial(state, n, own, columns, parity)
    near = constants[6]
    maps.mend_near(state, n, kind, own, columns, odd, even, parity, near)
    return 1


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
    profile: Any,
    instructions: Any,
    sources: Any,
    shares: Any,
    map_codes: Any,
    map_constants: Any,
    tables: Any,
    n_registers: Any,
    values: Any,
) -> None:
    """values = entries of all rows against all columns, whose dot products are `dots`; without instructions, `profile`
    holds the scale and the stretch of the table that is the kernel."""
    n_columns = dots.shape[1]
    square = np.empty(RUN, dots.dtype)
    opposite = np.empty(RUN, np.bool_)
    registers = np.zeros((n_registers, N_KEPT, RUN), dots.dtype)
    state = np.zeros((N_STATES, RUN), dots.dtype)
    columns = np.zeros((max(1, len(y_parameters)), RUN), dots.dtype)
    two = dots.dtype.type(2.0)
    for start in range(0, n_columns, RUN):
        n = min(RUN, n_columns - start)
        for plane in range(len(y_parameters)):
            for j in range(n):
                columns[plane, j] = y_parameters[plane, start + j]
        for i in range(len(dots)):
            square_chords(
                dots[i, start:], x_values[i], y_values, x_inverse[i], y_inverse, near, square, opposite, start, n
            )
            if len(instructions) == 0:
                for j in range(n):
                    state[CHORD, j] = np.sqrt(square[j])
                look_up(tables[0], profile[0], profile[1], True, state[CHORD], opposite, state[TANGENT], n)
                for j in range(n):
                    values[i, start + j] = state[TANGENT, j] * (x_scale[i] * y_scale[start + j])
                continue
            first = registers[0]
            for j in range(n):
                nearer = two * square[j]
                first[M, j] = two - nearer if opposite[j] else nearer
                first[P, j] = nearer if opposite[j] else two - nearer
                first[TANGENT, j] = first[REST, j] = nearer * 0
            row = x_parameters[i]
            for step in range(len(instructions)):
                instruction = instructions[step]
                used = sources[instruction[4] : instruction[5]]
                if instruction[6] == PRODUCT:
                    multiply(instruction[0], used, registers, n)
                    continue
                if instruction[6] == PROMOTION:
                    promote(instruction[0], used[0], shares[instruction[4]], row, columns, registers, n)
                    continue
                turned = 0
                if instruction[1] >= 0:
                    source = registers[used[0]]
                    for j in range(n):
                        state[M, j] = source[M, j]
                        state[P, j] = source[P, j]
                    index = instruction[1]
                    turned = apply_map(map_codes[index], map_constants[index], tables, state, opposite, n, row, columns)
                mix(
                    instruction,
                    used,
                    shares[instruction[4] : instruction[5]],
                    row,
                    columns,
                    registers,
                    state,
                    n,
                    turned,
                )
            last = registers[instructions[len(instructions) - 1, 0]]
            for j in range(n):
                kappa = last[TANGENT, j] + last[REST, j] if has_tangent else 1 - last[M, j]
                values[i, start + j] = kappa * (x_scale[i] * y_scale[start + j])
