"""From a plan to the program that tiles of one dtype execute on some rows.

Where what the instructions take from rows is the same for every row, a network is one function of the chord, its
*profile*: homogeneous activations without bias, a LayerNorm that comes first, and any network at all on rows of equal
norm. It becomes one table, so an entry costs a square root and a polynomial, whatever the network. Elsewhere the
instructions run one by one; an activation before which all rows have the same variance is a table even then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.pair_state import pair_of_chord
from ntk_fast.layers.relu import sine_minus_angle_cosine
from ntk_fast.lazy import lazy
from ntk_fast.lower.evaluate import evaluate
from ntk_fast.lower.instructions import Instructions, MapSlot, MeanPlanes, SharePlanes, instructions_of
from ntk_fast.lower.program import PairMap, PlacedMap, Program, Table, UnivariateMap
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.scaled import UNIT, Scaled
from ntk_fast.lower.steps import Plan
from ntk_fast.lower.tables import LARGEST_CHORD, STRETCHES, Truths, fit_table
from ntk_fast.lower.tails import tail_of

#: Relative differences of squared norms, and of what is made of them, that count as none: a few roundings.
SAME = {np.dtype(np.float64): 2e-15, np.dtype(np.float32): 1e-6}


@dataclass(frozen=True)
class Accuracy:
    """What is promised of an entry over sqrt(K(x, x) K(y, y)), and what arrives: errors of dot products and chords."""

    relu: float
    other: float
    near: float  # the share of an entry's error that cosine and chord may cause
    cosine: float  # from 64 features
    chord: float


ACCURACY = {
    np.dtype(np.float64): Accuracy(relu=2e-15, other=1e-13, near=1.5e-15, cosine=6e-16, chord=1e-16),
    np.dtype(np.float32): Accuracy(relu=5e-7, other=1e-6, near=2.5e-7, cosine=1.2e-7, chord=6e-8),
}


def promised(plan_instructions: Instructions, dtype: np.dtype) -> float:
    """Return the error that is promised of an entry."""
    accuracy = ACCURACY[dtype]
    if any(slot.step.activation.homogeneity is None for slot in plan_instructions.maps):
        return accuracy.other
    depth = max(1.0, float(np.log2(max(1, len(plan_instructions.maps)))))
    return accuracy.relu * (depth if dtype == np.float64 else 1.0)


def norm_range(*square_norms: Scaled) -> Scaled:
    """Return the squared norms that programs are compiled for: the least, the largest and, if there is one, 0.

    Of such ranges it returns their union.
    """
    high, low, exponent = (
        np.concatenate([getattr(part, name) for part in square_norms]) for name in ("high", "low", "exponent")
    )
    positive = np.flatnonzero(high)
    order = positive[np.lexsort((low[positive], high[positive], exponent[positive]))]
    chosen = np.concatenate([order[:1], order[-1:], np.flatnonzero(high == 0)[:1]]).astype(np.int64)
    return Scaled(high[chosen], low[chosen], exponent[chosen])


@dataclass(frozen=True, eq=False)
class Placed:
    """Row parameters of some rows in one array, and where the maps' own are in it."""

    maps: tuple[PlacedMap, ...]
    parameters: Reals  # (n_parameters, n): shares first


class RowParameters:
    """What a plan's instructions take from rows of given squared norms: shares, and the parameters of maps."""

    def __init__(self, plan: Plan, square_norm: Scaled) -> None:
        self.instructions = instructions_of(plan)
        self.values = RowValues(plan, square_norm)
        self._plan = plan

    @lazy
    def shares(self) -> Reals:
        """All shares, (n_shares, n). Where a variance is 0 they do not matter, and are those of unit rows."""
        planes = self.instructions.planes
        shares = self.values.shares()
        if self.values.square_norm.is_zero.any():
            unit, first = RowValues(self._plan, UNIT).shares(), 0
            for part in planes:
                if isinstance(part, SharePlanes):
                    own = slice(first, first + part.count)
                    shares[own] = np.where(shares[own].any(axis=0), shares[own], unit[own])
                    first += part.count
        if len(shares) == self.instructions.n_shares:
            return shares
        result, first = np.empty((self.instructions.n_shares, shares.shape[1])), 0
        for part in planes:
            own = slice(part.first, part.first + part.count)
            if isinstance(part, MeanPlanes):
                result[own] = self.values.mean_shares(part.node, part.step.activation)
            else:
                result[own] = shares[first : first + part.count]
                first += part.count
        return result

    def variance(self, index: int) -> Reals:
        """Return the variances before a map."""
        return self.values.variance(self.instructions.maps[index].node).plain()

    def placed(
        self, dtype: np.dtype, counts: tuple[int, ...] | None = None, tabulated: frozenset[int] = frozenset()
    ) -> Placed:
        """Return all row parameters.

        `counts`: how many each map has, where they must agree with others'; `tabulated`: maps that need none.
        """
        shares = self.shares
        parts, maps, first = [shares], [], len(shares)
        for index, slot in enumerate(self.instructions.maps):
            activation = slot.step.activation
            own: Reals = np.empty((0, shares.shape[1]))
            if activation.homogeneity is None and index not in tabulated:
                most = None if counts is None else counts[index]
                own = activation.row_parameters(self.variance(index), row_tolerance(dtype), most)
            if counts is not None and len(own) < counts[index]:
                own = np.concatenate([own, np.zeros((counts[index] - len(own), own.shape[1]))])
            maps.append(PlacedMap(activation, first, len(own)))
            parts.append(own)
            first += len(own)
        return Placed(tuple(maps), np.concatenate(parts))


