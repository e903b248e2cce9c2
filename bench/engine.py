"""Gram matrices in memory: speed against fills, products and the reference, and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import ntk_fast as ntk
from bench.measure import in_turn, peak_memory, process
from bench.targets import Row, Setting, at_most, faster, normal_rows, target
from ntk_fast.backends import available_backends
from ntk_fast.kernels import Kernel

NTK3 = ntk.NTK(3)


def call(kernel: Kernel, X: np.ndarray, out: np.ndarray, **options: object) -> Callable[[], object]:
    return lambda: kernel(X, out=out, **options)  # type: ignore[arg-type]


@target("engine")
def depth_three(setting: Setting) -> Iterator[Row]:
    """NTK, ReLU, float64, p = 64, symmetric, in its variations."""
    X, K = normal_rows(setting.n, 64), np.empty((setting.n, setting.n))
    single, K32 = X.astype(np.float32), np.empty((setting.n, setting.n), np.float32)
    offset = normal_rows(1, 64, seed=1)
    parallel = offset + 1e-3 * X
    biased = ntk.NTK(3, bias_variance=0.1)
    functions = {
        "fill": lambda: K.fill(1.0),
        "symmetric": call(NTK3, X, K),
        "depth 1": call(ntk.NTK(1), X, K),
        "depth 100": call(ntk.NTK(100), X, K),
        "float32": call(NTK3, single, K32),
        "bias": call(biased, X, K),
        "near-parallel": call(NTK3, parallel, K),
        "one thread": call(NTK3, X, K, n_threads=1),
        "two threads": call(NTK3, X, K, n_threads=2),
    }
    if "numba" in available_backends():
        functions["numba"] = call(NTK3, X, K, backend="numba")
    t = in_turn(functions, setting.rounds)
    reference = in_turn(
        {"plain": call(NTK3, X, K, backend="numpy"), "bias": call(biased, X, K, backend="numpy")},
        setting.reference_rounds,
    )
    yield at_most("symmetric Gram / K.fill(1.0)", t["symmetric"], t["fill"], 1.2)
    yield faster("NumPy reference / symmetric Gram", reference["plain"], t["symmetric"], 50)
    yield at_most("depth 100 / depth 1", t["depth 100"], t["depth 1"], 1.3)
    yield faster("float64 / float32", t["symmetric"], t["float32"], 1.7)
    if "numba" in t:
        yield at_most("Numba / Cython", t["numba"], t["symmetric"], 1.8)
    yield at_most("bias 0.1, unequal norms / no bias", t["bias"], t["symmetric"], 4)
    yield faster("NumPy reference / Gram, both with bias", reference["bias"], t["bias"], 15)
    yield at_most("all rows nearly parallel / ordinary rows", t["near-parallel"], t["symmetric"], 5)
    yield faster("1 thread / 2 threads", t["one thread"], t["two threads"], 1.8)


@target("engine")
def many_features(setting: Setting) -> Iterator[Row]:
    """p = 784, against the matrix product alone, on both cores."""
    X, Y = normal_rows(setting.n, 784), normal_rows(setting.n, 784, seed=1)
    K = np.empty((setting.n, setting.n))
    functions = {
        "product": lambda: np.matmul(X, Y.T, out=K),
        "symmetric": call(NTK3, X, K),
        "rectangular": lambda: NTK3(X, Y, out=K),
    }
    t = in_turn(functions, max(3, setting.rounds // 2))
    yield at_most("p = 784: symmetric / np.matmul(X, Y.T, out=K)", t["symmetric"], t["product"], 0.75)
    yield at_most("p = 784: rectangular / np.matmul(X, Y.T, out=K)", t["rectangular"], t["product"], 1.2)


@target("engine")
def small_call(setting: Setting) -> Iterator[Row]:
    X = normal_rows(50, 10)
    t = in_turn({"ours": lambda: NTK3(X), "reference": lambda: NTK3(X, backend="numpy")}, 200)
    yield at_most("n = 50, p = 10: whole call / NumPy reference", t["ours"], t["reference"], 1)


@target("engine")
def import_time(setting: Setting) -> Iterator[Row]:
    t = in_turn({"ours": lambda: process("import ntk_fast"), "numpy": lambda: process("import numpy")}, 9)
    yield at_most("import ntk_fast / import numpy, whole process", t["ours"], t["numpy"], 3)


@target("engine")
def memory(setting: Setting) -> Iterator[Row]:
    setup = (
        f"import numpy as np, ntk_fast as ntk; X = np.random.default_rng(0).standard_normal(({setting.n}, 64)); "
        f"K = np.zeros(({setting.n}, {setting.n})); K.fill(0); kernel = ntk.NTK(3); kernel(X[:64])"
    )
    extra, allowed = peak_memory(setup, "kernel(X, out=K, n_threads=2)"), setting.n * 64 * 8 + 2 * 32e6
    absolute = f"{extra / 1e6:.3g} / {allowed / 1e6:.3g} MB"
    yield Row("peak memory beyond rows and result / (rows + 32 MB a thread)", extra / allowed, 1, True, absolute)
