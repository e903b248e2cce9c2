"""From checked rows to what a kernel's tiles take: norms, the diagonal, and what the program needs per row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import Backend, ImageBackend
from ntk_fast.compensated import square_norms
from ntk_fast.layers.window import shown
from ntk_fast.lower.program import Program
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.spatial_compile import compile_spatial
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.lower.spatial_rows import Pixels, SpatialRows, SpatialValues
from ntk_fast.lower.steps import Plan
from ntk_fast.rows.prepared import MeasuredRows, Rows
from ntk_fast.schedule.memory import SMALL_RESULT, available_bytes, refuse_too_large
from ntk_fast.validation import refuse_not_finite

#: Squared norms for which products of two rows are sure to keep full relative precision.
SAFE_SQUARES = {np.dtype(np.float64): (2.0**-400, 2.0**400), np.dtype(np.float32): (2.0**-60, 2.0**60)}

#: Squared norms of pixels below this, in images whose own are near 1 by comparison, are none: they have lost digits.
FAINT_PIXEL = 2.0**-960
#: Of memory that a pair of positions takes while a node is computed, in NumPy.
BYTES_PER_PAIR = 250


def measure(
    values: NDArray[np.floating], name: str, backend: Backend, shape: tuple[int, ...] | None = None
) -> MeasuredRows:
    """Check that rows are finite, and compute their norms, or those of their pixels if they are images of a shape."""
    squares, errors = backend.square_norms(values)
    low, high = SAFE_SQUARES[values.dtype]
    unsafe = ~((squares >= low) & (squares <= high))
    exponent = np.zeros(len(values), dtype=np.int64)
    if unsafe.any() and (squares[unsafe].any() or values[unsafe].any()):
        refuse_not_finite(values, name)
        _, power = np.frexp(np.abs(values[unsafe]).max(axis=1))
        values = values.copy()
        values[unsafe] = np.ldexp(values[unsafe], -power[:, None])
        squares[unsafe], errors[unsafe] = backend.square_norms(np.ascontiguousarray(values[unsafe]))
        exponent[unsafe] = 2 * power.astype(np.int64)
    if shape is not None:
        pixels = values.reshape(-1, shape[-1])
        squares, errors = (part.astype(np.float64) for part in square_norms(pixels))
        faint = squares < FAINT_PIXEL
        squares[faint], errors[faint] = 0.0, 0.0
        exponent = np.repeat(exponent, len(pixels) // max(1, len(values)))
    with np.errstate(divide="ignore"):
        inverse = np.where(squares > 0, 1 / np.sqrt(squares), 0.0)
    return MeasuredRows(values, inverse, Scaled.of(squares, errors, exponent))


def diagonal_of(plan: Plan, rows: MeasuredRows, has_tangent: bool, backend: Backend) -> Scaled:
    """Return K(x, x) of rows: T, or S. What it takes of images with themselves is a backend's own, in float64."""
    if plan.shape is None:
        return RowValues(plan, rows.square_norm).diagonal(has_tangent)
    dtype = np.dtype(np.float64)
    rows = MeasuredRows(rows.values.astype(dtype, copy=False), rows.inverse_norm, rows.square_norm)
    program = compile_spatial(plan, has_tangent, dtype, backend.pieces(dtype), rows.square_norm)
    parts = [part.tangent if has_tangent else part.variance for part in _image_values(rows, plan, program, backend)]
    return _joined(parts)


def prepare_rows(
    rows: MeasuredRows,
    plan: Plan,
    program: Program | SpatialProgram,
    backend: Backend,
    parameters: RowParameters | None = None,
) -> Rows:
    """Compute what a backend's tiles of a program need of rows.

    `parameters`: the plan's of these rows, where they are known already.
    """
    dtype = backend.parameter_dtype(program.dtype)
    if isinstance(program, SpatialProgram):
        return _prepare_images(rows, plan, program, backend)
    parameters = parameters or RowParameters(plan, rows.square_norm)
    values = parameters.values
    diagonal = values.diagonal(program.has_tangent)
    root_diagonal = diagonal.root().plain()
    if program.profile is not None:
        scale, planes = root_diagonal, np.empty((0, len(rows.values)), dtype=dtype)
    else:
        scale = values.output_variance.root().plain()
        placed = parameters.placed(program.dtype, program.counts, program.tabulated)
        planes = np.ascontiguousarray(placed.parameters, dtype=dtype)
    return Rows(
        rows.values,
        rows.inverse_norm.astype(dtype, copy=False),
        diagonal.plain(),
        root_diagonal,
        scale,
        planes,
    )


