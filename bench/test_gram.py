"""The grid: every kernel and engine of tests/registry.py, beside the reference and the rooflines, grouped by size.

Run by `python -m bench`, or directly: `python -m pytest bench --benchmark-group-by=group`.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import ntk_fast as ntk
from bench.targets import normal_rows
from ntk_fast.kernels import Kernel
from tests.registry import DTYPES, ENGINES, KERNELS

QUICK = bool(os.environ.get("NTK_FAST_BENCH_QUICK"))
N = 1000 if QUICK else 3000
FAST_ENGINES = [engine for engine in ENGINES if str(engine) != "numpy"]
SIZES = [(n, p) for n in ((500, 2000) if QUICK else (500, 1000, 2000, 4000, 8000)) for p in (16, 64, 784)]
DEPTHS = (1, 3, 10, 30, 100)
THREADS = (1, 2)


def run(benchmark, function, group: str, **info: object) -> None:
    benchmark.group = group
    benchmark.extra_info.update(info)
    benchmark.pedantic(function, rounds=3 if QUICK else 5, warmup_rounds=1)


def gram(benchmark, kernel: Kernel, engine, dtype, n: int, p: int, group: str, n_threads: int | None = None) -> None:
    X, K = normal_rows(n, p, dtype.str), np.empty((n, n), dtype)
    info = {"engine": str(engine), "n": n, "p": p, "depth": kernel.depth, "threads": n_threads}
    with engine.selected() as backend:
        run(
            benchmark,
            lambda: kernel(X, out=K, backend=backend, n_threads=n_threads),
            group,
            kernel=repr(kernel),
            dtype=dtype.name,
            **info,
        )


@pytest.mark.parametrize(("n", "p"), SIZES)
@pytest.mark.parametrize("roofline", ["matmul", "fill"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rooflines(benchmark, dtype, roofline, n, p):
    X, K = normal_rows(n, p, dtype.str), np.empty((n, n), dtype)
    Y = X.copy()
    functions = {"matmul": lambda: np.matmul(X, Y.T, out=K), "fill": lambda: K.fill(1.0)}
    run(benchmark, functions[roofline], f"size n={n} p={p} {dtype}", engine=roofline, n=n, p=p, dtype=dtype.name)


@pytest.mark.parametrize(("n", "p"), SIZES)
@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_size(benchmark, dtype, engine, n, p):
    if str(engine) == "numpy" and n > 2000:
        pytest.skip("the reference takes seconds an entry of this table; see the targets")
    gram(benchmark, ntk.NTK(3), engine, dtype, n, p, f"size n={n} p={p} {dtype}")


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_depth(benchmark, engine, depth):
    gram(benchmark, ntk.NTK(depth), engine, DTYPES[0], 1000, 64, f"depth {depth}")


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("engine", FAST_ENGINES, ids=str)
def test_threads(benchmark, engine, n_threads):
    gram(benchmark, ntk.NTK(3), engine, DTYPES[0], N, 64, f"threads {n_threads}", n_threads)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("engine", [ENGINES[0], *(e for e in ENGINES if str(e) in ("numba", "numpy"))], ids=str)
def test_kernel(benchmark, engine, name):
    gram(benchmark, KERNELS[name], engine, DTYPES[0], 1000, 64, f"kernel {name}")
