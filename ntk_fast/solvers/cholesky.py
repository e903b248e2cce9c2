"""The direct solver: one Cholesky factorisation, in the memory of the Gram matrix itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack as scipy_lapack

from ntk_fast import lapack
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.solvers.base import (
    Report,
    Solution,
    power_of_two,
    refuse_client,
    refuse_extreme,
    scaled_back,
    silent,
    ticks,
    without_iterations,
)
from ntk_fast.solvers.weighted import roots_of


@dataclass(frozen=True, eq=False)
class CholeskyFactor:
    """The factor L of a positive definite matrix, A = L L^T."""

    lower: NDArray[np.float64]  # (n, n), zero above the diagonal

    @classmethod
    def in_place(
        cls, matrix: NDArray[np.float64], ridge: float | NDArray[np.float64], report: Report = silent
    ) -> CholeskyFactor:
        """Factorise ``matrix + ridge I`` in the memory of `matrix`, C-contiguous and symmetric; `ridge` may be (n,).

        Raises
        ------
        ValueError
            If it is singular to working precision (a reciprocal condition number below 2^-52).
        """
        tick = ticks(report, "Cholesky factorisation")
        mean = float(matrix.diagonal().mean()) or 1.0 if len(matrix) else 1.0
        matrix.flat[:: len(matrix) + 1] += ridge
        norm = scipy_lapack.dlange("1", matrix.T)
        is_regular = lapack.cholesky_in_place(matrix, tick)
        if not is_regular or lapack.reciprocal_condition(matrix, norm, tick) < np.finfo(np.float64).eps:
            raise ValueError(
                f"The kernel matrix with {np.max(ridge):g} added to its diagonal is singular to working precision "
                "(rows repeat, or the kernel's functions have fewer dimensions than there are rows): pass a larger "
                f"ridge or noise, such as {suggested_ridge(norm):.0e} ({suggested_ridge(norm) / mean:.0e} of the mean "
                "diagonal, in which models measure their ridge)."
            )
        return cls(matrix)

    def solve(self, targets: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return A^-1 targets, for targets of shape (n, n_targets)."""
        columns = self.whiten(targets)
        lapack.solve_lower_in_place(self.lower, columns, transposed=True)
        return columns

    def whiten(self, columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return L^-1 columns."""
        whitened = np.array(columns, dtype=np.float64, order="C")
        lapack.solve_lower_in_place(self.lower, whitened)
        return whitened

    def inverse_in_place(self, report: Report = silent) -> NDArray[np.float64]:
        """Return A^-1 in the memory of the factor, which is lost."""
        lapack.invert_cholesky_in_place(self.lower, ticks(report, "Inverse"))
        return self.lower

    @property
    def log_determinant(self) -> float:
        """The logarithm of det(A)."""
        return 2 * float(np.log(self.lower.diagonal()).sum())


def suggested_ridge(norm: float) -> float:
    """A power of ten that is sure to make a matrix of this norm regular: 1e-10 of it, rounded up."""
    return 10.0 ** math.ceil(math.log10(1e-10 * norm)) if norm > 0 else 1.0


@dataclass(frozen=True)
class Cholesky:
    """Solve (K + ridge I) coefficients = targets with LAPACK: n^2 numbers of memory, n^3 / 3 multiplications.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> rows, targets = np.eye(3), np.array([[1.0], [2.0], [3.0]])
    >>> solution = Cholesky().solve(ntk.NTK(depth=1), rows, targets, ridge=0.1)
    >>> K = ntk.NTK(depth=1)(rows)
    >>> bool(np.allclose((K + 0.1 * np.eye(3)) @ solution.coefficients, targets))
    True
    """

    is_direct: ClassVar[bool] = True

    def solve(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        targets: NDArray[np.float64],
        ridge: float,
        *,
        weights: NDArray[np.float64] | None = None,
        leave_one_out: bool = False,
        n_threads: int | None = None,
        report: Report = silent,
        client: Any = None,
    ) -> Solution:
        """See :class:`ntk_fast.solvers.base.Solver`."""
        refuse_client(client)
        matrix = gram_matrix(kernel, rows, n_threads, report, weights=weights)
        roots, scale = roots_of(weights, len(rows)), power_of_two(targets)
        with limited_blas(n_threads):
            factor = CholeskyFactor.in_place(matrix, ridge, report)
            solution = factor.solve(roots * (targets / scale))
            coefficients = scaled_back(roots * solution, scale)
            if not leave_one_out:
                return without_iterations(rows, coefficients)
            diagonal = factor.inverse_in_place(report).diagonal()[:, None]
        return without_iterations(rows, coefficients, scaled_back(solution / (roots * diagonal), scale))


def gram_matrix(
    kernel: Kernel,
    rows: NDArray[np.floating],
    n_threads: int | None = None,
    report: Report = silent,
    copies: int = 1,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the symmetric Gram matrix in float64, whatever the rows: solving loses what float32 would not have.

    With weights it is D K D: see `weighted`. `copies`: how many matrices of its size there will be at a time, itself
    included.
    """
    advice = "use fewer rows, or an NTKRegressor or NTKClassifier with solver='cg' or 'nystroem', which store none"
    refuse_extreme(kernel.diag(rows, dtype=np.float64))
    refuse_too_large((len(rows),) * 2, np.dtype(np.float64), copies=copies, what="kernel matrix", advice=advice)

    def progress(done: int, total: int) -> None:
        report("Gram matrix", done / total)

    matrix: NDArray[np.float64] = np.empty((len(rows), len(rows)))
    kernel(rows, out=matrix, dtype=np.float64, n_threads=n_threads, progress=progress)
    if weights is not None:
        roots = roots_of(weights, len(rows))
        matrix *= roots
        matrix *= roots.T
    return matrix
