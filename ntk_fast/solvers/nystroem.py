"""Kernel ridge regression on m centres, for more rows than any exact solver takes (FALKON, Rudi et al., 2017).

The model is f(x) = kernel(x, centres) @ coefficients; minimising |K_nm c - y|^2 + ridge c^T K_mm c gives

    (K_nm^T K_nm + ridge K_mm) c = K_nm^T y.

With K_mm = T^T T and A^T A = (n / m) T T^T + ridge I, the substitution c = T^-1 A^-1 b turns this into
A^-T (T^-T K_nm^T K_nm T^-1 + ridge I) A^-1 b = A^-T T^-T K_nm^T y, which is close to the identity, and conjugate
gradients need some tens of iterations whatever the ridge. K_nm itself is computed anew in every one of them, a few rows
at a time: a block of its rows stays in a core's cache while K_nm^T K_nm v takes both products from it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ntk_fast import lapack
from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import FillTile, GramTask, Tile
from ntk_fast.gram import choose_tiles, compile_for, prepare_for
from ntk_fast.lower.compile import norm_range
from ntk_fast.rows import MeasuredRows, measure
from ntk_fast.kernels import Kernel
from ntk_fast.solvers.base import Report, Solution, power_of_two, silent, without_iterations
from ntk_fast.solvers.cholesky import gram_matrix
from ntk_fast.solvers.conjugate_gradient import conjugate_gradients, warn_of_stall
from ntk_fast.threads import aside, choose_n_threads, single_threaded_blas
from ntk_fast.tiling import run_tiles

#: Rows that a thread prepares at a time, and numbers of K_nm that it keeps in its cache.
ROWS_AT_A_TIME = 4096
CACHED_NUMBERS = 1 << 18  # 2 MB of float64: a product of K_nm^T K_nm costs 1.2 passes (1.8 with 1 << 16)

Reals = NDArray[np.floating]


class StreamedMatrix:
    """K_nm of rows and centres, never stored: every product reads the rows once."""

    def __init__(
        self, kernel: Kernel, rows: NDArray[np.floating], centres: NDArray[np.float64], n_threads: int | None = None
    ) -> None:
        self._kernel = kernel
        self._rows = rows
        self._backend = choose_backend(None)
        self._n_threads = choose_n_threads(n_threads)
        measured = measure(centres, "X", kernel.plan, self._backend)
        norms = [measured.square_norm]
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            norms.append(norm_range(self._measured(start, start + ROWS_AT_A_TIME).square_norm))
        self._program = compile_for(kernel, np.dtype(np.float64), self._backend, *norms)
        self._centres = prepare_for(self._program, kernel, measured, self._backend)

    def _measured(self, start: int, stop: int) -> MeasuredRows:
        values = np.ascontiguousarray(self._rows[start:stop], dtype=np.float64)
        return measure(values, "X", self._kernel.plan, self._backend)

    def normal_product(self, vectors: Reals) -> Reals:
        """Return K_nm^T K_nm vectors."""
        return self._sum(lambda block, start: block.T @ (block @ vectors), vectors.shape[1])

    def transposed_product(self, vectors: Reals) -> Reals:
        """Return K_nm^T vectors."""
        return self._sum(lambda block, start: block.T @ vectors[start : start + len(block)], vectors.shape[1])

    def _sum(self, product: Callable[[Reals, int], Reals], n_columns: int) -> Reals:
        """Sum the products of blocks of rows, in the order of the rows, so that threads do not change the rounding."""
        m = len(self._centres)
        n_cached = max(16, min(ROWS_AT_A_TIME, CACHED_NUMBERS // m))
        starts = range(0, len(self._rows), ROWS_AT_A_TIME)
        tiles = [Tile(start, min(start + ROWS_AT_A_TIME, len(self._rows)), 0, m) for start in starts]
        total = np.zeros((m, n_columns))
        waiting: dict[int, Reals] = {}
        lock = threading.Lock()
        following = 0

        def make_fill() -> FillTile:
            cache = np.empty((n_cached, m))

            def fill(tile: Tile) -> None:
                nonlocal total, following
                part = self._part_sum(tile, cache, product, n_columns)
                with lock:
                    waiting[tile.row_start] = part
                    while following in waiting:
                        total += waiting.pop(following)
                        following += ROWS_AT_A_TIME

            return fill

        with single_threaded_blas():
            run_tiles(tiles, make_fill, self._n_threads)
        return total

    def _part_sum(self, tile: Tile, cache: Reals, product: Callable[[Reals, int], Reals], n_columns: int) -> Reals:
        measured = self._measured(tile.row_start, tile.row_stop)
        rows = prepare_for(self._program, self._kernel, measured, self._backend)
        total = np.zeros((len(self._centres), n_columns))
        for start in range(0, len(rows), len(cache)):
            block = cache[: len(rows) - start]
            part = rows.part(slice(start, start + len(block)))
            task = GramTask(self._program, part, self._centres, block)
            fill = self._backend.fill_tile(task)
            for inner in choose_tiles(task, self._backend):
                fill(inner)
            total += product(block, tile.row_start + start)
        return total


@dataclass(frozen=True)
class Nystroem:
    """Fit the coefficients of kernels at some of the rows, drawn at random.

    Parameters
    ----------
    n_centres : int >= 1, optional
        At most the number of rows; by default ``5 sqrt(n)``. Memory is ``8 n_centres^2`` bytes three times over.
    tolerance : float, default 1e-8
        The residual of the preconditioned system to stop at, relative to its right-hand side.
    max_iterations : int, default 1000
    seed : int, default 0
        For the draw of the centres.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> rows = np.random.default_rng(0).standard_normal((2000, 3))
    >>> targets = np.sin(rows[:, :1])
    >>> kernel = ntk.NTK(depth=2, bias_variance=0.1)
    >>> solution = Nystroem(n_centres=100).solve(kernel, rows, targets, ridge=1e-3)
    >>> bool(np.abs(kernel(rows, solution.rows) @ solution.coefficients - targets).mean() < 0.1)
    True
    """

    n_centres: int | None = None
    tolerance: float = 1e-8
    max_iterations: int = 1000
    seed: int = 0

    def solve(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        targets: NDArray[np.float64],
        ridge: float,
        *,
        n_threads: int | None = None,
        report: Report = silent,
    ) -> Solution:
        """See :class:`ntk_fast.solvers.base.Solver`. Warns if it stops short of the tolerance."""
        n = len(rows)
        n_centres = min(n, round(5 * n**0.5)) if self.n_centres is None else self.n_centres
        if n_centres > n:
            raise ValueError(f"n_centres must not exceed the number of rows; got {n_centres} for {n} rows.")
        drawn = np.sort(np.random.default_rng(self.seed).choice(n, size=n_centres, replace=False))
        centres, factor = independent_centres(kernel, rows[drawn], n_threads, report)
        if not len(centres):  # a kernel of zeros: every model predicts 0
            return without_iterations(rows[:1], np.zeros((1, targets.shape[1])))
        scale = power_of_two(targets)
        damped = _damped(factor, n / len(centres), ridge, partial(report, "Preconditioner", None))
        matrix = StreamedMatrix(kernel, rows, centres.astype(np.float64, copy=False), n_threads)

        def substitute(b: Reals) -> Reals:
            """Return T^-1 A^-1 b."""
            return solve_triangular(factor, solve_triangular(damped, b, check_finite=False), check_finite=False)

        def transpose(c: Reals) -> Reals:
            """Return A^-T T^-T c."""
            inner = solve_triangular(factor, c, trans="T", check_finite=False)
            return solve_triangular(damped, inner, trans="T", check_finite=False)

        def multiply(b: Reals) -> Reals:
            damping = solve_triangular(damped, solve_triangular(damped, b, check_finite=False), trans="T")
            return transpose(matrix.normal_product(substitute(b))) + ridge * damping

        found = conjugate_gradients(
            multiply,
            transpose(matrix.transposed_product(targets / scale)),
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            report=report,
        )
        if not found.converged:
            warn_of_stall(found, self.tolerance, "raise ridge, tolerance or max_iterations, or choose fewer centres")
        coefficients = np.ascontiguousarray(substitute(found.solution) * scale)
        return Solution(centres, coefficients, found.residuals, found.converged)


def independent_centres(
    kernel: Kernel, centres: NDArray[np.floating], n_threads: int | None = None, report: Report = silent
) -> tuple[NDArray[np.floating], Reals]:
    """Return the centres whose kernels are linearly independent to working precision, and T with K_mm = T^T T.

    Those left out, repeated rows for one, add nothing to what the others can represent.
    """
    matrix = gram_matrix(kernel, centres, n_threads, report, copies=3)
    tolerance = len(matrix) * np.finfo(np.float64).eps * float(matrix.diagonal().max())
    kept = lapack.pivoted_cholesky_in_place(matrix, tolerance, partial(report, "Centres", None))
    return centres[kept], np.ascontiguousarray(matrix[: len(kept), : len(kept)]).T


def _damped(factor: Reals, weight: float, ridge: float, tick: Callable[[], None]) -> Reals:
    """Return the upper triangular A with A^T A = weight T T^T + ridge I, for T = `factor`."""
    matrix = np.ascontiguousarray(aside(lambda: weight * (factor @ factor.T), tick))
    matrix.flat[:: len(matrix) + 1] += ridge
    if not lapack.cholesky_in_place(matrix, tick):
        raise ValueError(
            f"The centres' kernel matrix with ridge {ridge:g} is singular to working precision: pass a larger ridge, "
            "or fewer centres."
        )
    return matrix.T
