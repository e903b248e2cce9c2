"""What networks and activations are as functions of the chord, where rows do not matter: profiles, maps, and tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.pair_state import pair_of_chord
from ntk_fast.lower.accuracy import ACCURACY, promised
from ntk_fast.lower.evaluate import evaluate
from ntk_fast.lower.instructions import Instructions
from ntk_fast.lower.program import Table, UnivariateMap
from ntk_fast.lower.row_parameters import Placed
from ntk_fast.lower.tables import LARGEST_CHORD, STRETCHES, Truths, fit_table


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


class PlacedAlike:
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
        return isinstance(other, PlacedAlike) and self._key == other._key


@lru_cache(maxsize=256)
def compiled_profile(
    instructions: Instructions, has_tangent: bool, dtype: np.dtype, pieces: int, key: PlacedAlike
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
    # of monomials from degree 16 on, tables right to less are taken: they have no other way through a compiled backend;
    # D is measured in that of parallel rows, about half of the degree
    size = max(1.0, float(np.abs(derivative(np.zeros(1), np.zeros(1, dtype=bool)))[0]))
    looser = (1, 4, 16, 64, 256, 1024) if activation.homogeneity is not None else (1,)
    tables = []
    for function, unit in ((value, 1.0), (derivative, size)):
        fits = (fit_table(function, pieces, dtype, two_sided=two_sided, error=error * unit * k) for k in looser)
        table = next((fit for fit in fits if fit is not None), None)
        if table is None:
            return None
        tables.append(table)
    return UnivariateMap(activation.parity, power, tables[0], tables[1])


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
