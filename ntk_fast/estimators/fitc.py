"""A Gaussian process through centres: FITC (Snelson & Ghahramani, 2006, "Sparse GPs using pseudo-inputs").

The function is known through its values at m of the rows, the centres, and what they leave open of it at a row is taken
for independent of what they leave open at others. With K_mm = L L^T, Z = L^-1 K_mn, D^2 = diag(K - Z^T Z) + noise,
A = Z D^-1, B = I + A A^T, B = R R^T and c = R^-1 A D^-1 y, the targets' covariance is Z^T Z + D^2 and

    log p(y) = -1/2 (|D^-1 y|^2 - |c|^2) - 1/2 log det B - log det D - n/2 log(2 pi).

At x, with k = K_m(x), the function has the mean k^T a, a = L^-T R^-T c, and the variance
K(x, x) - |L^-1 k|^2 + |R^-1 L^-1 k|^2: what the centres leave open counts for new rows as it does for those of
training, and intervals are as wide as errors are large. Derivatives of log p are sums of weights times those of K_mn,
K_mm and the diagonal: with r = D^-2 (y - K_nm a) and g = (r^2 - diag(D^-1 (I - A^T B^-1 A) D^-1)) / 2,

    W_mn = a r^T - L^-T (B^-1 A D^-1 + 2 Z diag(g)),     W_ii = g_i,
    W_mm = L^-T (I - B^-1 + 2 Z diag(g) Z^T) L^-1 / 2 - a a^T / 2.

It takes n m^2 multiplications, and some blocks of columns of Z in memory, or all of it where that fits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ntk_fast import lapack
from ntk_fast.derivatives import contracted_derivatives, contracted_diagonal_derivatives
from ntk_fast.estimators.exact_process import ProcessPosterior
from ntk_fast.estimators.marginal_likelihood import NOISE, Model
from ntk_fast.estimators.standard_units import Likelihood, Search, StandardUnits
from ntk_fast.schedule.memory import available_bytes
from ntk_fast.schedule.tiling import ranges
from ntk_fast.solvers.base import Report, silent
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix

Reals = NDArray[np.float64]

#: Added to the diagonal of K_mm, in units of the targets' mean square: the values at the centres are known up to it. It
#: keeps the matrix regular where centres nearly repeat, and D from 0 where they are rows.
JITTER = 1e-7
#: What must be left of a sum of squares after what the centres explain: less is nothing but rounding errors.
LEAST_SHARE = 1e-14
#: Numbers in a block of rows of K_nm.
BLOCK = 1 << 22
#: The share of the free memory that all blocks may take to be kept between the two passes of a gradient.
SHARE_TO_KEEP = 0.25


#: Rows that an exact process is fitted to, and rows that a process through all centres is fitted to next: each search
#: starts from the variances of the one before, and the last, of all rows, is near its end. Where the second was the
#: last, 90 % intervals covered 88 % of 20 000 rows in 10 columns.
ROWS_TO_START_FROM, ROWS_TO_GO_ON_WITH = 1000, 5000


class ProcessThroughCentres:
    """Rows and targets, the variances to be found; and the centres, drawn from the rows."""

    def __init__(
        self,
        rows: NDArray[np.floating],
        targets: NDArray[np.float64],
        units: StandardUnits,
        n_centres: int,
        generator: np.random.RandomState,
        n_threads: int | None,
    ) -> None:
        self._rows, self._targets, self._units, self._n_threads = rows, targets, units, n_threads
        drawn = generator.permutation(len(rows))
        self._centres = rows[np.sort(drawn[:n_centres])]
        again = generator.permutation(len(rows))  # with centres among them as often as among all
        self._first, self._some = (np.sort(again[:number]) for number in (ROWS_TO_START_FROM, ROWS_TO_GO_ON_WITH))

    def fit(self, model: Model, search: Search) -> tuple[float, Model]:
        """Return the largest log p found, in standard units, and the model that has it."""
        inside = self._targets / self._units.target_square**0.5
        size = float((inside**2).mean()) or 1.0
        first, some = self._first, self._some
        of_some = CentreLikelihood(self._rows[some], inside[some], self._centres, JITTER * size, self._n_threads)
        of_all = CentreLikelihood(self._rows, inside, self._centres, JITTER * size, self._n_threads)

        def exact(model: Model, with_gradient: bool, report: Report) -> tuple[float, NDArray[np.floating]]:
            model = _with_noise_of(model, first)
            return model.log_likelihood(self._rows[first], inside[first], with_gradient, self._n_threads, report)

        def through_centres(model: Model, with_gradient: bool, report: Report) -> tuple[float, Reals]:
            return of_some(_with_noise_of(model, some), with_gradient, report)

        # what centres leave open passes for noise, and often for all of it
        determined = [name for name in model.names if name != NOISE]
        likelihoods: list[Likelihood] = [exact, through_centres, of_all]
        if len(self._rows) <= len(some):
            likelihoods = [exact, of_all]
        return search.fit(model, self._rows, self._units, size, *likelihoods, determined=determined)

    def posterior(self, model: Model, report: Report) -> ProcessPosterior:
        size = float((self._targets**2).mean()) or 1.0
        likelihood = CentreLikelihood(self._rows, self._targets, self._centres, JITTER * size, self._n_threads)
        return likelihood.posterior(model, report)


def _with_noise_of(model: Model, rows: NDArray[np.intp]) -> Model:
    noise = model.noise_variance
    return replace(model, noise_variance=noise[rows] if isinstance(noise, np.ndarray) else noise)


class CentreLikelihood:
    """log p(y) of some rows, targets and centres, whatever the variances."""

    def __init__(
        self,
        X: NDArray[np.floating],
        targets: Reals,
        centres: NDArray[np.floating],
        jitter: float,
        n_threads: int | None = None,
    ) -> None:
        self._X, self._centres, self._jitter, self._n_threads = X, centres, jitter, n_threads
        self._columns = np.column_stack([targets, np.ones(len(X))])
        step = max(1, BLOCK // len(centres))
        self._parts = list(ranges(len(X), step))
        available = available_bytes()
        self._keeps = available is None or 8 * len(X) * len(centres) <= SHARE_TO_KEEP * available

    def posterior(self, model: Model, report: Report = silent) -> ProcessPosterior:
        """Return what is known of the function after all targets."""
        return self._passes(model, False, report)[0]

    def __call__(self, model: Model, with_gradient: bool, report: Report = silent) -> tuple[float, Reals]:
        """Return log p(targets), and its gradient with respect to theta (or zeros)."""
        posterior, gradient = self._passes(model, with_gradient, report)
        return posterior.log_likelihood, gradient

    def _blocks(self, model: Model, lower: Reals) -> Iterator[tuple[Reals, Reals]]:
        """Yield Z and D, some rows' columns at a time."""
        diagonal = model.kernel.diag(self._X, dtype=np.float64)
        noise = np.broadcast_to(np.asarray(model.noise_variance, dtype=np.float64), diagonal.shape)
        for part in self._parts:
            block = model.kernel(self._centres, self._X[part], dtype=np.float64, n_threads=self._n_threads)
            lapack.solve_lower_in_place(lower, block)
            square = np.maximum(diagonal[part] - np.einsum("ij,ij->j", block, block), 0) + noise[part] + self._jitter
            yield block, np.sqrt(square)

    def _passes(self, model: Model, with_gradient: bool, report: Report) -> tuple[ProcessPosterior, Reals]:
        n, n_targets, m = len(self._X), self._columns.shape[1] - 1, len(self._centres)
        Kmm = gram_matrix(model.kernel, self._centres, self._n_threads, report, copies=6)
        Kmm.flat[:: m + 1] += self._jitter
        if not lapack.cholesky_in_place(Kmm):
            raise ValueError("The kernel matrix of the centres is singular to working precision: choose fewer centres.")
        lower, B, right = Kmm, np.eye(m), np.zeros((m, n_targets + 1))
        squares, log_deviations = np.zeros((n_targets + 1, n_targets + 1)), 0.0
        kept = []
        for part, (Z, deviation) in zip(self._parts, self._blocks(model, lower), strict=True):
            report("Centres", part.stop / n)
            A, columns = Z / deviation, self._columns[part] / deviation[:, None]
            lapack.add_product(B, A, A.T)
            right += A @ columns
            squares += columns.T @ columns
            log_deviations += float(np.log(deviation).sum())
            if with_gradient and self._keeps:
                kept.append((Z, deviation))
        damped = B.copy()
        lapack.cholesky_in_place(damped)
        c = solve_triangular(damped, right, lower=True, check_finite=False)
        before = np.diagonal(squares).copy()
        squares -= c.T @ c  # u^T P v of targets and ones, P the inverse of the targets' covariance
        if not (np.diagonal(squares) >= -LEAST_SHARE * before).all() or squares[-1, -1] <= LEAST_SHARE * before[-1]:
            raise ValueError(
                "The covariance of the targets is singular to working precision: pass a larger noise_variance."
            )
        ones_square = float(squares[-1, -1])
        mean = squares[:-1, -1] / ones_square if model.fits_mean else np.zeros(n_targets)
        square = np.diagonal(squares)[:-1] - 2 * mean * squares[:-1, -1] + mean**2 * ones_square
        log_determinant = float(np.log(damped.diagonal()).sum()) + log_deviations
        value = -float(square.sum()) / 2 - n_targets * (log_determinant + n * math.log(2 * math.pi) / 2)
        at_centres = solve_triangular(damped, c[:, :-1] - c[:, -1:] * mean, lower=True, trans="T", check_finite=False)
        a = solve_triangular(lower, at_centres, lower=True, trans="T", check_finite=False)
        posterior = ProcessPosterior(self._centres, a, lower, damped, mean, c[:, -1], ones_square, value)
        gradient = np.zeros(len(model.names))
        if not with_gradient or not len(gradient):
            return posterior, gradient
        n_variances = len(gradient) - model.fits_noise
        inverse = CholeskyFactor(damped.copy()).inverse_in_place(report)
        inverse_lower = np.eye(m)
        lapack.solve_lower_in_place(lower, inverse_lower)
        inner = n_targets * (np.eye(m) - inverse)
        by_diagonal = np.empty(n)
        for part, (Z, deviation) in zip(self._parts, kept or self._blocks(model, lower), strict=True):
            report("Derivatives", part.stop / n)
            solved = lapack.product(inverse, Z / deviation**2)  # B^-1 A D^-1
            residual = self._columns[part, :-1] - self._columns[part, -1:] * mean - Z.T @ at_centres
            residual /= deviation[:, None] ** 2
            precision = 1 / deviation**2 - np.einsum("ij,ij->j", Z, solved) / deviation**2
            g = ((residual**2).sum(axis=1) - n_targets * precision) / 2
            by_diagonal[part] = g
            if n_variances:
                scaled = 2 * Z * g
                lapack.add_product(inner, scaled, Z.T)
                scaled += n_targets * solved
                weights = residual @ a.T
                lapack.add_product(weights, scaled.T, inverse_lower, -1.0)
                gradient[:n_variances] += contracted_derivatives(
                    model.parameters, self._X[part], weights, self._centres, n_threads=self._n_threads
                )
        if n_variances:
            weights = lapack.product(lapack.product(inverse_lower.T, inner), inverse_lower) / 2 - a @ a.T / 2
            gradient[:n_variances] += contracted_derivatives(
                model.parameters, self._centres, (weights + weights.T) / 2, n_threads=self._n_threads
            )
            gradient[:n_variances] += contracted_diagonal_derivatives(model.parameters, self._X, by_diagonal)
        if model.fits_noise:
            gradient[-1] = float(model.noise_variance) * by_diagonal.sum()
        return posterior, gradient
