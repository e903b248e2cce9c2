"""Products, transposes and stores on explicit vectors, as in csrc/product.h, multiply.h and transpose.h.

What they have in common: sums that stay in registers while a loop runs, or lanes that change places.
"""

from __future__ import annotations

from llvmlite import ir

from ntk_fast.backends.numba_vectors import (
    CACHE_LINE,
    HAS_32_REGISTERS,
    VECTOR_BYTES,
    Emitter,
    Vector,
    integer,
    kernel,
)

#: Rows and vectors of columns whose sums stay in registers: 8 x 3 sums, 3 columns and a row, or 4 x 3 of them.
STRIP = 8 if HAS_32_REGISTERS else 4
VECTORS = 3
PANEL_BYTES = VECTORS * VECTOR_BYTES
#: Vectors whose polynomials go side by side: one alone is a chain of operations that wait for each other.
GROUP = 8 if HAS_32_REGISTERS else 4
GROUP_BYTES = GROUP * VECTOR_BYTES
#: Rows that are multiplied with a vector side by side: 8 sums and 8 factors, an entry and 2 of a vector's.
FACTORS = 8 if HAS_32_REGISTERS else 4


@kernel
def panel_product(
    e: Emitter,
    rows: ir.Value,
    packed: ir.Value,
    sums: ir.Value,
    row_stride: ir.Value,
    n_features: ir.Value,
    sums_stride: ir.Value,
    is_added: ir.Value,
) -> None:
    """sums[r, c] = (or +=) sum over features of rows[r, k] packed[k, c], for STRIP rows and one panel of columns."""
    cells = [[e.register(e.number(0)) for _ in range(VECTORS)] for _ in range(STRIP)]
    starts = [e.at(rows, e.times(row_stride, r)) for r in range(STRIP)]
    with e.loop(0, n_features, 1) as (k, _):
        panel = e.at(packed, e.times(k, VECTORS * e.lanes))
        columns = [e.load(panel, v * e.lanes) for v in range(VECTORS)]
        for start, row in zip(starts, cells, strict=True):
            feature = e.load_repeated(start, k)
            for column, cell in zip(columns, row, strict=True):
                cell.set(e.multiply_add(feature, column, cell.get()))
    is_added = Vector(e.builder, e.builder.icmp_signed("!=", is_added, integer(0)))
    for r, row in enumerate(cells):
        for v, cell in enumerate(row):
            place = e.at(sums, e.times(sums_stride, r), v * e.lanes)
            e.store(is_added.select(e.load(place), e.number(0)) + cell.get(), place)


@kernel
def multiply_rows(
    e: Emitter,
    rows: ir.Value,
    right: ir.Value,
    left: ir.Value,
    row_sums: ir.Value,
    column_sums: ir.Value,
    stride: ir.Value,
    n: ir.Value,
    is_both: ir.Value,
) -> None:
    """row_sums[r] += sum over j of rows[r, j] right[j]; if both: column_sums[j] += sum over r of left[r] rows[r, j].

    For FACTORS rows, in one pass.
    """
    sums = [e.register(e.number(0)) for _ in range(FACTORS)]
    with e.builder.if_else(e.builder.icmp_signed("!=", is_both, integer(0))) as branches:
        for branch, is_left_too in zip(branches, (True, False), strict=True):
            with branch:
                factors = [e.load_repeated(left, r) for r in range(FACTORS)] if is_left_too else []
                with e.loop(0, n, e.lanes) as (j, _):
                    entries = [e.load(rows, e.times(stride, r), j) for r in range(FACTORS)]
                    vector = e.load(right, j)
                    for total, entry in zip(sums, entries, strict=True):
                        total.set(e.multiply_add(entry, vector, total.get()))
                    if is_left_too:
                        column = e.load(column_sums, j)
                        for entry, factor in zip(entries, factors, strict=True):
                            column = e.multiply_add(entry, factor, column)
                        e.store(column, column_sums, j)
    for r, total in enumerate(sums):
        place = e.at(row_sums, r)
        e.builder.store(e.builder.fadd(e.builder.load(place), e.sum_of_lanes(total.get())), place)


@kernel
def transpose(e: Emitter, source: ir.Value, result: ir.Value, source_stride: ir.Value, result_stride: ir.Value) -> None:
    """result[c, r] = source[r, c], for as many rows and columns as a vector has lanes."""
    rows = [e.load(source, e.times(source_stride, r)) for r in range(e.lanes)]
    distance = 1
    while distance < e.lanes:  # swap the off-diagonal blocks of this size
        left = [c if not c & distance else e.lanes + c - distance for c in range(e.lanes)]
        right = [c + distance if not c & distance else e.lanes + c for c in range(e.lanes)]
        for r in range(e.lanes):
            if not r & distance:
                upper, lower = rows[r], rows[r + distance]
                rows[r], rows[r + distance] = e.shuffle(upper, lower, left), e.shuffle(upper, lower, right)
        distance *= 2
    for c, column in enumerate(rows):
        e.store(column, result, e.times(result_stride, c))


@kernel
def store_lines(e: Emitter, values: ir.Value, n: ir.Value, address: ir.Value, is_streamed: ir.Value) -> None:
    """Store n values, whole cache lines, at an address that is aligned to them; streamed: past the caches."""
    line = ir.VectorType(e.kind.element, CACHE_LINE // e.itemsize)
    target = e.builder.inttoptr(address, values.type)
    with e.builder.if_else(e.builder.icmp_signed("!=", is_streamed, integer(0))) as branches:
        for branch, is_past in zip(branches, (True, False), strict=True):
            with branch, e.loop(0, n, line.count) as (j, _):
                loaded = e.builder.load(e.builder.bitcast(e.at(values, j), line.as_pointer()), align=e.itemsize)
                place = e.builder.bitcast(e.at(target, j), line.as_pointer())
                stored = e.builder.store(loaded, place, align=CACHE_LINE)
                if is_past:
                    once = e.builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
                    stored.set_metadata("nontemporal", once)
