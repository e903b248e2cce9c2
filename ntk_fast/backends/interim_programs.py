"""Until programs are compiled from networks: programs and rows for C from an `Entry` and rho, tau."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from ntk_fast import profile
from ntk_fast.duals import sine_minus_angle_cosine
from ntk_fast.lower.program import Instruction, PairMap, Program, Table, UnivariateMap
from ntk_fast.profile import ACCURACY, Entry
from ntk_fast.recursion import Recursion


@lru_cache
def fold_tables(pieces: int, dtype: np.dtype) -> tuple[Table, Table]:
    def bend(chord: Any, opposite: Any) -> Any:
        return 2 * sine_minus_angle_cosine(2 * np.arcsin(chord)) / chord**3

    def angle(chord: Any, opposite: Any) -> Any:
        return 2 * np.arcsin(chord) / chord

    return tuple(fit(function, pieces, dtype, halves=False) for function in (bend, angle))


def fit(function: Any, pieces: int, dtype: np.dtype, halves: bool = True) -> Table:
    accuracy = ACCURACY[dtype]
    half = pieces // 2 if halves else pieces
    (coefficients,) = profile._fit(function, half, (0.0,), accuracy.largest_degree)
    coefficients = coefficients[:, :pieces]
    n_terms = profile._n_terms(coefficients, accuracy.coefficient)
    return Table(profile._powers(coefficients, n_terms, dtype), 0.0, profile._scale(half, 0.0))


@lru_cache
def program_of(entry: Entry, recursion: Recursion, pieces: int, dtype: np.dtype) -> Program:
    if entry.n_layers == 0:
        whole = Table(entry.value, entry.stretch, entry.scale)
        return Program((), (), 0, 0, False, whole, None, None, entry.near, entry.near_exact)
    dual = recursion.dual
    if dual.order == 1:
        the_map = PairMap(None, "fold", constants=(dual.linear, dual.fold))
    else:

        def value(chord: Any, opposite: Any) -> Any:
            lost = np.where(opposite, dual.leads[1], dual.leads[0]) * chord**2 + dual.rest(chord, opposite)
            return np.where(opposite, dual.offset + lost, lost / chord**power)

        power = 1 if dual.order == 0 else 2
        table = fit(value, pieces, dtype)
        the_map = PairMap(None, "table", table=UnivariateMap(0, power, table, table))
    n = entry.n_layers + 1
    instructions = tuple(
        Instruction(0, (0,), (2 * k,), 2 * k + 1, 0 if k else -1, adds_own=entry.has_tangent) for k in range(n)
    )
    return Program(
        instructions, (the_map,), 1, 2 * n, entry.has_tangent, None, *fold_tables(pieces, dtype), entry.near, entry.near_exact
    )


def rows_of(rows: Any) -> Any:
    parameters = np.stack([rows.rho, rows.tau], axis=1).reshape(-1, len(rows.values))
    fields = {name: getattr(rows, name) for name in ("values", "inverse_norm", "diagonal", "scale")}
    return SimpleNamespace(parameters=np.ascontiguousarray(parameters), **fields)


def bridged(task: Any, pieces: int) -> tuple[Program, Any]:
    if hasattr(task, "program"):
        return task.program, task
    fields = {name: getattr(task, name) for name in ("out", "vectors") if hasattr(task, name)}
    y = None if task.y is None else rows_of(task.y)
    program = program_of(task.entry, task.recursion, pieces, task.dtype)
    return program, SimpleNamespace(x=rows_of(task.x), y=y, **fields)
