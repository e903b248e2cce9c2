"""Programs as the arrays that compiled loops take: all tables in one, and a row of numbers for each map and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ntk_fast.backends.plain_loops.maps import KINDS
from ntk_fast.backends.plain_loops.series import fold_coefficients
from ntk_fast.backends.plain_loops.tables import PIECES, TERMS
from ntk_fast.backends.plain_loops.tails import FIRST_ROW, ROWS_EACH
from ntk_fast.backends.plain_loops.tile import MIX, PRODUCT, PROMOTION, SUM
from ntk_fast.compensated import Reals
from ntk_fast.layers.near_pairs import near_pair_thresholds
from ntk_fast.lower.program import ABSENT, WHOLE, PairMap, Program, Tail


class EncodedMaps:
    """Maps, their constants and all their tables."""

    def __init__(self, maps: Sequence[PairMap], dtype: np.dtype) -> None:
        self._tables = [np.zeros((TERMS, PIECES))]
        has_folds = any(part.kind == "fold" for part in maps)
        self._fold = self.add(np.stack(fold_coefficients(dtype), axis=1)) if has_folds else (0, 0)
        self.codes = np.zeros((len(maps), 8), dtype=np.int64)
        self.constants = np.zeros((len(maps), 7))
        for index, part in enumerate(maps):
            self._encode(index, part)

    @property
    def tables(self) -> Any:
        """All tables, (rows, PIECES)."""
        return np.concatenate(self._tables)

    def add(self, coefficients: Reals) -> tuple[int, int]:
        """Append a table to the others, (n_terms, PIECES) or of one piece; returns where it starts and stops."""
        n_terms = len(coefficients)
        padded = np.zeros((-(-n_terms // TERMS) * TERMS, PIECES))
        padded[:n_terms] = coefficients
        start = sum(map(len, self._tables))
        self._tables.append(padded)
        return start, start + len(padded)

    def _encode_tail(self, code: Any, constants: Any, tail: Tail) -> None:
        """All its functions in one table, of the same number of terms: see `tails`."""
        most = max(len(table.coefficients) for table in tail.functions)
        n_rows = -(-most // TERMS) * TERMS
        padded = [
            np.pad(table.coefficients, ((0, n_rows - len(table.coefficients)), (0, 0))) for table in tail.functions
        ]
        start, _ = self.add(np.concatenate(padded))
        code[FIRST_ROW], code[ROWS_EACH] = start, n_rows
        constants[2:6] = tail.functions[0].scale, tail.largest_square, tail.reach, tail.shift

    def _encode(self, index: int, part: PairMap) -> None:
        code, constants = self.codes[index], self.constants[index]
        code[:3] = KINDS.index(part.kind), max(0, part.first_parameter), part.parity
        constants[: len(part.constants)] = part.constants
        constants[6], _ = near_pair_thresholds(np.dtype(np.float64))
        if part.kind == "fold":
            code[4:6] = self._fold
            constants[2] = constants[1] * 4 / np.pi
        elif part.tail is not None:
            self._encode_tail(code, constants, part.tail)
        elif part.table is not None:
            code[3] = part.table.power
            for k, table in enumerate((part.table.value, part.table.derivative)):
                code[4 + 2 * k : 6 + 2 * k] = self.add(table.coefficients)
                constants[2 + k], constants[4 + k] = table.scale, table.stretch


class EncodedProgram:
    """A program on rows."""

    def __init__(self, program: Program) -> None:
        maps = EncodedMaps(program.maps, program.dtype)
        self.profile = np.zeros(2)
        self.profile_terms = np.zeros(2, dtype=np.int64)
        if program.profile is not None:
            self.profile_terms[:] = maps.add(program.profile.coefficients)
            self.profile[:] = program.profile.scale, program.profile.stretch
        # two planes more: of ones, for shares that are WHOLE, and of zeros, for a bias that is ABSENT
        whole, absent = program.n_parameters, program.n_parameters + 1
        sources: list[int] = []
        shares: list[int] = []
        rows = []
        for step in program.instructions:
            start = len(sources)
            sources += step.sources
            shares += [whole if share == WHOLE else share for share in step.shares or (WHOLE,) * len(step.sources)]
            kind = (
                PRODUCT if step.is_product else PROMOTION if step.promotes else MIX if len(step.sources) == 1 else SUM
            )
            bias = absent if step.bias == ABSENT else step.bias
            rows.append((step.destination, step.map, bias, step.adds_own, start, len(sources), kind))
        self.instructions = np.array(rows, dtype=np.int64).reshape(-1, 7)
        self.sources, self.shares = (np.array(part, dtype=np.int64) for part in (sources, shares))
        self.codes, self.constants, self.tables = maps.codes, maps.constants, maps.tables