def _is_constant(values: Reals, tolerance: float) -> bool:
    """Whether each row of an array is one number, up to a tolerance relative to 1 or to the number."""
    if values.shape[-1] <= 1:
        return True
    spread = values.max(axis=-1) - values.min(axis=-1)
    return bool((spread <= tolerance * np.maximum(np.abs(values).max(axis=-1), 1e-300)).all())


def row_tolerance(dtype: np.dtype) -> float:
    """Return what row parameters of maps aim at."""
    return 1e-14 if dtype == np.float64 else 3e-8


@lru_cache(maxsize=64)
def fold_tables(pieces: int, dtype: np.dtype) -> tuple[Table, Table]:
    """Return the two tables of all ReLU-type activations (see `layers.relu`), one-sided.

    With f = 2 asin(chord): (2/pi) (sin f - f cos f) / chord^3, and f / chord.
    """

    def value(chord: Reals, opposite: Truths) -> Reals:
        safe = np.maximum(chord, 1e-100)
        return np.where(chord < 1e-100, 16 / (3 * np.pi), 2 * sine_minus_angle_cosine(2 * np.arcsin(safe)) / safe**3)

    def angle(chord: Reals, opposite: Truths) -> Reals:
        safe = np.maximum(chord, 1e-100)
        return 2 * np.arcsin(safe) / safe

    tables = []
    for function, weight in ((value, lambda chord: chord**3), (angle, lambda chord: chord)):
        table = fit_table(function, pieces, dtype, two_sided=False, error=0.0, weight=weight)
        assert table is not None
        tables.append(table)
    return tables[0], tables[1]


def profile_of(
    instructions: Instructions, placed: Placed, row: int, has_tangent: bool
) -> Callable[[Reals, Truths], Reals]:
    """Return the kernel over sqrt(q q') as a function of the chord, for rows all like one."""
    parameters = placed.parameters[:, row].reshape(-1, 1)

    def profile(chord: Reals, opposite: Truths) -> Reals:
        m, p = pair_of_chord(chord.reshape(-1), opposite.reshape(-1))
        values = evaluate(instructions.instructions, placed.maps, m, p, parameters, parameters, has_tangent)
        return values.reshape(chord.shape)

    return profile


def near_thresholds(
    instructions: Instructions, placed: Placed, has_tangent: bool, dtype: np.dtype
) -> tuple[float, float]:
    """Squared chords below which the cosine's, and the plain chord's, own rounding errors would show in an entry.

    Of pairs of rows that are alike, for each of those placed.
    """
    accuracy = ACCURACY[dtype]
    grid = np.geomspace(1e-9, LARGEST_CHORD, 300)
    parameters = placed.parameters[:, :, None]
    shape = parameters.shape[1], 2 * len(grid) + 1
    chord = np.broadcast_to(np.concatenate([[0.0], grid, grid]), shape)
    m, p = pair_of_chord(chord, np.arange(shape[1]) > len(grid))
    values = evaluate(instructions.instructions, placed.maps, m, p, parameters, parameters, has_tangent)
    at_one = np.abs(values[:, :1])
    sides = values[:, 1:].reshape(-1, 2, len(grid)) / np.where(at_one, at_one, 1.0)[:, None]
    steepness = np.abs(np.gradient(sides, grid, axis=-1)).max(axis=(0, 1))
    from_cosine = grid[steepness / (4 * grid) * accuracy.cosine > accuracy.near]  # cosine = 1 - 2 chord^2
    from_chord = grid[steepness * accuracy.chord > accuracy.near]
    near = float(from_cosine[-1]) ** 2 if len(from_cosine) else 0.0
    near_exact = float(from_chord[-1]) ** 2 if len(from_chord) else 0.0
    # scaled copies of a row: their plain chord is nothing but rounding error
    floor = (16 * accuracy.chord) ** 2
    return near, min(near, max(near_exact, floor))


