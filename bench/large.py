"""Matrices that are not kept, and those on disk, against their targets: `python -m bench.large [operator|write|kills]`.

operator: products against forming the symmetric matrix once, and their memory. write: write_gram to .npy against the
same store filled with blocks that are not computed, and its peak memory. kills: a process that writes is killed at
random moments and started again. The last two use a folder in the current directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ntk_fast as ntk
from bench.measure import in_turn, peak_memory
from ntk_fast.out_of_core.block_matrix import BlockMatrix

KERNEL = ntk.NTK(3)
SETUP = "import numpy as np, ntk_fast as ntk; kernel = ntk.NTK(3); X = np.random.default_rng(0).standard_normal"


def operator(n: int = 20_000, n_features: int = 64) -> None:
    """Time products, in float64 and float32, and measure their memory."""
    for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        X = np.random.default_rng(0).standard_normal((n, n_features)).astype(dtype)
        K, vectors = np.zeros((n, n), dtype), np.random.default_rng(1).standard_normal((n, 16))
        A = ntk.KernelOperator(KERNEL, X)
        functions: dict[str, Callable[[], object]] = {
            "matrix": lambda X=X, K=K: KERNEL(X, out=K),
            "one column": lambda A=A, v=vectors[:, 0]: A @ v,
            "16 columns": lambda A=A, V=vectors: A @ V,
        }
        t = in_turn(functions, 7)
        for name, bound in (("one column", 1.1), ("16 columns", 1.4)):
            best, median = t[name].best / t["matrix"].best, t[name].median / t["matrix"].median
            seconds = f"{t[name].best:.3f} / {t['matrix'].best:.3f} s"
            print(f"  {dtype}, {name}: {best:.2f} (median {median:.2f}) x the matrix, {seconds}; target {bound}")
        del K
    setup = f"{SETUP}(({n}, {n_features})); V = np.ones(({n}, 16)); A = ntk.KernelOperator(kernel, X[:99]); A @ V[:99]"
    extra = peak_memory(setup, "A = ntk.KernelOperator(kernel, X); A @ V")
    print(f"  16 columns: {extra / 1e6:.0f} MB beyond rows and vectors; target 100")


def write(n: int = 20_000, n_features: int = 64, rounds: int = 5) -> None:
    """Time write_gram and the same store without the computation; then measure its peak memory at twice the size."""
    fill = BlockMatrix.fill
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "K.npy"
        X = np.random.default_rng(0).standard_normal((n, n_features))

        def run(filling: Callable[..., None]) -> None:
            BlockMatrix.fill = filling  # type: ignore[method-assign]
            ntk.write_gram(KERNEL, X, path)
            path.unlink()
            os.sync()

        t = in_turn({"gram": lambda: run(fill), "zeros": lambda: run(lambda matrix, tile, out: None)}, rounds)
        BlockMatrix.fill = fill  # type: ignore[method-assign]
        best, median = t["gram"].best / t["zeros"].best, t["gram"].median / t["zeros"].median
        seconds = f"{t['gram'].best:.2f} / {t['zeros'].best:.2f} s"
        print(f"  n = {n}, float64: {best:.2f} (median {median:.2f}) x blocks not computed, {seconds}; target 1.3")
        setup = f"{SETUP}(({2 * n}, {n_features})).astype('f4'); np.save({folder!r} + '/X.npy', X); del X"
        call = f"ntk.write_gram(kernel, np.load({folder!r} + '/X.npy', mmap_mode='r'), {folder!r} + '/K.npy')"
        # not ru_maxrss: a child begins with its parent's
        code = "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        done = subprocess.run([sys.executable, "-c", f"{setup}\n{call}\n{code}"], check=True, capture_output=True)
        print(f"  n = {2 * n}, float32: {int(done.stdout) / 1e3:.0f} MB resident at most; target 600")


def kills(n: int = 4000, times: int = 20) -> None:
    """Kill and resume; compare with the file of an uninterrupted run."""
    rng = np.random.default_rng()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        whole, broken = Path(folder) / "whole.npy", Path(folder) / "broken.npy"
        code = f"{SETUP}(({n}, 64))\nntk.write_gram(kernel, X, {{!r}}, resume=True)"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code.format(str(whole))], check=True)
        seconds = time.perf_counter() - start
        n_kills = n_runs = 0
        while n_kills < times:
            process = subprocess.Popen([sys.executable, "-c", code.format(str(broken))])
            n_runs += 1
            try:
                process.wait(timeout=rng.uniform(0, seconds))
                assert same_content(whole, broken)
                broken.unlink()
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                n_kills += 1
        subprocess.run([sys.executable, "-c", code.format(str(broken))], check=True)
        same = "identical" if same_content(whole, broken) else "DIFFERENT"
        print(f"  n = {n}: {n_kills} kills in {n_runs} runs; every file that was finished is {same}")


def same_content(a: Path, b: Path) -> bool:
    return subprocess.run(["cmp", "-s", a, b], check=False).returncode == 0


BENCHMARKS = {"operator": operator, "write": write, "kills": kills}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        print(name, flush=True)
        BENCHMARKS[name]()
