"""Tails of Hermite expansions (`layers.hermite_tails`) as tiles take them: tables of their functions."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.hermite_tails import (
    AT_ZERO,
    LARGEST_SQUARE,
    N_FUNCTIONS,
    N_NODES,
    NODES,
    REACH,
    SHIFT,
    tail_functions,
)
from ntk_fast.lower.program import Tail
from ntk_fast.lower.tables import LARGEST_CHORD, Truths, fit_table

#: Errors of tables, of tau_0 and of others: they count a_START^2 times, about 1e-5, REACH^2 or REACH times in slopes.
TABLE_ERRORS = {np.dtype(np.float64): (3e-12, 1e-10), np.dtype(np.float32): (3e-7, 3e-6)}


@lru_cache(maxsize=16)
def tail_of(pieces: int, dtype: np.dtype) -> Tail:
    """Return the functions as tables, whose positions are chord * scale, and the numbers that go with them."""
    widening = LARGEST_CHORD / np.sqrt(LARGEST_SQUARE)
    tables = []
    for k in range(N_FUNCTIONS):

        def function(chord: Reals, opposite: Truths, k: int = k) -> Reals:
            return tail_functions(chord / widening, slice(k, k + 1))[0]

        error = TABLE_ERRORS[dtype][k % (N_NODES + 1) > 0]
        table = fit_table(function, pieces, dtype, two_sided=False, error=error)
        assert table is not None
        tables.append(replace(table, scale=table.scale * widening))
    return Tail(
        tuple(tables), tuple(map(float, AT_ZERO)), tuple(map(float, REACH / NODES)), REACH**2, SHIFT, LARGEST_SQUARE
    )