def _prepare_images(rows: MeasuredRows, plan: Plan, program: SpatialProgram, backend: Backend) -> Rows:
    dtype = backend.parameter_dtype(program.dtype)
    advice = "compute the matrix in blocks of images, kernel(X[start:stop], X)"
    shape = len(rows.values), program.n_parameters
    refuse_too_large(shape, dtype, what="matrix of the images' planes", advice=advice)
    planes = np.empty(shape, dtype=dtype).T  # those of an image lie together
    variances, tangents, done = [], [], 0
    for part in _image_values(rows, plan, program, backend):
        stop = done + part.planes.shape[1]
        planes[:, done:stop] = part.planes
        variances.append(part.variance)
        tangents.append(part.tangent)
        done = stop
    variance, tangent = _joined(variances), _joined(tangents)
    diagonal = tangent if program.has_tangent else variance
    return Rows(
        rows.values,
        np.ones(len(rows.values), dtype=dtype),
        diagonal.plain(),
        diagonal.root().plain(),
        variance.root().plain(),
        planes,
    )


def _image_values(rows: MeasuredRows, plan: Plan, program: SpatialProgram, backend: Backend) -> Iterator[SpatialValues]:
    """Yield what the layers make of images, some at a time."""
    assert isinstance(backend, ImageBackend)
    n = len(rows.values)
    _refuse_large_images(program)
    n_positions = math.prod(program.shape[:-1])
    at_a_time = backend.rows_at_a_time(program)
    square = rows.square_norm
    for start in range(0, n, at_a_time):
        stop = min(start + at_a_time, n)
        some = slice(start * n_positions, stop * n_positions)

        def by_position(values: NDArray[Any], some: slice = some) -> NDArray[Any]:
            return np.ascontiguousarray(values[some].reshape(-1, n_positions).T)

        pixels = Pixels(
            rows.values[start:stop].astype(np.float64, copy=False),
            by_position(rows.inverse_norm),
            Scaled(*(by_position(part) for part in (square.high, square.low, square.exponent))),
        )
        executor = backend.row_executor(program, rows.values[start:stop])
        yield SpatialRows(plan, program, pixels, rows.values.dtype, executor).values()


def _refuse_large_images(program: SpatialProgram) -> None:
    """Refuse images of which a single pair does not fit into memory, before any work."""
    pairs = max(program.pairs.largest, program.row_pairs.largest)
    needed, available = BYTES_PER_PAIR * pairs, available_bytes()
    if needed <= SMALL_RESULT or available is None or needed <= available:
        return
    grid = program.shape[:-1]
    is_global = pairs == math.prod(grid) ** 2
    side = (available / needed) ** (1 / (len(grid) * (2 if is_global else 1)))
    fits = shown(tuple(max(1, int(0.95 * side * n)) for n in grid))
    raise MemoryError(
        f"network: two images of {shown(grid)} positions have {pairs} pairs of them at a time, which take "
        f"{needed / 1e9:.0f} GB, and {available / 1e9:.1f} GB are free; images of about {fits} fit. "
        "Flatten instead of a global pool, or strides in the first convolution, need fewer."
    )


def _joined(parts: list[Scaled]) -> Scaled:
    """Return numbers one after the other."""
    none = Scaled.of(np.empty(0))
    return Scaled(
        *(np.concatenate([getattr(part, name) for part in (none, *parts)]) for name in ("high", "low", "exponent"))
    )
