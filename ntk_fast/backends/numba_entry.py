"""From dot products to kernel entries, a row of columns at a time: the computation of csrc/entry.h."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ntk_fast.backends.numba_arguments import Block, Constant, EntryArguments, RowArguments, Scratch
from ntk_fast.backends.numba_chords import correct_near, square_chords
from ntk_fast.backends.numba_kernels import GROUP
from ntk_fast.backends.numba_vectors import (
    HAS_AVX2,
    HAS_AVX512,
    VECTOR_BYTES,
    Emitter,
    Pointer,
    Vector,
    advance,
    compiled,
    copy,
    integer,
    kernel,
    lane_numbers,
    number,
)


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
    constants: ir.Value,
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
    scale, stretch = e.load_repeated(constants, Constant.SCALE), e.load_repeated(constants, Constant.STRETCH)
    is_stretched = e.builder.fcmp_unordered(
        "!=", e.builder.load(e.at(constants, Constant.STRETCH)), ir.Constant(e.kind.element, 0.0)
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
def input_layer(
    e: Emitter,
    rho_i: ir.Value,
    tau_i: ir.Value,
    rho: ir.Value,
    tau: ir.Value,
    squares: ir.Value,
    cosines: ir.Value,
    theta: ir.Value,
    rest: ir.Value,
    n: ir.Value,
) -> None:
    """From squared chords and cosines of the rows to those of Sigma_0: the bias joins. Theta_0 is Sigma_0."""
    zero, half, one, two = e.number(0), e.number(0.5), e.number(1), e.number(2)
    row_rho, row_tau = e.load_repeated(rho_i), e.load_repeated(tau_i)
    with e.loop(0, n, e.lanes) as (j, _):
        shares = _Shares(e, row_rho, row_tau, e.load(rho, j), e.load(tau, j))
        square = two * e.load(squares, j)
        decrease = (e.load(cosines, j) < zero).select(two - square, square)
        delta = shares.decrease(decrease)
        # 1 + cosine of nearly opposite rows as 1 - cosine of others: 1 - rho + tau = (rho_i tau_j + tau_i rho_j)^2 /
        # (1 + rho - tau). Where it is used the cosine is negative, so rho > tau: the divisor exceeds 1
        divisor = one - shares.tau + shares.rho
        divisor = (one < divisor).select(divisor, one)
        complement = e.multiply_add(shares.rho, square, shares.sum * shares.sum / divisor)
        e.store(half * (one < delta).select(complement, delta), squares, j)
        e.store(one - delta, cosines, j)
        e.store(one - delta, theta, j)
        e.store(zero, rest, j)


@kernel
def hidden_layer(
    e: Emitter,
    rho_i: ir.Value,
    tau_i: ir.Value,
    rho: ir.Value,
    tau: ir.Value,
    squares: ir.Value,
    cosines: ir.Value,
    theta: ir.Value,
    rest: ir.Value,
    constants: ir.Value,
    value: ir.Value,
    slope: ir.Value,
    value_terms: ir.Value,
    slope_terms: ir.Value,
    value_power: ir.Value,
    n: ir.Value,
) -> None:
    """One hidden layer, on whole groups: squared chords, cosines and, if the slope has terms, Theta and its rest."""
    zero, half, one, two = e.number(0), e.number(0.5), e.number(1), e.number(2)
    near_lead, far_lead, value_offset, slope_offset, scale = (
        e.load_repeated(constants, k)
        for k in (Constant.NEAR_LEAD, Constant.FAR_LEAD, Constant.VALUE_OFFSET, Constant.SLOPE_OFFSET, Constant.SCALE)
    )
    row_rho, row_tau = e.load_repeated(rho_i), e.load_repeated(tau_i)
    is_linear, is_cubic = (Vector(e.builder, e.builder.icmp_signed("==", value_power, integer(k))) for k in (1, 3))
    with e.loop(0, n, GROUP * e.lanes) as (j, _):
        places = [e.builder.add(j, integer(g * e.lanes)) for g in range(GROUP)]
        before = [e.load(squares, place) for place in places]
        chords = [e.square_root(square) for square in before]
        opposites = [e.load(cosines, place) < zero for place in places]
        polynomials = _Polynomials(e, [chord * scale for chord in chords], opposites)
        deltas, shares = [], []
        for g, quotient in enumerate(polynomials.evaluate(value, value_terms)):
            # 1 - kappa. The table holds only what its lead leaves: near cosine 1 its rounding errors, the same in every
            # layer, do not add up
            square, chord, is_opposite = before[g], chords[g], opposites[g]
            factor = is_linear.select(chord, is_cubic.select(chord, square) * square)
            decrease = e.multiply_add(quotient, factor, is_opposite.select(value_offset, zero))
            decrease = e.multiply_add(is_opposite.select(far_lead, near_lead), square, decrease)
            shares.append(_Shares(e, row_rho, row_tau, e.load(rho, places[g]), e.load(tau, places[g])))
            deltas.append(shares[g].decrease(decrease))
        for place, delta in zip(places, deltas, strict=True):
            square = half * (one < delta).select(two - delta, delta)
            e.store((zero < square).select(square, zero), squares, place)
            e.store(one - delta, cosines, place)
        with e.builder.if_then(e.builder.icmp_signed(">", slope_terms, integer(0))):
            for g, quotient in enumerate(polynomials.evaluate(slope, slope_terms)):
                # rho kappa' theta = theta - (1 - rho) theta - rho (1 - kappa') theta: what a layer takes away is
                # rounded, not what it keeps, and the sum keeps its rounding errors: over many layers they would add up
                turn = e.multiply_add(quotient, chords[g], opposites[g].select(slope_offset, zero))
                old, sigma, lost = e.load(theta, places[g]), one - deltas[g], shares[g].lost
                kept = shares[g].rho * old
                step = sigma - e.multiply_add(lost, old, turn * kept) + e.load(rest, places[g])
                new = old + step
                direct = e.multiply_add(turn, -kept, kept) + sigma
                keeps_most = lost < half
                e.store(keeps_most.select(step - (new - old), zero), rest, places[g])
                e.store(keeps_most.select(new, direct), theta, places[g])


class _Shares:
    """What weights and biases have of a layer's variances, for pairs of rows: products of rho, and of tau."""

    def __init__(self, e: Emitter, rho_i: Vector, tau_i: Vector, rho_j: Vector, tau_j: Vector) -> None:
        self._e = e
        self.rho, self.tau = rho_i * rho_j, tau_i * tau_j
        self.sum = rho_i * tau_j + tau_i * rho_j
        difference = rho_i * tau_j - tau_i * rho_j
        # 1 - rho - tau = (rho_i tau_j - tau_i rho_j)^2 / (1 + rho + tau): nothing cancels
        self.apart = difference * difference / (e.number(1) + self.tau + self.rho)
        self.lost = self.tau + self.apart  # 1 - rho, with digits of its own

    def decrease(self, decrease: Vector) -> Vector:
        """1 - cosine of the next layer, from 1 - kappa: rho (1 - kappa) + (1 - rho - tau)."""
        # where lost is near 1, decrease - lost * decrease would keep no digits; where rho is, it has none of its own
        keeps_most = self.lost < self._e.number(0.5)
        kept = self._e.multiply_add(self.lost, -decrease, decrease)
        return keeps_most.select(kept, self.rho * decrease) + self.apart