def compile_program(
    plan: Plan, has_tangent: bool, dtype: np.dtype, pieces: int, norms: Scaled, *, as_profile: bool = True
) -> Program:
    """Compile a plan for rows whose squared norms lie in a range (`norm_range`); `pieces` 0: without tables.

    `as_profile`: as one table, where the rows allow it. What differentiates needs instructions.
    Programs are kept, and tables by what they depend on: instructions and constants, not the variances behind them.
    """
    if not len(norms.high) or _is_norm_free(plan):
        norms = UNIT
    return _compiled_program(plan, has_tangent, dtype, pieces, _Norms(norms), as_profile)


@lru_cache(maxsize=256)
def _is_norm_free(plan: Plan) -> bool:
    """Whether nothing is taken from rows but their scales: homogeneous activations, each node with one source."""
    instructions = instructions_of(plan)
    return not instructions.planes and all(slot.step.activation.homogeneity is not None for slot in instructions.maps)


class _Norms:
    """A few squared norms, compared by their numbers."""

    def __init__(self, norms: Scaled) -> None:
        self.norms = norms
        self._key = (norms.high.tobytes(), norms.low.tobytes(), norms.exponent.tobytes())

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Norms) and self._key == other._key

    def rounded(self) -> _Norms:
        """The range from the power of two below to the one above, and 0: few ranges, whatever the rows."""
        exponents = self.norms.exponent[~self.norms.is_zero]
        if not len(exponents):
            return self
        powers = np.concatenate([exponents.min(keepdims=True) - 1, exponents.max(keepdims=True)])
        powers = np.unique(powers[powers >= -(2**40)])
        mantissas = np.full(len(powers), 0.5)
        if self.norms.is_zero.any():
            powers, mantissas = np.append(powers, 0), np.append(mantissas, 0.0)
        return _Norms(Scaled.of(mantissas, 0.0, powers + 1))


@lru_cache(maxsize=256)
def _compiled_program(
    plan: Plan, has_tangent: bool, dtype: np.dtype, pieces: int, key: _Norms, as_profile: bool
) -> Program:
    norms = key.norms
    rows = RowParameters(plan, norms)
    instructions = rows.instructions
    same = SAME[dtype]
    constant_maps = frozenset(
        index
        for index, slot in enumerate(instructions.maps)
        if slot.step.activation.homogeneity is None and _is_constant(rows.variance(index)[None], same)
    )
    placed = rows.placed(dtype)
    is_profile = (
        as_profile
        and _is_constant(rows.shares, same)
        and all(
            index in constant_maps or slot.step.activation.homogeneity is not None
            for index, slot in enumerate(instructions.maps)
        )
    )
    near = _near_of(plan, has_tangent, dtype, key.rounded())
    if is_profile:
        column = np.ascontiguousarray(placed.parameters[:, :1])
        profile = (
            _compiled_profile(instructions, has_tangent, dtype, pieces, _Bytes(placed, column)) if pieces else None
        )
        if profile is not None:
            return Program(
                (), (), 1, 0, has_tangent, profile, None, None, *near, dtype, cost=0, counts=(), tabulated=frozenset()
            )
    maps, first, counts, tabulated = [], instructions.n_shares, [], set()
    for index, slot in enumerate(instructions.maps):
        activation, count, table = slot.step.activation, 0, None
        kind = activation.map_kind
        if pieces and kind != "fold" and (activation.homogeneity is not None or index in constant_maps):
            own = placed.maps[index]
            columns = np.ascontiguousarray(placed.parameters[own.first : own.first + own.count, :1])
            table = compiled_map(activation, columns.tobytes(), len(columns), pieces, dtype)
            if table is not None:  # instead of row parameters
                tabulated.add(index)
                kind = "table"
        if table is None and activation.homogeneity is None:
            count = placed.maps[index].count if kind != "polynomial" else _n_parameters(plan, slot, norms, dtype)
        tail = tail_of(pieces, dtype) if pieces and activation.has_tail and kind == "polynomial" else None
        maps.append(PairMap(activation, kind, first, count, activation.parity, activation.map_constants, table, tail))
        counts.append(count)
        first += count
    folds = pieces and any(part.kind == "fold" for part in maps)
    fold_value, fold_angle = fold_tables(pieces, dtype) if folds else (None, None)
    return Program(
        instructions.instructions,
        tuple(maps),
        instructions.n_registers,
        first,
        has_tangent,
        None,
        fold_value,
        fold_angle,
        *near,
        dtype,
        cost=len(instructions.instructions),
        counts=tuple(counts),
        tabulated=frozenset(tabulated),
    )


