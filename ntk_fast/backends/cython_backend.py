"""The compiled backend: the C tiles of csrc/, in the best instruction set that the processor has."""

from __future__ import annotations

import os
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends._tile import CompiledProgram, Functions, TileDifferentiator, TileFiller, TileMultiplier
from ntk_fast.backends.base import (
    AdjointTask,
    DifferentiateTile,
    GramTask,
    MultiplyTile,
    ProductTask,
    TileTask,
)
from ntk_fast.backends.blas_products import multiply_with_blas
from ntk_fast.backends.cython_images import (
    SECONDS_PER_TERM,
    ImageRows,
    fill_images,
    image_block,
    rows_at_a_time,
)
from ntk_fast.backends.narrowed import fill_narrowed
from ntk_fast.layers.near_pairs import near_pair_thresholds
from ntk_fast.lower.program import Program
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.schedule.tiling import FillTile

ISA_VARIABLE = "NTK_FAST_ISA"

#: Fastest first.
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")

#: A larger matrix than this does not stay in the caches, so it is stored past them.
STREAMING_BYTES = 16 << 20


@cache
def available_instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that were compiled and that this processor has, fastest first."""
    present = []
    for name in INSTRUCTION_SETS:
        try:
            Functions(name, False)
        except LookupError:
            continue
        present.append(name)
    return tuple(present)


def choose_instruction_set() -> str:
    """Return the environment's instruction set, which must exist, or the fastest."""
    name = os.environ.get(ISA_VARIABLE, "").strip()
    present = available_instruction_sets()
    if name and name not in present:
        raise ValueError(f"{ISA_VARIABLE} must be one of {', '.join(map(repr, present))} here; got {name!r}.")
    return name or present[0]


@cache
def _functions(instruction_set: str, dtype: np.dtype) -> Functions:
    return Functions(instruction_set, dtype == np.float32)


@lru_cache(maxsize=256)
def _compiled(program: Program, dtype: np.dtype) -> CompiledProgram:
    return CompiledProgram(program, *near_pair_thresholds(dtype))


class CythonBackend:
    """See the module. One instruction set for its life, by which backends compare."""

    name = "cython"
    uses_blas = False
    seconds_per_layer = 1e-9
    multiplies_with_blas = False
    seconds_per_term = SECONDS_PER_TERM

    def __init__(self, instruction_set: str) -> None:
        self.instruction_set = instruction_set

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CythonBackend) and self.instruction_set == other.instruction_set

    def __hash__(self) -> int:
        return hash(self.instruction_set)

    def _functions(self, dtype: np.dtype) -> Functions:
        return _functions(self.instruction_set, dtype)

    def square_norms(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        result, rest = np.empty(len(values)), np.empty(len(values))
        self._functions(values.dtype).square_norms(values, 0, len(values), result, rest)
        return result, rest

    def pieces(self, dtype: np.dtype) -> int:
        return self._functions(dtype).pieces()

    def block_shape(self, n_features: int, dtype: np.dtype, n_parameters: int) -> tuple[int, int]:
        return 1024, self._functions(dtype).block_columns(n_features, n_parameters)

    def parameter_dtype(self, dtype: np.dtype) -> np.dtype:
        return dtype

    def image_block(self, program: SpatialProgram) -> tuple[int, int]:
        return image_block(self._functions(program.dtype), program)

    def rows_at_a_time(self, program: SpatialProgram) -> int:
        return rows_at_a_time(self._functions(program.dtype), program)

    def row_executor(self, program: SpatialProgram, values: NDArray[np.floating]) -> ImageRows:
        return ImageRows(self._functions(program.dtype), program, values)

    def _prepare(self, task: TileTask) -> tuple[Functions, CompiledProgram, NDArray[np.uint8]]:
        functions = self._functions(task.dtype)
        program = task.program
        assert isinstance(program, Program)
        compiled = _compiled(program, task.dtype)
        n_features = task.x.values.shape[1]
        columns = min(functions.block_columns(n_features, program.n_parameters), task.shape[1])
        scratch = np.empty(compiled.scratch_bytes(functions, n_features, columns), dtype=np.uint8)
        return functions, compiled, scratch

    def fill_tile(self, task: GramTask) -> FillTile:
        if isinstance(task.program, SpatialProgram):
            return fill_images(self._functions(task.program.dtype), task)
        if task.program.dtype != task.dtype:
            return fill_narrowed(self, task)
        functions, program, scratch = self._prepare(task)
        return TileFiller(functions, program, task, task.out.nbytes > STREAMING_BYTES, scratch)

    def multiply_tile(self, task: ProductTask) -> MultiplyTile:
        program = task.program
        if isinstance(program, SpatialProgram) or program.dtype != task.dtype:
            return multiply_with_blas(self, task)
        functions, compiled, scratch = self._prepare(task)
        return TileMultiplier(functions, compiled, task, scratch)

    def differentiate_tile(self, task: AdjointTask) -> DifferentiateTile:
        functions, program, scratch = self._prepare(task)
        columns = min(functions.block_columns(task.x.values.shape[1], task.program.n_parameters), task.shape[1])
        own = np.empty(program.adjoint_bytes(functions, columns), dtype=np.uint8)
        return TileDifferentiator(functions, program, task, scratch, own)
