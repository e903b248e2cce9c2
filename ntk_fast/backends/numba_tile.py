"""The tile loop in Numba: the same computation as csrc/tile.h, a row of entries at a time.

Columns are packed once. Then, a band of rows at a time: dot products of a strip of rows; kernel entries in place, row by
row, in loops over columns that Numba vectorises; the row stored; and, in a symmetric matrix, the band stored again
transposed. The matrix is written once and never read, and an entry depends on its two rows alone.

Memory is pointers here. Every slice of an array, and every array handed to a function, would count its references by
atomic operations: measured, those took longer than the computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ntk_fast.backends import numba_kernels, numba_vectors
from ntk_fast.backends.numba_kernels import (
    GROUP,
    STRIP,
    VECTORS,
    evaluate,
    panel_product,
    panel_square_chords,
    panel_square_chords_exact,
    store_lines,
    transpose,
)
from ntk_fast.backends.numba_vectors import (
    CACHE_LINE,
    VECTOR_BYTES,
    advance,
    finish_stores,
    itemsize,
    multiply_add,
    multiply_add_exact,
    number,
    pointer,
    store_number,
)

BAND_BYTES = 512  # a band's rows, as numbers: a transposed run is 8 cache lines
FEATURE_BLOCK = 256  # features whose packed columns stay in the second-level cache
STRIP_STRIDE = FEATURE_BLOCK + 16
PANEL_BYTES = VECTORS * VECTOR_BYTES
UNIT_BYTES = GROUP * PANEL_BYTES  # columns are padded to whole panels and whole groups

#: A flat array; in compiled code a pointer to it.
Numbers = Any


class EntryArguments(NamedTuple):
    """A `profile.Entry`."""

    n_layers: int
    chord_power: int
    opposite_offset: float
    has_tangent: bool
    value: Numbers
    value_terms: int
    slope: Numbers
    slope_terms: int
    position: Numbers  # scale, stretch
    near: float
    near_exact: float


class RowArguments(NamedTuple):
    """`rows.Rows`: row i starts at i * row_stride."""

    n_rows: int
    values: Numbers
    row_stride: int
    inverse_norm: Numbers
    scale: Numbers
    rho: Numbers
    tau: Numbers
    diagonal: Numbers


class Block(NamedTuple):
    """A tile, and the matrix that it lies in: an address and two steps in bytes, so any strides will do."""

    n_features: int
    n_layers: int
    row_start: int
    row_stop: int
    column_start: int
    column_stop: int
    is_symmetric: bool
    out: int
    row_step: int
    column_step: int
    is_streamed: bool  # store past the caches: right when the matrix does not fit in them


class Scratch(NamedTuple):
    """One thread's memory, aligned; `columns` numbers are one row of the band."""

    columns: int
    packed: Numbers  # (panels, n_features, panel)
    strip: Numbers  # (STRIP, STRIP_STRIDE)
    band: Numbers  # (band, columns)
    turned: Numbers  # (lanes, band)
    near: Numbers  # (3, panel)
    squares: Numbers  # (columns,), like the rest: of one row of the band ...
    values: Numbers
    slopes: Numbers
    theta: Numbers
    inverse_norm: Numbers  # ... and of the block's columns
    scale: Numbers
    rho: Numbers  # (layers + 1, columns)
    tau: Numbers


compiled = njit(nogil=True, error_model="numpy")

_SOURCES = sha256(b"".join(Path(module.__file__).read_bytes() for module in (numba_vectors, numba_kernels))).hexdigest()


