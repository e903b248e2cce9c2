"""Any network on rows: activations, residual networks and rows of equal norm against the perceptron's table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import ntk_fast as ntk
from bench.measure import in_turn, process
from bench.targets import Row, Setting, at_most, faster, normal_rows, target
from ntk_fast import layers
from ntk_fast.backends import available_backends
from ntk_fast.kernels import Kernel

NTK3 = ntk.NTK(3)
N_FEATURES = 64
#: Keeps variances near 1 on standard normal rows.
FIRST = 1 / N_FEATURES


def perceptron(activation: str, depth: int = 3) -> Kernel:
    """With biases, and variances near 1."""
    hidden = layers.Dense("he", 0.1)
    parts = [part for _ in range(depth) for part in (ntk.NTK(1, activation).network.layers[1], hidden)]
    return ntk.NTK(network=layers.Sequential(layers.Dense(FIRST, 0.1), *parts))


def residual(n_blocks: int = 4) -> Kernel:
    block = layers.Residual(layers.Relu(), layers.Dense(1.0, 0.1), layers.Relu(), layers.Dense(1.0, 0.1))
    return ntk.NTK(
        network=layers.Sequential(layers.Dense(FIRST, 0.1), *[block] * n_blocks, layers.Relu(), layers.Dense(1.0, 0.1))
    )


def call(kernel: Kernel, X: np.ndarray, out: np.ndarray, **options: object) -> Callable[[], object]:
    return lambda: kernel(X, out=out, **options)  # type: ignore[arg-type]


@target("networks")
def against_the_perceptron(setting: Setting) -> Iterator[Row]:
    """Symmetric, p = 64, 2 threads."""
    n = setting.n // 2
    X, K = normal_rows(n, N_FEATURES), np.empty((n, n))
    unit, single, K32 = X / np.linalg.norm(X, axis=1)[:, None], X.astype(np.float32), np.empty((n, n), np.float32)
    cases = {
        "GELU, depth 5, bias, rows of equal norm": (perceptron("gelu", 5), unit, K, 1.3),
        "ReLU residual, 4 blocks of two layers, float32": (residual(), single, K32, 5),
        "erf, depth 3": (perceptron("erf"), X, K, 4),
        "GELU, depth 3": (perceptron("gelu"), X, K, 6),
        "SiLU, depth 3": (perceptron("silu"), X, K, 12),
    }
    functions = {"plain": call(NTK3, X, K), "plain32": call(NTK3, single, K32)}
    functions |= {name: call(kernel, rows, out) for name, (kernel, rows, out, _) in cases.items()}
    if "numba" in available_backends():
        functions |= {f"numba {name}": call(k, rows, out, backend="numba") for name, (k, rows, out, _) in cases.items()}
    t = in_turn(functions, setting.rounds)
    slow = in_turn(
        {name: call(k, rows, out, backend="numpy") for name, (k, rows, out, _) in cases.items()},
        setting.reference_rounds,
    )
    for name, (_, _, out, bound) in cases.items():
        yield at_most(f"{name} / NTK(3) without bias", t[name], t["plain32" if out is K32 else "plain"], bound)
        yield faster(f"NumPy reference / {name}", slow[name], t[name], 20)
        if f"numba {name}" in t:
            yield at_most(f"Numba / C, {name}", t[f"numba {name}"], t[name], 2)


def _seconds_of_compiling(activation: str) -> float:
    """What the first call on a few rows costs more than the second, in a process that has compiled nothing alike."""
    return float(
        process(f"""
import time, warnings
import numpy, scipy.special, ntk_fast as ntk
from bench.networks import perceptron
warnings.simplefilter("ignore")
X = numpy.random.default_rng(0).standard_normal((8, {N_FEATURES}))
ntk.NTK(2, "abs")(X[:2])
kernel, times = perceptron("{activation}"), []
for _ in range(2):
    start = time.perf_counter()
    kernel(X)
    times.append(time.perf_counter() - start)
print(times[0] - times[1])
""")
    )


@target("networks")
def compiling_a_kernel(setting: Setting) -> Iterator[Row]:
    """The first call on a few rows, less the second, in a fresh process."""
    for name, activation, bound in (("closed forms", "gelu", 30), ("Hermite expansions", "silu", 300)):
        best = min(_seconds_of_compiling(activation) for _ in range(5))
        yield Row(f"compiling a kernel, {name}, ms", 1e3 * best, bound, True)
