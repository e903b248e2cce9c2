"""Squared chords of a row and columns: from dot products, or, for nearly parallel rows, from the rows themselves."""

from __future__ import annotations

from llvmlite import ir

from ntk_fast.backends.numba_arguments import Block, EntryArguments, RowArguments, Scratch
from ntk_fast.backends.numba_kernels import PANEL_BYTES, VECTORS
from ntk_fast.backends.numba_vectors import (
    VECTOR_BYTES,
    Emitter,
    Pointer,
    advance,
    compiled,
    itemsize,
    kernel,
    multiply_add,
    number,
)


@kernel
def panel_square_chords(
    e: Emitter,
    row: ir.Value,
    packed: ir.Value,
    inverse_norm: ir.Value,
    signed_inverse_norms: ir.Value,
    result: ir.Value,
    n_features: ir.Value,
) -> None:
    """Squared chords of a row and a panel of columns from the rows themselves: |x/|x| -+ y/|y||^2 / 4.

    The inverse norms of the columns are negative where a pair is opposite. Symmetric in x and y to the last bit;
    exactly 0 for equal (or opposite) rows.
    """
    a, b = e.load_repeated(inverse_norm), [e.load(signed_inverse_norms, v * e.lanes) for v in range(VECTORS)]
    sums = [e.register(e.number(0)) for _ in range(VECTORS)]
    with e.loop(0, n_features, 1) as (k, _):
        x = e.load_repeated(row, k) * a
        for v in range(VECTORS):
            d = x - e.load(packed, e.times(k, VECTORS * e.lanes), v * e.lanes) * b[v]
            sums[v].set(e.multiply_add(d, d, sums[v].get()))
    for v in range(VECTORS):
        e.store(e.number(0.25) * sums[v].get(), result, v * e.lanes)


@kernel
def vector_square_chords_exact(
    e: Emitter,
    row: ir.Value,
    packed: ir.Value,
    inverse_norm: ir.Value,
    signed_inverse_norms: ir.Value,
    result: ir.Value,
    n_features: ir.Value,
) -> None:
    """The same for one vector of a panel, to full relative accuracy, and exactly 0 for rows that are multiples.

    With w = x/|x| +- y/|y| and k the position of its largest component, m = y_k x - x_k y lies in the plane of x and y
    and is 0 at k: each component is a difference of two products, kept with their rounding errors, and the area
    |m ^ w| = |w_k| |x ^ y| loses nothing, since m and w are far from parallel. It gives the sine, and that the chord.
    """
    a, signed_b = e.load_repeated(inverse_norm), e.load(signed_inverse_norms)
    ab = a * e.absolute(signed_b)
    w_k, x_k, y_k, square_m, square_w, along = (e.register(e.number(0)) for _ in range(6))
    with e.loop(0, n_features, 1) as (k, _):
        x, y = e.load_repeated(row, k), e.load(packed, e.times(k, VECTORS * e.lanes))
        w = x * a + y * signed_b
        is_larger = e.absolute(w_k.get()) < e.absolute(w)
        for register, now in ((w_k, w), (x_k, x), (y_k, y)):
            register.set(is_larger.select(now, register.get()))
    with e.loop(0, n_features, 1) as (k, _):
        x, y = e.load_repeated(row, k), e.load(packed, e.times(k, VECTORS * e.lanes))
        w = x * a + y * signed_b
        first, second = x * y_k.get(), x_k.get() * y
        first_rest = e.multiply_add_exact(x, y_k.get(), -first)
        second_rest = e.multiply_add_exact(x_k.get(), y, -second)
        m = ((first - second) + (first_rest - second_rest)) * ab
        for register, factors in ((square_m, (m, m)), (square_w, (w, w)), (along, (m, w))):
            register.set(e.multiply_add(*factors, register.get()))
    area = square_m.get() * square_w.get() - along.get() * along.get()
    square_sine = (e.number(0) < area).select(area, e.number(0)) / (w_k.get() * w_k.get())
    square_sine = (square_sine < e.number(1)).select(square_sine, e.number(1))
    twice = e.number(1) + e.square_root(e.number(1) - square_sine)
    e.store(square_sine / (twice + twice), result)


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
    """Where rows are nearly parallel, replace their squared chords by those from the rows themselves.

    Each pair by itself: which pairs share a vector must not show.
    """
    zero, near, near_exact = number(products, 0), number(products, entry.near), number(products, entry.near_exact)
    n_features, size = block.n_features, itemsize(products)
    panel, lanes = PANEL_BYTES // size, VECTOR_BYTES // size
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
        for part in range(0, panel, lanes):
            n_nearer = 0
            for c in range(part, part + lanes):
                n_nearer += (ours[c] < near) & (precise[c] < near_exact)
            if n_nearer:
                vector_square_chords_exact(
                    row, advance(packed, part), a, advance(signed_b, part), advance(exact, part), n_features
                )
                for c in range(part, part + lanes):
                    precise[c] = exact[c] if precise[c] < near_exact else precise[c]
        for c in range(panel):
            ours[c] = precise[c] if ours[c] < near else ours[c]
