from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.base import AdjointTask, GramTask, ProductTask
from ntk_fast.backends.image_schedule import ImageSchedule
from ntk_fast.lower.program import Program
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.schedule.tiling import Tile

class Functions:
    def __init__(self, instruction_set: str, is_float: bool) -> None: ...
    def pieces(self) -> int: ...
    def block_columns(self, n_features: int, n_parameters: int) -> int: ...
    def square_norms(
        self,
        values: NDArray[np.floating[Any]],
        row_start: int,
        row_stop: int,
        result: NDArray[np.float64],
        rest: NDArray[np.float64],
    ) -> None: ...
    def lanes(self) -> int: ...
    def pack_images(
        self,
        given: NDArray[np.floating[Any]],
        n: int,
        row_stride: int,
        image_stride: int,
        n_images: int,
        result: NDArray[np.floating[Any]],
    ) -> None: ...

Packed = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]

class CompiledImages:
    def __init__(
        self, program: SpatialProgram, schedule: ImageSchedule, near_shortfall: float, near_bending: float
    ) -> None: ...
    def scratch_bytes(self, functions: Functions) -> int: ...
    def begin(
        self, functions: Functions, x: Packed | None, y: Packed, segment: int, scratch: NDArray[np.uint8]
    ) -> None: ...
    def run(
        self, functions: Functions, x: Packed | None, y: Packed, first: int, stop: int, scratch: NDArray[np.uint8]
    ) -> None: ...
    def entries(
        self, functions: Functions, x: Packed, y: Packed, scratch: NDArray[np.uint8], result: NDArray[np.floating[Any]]
    ) -> None: ...
    def output(self, functions: Functions, scratch: NDArray[np.uint8], result: NDArray[np.floating[Any]]) -> None: ...

class CompiledProgram:
    def __init__(self, program: Program, near_shortfall: float, near_bending: float) -> None: ...
    def scratch_bytes(self, functions: Functions, n_features: int, block_columns: int) -> int: ...
    def adjoint_bytes(self, functions: Functions, block_columns: int) -> int: ...

class TileFiller:
    def __init__(
        self,
        functions: Functions,
        program: CompiledProgram,
        task: GramTask,
        streaming: bool,
        scratch: NDArray[np.uint8],
    ) -> None: ...
    def __call__(self, tile: Tile) -> None: ...

class TileMultiplier:
    def __init__(
        self, functions: Functions, program: CompiledProgram, task: ProductTask, scratch: NDArray[np.uint8]
    ) -> None: ...
    def __call__(
        self, tile: Tile, row_sums: NDArray[np.floating[Any]], column_sums: NDArray[np.floating[Any]]
    ) -> None: ...

class TileDifferentiator:
    def __init__(
        self,
        functions: Functions,
        program: CompiledProgram,
        task: AdjointTask,
        scratch: NDArray[np.uint8],
        adjoint_scratch: NDArray[np.uint8],
    ) -> None: ...
    def __call__(self, tile: Tile, row_sums: NDArray[np.float64], column_sums: NDArray[np.float64]) -> None: ...
