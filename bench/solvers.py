"""The iterative solvers: conjugate gradients on MNIST, and centres on 200,000 rows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

import ntk_fast as ntk
from bench.data import mnist
from bench.measure import in_fresh_process, status
from bench.targets import Row, Setting, megabytes, normal_rows, target
from ntk_fast.solvers import Cholesky, ConjugateGradient, Nystroem


@target("solvers")
def conjugate_gradients(setting: Setting) -> Iterator[Row]:
    """Predictions against Cholesky's, and iterations with a preconditioner against those without."""
    X, y = mnist()
    order = np.random.default_rng(0).permutation(len(X))[: 1000 if setting.quick else None]
    X, y = X[order], y[order]
    targets = (y[:, None] == np.arange(10)) - 0.1
    kernel, ridge = ntk.NTK(depth=3), 1e-6 * len(X)
    noisy = np.clip(X[:500] + 0.1 * normal_rows(*X[:500].shape, seed=1), 0, 1)
    solvers = {"Cholesky": Cholesky(), "CG": ConjugateGradient(), "plain": ConjugateGradient(rank=0)}
    predictions, iterations, seconds = {}, {}, {}
    for name, solver in solvers.items():
        start = time.perf_counter()
        solution = solver.solve(kernel, X, targets, ridge)
        seconds[name] = time.perf_counter() - start
        predictions[name] = kernel(noisy, solution.rows) @ solution.coefficients
        iterations[name] = solution.n_iterations
    exact = predictions["Cholesky"]
    error = float(np.abs(predictions["CG"] - exact).max() / np.abs(exact).max())
    absolute = f"{seconds['CG']:.3g} / {seconds['Cholesky']:.3g} s"
    yield Row(f"CG, MNIST, n = {len(X)}: predictions from Cholesky's, relative", error, 1e-6, True, absolute)
    ratio, absolute = iterations["CG"] / iterations["plain"], f"{iterations['CG']} / {iterations['plain']}"
    yield Row("CG: iterations, preconditioned / plain", ratio, 0.2, True, absolute)


@target("solvers")
def nystroem(setting: Setting) -> Iterator[Row]:
    yield from in_fresh_process(_nystroem, *((20_000, 500) if setting.quick else (200_000, 2000)))


def _nystroem(n: int, n_centres: int) -> list[Row]:
    """Compare the Nystroem solver with passes over its matrix, timed between its iterations: on the same machine."""
    X, noise = normal_rows(n, 32), normal_rows(n, 1, seed=1)
    y = np.sin(X[:, :1]) + X[:, 1:2] * X[:, 2:3] + 0.1 * noise
    kernel, block = ntk.NTK(depth=3), np.empty((4096, n_centres))
    passes: list[float] = []

    def one_pass(what: str = "", share: float = 0.0) -> None:
        if len(passes) < 12:
            start = time.perf_counter()
            for row in range(0, n, len(block)):
                rows = X[row : row + len(block)]
                kernel(rows, X[:n_centres], out=block[: len(rows)])
            passes.append(time.perf_counter() - start)

    one_pass()
    passes.clear()
    before, start = status("VmRSS"), time.perf_counter()
    solution = Nystroem(n_centres=n_centres).solve(kernel, X, y, 1e-6 * n, report=one_pass)
    seconds = time.perf_counter() - start - sum(passes)
    allowed = (2 * solution.n_iterations + 2) * float(np.median(passes))
    absolute = f"{seconds:.3g} s, {solution.n_iterations} iterations, {np.median(passes):.2g} s a pass"
    what = f"Nystroem, n = {n}, {n_centres} centres"
    return [
        Row(f"{what} / (2 x iterations + 2) passes", seconds / allowed, 1.5, True, absolute),
        megabytes(f"{what}: memory beyond the data", status("VmHWM") - before, 1000),
    ]
