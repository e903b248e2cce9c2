"""The tile loop in Numba: the same computation as csrc/tile.h.

Columns are packed once. Then, a band of rows at a time: dot products of a strip of rows; kernel entries in place, row
by row; the row stored; and, in a symmetric matrix, the band stored again transposed. The matrix is written once and
never read, and an entry depends on its two rows alone. Or the band is multiplied with vectors: no matrix at all.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ntk_fast.backends import numba_arguments, numba_chords, numba_entry, numba_kernels, numba_vectors
from ntk_fast.backends.numba_arguments import (
    BAND_BYTES,
    FEATURE_BLOCK,
    STRIP_STRIDE,
    Block,
    EntryArguments,
    Products,
    RowArguments,
    Scratch,
    entry_pointers,
    product_pointers,
    row_pointers,
    scratch_pointers,
)
from ntk_fast.backends.numba_entry import row_entries
from ntk_fast.backends.numba_kernels import (
    FACTORS,
    GROUP_BYTES,
    PANEL_BYTES,
    STRIP,
    multiply_rows,
    panel_product,
    store_lines,
    transpose,
)
from ntk_fast.backends.numba_vectors import (
    CACHE_LINE,
    VECTOR_BYTES,
    Pointer,
    advance,
    clear,
    compiled,
    copy,
    finish_stores,
    itemsize,
    multiply_add_exact,
    number,
    pointer,
    store_number,
)

_MODULES = numba_vectors, numba_kernels, numba_arguments, numba_chords, numba_entry
_SOURCES = sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in _MODULES)).hexdigest()


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
def pack_columns(y: RowArguments, block: Block, scratch: Scratch) -> None:
    """Copy the block's columns to packed[panel][feature][column], zeros beyond the last, and what else they have."""
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
def store_run(values: Pointer, n: int, address: int, step: int, is_streamed: bool) -> None:
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
def store_mirrored(block: Block, scratch: Scratch, first: int, row_start: int, row_stop: int) -> None:
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
def multiply_band(
    block: Block, products: Products, scratch: Scratch, first: int, row_start: int, row_stop: int
) -> None:
    """Multiply the band's entries from the block's column `first` on with all vectors, while they are in the caches."""
    n, columns = block.column_stop - block.column_start - first, scratch.columns
    n_rows = row_stop - row_start
    clear(advance(scratch.band, n_rows * columns), -n_rows % FACTORS * columns)
    for r in range(0, n_rows, FACTORS):
        for v in range(products.n_vectors):
            vector = advance(products.vectors, v * products.vector_stride)
            multiply_rows(
                advance(scratch.band, r * columns + first),
                advance(vector, block.column_start + first),
                advance(vector, row_start + r),
                advance(products.row_sums, v * products.row_sum_stride + row_start - block.row_start + r),
                advance(products.column_sums, v * products.column_sum_stride + first),
                columns,
                n,
                block.is_symmetric,
            )


@compiled
def strip_products(
    x: RowArguments,
    i: int,
    n_rows: int,
    n_features: int,
    k_start: int,
    k_stop: int,
    first: int,
    stop: int,
    scratch: Scratch,
    band: Pointer,
) -> None:
    """Dot products of a strip of rows with the block's columns [first, stop), over features [k_start, k_stop).

    Every dot product is summed in one fixed order, by chunks of features. Short chunks keep the partial sums small: of
    those the error of a long single-precision dot product is made.
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
def finish_row(
    entry: EntryArguments,
    x: RowArguments,
    row: int,
    first: int,
    n: int,
    block: Block,
    is_stored: bool,
    scratch: Scratch,
    values: Pointer,
) -> None:
    """From dot products of a row with the block's columns to entries, n of them from column `first` on."""
    column_start, column_stop = block.column_start, block.column_stop
    is_diagonal = block.is_symmetric and column_start <= row < column_stop
    if is_diagonal:  # not near anything: what is computed here is not used
        values[row - column_start] = 0
    row_entries(n, entry, x, row, first, block, scratch, advance(values, first))
    if is_diagonal:
        values[row - column_start] = number(values, x.diagonal[row])
    column = max(row, column_start) if block.is_symmetric else column_start
    if not is_stored and block.is_symmetric:  # what is multiplied lies above the diagonal
        clear(advance(values, first), min(row + 1, column_stop) - column_start - first)
    elif is_stored and column < column_stop:
        address = block.out + row * block.row_step + column * block.column_step
        values = advance(values, column - column_start)
        store_run(values, column_stop - column, address, block.column_step, block.is_streamed)


@kept
def compute_tile(
    entry: EntryArguments, x: RowArguments, y: RowArguments, block: Block, products: Products, scratch: Scratch
) -> None:
    """Fill one tile, or multiply it, from arguments that hold arrays."""
    entry, x, y = entry_pointers(entry), row_pointers(x), row_pointers(y)
    products, scratch = product_pointers(products), scratch_pointers(scratch)
    is_stored = block.out != 0
    n_features, n_columns = block.n_features, block.column_stop - block.column_start
    size = itemsize(scratch.band)
    n_band, panel, group = BAND_BYTES // size, PANEL_BYTES // size, GROUP_BYTES // size
    stop = -(-n_columns // panel) * panel
    pack_columns(y, block, scratch)
    for band_start in range(block.row_start, block.row_stop, n_band):
        band_stop = min(band_start + n_band, block.row_stop)
        # in a symmetric matrix, from the panel that reaches the diagonal
        first = max(0, band_start - block.column_start) // panel * panel if block.is_symmetric else 0
        if first >= n_columns:
            break
        n = -(-(stop - first) // group) * group
        for k_start in range(0, n_features, FEATURE_BLOCK):
            k_stop = min(k_start + FEATURE_BLOCK, n_features)
            for i in range(band_start, band_stop, STRIP):
                n_rows = min(STRIP, band_stop - i)
                band = advance(scratch.band, (i - band_start) * scratch.columns)
                strip_products(x, i, n_rows, n_features, k_start, k_stop, first, stop, scratch, band)
                if k_stop == n_features:
                    for r in range(n_rows):
                        values = advance(band, r * scratch.columns)
                        finish_row(entry, x, i + r, first, n, block, is_stored, scratch, values)
        if not is_stored:
            multiply_band(block, products, scratch, first, band_start, band_stop)
        elif block.is_symmetric:
            store_mirrored(block, scratch, first, band_start, band_stop)
    finish_stores()


@kept
def square_norms(
    rows: Pointer, row_stride: int, n_rows: int, n_features: int, memory: Pointer, result: Pointer
) -> None:
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