def kept(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls: once on this machine, or once in this process where nothing can be kept."""
    # Numba looks for changes in the function's own file; a change of the others must give it another name
    function.__qualname__ += f"-{_SOURCES[:16]}"
    dispatcher = compiled(function)
    try:
        dispatcher.enable_caching()
    except RuntimeError as error:
        if "no locator available" not in str(error):  # neither the package's folder nor the user's can be written to
            raise
    return dispatcher


@compiled
def clear(target, n):
    for k in range(n):
        target[k] = 0


@compiled
def copy(source, target, n):
    for k in range(n):
        target[k] = source[k]


@compiled
def pack_columns(y, block, scratch):
    """Copy the block's columns to packed[panel][feature][column], zeros beyond the last one, and what else they have."""
    n_features, first, columns = block.n_features, block.column_start, scratch.columns
    n = block.column_stop - first
    size = itemsize(scratch.packed)
    panel, lanes = PANEL_BYTES // size, VECTOR_BYTES // size
    for start in range(0, n, panel):
        packed = advance(scratch.packed, start * n_features)
        if n - start < panel:
            clear(packed, n_features * panel)
        for part in range(start, min(start + panel, n), lanes):
            width = min(lanes, n - part)
            row = advance(y.values, (first + part) * y.row_stride)
            target = advance(packed, part - start)
            done = n_features // lanes * lanes if width == lanes else 0
            for k in range(0, done, lanes):
                transpose(advance(row, k), advance(target, k * panel), y.row_stride, panel)
            for c in range(width):
                for k in range(done, n_features):
                    target[k * panel + c] = row[c * y.row_stride + k]
    copy(advance(y.inverse_norm, first), scratch.inverse_norm, n)
    clear(advance(scratch.inverse_norm, n), columns - n)
    copy(advance(y.scale, first), scratch.scale, n)
    clear(advance(scratch.scale, n), columns - n)
    for layer in range(block.n_layers + 1 if block.n_layers else 0):
        theirs, ours = layer * y.n_rows + first, layer * columns
        copy(advance(y.rho, theirs), advance(scratch.rho, ours), n)
        clear(advance(scratch.rho, ours + n), columns - n)
        copy(advance(y.tau, theirs), advance(scratch.tau, ours), n)
        clear(advance(scratch.tau, ours + n), columns - n)


@compiled
def square_chords(n, products, a, inverse_norm, near, squares):
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
def correct_near(n, entry, x, i, n_features, first, scratch, products, squares):
    """Where rows are nearly parallel, replace their squared chords by those from the rows themselves."""
    zero, near, near_exact = number(products, 0), number(products, entry.near), number(products, entry.near_exact)
    panel = PANEL_BYTES // itemsize(products)
    a, row = advance(x.inverse_norm, i), advance(x.values, i * x.row_stride)
    precise, exact, signed_b = scratch.near, advance(scratch.near, panel), advance(scratch.near, 2 * panel)
    for start in range(0, n, panel):
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
def input_layer(n, rho_i, tau_i, rho, tau, squares, cosines, theta):
    """From chords of the rows to chords and cosines of Sigma_0: the bias joins."""
    zero, half, one, two = number(squares, 0), number(squares, 0.5), number(squares, 1), number(squares, 2)
    for j in range(n):
        square = two * squares[j]
        decrease = two - square if cosines[j] < zero else square
        rho_ij, tau_ij = rho_i * rho[j], tau_i * tau[j]
        # 1 - rho - tau = (rho_i tau_j - tau_i rho_j)^2 / (1 + rho + tau): nothing cancels; and 1 + cosine of nearly
        # opposite rows the same way. Where that is used the cosine is negative, so rho > tau: the divisor exceeds 1
        difference, total = rho_i * tau[j] - tau_i * rho[j], rho_i * tau[j] + tau_i * rho[j]
        delta = multiply_add(rho_ij, decrease, difference * difference / (one + tau_ij + rho_ij))
        divisor = one - tau_ij + rho_ij
        complement = multiply_add(rho_ij, square, total * total / (divisor if divisor > one else one))
        theta[j] = cosines[j] = one - delta
        squares[j] = half * (complement if delta > one else delta)


@compiled
def hidden_layer(n, rho_i, tau_i, rho, tau, chord_power, opposite_offset, values, slopes, squares, cosines, theta):
    """One hidden layer, from what its tables (`value`, `slope`) give for the chords before it."""
    zero, half, one, two = number(squares, 0), number(squares, 0.5), number(squares, 1), number(squares, 2)
    for j in range(n):
        factor = squares[j] if chord_power == 2 else math.sqrt(squares[j])
        decrease = multiply_add(values[j], factor, opposite_offset if cosines[j] < zero else zero)
        rho_ij, tau_ij = rho_i * rho[j], tau_i * tau[j]
        difference = rho_i * tau[j] - tau_i * rho[j]
        delta = multiply_add(rho_ij, decrease, difference * difference / (one + tau_ij + rho_ij))
        theta[j] = multiply_add(rho_ij * slopes[j], theta[j], one - delta)
        cosines[j] = one - delta
        square = half * (two - delta if delta > one else delta)
        squares[j] = square if square > zero else zero


@compiled
def recursion(n, entry, x, i, first, scratch, cosines, squares):
    """Sigma_L or Theta_L over sqrt(q_L q_L'), layer by layer, in place of the cosines."""
    values, slopes, theta = scratch.values, scratch.slopes, scratch.theta
    opposite_offset = number(cosines, entry.opposite_offset)
    clear(slopes, n)
    for layer in range(entry.n_layers + 1):
        rho_i, tau_i = x.rho[layer * x.n_rows + i], x.tau[layer * x.n_rows + i]
        start = layer * scratch.columns + first
        rho, tau = advance(scratch.rho, start), advance(scratch.tau, start)
        if layer == 0:
            input_layer(n, rho_i, tau_i, rho, tau, squares, cosines, theta)
            continue
        evaluate(entry.position, entry.value, squares, cosines, values, entry.value_terms, n)
        if entry.has_tangent:
            evaluate(entry.position, entry.slope, squares, cosines, slopes, entry.slope_terms, n)
        hidden_layer(
            n, rho_i, tau_i, rho, tau, entry.chord_power, opposite_offset, values, slopes, squares, cosines, theta
        )
    copy(theta, cosines, n)


@compiled
def row_entries(n, entry, x, i, n_features, first, scratch, values):
    """Kernel entries of row i, in place of its dot products with n of the block's columns, from `first` on."""
    squares, scale = scratch.squares, advance(scratch.scale, first)
    near, inverse_norm = number(values, entry.near), advance(scratch.inverse_norm, first)
    if square_chords(n, values, x.inverse_norm[i], inverse_norm, near, squares):
        correct_near(n, entry, x, i, n_features, first, scratch, values, squares)
    if entry.n_layers:
        recursion(n, entry, x, i, first, scratch, values, squares)
    else:
        evaluate(entry.position, entry.value, squares, values, values, entry.value_terms, n)
    row_scale = x.scale[i]
    for j in range(n):
        values[j] *= number(values, row_scale * scale[j])


@compiled
def store_run(values, n, address, step, is_streamed):
    """Store n values at an address and every `step` bytes after it."""
    size = itemsize(values)
    done = 0
    if step == size and address % size == 0 and n * size >= 2 * CACHE_LINE:
        done = -address % CACHE_LINE // size
        for j in range(done):
            store_number(values[j], address + j * size)
        whole = (n - done) * size // CACHE_LINE * CACHE_LINE // size
        store_lines(advance(values, done), whole, address + done * size, is_streamed)
        done += whole
    for j in range(done, n):
        store_number(values[j], address + j * step)


@compiled
def store_mirrored(block, scratch, first, row_start, row_stop):
    """Store the band's entries right of the diagonal, from the block's column `first` on, at their mirror images."""
    band, turned, columns = scratch.band, scratch.turned, scratch.columns
    lanes, n_band = VECTOR_BYTES // itemsize(band), BAND_BYTES // itemsize(band)
    n = row_stop - row_start
    n_columns = block.column_stop - block.column_start
    for j in range(first, n_columns, lanes):
        for r in range(0, n, lanes):
            transpose(advance(band, r * columns + j), advance(turned, r), columns, n_band)
        for c in range(min(lanes, n_columns - j)):
            column = block.column_start + j + c
            above = min(column - row_start, n)  # rows before the diagonal
            if above > 0:
                address = block.out + column * block.row_step + row_start * block.column_step
                store_run(advance(turned, c * n_band), above, address, block.column_step, block.is_streamed)


@compiled
def strip_products(x, i, n_rows, n_features, k_start, k_stop, first, stop, scratch, band):
    """Dot products of a strip of rows with the block's columns [first, stop), over features [k_start, k_stop).

    Every dot product is summed in one fixed order, by chunks of features. Short chunks keep the partial sums small: that
    is what the error of a long single-precision dot product is made of.
    """
    strip = scratch.strip
    panel = PANEL_BYTES // itemsize(strip)
    chunk = 128 if itemsize(strip) == 8 else 32
    for r in range(STRIP):
        row = advance(x.values, (i + (r if r < n_rows else 0)) * x.row_stride + k_start)
        copy(row, advance(strip, r * STRIP_STRIDE), k_stop - k_start)
    for j in range(first, stop, panel):
        for k in range(k_start, k_stop, chunk):
            packed = advance(scratch.packed, j * n_features + k * panel)
            n = min(chunk, k_stop - k)
            panel_product(
                advance(strip, k - k_start), packed, advance(band, j), STRIP_STRIDE, n, scratch.columns, k > 0
            )


@compiled
def _rows_memory(rows):
    return RowArguments(
        rows.n_rows,
        pointer(rows.values),
        rows.row_stride,
        pointer(rows.inverse_norm),
        pointer(rows.scale),
        pointer(rows.rho),
        pointer(rows.tau),
        pointer(rows.diagonal),
    )


@compiled
def _entry_memory(entry):
    return EntryArguments(
        entry.n_layers,
        entry.chord_power,
        entry.opposite_offset,
        entry.has_tangent,
        pointer(entry.value),
        entry.value_terms,
        pointer(entry.slope),
        entry.slope_terms,
        pointer(entry.position),
        entry.near,
        entry.near_exact,
    )


@compiled
def _scratch_memory(scratch):
    return Scratch(
        scratch.columns,
        pointer(scratch.packed),
        pointer(scratch.strip),
        pointer(scratch.band),
        pointer(scratch.turned),
        pointer(scratch.near),
        pointer(scratch.squares),
        pointer(scratch.values),
        pointer(scratch.slopes),
        pointer(scratch.theta),
        pointer(scratch.inverse_norm),
        pointer(scratch.scale),
        pointer(scratch.rho),
        pointer(scratch.tau),
    )


@kept
def fill_tile(entry, x, y, block, scratch):
    """Fill one tile, from arguments that hold arrays."""
    entry, x, y, scratch = _entry_memory(entry), _rows_memory(x), _rows_memory(y), _scratch_memory(scratch)
    columns, column_start, column_stop = scratch.columns, block.column_start, block.column_stop
    size = itemsize(scratch.band)
    n_band, unit = BAND_BYTES // size, UNIT_BYTES // size
    n_features = block.n_features
    stop = -(-(column_stop - column_start) // unit) * unit
    pack_columns(y, block, scratch)
    for band_start in range(block.row_start, block.row_stop, n_band):
        band_stop = min(band_start + n_band, block.row_stop)
        # the panels and groups that reach the diagonal, in a symmetric matrix
        first = max(0, band_start - column_start) // unit * unit if block.is_symmetric else 0
        for k_start in range(0, n_features, FEATURE_BLOCK):
            k_stop = min(k_start + FEATURE_BLOCK, n_features)
            for i in range(band_start, band_stop, STRIP):
                n_rows = min(STRIP, band_stop - i)
                band = advance(scratch.band, (i - band_start) * columns)
                strip_products(x, i, n_rows, n_features, k_start, k_stop, first, stop, scratch, band)
                if k_stop < n_features:
                    continue
                for row in range(i, i + n_rows):
                    values = advance(band, (row - i) * columns)
                    is_diagonal = block.is_symmetric and column_start <= row < column_stop
                    if is_diagonal:  # not near anything: what is computed here is not used
                        values[row - column_start] = 0
                    row_entries(stop - first, entry, x, row, n_features, first, scratch, advance(values, first))
                    if is_diagonal:
                        values[row - column_start] = number(values, x.diagonal[row])
                    column = max(row, column_start) if block.is_symmetric else column_start
                    n = column_stop - column
                    if n > 0:
                        address = block.out + row * block.row_step + column * block.column_step
                        values = advance(values, column - column_start)
                        store_run(values, n, address, block.column_step, block.is_streamed)
        if block.is_symmetric:
            store_mirrored(block, scratch, first, band_start, band_stop)
    finish_stores()


@kept
def square_norms(rows, row_stride, n_rows, n_features, memory, result):
    """Sums of squares to the last bit or nearly: both the squares and their sum keep their rounding errors."""
    lanes = 8
    total = pointer(memory)
    rest = advance(total, lanes)
    for i in range(n_rows):
        row = advance(pointer(rows), i * row_stride)
        clear(total, 2 * lanes)
        for k in range(0, n_features, lanes):
            for c in range(min(lanes, n_features - k)):
                value = np.float64(row[k + c])
                square = value * value
                after = total[c] + square
                part = after - total[c]
                square_rest = multiply_add_exact(value, value, -square)
                rest[c] += square_rest + ((total[c] - (after - part)) + (square - part))
                total[c] = after
        half = lanes // 2
        while half:
            for c in range(half):
                after = total[c] + total[c + half]
                part = after - total[c]
                rest[c] += rest[c + half] + ((total[c] - (after - part)) + (total[c + half] - part))
                total[c] = after
            half //= 2
        result[i] = total[0] + rest[0]
