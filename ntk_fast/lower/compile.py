"""From a plan to the program that tiles of one dtype execute on some rows.

Where what the instructions take from rows is the same for every row, a network is one function of the chord, its
*profile*: homogeneous activations without bias, a LayerNorm that comes first, and any network at all on rows of equal
norm. It becomes one table, so an entry costs a square root and a polynomial, whatever the network. Elsewhere the
instructions run one by one; an activation before which all rows have the same variance is a table even then.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.lower.accuracy import ACCURACY, row_tolerance
from ntk_fast.lower.chord_functions import PlacedAlike, compiled_map, compiled_profile, near_thresholds
from ntk_fast.lower.corner_parts import corner_parts
from ntk_fast.lower.instructions import MapSlot, instructions_of
from ntk_fast.lower.program import PairMap, Program
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import UNIT, Scaled
from ntk_fast.lower.steps import Plan
from ntk_fast.lower.tails import tail_of

#: Relative differences of squared norms, and of what is made of them, that count as none: a few roundings.
SAME = {np.dtype(np.float64): 2e-15, np.dtype(np.float32): 1e-6}


def _is_constant(values: Reals, tolerance: float) -> bool:
    """Whether each row of an array is one number, up to a tolerance relative to 1 or to the number."""
    if values.shape[-1] <= 1:
        return True
    spread = values.max(axis=-1) - values.min(axis=-1)
    return bool((spread <= tolerance * np.maximum(np.abs(values).max(axis=-1), 1e-300)).all())


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
            compiled_profile(instructions, has_tangent, dtype, pieces, PlacedAlike(placed, column)) if pieces else None
        )
        if profile is not None:
            return Program((), (), 1, 0, has_tangent, profile, *near, dtype, cost=0, counts=(), tabulated=frozenset())
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
        corners = corner_parts(activation, pieces) if pieces and kind == "corners" else None
        constants = activation.map_constants
        maps.append(PairMap(activation, kind, first, count, activation.parity, constants, table, tail, corners))
        counts.append(count)
        first += count
    return Program(
        instructions.instructions,
        tuple(maps),
        instructions.n_registers,
        first,
        has_tangent,
        None,
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


@lru_cache(maxsize=256)
def _near_of(plan: Plan, has_tangent: bool, dtype: np.dtype, key: _Norms) -> tuple[float, float]:
    """Return the thresholds for rows in a range of norms; where moments overflow at its ends, the widest ones."""
    try:
        rows = RowParameters(plan, key.norms)
        placed = rows.placed(dtype)
    except ValueError:
        return 0.5, ACCURACY[dtype].near
    return near_thresholds(rows.instructions, placed, has_tangent, dtype)
