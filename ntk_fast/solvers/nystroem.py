"""Kernel ridge regression on m centres, for more rows than any exact solver takes (FALKON, Rudi et al., 2017).

The model is f(x) = kernel(x, centres) @ coefficients; minimising |K_nm c - y|^2 + ridge c^T K_mm c gives

    (K_nm^T K_nm + ridge K_mm) c = K_nm^T y.

With K_mm = T^T T and A^T A = (n / m) T T^T + ridge I, the substitution c = T^-1 A^-1 b turns this into
A^-T (T^-T K_nm^T K_nm T^-1 + ridge I) A^-1 b = A^-T T^-T K_nm^T y, which is close to the identity, and conjugate
gradients need some tens of iterations whatever the ridge. K_nm itself is computed anew in every one of them, a few rows
at a time: a block of its rows stays in a core's cache while K_nm^T K_nm v takes both products from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ntk_fast import lapack
from ntk_fast.backends.engines import chosen_engine
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.schedule.tiling import Progress
from ntk_fast.solvers.base import Report, Solution, power_of_two, scaled_back, silent, ticks, without_iterations
from ntk_fast.solvers.cholesky import gram_matrix
from ntk_fast.solvers.conjugate_gradient import conjugate_gradients, warn_of_stall
from ntk_fast.solvers.spectral import RidgePath, SpectralDecomposition, search_path
from ntk_fast.solvers.streamed import NormalProduct, Streamed, StreamedMatrix, TransposedProduct
from ntk_fast.solvers.weighted import WeightedTargets, roots_of

#: Rows whose leave-one-out errors stand for all along a path of ridges.
ROWS_OF_A_PATH = 10_000

Reals = NDArray[Any]


def number_of_centres(wanted: int | None, n_rows: int) -> int:
    """Return how many of the rows are centres: as many as wanted, by default ``5 sqrt(n_rows)``."""
    if wanted is None:
        return min(n_rows, round(5 * n_rows**0.5))
    if wanted > n_rows:
        raise ValueError(f"n_centres must not exceed the number of rows; got {wanted} for {n_rows} rows.")
    return wanted


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

    is_direct: ClassVar[bool] = False
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
        weights: NDArray[np.float64] | None = None,
        leave_one_out: bool = False,
        n_threads: int | None = None,
        report: Report = silent,
        client: Any = None,
    ) -> Solution:
        """See :class:`ntk_fast.solvers.base.Solver`. Warns if it stops short of the tolerance."""
        with limited_blas(n_threads):
            system = self.prepare(kernel, rows, weights=weights, n_threads=n_threads, report=report, client=client)
            return system.solve(targets, ridge, self, leave_one_out=leave_one_out, report=report)

    def prepare(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        *,
        weights: NDArray[np.float64] | None = None,
        n_threads: int | None = None,
        report: Report = silent,
        client: Any = None,
    ) -> CentreSystem:
        """Draw the centres and return the system of equations for their coefficients.

        Parameters
        ----------
        kernel, rows, weights, n_threads, report, client
            As for `solve`.

        Returns
        -------
        CentreSystem

        Raises
        ------
        ValueError
            If there are fewer rows than centres.
        """
        n_centres = number_of_centres(self.n_centres, len(rows))
        drawn = np.sort(np.random.default_rng(self.seed).choice(len(rows), size=n_centres, replace=False))
        centres, factor = independent_centres(kernel, rows[drawn], n_threads, report)
        return CentreSystem(kernel, rows, weights, centres, factor, n_threads, client)


def features_of(factor: Reals, block: Reals) -> Reals:
    """Return columns of Z^T = T^-T K_mn, (m, n_rows), for a block of rows of K_nm."""
    return solve_triangular(factor, block.T, trans="T", check_finite=False)


@dataclass(frozen=True, eq=False)
class NormalMatrix:
    """Z^T Z, block by block."""

    factor: Reals

    def __call__(self, block: Reals, start: int) -> Reals:
        features = features_of(self.factor, block)
        return features @ features.T


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Errors of rows left out, block by block: see `CentreSystem.solve`."""

    factor: Reals
    damped: Reals
    targets: Reals
    coefficients: Reals
    roots: Reals

    def __call__(self, block: Reals, start: int) -> Reals:
        part = slice(start, start + len(block))
        whitened = solve_triangular(self.damped, features_of(self.factor, block), trans="T", check_finite=False)
        leverage = np.einsum("ij,ij->j", whitened, whitened)
        residuals = self.targets[part] - block @ self.coefficients / self.roots[part]
        return residuals / (1 - leverage)[:, None]