@compiled
def recursion(
    n: int, entry: EntryArguments, x: RowArguments, i: int, first: int, scratch: Scratch, cosines: Pointer
) -> None:
    """Sigma_L or Theta_L over sqrt(q_L q_L'), layer by layer, in place of the cosines."""
    squares, theta, rest = scratch.squares, scratch.theta, scratch.rest
    for layer in range(entry.n_layers + 1):
        rho_i, tau_i = advance(x.rho, layer * x.n_rows + i), advance(x.tau, layer * x.n_rows + i)
        start = layer * scratch.columns + first
        rho, tau = advance(scratch.rho, start), advance(scratch.tau, start)
        if layer == 0:
            input_layer(rho_i, tau_i, rho, tau, squares, cosines, theta, rest, n)
        else:
            hidden_layer(
                rho_i,
                tau_i,
                rho,
                tau,
                squares,
                cosines,
                theta,
                rest,
                entry.constants,
                entry.value,
                entry.slope,
                entry.value_terms,
                entry.slope_terms,
                entry.value_power,
                n,
            )
    if entry.slope_terms:
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
        recursion(n, entry, x, i, first, scratch, values)
    else:
        evaluate_profile(entry.constants, entry.value, squares, values, values, entry.value_terms, n)
    row_scale = x.scale[i]
    for j in range(n):
        values[j] *= number(values, row_scale * scale[j])
