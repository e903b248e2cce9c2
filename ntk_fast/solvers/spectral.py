"""The spectral solver: one eigendecomposition of K, and every ridge and its leave-one-out error after it.

With K = Q diag(s) Q^T and G = (K + ridge I)^-1, the coefficients are G y = Q diag(1 / (s + ridge)) Q^T y, and the error
that a model fitted without row i makes on it is (G y)_i / G_ii (Allen's PRESS; Rasmussen & Williams 2006, Eq. 5.12).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast import lapack
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.schedule.tiling import ranges
from ntk_fast.solvers.base import (
    Report,
    Solution,
    power_of_two,
    refuse_client,
    scaled_back,
    silent,
    ticks,
    without_iterations,
)
from ntk_fast.solvers.cholesky import gram_matrix
from ntk_fast.solvers.weighted import roots_of

#: Ridges to choose from, over the largest eigenvalue: below the first one rounding errors of the eigenvalues decide.
LEAST_RIDGE, LARGEST_RIDGE = 1e-11, 10.0
RIDGES_PER_DECADE = 4
#: Residuals of this many ridges are formed at a time, and squared eigenvectors this many numbers at a time.
RIDGES_AT_A_TIME = 8
BLOCK_NUMBERS = 1 << 22


Reals = NDArray[np.float64]


def mean_square(residuals: Reals) -> Reals:
    """Return the mean squares of residuals, (n_ridges, n, n_targets), over rows and targets."""
    return (residuals**2).mean(axis=(1, 2))


@dataclass(frozen=True, eq=False)
class RidgePath:
    """Leave-one-out errors along a path of ridges."""

    ridges: NDArray[np.float64]  # (n_ridges,), increasing
    errors: NDArray[np.float64]  # (n_ridges,): mean squared, over rows and targets

    @property
    def best(self) -> float:
        """The ridge of the smallest error."""
        return self.best_of_at_least(0.0)

    def best_of_at_least(self, least: float) -> float:
        """Return the best ridge that is no smaller than this; of equals the largest."""
        allowed = np.flatnonzero((self.ridges >= least) | (self.ridges == self.ridges[-1]))
        errors = self.errors[allowed]
        return float(self.ridges[allowed[np.flatnonzero(errors == errors.min())[-1]]])


@dataclass(frozen=True, eq=False)
class SpectralDecomposition:
    """Eigenvalues, increasing, and eigenvectors, in columns, of a symmetric matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> K = ntk.NTK(depth=2)(np.eye(4) + 0.1)
    >>> y = np.array([[1.0], [2.0], [3.0], [5.0]])
    >>> decomposition = SpectralDecomposition.in_place(K.copy())
    >>> bool(np.allclose((K + 0.2 * np.eye(4)) @ decomposition.coefficients(y, 0.2), y))
    True
    """

    eigenvalues: NDArray[np.float64]  # (n,)
    eigenvectors: NDArray[np.float64]  # (n, n)

    @classmethod
    def in_place(cls, matrix: NDArray[np.float64], report: Report = silent) -> SpectralDecomposition:
        """Decompose a symmetric matrix, C-contiguous, in its own memory (and twice as much of workspace)."""
        values = lapack.eigh_in_place(matrix, tick=ticks(report, "Eigenvalues and eigenvectors"))
        return cls(values, matrix.T)

    def coefficients(self, targets: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
        """Return (K + ridge I)^-1 targets."""
        return self.apply(1 / (self.eigenvalues + ridge), targets)

    def apply(self, spectrum: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Q diag(spectrum) Q^T columns."""
        return lapack.product(self.eigenvectors, spectrum[:, None] * lapack.product(self.eigenvectors.T, columns))

    def leave_one_out_residuals(self, targets: ArrayLike, ridges: ArrayLike) -> NDArray[np.float64]:
        """Return the errors made on each row by the model that was fitted without it.

        Parameters
        ----------
        targets : array-like of shape (n, n_targets)
        ridges : array-like of shape (n_ridges,)

        Returns
        -------
        ndarray of shape (n_ridges, n, n_targets)
            Target minus prediction.
        """
        targets, ridges = np.asarray(targets, dtype=np.float64), np.asarray(ridges, dtype=np.float64)
        n = len(self.eigenvalues)
        inverse_spectra = 1 / (self.eigenvalues[:, None] + ridges)  # (n, n_ridges)
        diagonal = np.empty((n, len(ridges)))  # of G
        step = max(1, BLOCK_NUMBERS // n)
        for rows in ranges(n, step):
            diagonal[rows] = self.eigenvectors[rows] ** 2 @ inverse_spectra
        projected = lapack.product(self.eigenvectors.T, np.ascontiguousarray(targets))
        spectra = inverse_spectra.T[:, :, None] * projected  # (n_ridges, n, n_targets)
        stacked = np.ascontiguousarray(spectra.transpose(1, 0, 2)).reshape(n, -1)
        residuals = lapack.product(self.eigenvectors, stacked).reshape(n, len(ridges), -1).transpose(1, 0, 2)
        return residuals / diagonal.T[:, :, None]

    def ridge_path(
        self, targets: ArrayLike, ridges: ArrayLike | None = None, error: Callable[[Reals], Reals] = mean_square
    ) -> RidgePath:
        """Return the mean squared leave-one-out error along a path of ridges.

        Parameters
        ----------
        targets : array-like of shape (n, n_targets)
        ridges : array-like of shape (n_ridges,), optional
            By default four per decade, from 1e-11 to 10 times the largest eigenvalue, and then ten between the
            neighbours of the best of these.
        error : callable, optional
            Makes one number of each ridge's residuals, (n_ridges, n, n_targets); by default the mean of their squares.

        Returns
        -------
        RidgePath
        """
        if ridges is not None:
            chosen = np.sort(np.asarray(ridges, dtype=np.float64))
            return RidgePath(chosen, self._errors(targets, chosen, error))
        return search_path(lambda some: self._errors(targets, some, error), float(self.eigenvalues[-1]))

    def _errors(
        self, targets: ArrayLike, ridges: NDArray[np.float64], error: Callable[[Reals], Reals]
    ) -> NDArray[np.float64]:
        parts = np.split(ridges, range(RIDGES_AT_A_TIME, len(ridges), RIDGES_AT_A_TIME))
        return np.concatenate([error(self.leave_one_out_residuals(targets, part)) for part in parts])


def search_path(errors_at: Callable[[NDArray[np.float64]], NDArray[np.float64]], largest: float) -> RidgePath:
    """Return the path of ridges that suits a largest eigenvalue, finer where its errors are least."""
    if largest <= 0:
        largest = 1.0  # a kernel of zeros: every ridge predicts 0
    decades = np.log10(LARGEST_RIDGE / LEAST_RIDGE)
    coarse = largest * np.geomspace(LEAST_RIDGE, LARGEST_RIDGE, round(RIDGES_PER_DECADE * decades) + 1)
    errors = errors_at(coarse)
    best = int(np.argmin(errors))
    fine = np.geomspace(coarse[max(best - 1, 0)], coarse[min(best + 1, len(coarse) - 1)], 12)[1:-1]
    merged, merged_errors = np.append(coarse, fine), np.append(errors, errors_at(fine))
    order = np.argsort(merged)
    return RidgePath(merged[order], merged_errors[order])


@dataclass(frozen=True)
class Spectral:
    """Solve by eigendecomposition: about twenty times the work of :class:`Cholesky`, for a path of ridges at once."""

    is_direct: ClassVar[bool] = True

    def decompose(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        *,
        weights: NDArray[np.float64] | None = None,
        n_threads: int | None = None,
        report: Report = silent,
    ) -> SpectralDecomposition:
        """Return the decomposition of the Gram matrix of the rows, with weights that of D K D: see `weighted`.

        Parameters
        ----------
        kernel, rows, weights, n_threads, report
            As for `solve`.

        Returns
        -------
        SpectralDecomposition

        Raises
        ------
        MemoryError
            If three matrices do not fit in the free memory.
        """
        matrix = gram_matrix(kernel, rows, n_threads, report, copies=3, weights=weights)
        with limited_blas(n_threads):
            return SpectralDecomposition.in_place(matrix, report)

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
        decomposition = self.decompose(kernel, rows, weights=weights, n_threads=n_threads, report=report)
        roots, scale = roots_of(weights, len(rows)), power_of_two(targets)
        columns, errors = roots * (targets / scale), None
        if leave_one_out:
            errors = scaled_back(decomposition.leave_one_out_residuals(columns, [ridge])[0] / roots, scale)
        coefficients = scaled_back(roots * decomposition.coefficients(columns, ridge), scale)
        return without_iterations(rows, coefficients, errors)
