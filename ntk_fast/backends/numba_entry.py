"""From dot products to kernel entries, a row of columns at a time: the computation of csrc/entry.h.

Loops over columns that Numba vectorises, and between them the kernels that it could not.
"""

from __future__ import annotations

import math

from ntk_fast.backends.numba_arguments import Block, EntryArguments, RowArguments, Scratch
from ntk_fast.backends.numba_kernels import (
    PANEL_BYTES,
    evaluate_layer,
    evaluate_profile,
    panel_square_chords,
    panel_square_chords_exact,
)
from ntk_fast.backends.numba_vectors import Pointer, advance, compiled, copy, itemsize, multiply_add, number


@compiled
def square_chords(n: int, products: Pointer, a: float, inverse_norm: Pointer, near: float, squares: Pointer) -> int:
    """Squared chords (1 - |cosine|) / 2 from dot products; returns how many are below `near`."""
    zero, half = number(products, 0), number(products, 0.5)
    n_near = 0
    for j in range(n):
        cosine = products[j] * (a * inverse_norm[j])
        square = multiply_add(-half, abs(cosine), half)
        square = square if square > zero else zero
        n_near += square < near
        squares[j] = square
    return n_near


@compiled
def correct_near(
    entry: EntryArguments,
    x: RowArguments,
    i: int,
    first: int,
    block: Block,
    scratch: Scratch,
    products: Pointer,
    squares: Pointer,
) -> None:
    """Where rows are nearly parallel, replace their squared chords by those from the rows themselves."""
    zero, near, near_exact = number(products, 0), number(products, entry.near), number(products, entry.near_exact)
    n_features, panel = block.n_features, PANEL_BYTES // itemsize(products)
    a, row = advance(x.inverse_norm, i), advance(x.values, i * x.row_stride)
    precise, exact, signed_b = scratch.near, advance(scratch.near, panel), advance(scratch.near, 2 * panel)
    for start in range(0, block.column_stop - block.column_start - first, panel):
        ours, theirs = advance(squares, start), advance(products, start)
        n_near = 0
        for c in range(panel):
            n_near += ours[c] < near
        if n_near == 0:
            continue
        inverse_norm = advance(scratch.inverse_norm, first + start)
        for c in range(panel):
            signed_b[c] = -inverse_norm[c] if theirs[c] < zero else inverse_norm[c]
        packed = advance(scratch.packed, (first + start) * n_features)
        panel_square_chords(row, packed, a, signed_b, precise, n_features)
        n_near = 0
        for c in range(panel):
            n_near += (ours[c] < near) & (precise[c] < near_exact)
        if n_near:
            panel_square_chords_exact(row, packed, a, signed_b, exact, n_features)
            for c in range(panel):
                precise[c] = exact[c] if precise[c] < near_exact else precise[c]
        for c in range(panel):
            ours[c] = precise[c] if ours[c] < near else ours[c]


@compiled
def input_layer(
    n: int,
    rho_i: float,
    tau_i: float,
    rho: Pointer,
    tau: Pointer,
    squares: Pointer,
    chords: Pointer,
    cosines: Pointer,
    theta: Pointer,
    rest: Pointer,
) -> None:
    """From chords of the rows to chords and cosines of Sigma_0: the bias joins."""
    zero, half, one, two = number(squares, 0), number(squares, 0.5), number(squares, 1), number(squares, 2)
    for j in range(n):
        square = two * squares[j]
        decrease = two - square if cosines[j] < zero else square
        rho_ij, tau_ij = rho_i * rho[j], tau_i * tau[j]
        # 1 - rho - tau = (rho_i tau_j - tau_i rho_j)^2 / (1 + rho + tau): nothing cancels; and 1 + cosine of nearly
        # opposite rows the same way. Where that is used the cosine is negative, so rho > tau: the divisor exceeds 1
        difference, total = rho_i * tau[j] - tau_i * rho[j], rho_i * tau[j] + tau_i * rho[j]
        apart = difference * difference / (one + tau_ij + rho_ij)
        delta = multiply_add(tau_ij + apart, -decrease, decrease) + apart
        divisor = one - tau_ij + rho_ij
        complement = multiply_add(rho_ij, square, total * total / (divisor if divisor > one else one))
        square = half * (complement if delta > one else delta)
        squares[j] = square
        chords[j] = math.sqrt(square)
        theta[j] = cosines[j] = one - delta
        rest[j] = zero


