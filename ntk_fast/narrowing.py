"""float32 matrices that tiles had better compute in float64.

Rounding errors add up where layers are nearly linear, and grow where a Step or Sign takes the root of a distance: leaky
ReLUs of slope 1 +- 1e-3 and 100 layers come to 10 times the promise, three Steps to 200 times. Which networks these are
depends on everything, the rows' norms too, so some pairs are computed in both. Of images, those with a Step or Sign.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ntk_fast.backends.base import Backend, GramTask
from ntk_fast.lower.accuracy import promised
from ntk_fast.lower.compile import compile_program
from ntk_fast.lower.instructions import instructions_of
from ntk_fast.lower.row_parameters import norm_range
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.steps import Map, Plan
from ntk_fast.rows.preparing import measure, prepare_rows
from ntk_fast.schedule.tiling import make_tiles

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

#: Layers of ReLU type that are sure to keep the promise.
FEW_LAYERS = 8
#: The share of the promise that pairs looked at may take: others may be worse.
SHARE = 0.75
#: Norms to look at: biases show at those that are like them.
MOST_NORMS = 9
#: Squared norms to look at, as powers of two: products of two are in float32's range.
EXPONENTS = (-60, 60)


def computing_dtype(plan: Plan, has_tangent: bool, dtype: np.dtype, backend: Backend, norms: Scaled) -> np.dtype:
    """Return the dtype for tiles to compute in, of a matrix of `dtype` on rows of these squared norms."""
    if dtype == DOUBLE:
        return dtype
    if plan.shape is not None:
        activations = [step.activation for step in plan.steps if isinstance(step, Map)]
        return DOUBLE if any(part.map_kind == "corners" or part.homogeneity == 0 for part in activations) else dtype
    if backend.parameter_dtype(dtype) == DOUBLE:
        return dtype
    maps = instructions_of(plan).maps
    if any(slot.step.activation.map_kind == "corners" for slot in maps):
        program = compile_program(plan, has_tangent, SINGLE, backend.pieces(SINGLE), norms)
        return DOUBLE if program.n_corners else dtype
    if len(maps) < 2 or (len(maps) <= FEW_LAYERS and all(slot.step.activation.map_kind == "fold" for slot in maps)):
        return dtype
    exponents = norms.exponent[~norms.is_zero].clip(*EXPONENTS)
    if not len(exponents):
        return dtype
    ends = int(exponents.min()) - 1, int(exponents.max())
    return DOUBLE if _loses_digits(plan, has_tangent, backend, ends) else dtype


@lru_cache(maxsize=256)
def _loses_digits(plan: Plan, has_tangent: bool, backend: Backend, ends: tuple[int, int]) -> bool:
    """Whether float32 tiles break the promise, on rows whose squared norms lie between two powers of two."""
    X, Y = _pairs(ends)
    measured = [measure(values, "X", backend) for values in (X, Y)]
    norms = norm_range(*(rows.square_norm for rows in measured))
    program = compile_program(plan, has_tangent, SINGLE, backend.pieces(SINGLE), norms)
    if program.profile is not None:
        return False
    found = []
    for dtype in (SINGLE, DOUBLE):
        program = compile_program(plan, has_tangent, dtype, backend.pieces(dtype), norms)
        wide = [measure(values.astype(dtype, copy=False), "X", backend) for values in (X, Y)]
        x, y = (prepare_rows(rows, plan, program, backend) for rows in wide)
        out = np.empty((len(X), len(Y)), dtype=dtype)
        fill = backend.fill_tile(GramTask(program, x, y, out))
        block_rows, block_columns = backend.block_shape(2, dtype, program.n_parameters)
        for tile in make_tiles(*out.shape, symmetric=False, block_rows=block_rows, block_columns=block_columns):
            fill(tile)
        found.append(out)
    with np.errstate(all="ignore"):
        errors = np.abs(found[0] - found[1]) / x.root_diagonal[:, None] / y.root_diagonal
    largest = float(errors[np.isfinite(errors)].max(initial=0.0))
    return largest > SHARE * promised(instructions_of(plan), SINGLE)


def _pairs(ends: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of some norms, and rows at all distances from theirs and from their negatives, to compute."""
    n_norms = min(MOST_NORMS, 3 + (ends[1] - ends[0]) // 8)
    norms = np.exp2(np.linspace(*ends, n_norms) / 2)
    chord = np.concatenate([[0.0], np.geomspace(1e-7, np.sqrt(0.5), 30)])
    angle = 0.3 + np.concatenate([2 * np.arcsin(chord), np.pi - 2 * np.arcsin(chord)])
    lengths = np.where(np.arange(len(angle)) % 2, 1 + 1e-6, 1.0)
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1) * lengths[:, None]
    X = norms[:, None] * np.array([np.cos(0.3), np.sin(0.3)])
    return X.astype(SINGLE), np.concatenate([norm * directions for norm in norms]).astype(SINGLE)
