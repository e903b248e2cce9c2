"""How far a function may be from its posterior mean: variances and covariances at new rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast import lapack
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.tiling import ranges
from ntk_fast.solvers.cholesky import CholeskyFactor

Reals = NDArray[np.floating]

#: Multiplications in a block of rows: a fraction of a second.
WHITENED_AT_A_TIME = 2e10


@dataclass(frozen=True, eq=False)
class PosteriorSpread:
    """A fitted process: see `exact_process.ProcessPosterior` for L, `damped` and how well a fitted mean is known."""

    kernel: Kernel
    rows: NDArray[np.floating]  # (n, n_features): fitted ones, or centres
    factor: CholeskyFactor  # L
    damped: CholeskyFactor | None
    mean_weights: Reals | None  # (n,); None: the mean is not fitted
    mean_precision: float  # 0 likewise
    n_threads: int | None

    def variance(self, rows: NDArray[np.floating]) -> Reals:
        """Return the function's variances, (m,); rounding may leave some below 0."""
        explained = [(known**2).sum(axis=0) - (unknown**2).sum(axis=0) for known, unknown in self._whitened(rows)]
        return self.kernel.diag(rows, dtype=np.float64) - np.concatenate(explained)

    def covariance(self, rows: NDArray[np.floating]) -> Reals:
        """Return the function's covariance, (m, m)."""
        known, unknown = (np.concatenate(parts, axis=1) for parts in zip(*self._whitened(rows), strict=True))
        covariance: Reals = self.kernel(rows, dtype=np.float64, n_threads=self.n_threads)
        covariance = covariance - lapack.product(known.T, known)
        covariance += lapack.product(unknown.T, unknown)
        return covariance

    def _whitened(self, rows: NDArray[np.floating]) -> Iterator[tuple[Reals, Reals]]:
        """Yield, some rows at a time, factors of what the prior's covariance is less, and of what it is more again."""
        for part in ranges(len(rows), rows_at_a_time(len(self.rows))):
            known = self.factor.whiten(self.kernel(rows[part], self.rows, dtype=np.float64, n_threads=self.n_threads).T)
            unknown = known[:0]
            inner = known
            if self.damped is not None:
                inner = unknown = self.damped.whiten(known)
            if self.mean_precision:
                assert self.mean_weights is not None
                mean = (1 - self.mean_weights @ inner) / self.mean_precision**0.5
                unknown = np.concatenate([unknown, mean[None, :]])
            yield known, unknown


def rows_at_a_time(n_fitted: int, n_functions: int = 1) -> int:
    """Return how many rows are whitened between two looks at Ctrl-C."""
    return max(1, int(WHITENED_AT_A_TIME / (n_fitted**2 * n_functions)))
