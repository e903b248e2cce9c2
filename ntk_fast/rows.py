"""Rows as tiles take them: the numbers themselves, and per row what the mathematics needs besides.

The numbers are not normalised, so a kernel entry is a function of the very floats given, and usually not even copied.
Only rows whose squares would leave the range of the dtype are scaled, each by its own power of two, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend
from ntk_fast.compensated import Reals
from ntk_fast.lower.compile import RowParameters
from ntk_fast.lower.plan import Plan
from ntk_fast.lower.program import Program
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.scaled import Scaled
from ntk_fast.validation import refuse_not_finite

#: Squared norms for which products of two rows are sure to keep full relative precision.
SAFE_SQUARES = {np.dtype(np.float64): (2.0**-400, 2.0**400), np.dtype(np.float32): (2.0**-60, 2.0**60)}


@dataclass(frozen=True, eq=False)
class MeasuredRows:
    """Rows that are safe to multiply, and the norms of the rows given."""

    values: NDArray[np.floating]  # (n, n_features)
    inverse_norm: NDArray[np.float64]  # (n,), of `values`; 0 for a zero row
    square_norm: Scaled  # (n,), of the rows given


@dataclass(frozen=True, eq=False)
class Rows:
    """Prepared rows of one matrix; `scale` and `parameters` are those of one kernel's program."""

    values: NDArray[np.floating]  # (n, n_features)
    inverse_norm: NDArray[np.floating]  # (n,); 0 for a zero row
    diagonal: Reals  # (n,) of float64: K(x, x)
    root_diagonal: Reals  # (n,): its square root, which may be in range when K(x, x) is not
    scale: Reals  # (n,): an entry is scale * scale' * (profile, or what the instructions leave)
    parameters: NDArray[np.floating]  # (n_parameters, n)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, rows: slice) -> Rows:
        """Return some of the rows; only `parameters` are copied."""
        return Rows(
            self.values[rows],
            self.inverse_norm[rows],
            self.diagonal[rows],
            self.root_diagonal[rows],
            self.scale[rows],
            np.ascontiguousarray(self.parameters[:, rows]),
        )


def measure(values: NDArray[np.floating], name: str, backend: Backend) -> MeasuredRows:
    """Check that rows are finite, and compute their norms."""
    squares, rests = backend.square_norms(values)
    low, high = SAFE_SQUARES[values.dtype]
    unsafe = ~((squares >= low) & (squares <= high))
    exponent = np.zeros(len(values), dtype=np.int64)
    if unsafe.any() and (squares[unsafe].any() or values[unsafe].any()):
        refuse_not_finite(values, name)
        _, power = np.frexp(np.abs(values[unsafe]).max(axis=1))
        values = values.copy()
        values[unsafe] = np.ldexp(values[unsafe], -power[:, None])
        squares[unsafe], rests[unsafe] = backend.square_norms(np.ascontiguousarray(values[unsafe]))
        exponent[unsafe] = 2 * power.astype(np.int64)
    with np.errstate(divide="ignore"):
        inverse = np.where(squares > 0, 1 / np.sqrt(squares), 0.0)
    return MeasuredRows(values, inverse, Scaled.of(squares, rests, exponent))


def row_values(plan: Plan, rows: MeasuredRows) -> RowValues:
    """Return what the layers make of rows."""
    return RowValues(plan, rows.square_norm)


def prepare_rows(
    rows: MeasuredRows, plan: Plan, program: Program, dtype: np.dtype, parameters: RowParameters | None = None
) -> Rows:
    """Compute what tiles of a program need of rows; `dtype`: of the parameters, as the backend takes them.

    `parameters`: the plan's of these rows, where they are known already.
    """
    parameters = parameters or RowParameters(plan, rows.square_norm)
    values = parameters.values
    diagonal = values.diagonal(program.has_tangent)
    root_diagonal = diagonal.root().plain()
    if program.profile is not None:
        scale, planes = root_diagonal, np.empty((0, len(rows.values)), dtype=dtype)
    else:
        scale = values.output_variance.root().plain()
        placed = parameters.placed(rows.values.dtype, program.counts, program.tabulated)
        planes = np.ascontiguousarray(placed.parameters, dtype=dtype)
    return Rows(
        rows.values,
        rows.inverse_norm.astype(dtype, copy=False),
        diagonal.plain(),
        root_diagonal,
        scale,
        planes,
    )