def _n_parameters(plan: Plan, slot: MapSlot, norms: Scaled, dtype: np.dtype) -> int:
    """Return how many parameters an activation may take of rows in a range of norms, by looking at 400 of them."""
    exponents = norms.exponent + np.log2(np.where(norms.is_zero, 1.0, norms.high))
    grid = np.linspace(exponents.min(), exponents.max(), 400)
    whole = np.floor(grid)
    between = Scaled.of(2.0 ** (grid - whole), 0.0, whole.astype(np.int64))
    variances = [RowValues(plan, part).variance(slot.node).plain() for part in (between, norms)]
    largest = np.max(np.concatenate(variances), keepdims=True)
    return slot.step.activation.n_row_parameters(float(1.01 * largest[0]), row_tolerance(dtype))


class _Bytes:
    """Placed parameters of a few rows, compared by their numbers: the key of what is compiled for them."""

    def __init__(self, placed: Placed, columns: Reals) -> None:
        self.placed = Placed(placed.maps, columns)
        self._key = (
            columns.tobytes(),
            columns.shape,
            tuple((part.activation, part.first, part.count) for part in placed.maps),
        )

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bytes) and self._key == other._key


@lru_cache(maxsize=256)
def _near_of(plan: Plan, has_tangent: bool, dtype: np.dtype, key: _Norms) -> tuple[float, float]:
    """Return the thresholds for rows in a range of norms; where moments overflow at its ends, the widest ones."""
    try:
        rows = RowParameters(plan, key.norms)
        placed = rows.placed(dtype)
    except ValueError:
        return 0.5, ACCURACY[dtype].near
    return near_thresholds(rows.instructions, placed, has_tangent, dtype)


@lru_cache(maxsize=256)
def _compiled_profile(
    instructions: Instructions, has_tangent: bool, dtype: np.dtype, pieces: int, key: _Bytes
) -> Table | None:
    """Return the table of a profile over its value at chord 0, or None if no table is right."""
    raw = profile_of(instructions, key.placed, 0, has_tangent)
    at_one = abs(float(raw(np.zeros(1), np.zeros(1, dtype=bool))[0])) or 1.0

    def profile(chord: Reals, opposite: Truths) -> Reals:
        return raw(chord, opposite) / at_one

    depth = max(1, len(instructions.maps))
    stretches = tuple(stretch for stretch in STRETCHES if stretch >= depth / 200 - 1)
    error = promised(instructions, dtype) / 8
    return fit_table(profile, pieces, dtype, two_sided=True, error=error, stretches=stretches)


@lru_cache(maxsize=256)
def compiled_map(activation, parameters: bytes, count: int, pieces: int, dtype: np.dtype) -> UnivariateMap | None:  # type: ignore[no-untyped-def]
    """Return the tables of an activation between rows that all have these parameters."""
    own = np.frombuffer(parameters).reshape(count, 1)
    power = 1 if activation.homogeneity == 0 else 2
    two_sided = activation.parity == 0

    def mapped(chord: Reals, opposite: Truths) -> tuple[Reals, Reals, Reals]:
        flat = np.maximum(chord.reshape(-1), 1e-100)
        m, p, derivative = activation.map_pairs(*pair_of_chord(flat, opposite.reshape(-1)), own, own)
        return tuple(np.broadcast_to(part, flat.shape).reshape(chord.shape) for part in (m, p, derivative))  # type: ignore[return-value]

    def value(chord: Reals, opposite: Truths) -> Reals:
        m = mapped(chord, opposite)[0]
        return np.where(opposite, m, m / np.maximum(chord, 1e-100) ** power)

    def derivative(chord: Reals, opposite: Truths) -> Reals:
        return mapped(chord, opposite)[2]

    exact = 1e-15 if activation.homogeneity is not None else 2e-14
    error = exact if dtype == np.float64 else 5e-8
    tables = []
    for function in (value, derivative):
        table = fit_table(function, pieces, dtype, two_sided=two_sided, error=error)
        if table is None:
            return None
        tables.append(table)
    return UnivariateMap(activation.parity, power, tables[0], tables[1])