@compiled
def hidden_layer(
    n: int,
    entry: EntryArguments,
    rho_i: float,
    tau_i: float,
    rho: Pointer,
    tau: Pointer,
    values: Pointer,
    slopes: Pointer,
    squares: Pointer,
    chords: Pointer,
    cosines: Pointer,
    theta: Pointer,
    rest: Pointer,
) -> None:
    """One hidden layer, from what its tables give for the chords before it."""
    zero, half, one, two = number(squares, 0), number(squares, 0.5), number(squares, 1), number(squares, 2)
    near_lead, far_lead = number(squares, entry.value_leads[0]), number(squares, entry.value_leads[1])
    value_offset, slope_offset = number(squares, entry.value_offset), number(squares, entry.slope_offset)
    power, has_tangent = entry.value_power, entry.has_tangent
    for j in range(n):
        chord, square, is_opposite = chords[j], squares[j], cosines[j] < zero
        # 1 - kappa, and 1 - kappa'; the table holds only what its lead leaves: near cosine 1 its rounding errors, the
        # same in every layer, do not add up
        factor = chord if power == 1 else chord * square if power == 3 else square * square
        decrease = multiply_add(values[j], factor, value_offset if is_opposite else zero)
        decrease = multiply_add(far_lead if is_opposite else near_lead, square, decrease)
        turn = multiply_add(slopes[j], chord, slope_offset if is_opposite else zero)
        rho_ij, tau_ij = rho_i * rho[j], tau_i * tau[j]
        difference = rho_i * tau[j] - tau_i * rho[j]
        apart = difference * difference / (one + tau_ij + rho_ij)
        lost = tau_ij + apart  # 1 - rho, with digits of its own
        delta = multiply_add(lost, -decrease, decrease) + apart
        sigma = one - delta
        if has_tangent:
            # rho kappa' theta = theta - (1 - rho) theta - rho turn theta: what a layer takes away is rounded, not what
            # it keeps, and the sum keeps its rounding errors, or over many layers they would add up
            kept = rho_ij * theta[j]
            less = multiply_add(lost, theta[j], turn * kept)
            step = (sigma - less) + rest[j]
            total = theta[j] + step
            direct = multiply_add(turn, -kept, kept) + sigma
            rest[j] = step - (total - theta[j]) if lost < half else zero
            theta[j] = total if lost < half else direct
        else:
            theta[j] = sigma
        cosines[j] = sigma
        square = half * (two - delta if delta > one else delta)
        square = square if square > zero else zero
        squares[j] = square
        chords[j] = math.sqrt(square)


@compiled
def recursion(
    n: int,
    entry: EntryArguments,
    x: RowArguments,
    i: int,
    first: int,
    scratch: Scratch,
    cosines: Pointer,
    squares: Pointer,
) -> None:
    """Sigma_L or Theta_L over sqrt(q_L q_L'), layer by layer, in place of the cosines."""
    chords, values, slopes, theta, rest = scratch.chords, scratch.values, scratch.slopes, scratch.theta, scratch.rest
    for layer in range(entry.n_layers + 1):
        rho_i, tau_i = x.rho[layer * x.n_rows + i], x.tau[layer * x.n_rows + i]
        start = layer * scratch.columns + first
        rho, tau = advance(scratch.rho, start), advance(scratch.tau, start)
        if layer == 0:
            input_layer(n, rho_i, tau_i, rho, tau, squares, chords, cosines, theta, rest)
            continue
        evaluate_layer(
            entry.scale_and_stretch,
            entry.value,
            entry.slope,
            chords,
            cosines,
            values,
            slopes,
            entry.value_terms,
            entry.slope_terms,
            n,
        )
        hidden_layer(n, entry, rho_i, tau_i, rho, tau, values, slopes, squares, chords, cosines, theta, rest)
    copy(theta, cosines, n)


@compiled
def row_entries(
    n: int, entry: EntryArguments, x: RowArguments, i: int, first: int, block: Block, scratch: Scratch, values: Pointer
) -> None:
    """Kernel entries of row i, in place of its dot products with n of the block's columns, from `first` on."""
    squares, scale = scratch.squares, advance(scratch.scale, first)
    near, inverse_norm = number(values, entry.near), advance(scratch.inverse_norm, first)
    if square_chords(n, values, x.inverse_norm[i], inverse_norm, near, squares):
        correct_near(entry, x, i, first, block, scratch, values, squares)
    if entry.n_layers:
        recursion(n, entry, x, i, first, scratch, values, squares)
    else:
        evaluate_profile(entry.scale_and_stretch, entry.value, squares, values, values, entry.value_terms, n)
    row_scale = x.scale[i]
    for j in range(n):
        values[j] *= number(values, row_scale * scale[j])