@dataclass(eq=False)
class CentreSystem:
    """The equations for coefficients of kernels at centres, whatever the targets and the ridge."""

    kernel: Kernel
    rows: NDArray[np.floating]  # (n, n_features)
    weights: NDArray[np.float64] | None
    centres: NDArray[np.floating]  # (m, n_features), independent
    factor: Reals  # T, upper triangular, K_mm = T^T T
    n_threads: int | None
    client: Any = None  # whose workers multiply

    matrix: Streamed = field(init=False)
    roots: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        centres = self.centres.astype(np.float64, copy=False)
        if self.client is None:
            self.matrix = StreamedMatrix(self.kernel, self.rows, centres, self.n_threads, self.weights)
        else:
            from ntk_fast.cluster.streamed import StreamedOnWorkers

            engine = chosen_engine()
            self.matrix = StreamedOnWorkers(self.client, engine, self.kernel, self.rows, centres, self.weights)
        self.roots = roots_of(self.weights, len(self.rows))

    def normal_product(self, vectors: Reals) -> Reals:
        """Return K_nm^T K_nm vectors."""
        return self.matrix.sum(NormalProduct(vectors), vectors.shape[1])

    def transposed_product(self, vectors: Reals) -> Reals:
        """Return K_nm^T vectors."""
        return self.matrix.sum(TransposedProduct(vectors), vectors.shape[1])

    def normal_matrix(self, report: Report = silent) -> Reals:
        """Return Z^T Z, (m, m)."""
        return self.matrix.sum(NormalMatrix(self.factor), len(self.centres), _share(report, "Normal equations"))

    def solve(
        self,
        targets: NDArray[np.float64],
        ridge: float,
        options: Nystroem,
        *,
        normal: Reals | None = None,
        leave_one_out: bool = False,
        report: Report = silent,
    ) -> Solution:
        """Solve by conjugate gradients; with `normal`, Z^T Z, that takes an iteration or two.

        Errors of `leave_one_out` are those of models with the same centres, from which a row that is one of them is
        never quite left out: an estimate.
        """
        if not len(self.centres):  # a kernel of zeros: every model predicts 0
            errors = targets if leave_one_out else None
            return without_iterations(self.rows[:1], np.zeros((1, targets.shape[1])), errors)
        factor, scale = self.factor, power_of_two(targets)
        tick = ticks(report, "Preconditioner")
        normal = self.normal_matrix(report) if normal is None and leave_one_out else normal
        damped = None if normal is None else _damped(normal.copy(), ridge, tick)
        if damped is None:
            n_rows = len(self.rows) if self.weights is None else float(self.weights.sum())
            damped = _damped(n_rows / len(self.centres) * lapack.product(factor, factor.T, tick), ridge, tick)
        if damped is None:
            raise ValueError(
                f"The centres' kernel matrix with ridge {ridge:g} is singular to working precision: pass a larger "
                "ridge, or fewer centres."
            )

        def substitute(b: Reals) -> Reals:
            """Return T^-1 A^-1 b."""
            return solve_triangular(factor, solve_triangular(damped, b, check_finite=False), check_finite=False)

        def transpose(c: Reals) -> Reals:
            """Return A^-T T^-T c."""
            inner = solve_triangular(factor, c, trans="T", check_finite=False)
            return solve_triangular(damped, inner, trans="T", check_finite=False)

        def multiply(b: Reals) -> Reals:
            damping = solve_triangular(damped, solve_triangular(damped, b, check_finite=False), trans="T")
            return transpose(self.normal_product(substitute(b))) + ridge * damping

        found = conjugate_gradients(
            multiply,
            transpose(self.transposed_product(self.roots * (targets / scale))),
            tolerance=options.tolerance,
            max_iterations=options.max_iterations,
            report=report,
        )
        if not found.converged:
            warn_of_stall(found, options.tolerance, "raise ridge, tolerance or max_iterations, or choose fewer centres")
        coefficients = scaled_back(substitute(found.solution), scale)
        errors = self._leave_one_out(targets, coefficients, damped, report) if leave_one_out else None
        return Solution(self.centres, coefficients, found.residuals, found.converged, errors)

    def _leave_one_out(self, targets: Reals, coefficients: Reals, damped: Reals, report: Report) -> Reals:
        """Return errors of rows left out, with A^T A = Z^T Z + ridge I: residuals over 1 - leverage."""
        operation = LeaveOneOut(self.factor, damped, targets, coefficients, self.roots)
        return self.matrix.rows_of(operation, targets.shape[1], _share(report, "Leave-one-out errors"))

    def ridge_path(self, problem: WeightedTargets, normal: Reals, seed: int, report: Report = silent) -> RidgePath:
        """Return leave-one-out errors, of at most `ROWS_OF_A_PATH` rows, along a path of ridges."""
        some = np.arange(len(self.rows))
        if len(some) > ROWS_OF_A_PATH:
            some = np.sort(np.random.default_rng(seed).choice(len(some), ROWS_OF_A_PATH, replace=False))
        decomposition = SpectralDecomposition.in_place(normal.copy(), report)
        values, vectors = np.maximum(decomposition.eigenvalues, 0), decomposition.eigenvectors
        columns = self.roots * problem.columns
        right = solve_triangular(self.factor, self.transposed_product(columns), trans="T", check_finite=False)
        right = vectors.T @ right
        kernels = self.kernel(self.rows[some], self.centres, dtype=np.float64, n_threads=self.n_threads)
        features = (
            vectors.T @ features_of(self.factor, self.roots[some] * kernels)
        ).T  # (n_some, m), of independent columns
        squares = features**2

        def errors_at(ridges: NDArray[np.float64]) -> NDArray[np.float64]:
            damping = 1 / (values[:, None] + ridges)  # (m, n_ridges)
            remains = self.roots[some] * (1 - squares @ damping)
            found = []
            for index in range(len(ridges)):
                residuals = columns[some] - features @ (damping[:, [index]] * right)
                errors = problem.leave_one_out(residuals / remains[:, [index]], some)
                found.append(problem.mean_square(errors, some))
            return np.array(found)

        return search_path(errors_at, float(values.max(initial=0.0)))


def _share(report: Report, stage: str) -> Progress:
    return lambda done, total: report(stage, done / total)


def independent_centres(
    kernel: Kernel, centres: NDArray[np.floating], n_threads: int | None = None, report: Report = silent
) -> tuple[NDArray[np.floating], Reals]:
    """Return the centres whose kernels are linearly independent to working precision, and T with K_mm = T^T T.

    Those left out, repeated rows for one, add nothing to what the others can represent.
    """
    matrix = gram_matrix(kernel, centres, n_threads, report, copies=3)
    tolerance = len(matrix) * np.finfo(np.float64).eps * float(matrix.diagonal().max())
    kept = lapack.pivoted_cholesky_in_place(matrix, tolerance, ticks(report, "Centres"))
    return centres[kept], np.ascontiguousarray(matrix[: len(kept), : len(kept)]).T


def _damped(matrix: Reals, ridge: float, tick: Callable[[], None]) -> Reals | None:
    """Return the upper triangular A with A^T A = matrix + ridge I; None if that is singular to working precision."""
    matrix = np.ascontiguousarray(matrix)
    matrix.flat[:: len(matrix) + 1] += ridge
    return matrix.T if lapack.cholesky_in_place(matrix, tick) else None
