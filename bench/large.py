"""Matrices that are not kept, and those on disk: in a temporary folder in the current directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import ntk_fast as ntk
from bench.measure import in_turn, peak_memory, process
from bench.targets import Row, Setting, at_most, megabytes, normal_rows, target
from ntk_fast.out_of_core.block_matrix import BlockMatrix

KERNEL = ntk.NTK(3)
N_FEATURES = 64
N_KILLS = 20
SETUP = "import numpy as np, ntk_fast as ntk; kernel = ntk.NTK(3); X = np.random.default_rng(0).standard_normal"


@target("large")
def operator(setting: Setting) -> Iterator[Row]:
    """Products against forming the symmetric matrix once."""
    n = setting.n if setting.quick else 20_000
    for dtype in ("float64", "float32"):
        X = normal_rows(n, N_FEATURES, dtype)
        K, vectors = np.zeros((n, n), dtype), normal_rows(n, 16, seed=1)
        A = ntk.KernelOperator(KERNEL, X)
        functions: dict[str, Callable[[], object]] = {
            "matrix": lambda X=X, K=K: KERNEL(X, out=K),
            "one": lambda A=A, v=vectors[:, 0]: A @ v,
            "16": lambda A=A, V=vectors: A @ V,
        }
        t = in_turn(functions, setting.rounds)
        yield at_most(f"KernelOperator @ v, n = {n}, {dtype} / symmetric Gram", t["one"], t["matrix"], 1.1)
        yield at_most(f"KernelOperator @ V, 16 columns, {dtype} / symmetric Gram", t["16"], t["matrix"], 1.4)
        del K
    for columns in (1, 16):
        vectors = f"V = np.ones(({n}, {columns})); A = ntk.KernelOperator(kernel, X[:99]); A @ V[:99]"
        setup = f"{SETUP}(({n}, {N_FEATURES})); {vectors}"
        extra = peak_memory(setup, "A = ntk.KernelOperator(kernel, X); A @ V")
        yield megabytes(f"KernelOperator @ V, {columns} columns: memory beyond rows and vectors", extra, 100)


@target("large")
def write(setting: Setting) -> Iterator[Row]:
    """write_gram against the same store filled with blocks that nobody computes; its memory at twice the size."""
    n = setting.n if setting.quick else 20_000
    fill = BlockMatrix.fill
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path, X = Path(folder) / "K.npy", normal_rows(n, N_FEATURES)

        def run(filling: Callable[..., None]) -> None:
            BlockMatrix.fill = filling  # type: ignore[method-assign]
            ntk.write_gram(KERNEL, X, path)
            path.unlink()
            os.sync()

        functions = {"gram": lambda: run(fill), "zeros": lambda: run(lambda matrix, tile, out: None)}
        t = in_turn(functions, setting.rounds // 2 + 1)
        BlockMatrix.fill = fill  # type: ignore[method-assign]
        yield at_most(f"write_gram, n = {n}, .npy / the store alone", t["gram"], t["zeros"], 1.3)
        rows = f"{folder}/X.npy"
        np.save(rows, normal_rows(2 * n, N_FEATURES, "f4"))
        code = (
            "import numpy as np, ntk_fast as ntk; from bench.measure import status; "
            f"ntk.write_gram(ntk.NTK(3), np.load({rows!r}, mmap_mode='r'), {folder + '/K.npy'!r})\n"
            "print(status('VmHWM'))"
        )
        yield megabytes(f"write_gram, n = {2 * n}, float32, rows memory-mapped: resident", int(process(code)), 600)


@target("large")
def kills(setting: Setting) -> Iterator[Row]:
    """Kill a process that writes at random moments, and start it again; compare with an uninterrupted run's file."""
    n, rng = 4000, np.random.default_rng()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        whole, broken = Path(folder) / "whole.npy", Path(folder) / "broken.npy"
        code = f"{SETUP}(({n}, {N_FEATURES}))\nntk.write_gram(kernel, X, {{!r}}, resume=True)"
        start = time.perf_counter()
        process(code.format(str(whole)))
        seconds = time.perf_counter() - start
        n_kills = n_different = n_finished = 0
        while n_kills < N_KILLS or not n_finished:
            run = subprocess.Popen([sys.executable, "-c", code.format(str(broken))])
            try:
                run.wait(timeout=rng.uniform(0, seconds) if n_kills < N_KILLS else None)
                n_finished += 1
                n_different += not _same_content(whole, broken)
                broken.unlink()
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
                n_kills += 1
    absolute = f"{n_kills} kills, {n_finished} finished"
    yield Row("SIGKILL at random moments, resumed: files that differ", n_different, 0, True, absolute)


def _same_content(a: Path, b: Path) -> bool:
    return subprocess.run(["cmp", "-s", a, b], check=False).returncode == 0
