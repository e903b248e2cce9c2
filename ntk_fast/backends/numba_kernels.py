"""The inner loops that need explicit vectors, as in csrc/product.h, csrc/entry.h and csrc/transpose.h.

What they have in common: sums that stay in registers while a loop runs, or lanes that change places.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ntk_fast.backends.numba_vectors import (
    CACHE_LINE,
    HAS_32_REGISTERS,
    HAS_AVX2,
    HAS_AVX512,
    VECTOR_BYTES,
    Emitter,
    Vector,
    integer,
    kernel,
    lane_numbers,
)

#: Rows and vectors of columns whose sums stay in registers: 8 x 3 sums, 3 columns and a row, or 4 x 3 of them.
STRIP = 8 if HAS_32_REGISTERS else 4
VECTORS = 3
PANEL_BYTES = VECTORS * VECTOR_BYTES
#: Vectors whose polynomials go side by side: one alone is a chain of operations that wait for each other.
GROUP = 8 if HAS_32_REGISTERS else 4
GROUP_BYTES = GROUP * VECTOR_BYTES


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
def panel_square_chords_exact(
    e: Emitter,
    row: ir.Value,
    packed: ir.Value,
    inverse_norm: ir.Value,
    signed_inverse_norms: ir.Value,
    result: ir.Value,
    n_features: ir.Value,
) -> None:
    """The same to full relative accuracy, however small the angle, and exactly 0 for rows that are multiples.

    With w = x/|x| +- y/|y| and k the position of its largest component, m = y_k x - x_k y lies in the plane of x and y
    and is 0 at k: each component is a difference of two products, kept with their rounding errors, and the area
    |m ^ w| = |w_k| |x ^ y| loses nothing, since m and w are far from parallel. It gives the sine, and that the chord.
    """
    a = e.load_repeated(inverse_norm)
    for v in range(VECTORS):
        signed_b = e.load(signed_inverse_norms, v * e.lanes)
        ab = a * e.absolute(signed_b)
        w_k, x_k, y_k, square_m, square_w, along = (e.register(e.number(0)) for _ in range(6))
        with e.loop(0, n_features, 1) as (k, _):
            x, y = e.load_repeated(row, k), e.load(packed, e.times(k, VECTORS * e.lanes), v * e.lanes)
            w = x * a + y * signed_b
            is_larger = e.absolute(w_k.get()) < e.absolute(w)
            for register, now in ((w_k, w), (x_k, x), (y_k, y)):
                register.set(is_larger.select(now, register.get()))
        with e.loop(0, n_features, 1) as (k, _):
            x, y = e.load_repeated(row, k), e.load(packed, e.times(k, VECTORS * e.lanes), v * e.lanes)
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
        e.store(square_sine / (twice + twice), result, v * e.lanes)


def pieces_of(itemsize: int) -> int:
    """Return how many columns a coefficient table has: as many numbers as the processor can look up in registers."""
    return VECTOR_BYTES // itemsize if HAS_AVX2 and not HAS_AVX512 else 16


class _Polynomials:
    """Polynomials of a group of vectors: in each lane, that of the table's piece where the lane's position lies."""

    def __init__(self, e: Emitter, positions: list[Vector], opposites: list[Vector]) -> None:
        """`positions`: from 0 to half the pieces, in either half."""
        self.e = e
        self.pieces = pieces_of(e.itemsize)
        # adding 1.5 * 2^52 (2^23) rounds to an integer, the piece, and leaves it in the low bits; those of the second
        # half are an even number higher, so that a tie rounds to the right half
        shift = 1.5 * 2.0 ** (52 if e.itemsize == 8 else 23)
        low, high, half = e.number(shift), e.number(shift + self.pieces // 2), e.number(0.5)
        shifts = [is_opposite.select(high, low) for is_opposite in opposites]
        shifted = [position - half + shift for position, shift in zip(positions, shifts, strict=True)]
        self.choices = [self._choice(vector) for vector in shifted]
        self.offsets = [  # from the centre of the piece, -1/2 to 1/2
            position - half - (vector - shift)
            for position, vector, shift in zip(positions, shifted, shifts, strict=True)
        ]

    def _choice(self, shifted: Vector) -> Any:
        """What `_coefficients` needs of the low bits."""
        e = self.e
        integers = e.builder.bitcast(shifted.value, ir.VectorType(ir.IntType(8 * e.itemsize), e.lanes))
        if HAS_AVX512:
            return Vector(e.builder, integers)
        if HAS_AVX2:
            integers = e.builder.bitcast(integers, ir.VectorType(ir.IntType(32), 8))
            if e.itemsize == 8:  # piece i becomes the pair (2i, 2i + 1) of halves: only those can be permuted
                low = e.builder.shuffle_vector(integers, integers, lane_numbers([0, 0, 2, 2, 4, 4, 6, 6]))
                integers = e.builder.add(e.builder.add(low, low), lane_numbers([0, 1] * 4))
            return Vector(e.builder, integers)
        lanes = [e.builder.extract_element(integers, ir.Constant(ir.IntType(32), lane)) for lane in range(e.lanes)]
        return [e.builder.and_(lane, ir.Constant(lane.type, self.pieces - 1)) for lane in lanes]

    def _coefficients(self, table_row: ir.Value) -> list[Vector]:
        e, first = self.e, self.e.load(table_row)
        if HAS_AVX512 and e.itemsize == 4:
            return [first.intrinsic("llvm.x86.avx512.permvar.sf.512", choice) for choice in self.choices]
        if HAS_AVX512:
            second = e.load(table_row, e.lanes)
            return [first.intrinsic("llvm.x86.avx512.vpermi2var.pd.512", choice, second) for choice in self.choices]
        if HAS_AVX2:
            halves = Vector(e.builder, e.builder.bitcast(first.value, ir.VectorType(ir.FloatType(), 8)))
            permuted = [halves.intrinsic("llvm.x86.avx2.permps", choice) for choice in self.choices]
            return [Vector(e.builder, e.builder.bitcast(vector.value, e.kind)) for vector in permuted]
        return [e.gather(table_row, choice) for choice in self.choices]

    def evaluate(self, table: ir.Value, n_terms: ir.Value) -> list[Vector]:
        """`table`: (n_terms, pieces), the lowest power first."""
        e = self.e
        last = e.builder.sub(n_terms, integer(1))
        sums = [e.register(vector) for vector in self._coefficients(e.at(table, e.times(last, self.pieces)))]
        with e.loop(e.builder.sub(last, integer(1)), -1, -1) as (k, _):
            coefficients = self._coefficients(e.at(table, e.times(k, self.pieces)))
            for total, offset, coefficient in zip(sums, self.offsets, coefficients, strict=True):
                total.set(e.multiply_add(total.get(), offset, coefficient))
        return [total.get() for total in sums]


@kernel
def evaluate_profile(
    e: Emitter,
    scale_and_stretch: ir.Value,
    table: ir.Value,
    squares: ir.Value,
    cosines: ir.Value,
    values: ir.Value,
    n_terms: ir.Value,
    n: ir.Value,
) -> None:
    """values[j] = the profile at the chord whose square is squares[j], opposite where cosines[j] < 0.

    A chord's position in the table is chord * scale / (1 + stretch * chord). Works on whole groups: the arrays must be
    as long as that.
    """
    scale, stretch = e.load_repeated(scale_and_stretch), e.load_repeated(scale_and_stretch, 1)
    is_stretched = e.builder.fcmp_unordered(
        "!=", e.builder.load(e.at(scale_and_stretch, 1)), ir.Constant(e.kind.element, 0.0)
    )
    with e.loop(0, n, GROUP * e.lanes) as (j, _):
        chords = [e.square_root(e.load(squares, j, g * e.lanes)) for g in range(GROUP)]
        stretched = [e.register(chord * scale) for chord in chords]
        with e.builder.if_then(is_stretched):
            for chord, register in zip(chords, stretched, strict=True):
                register.set(register.get() / e.multiply_add(chord, stretch, e.number(1)))
        opposites = [e.load(cosines, j, g * e.lanes) < e.number(0) for g in range(GROUP)]
        polynomials = _Polynomials(e, [register.get() for register in stretched], opposites)
        for g, value in enumerate(polynomials.evaluate(table, n_terms)):
            e.store(value, values, j, g * e.lanes)


@kernel
def evaluate_layer(
    e: Emitter,
    scale_and_stretch: ir.Value,
    value: ir.Value,
    slope: ir.Value,
    chords: ir.Value,
    cosines: ir.Value,
    values: ir.Value,
    slopes: ir.Value,
    value_terms: ir.Value,
    slope_terms: ir.Value,
    n: ir.Value,
) -> None:
    """values[j] and, if it has terms, slopes[j] = two tables at chords[j], opposite where cosines[j] < 0."""
    scale = e.load_repeated(scale_and_stretch)
    with e.loop(0, n, GROUP * e.lanes) as (j, _):
        places = [e.load(chords, j, g * e.lanes) * scale for g in range(GROUP)]
        opposites = [e.load(cosines, j, g * e.lanes) < e.number(0) for g in range(GROUP)]
        polynomials = _Polynomials(e, places, opposites)
        for g, vector in enumerate(polynomials.evaluate(value, value_terms)):
            e.store(vector, values, j, g * e.lanes)
        with e.builder.if_then(e.builder.icmp_signed(">", slope_terms, integer(0))):
            for g, vector in enumerate(polynomials.evaluate(slope, slope_terms)):
                e.store(vector, slopes, j, g * e.lanes)


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
