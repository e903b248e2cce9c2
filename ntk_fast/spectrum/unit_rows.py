"""A kernel on unit rows, as its eigenvalues on the sphere take it: the numbers that its instructions have there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.kernels import Kernel
from ntk_fast.lower.instructions import Instructions
from ntk_fast.lower.program import WHOLE
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import UNIT


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Instructions, the squared shares of their mixes, and the variances before their maps and of the output."""

    instructions: Instructions
    shares: NDArray[np.floating]
    variances: list[float]
    output_variance: float
    has_tangent: bool

    @classmethod
    def of(cls, kernel: Kernel) -> UnitRows:
        rows = RowParameters(kernel.plan, UNIT)
        return cls(
            rows.instructions,
            rows.shares[:, 0] ** 2,
            [float(rows.variance(index)[0]) for index in range(len(rows.instructions.maps))],
            float(rows.values.output_variance.plain()[0]),
            kernel.has_tangent,
        )

    def share(self, plane: int) -> float:
        return 1.0 if plane == WHOLE else float(self.shares[plane])
