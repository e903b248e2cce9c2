"""The promises about finite networks and spectra: `python -m bench.finite` (some minutes), `--quick` (one).

Speed as ratios timed in turn, memory, and the measured slopes and exponents.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
from rich.console import Console

import ntk_fast as ntk
from bench.measure import in_turn
from bench.report import print_targets
from bench.targets import Row, at_most, faster, normal_rows
from ntk_fast import finite
from ntk_fast.finite.propagation import Propagation
from ntk_fast.memory import available_bytes

N, N_FEATURES, WIDTH, DEPTHS = 1000, 64, 4096, (1, 3)
#: scikit-learn's digits.
DIGITS_SHAPE, DIGITS_WIDTH = (1797, 64), 8192


def numpy_tangent_gram(network: finite.Network, X: np.ndarray) -> np.ndarray:
    """The tangent kernel as one would write it: form the tangent features, and multiply."""
    scale, weights = network.width**-0.5, network.weights
    inputs, pre = [X], []
    for matrix in weights.hidden:
        pre.append(inputs[-1] @ matrix.T)
        inputs.append(np.maximum(pre[-1], 0) * scale)
    features = np.empty((len(X), network.n_parameters))
    stop = network.n_parameters
    features[:, stop - network.width :] = inputs[-1]
    stop -= network.width
    delta = scale * weights.readout * (pre[-1] > 0)
    for layer in reversed(range(network.depth)):
        size = weights.hidden[layer].size
        block = features[:, stop - size : stop].reshape(len(X), *weights.hidden[layer].shape)
        np.multiply(delta[:, :, None], inputs[layer][:, None, :], out=block)
        stop -= size
        if layer:
            delta = scale * (delta @ weights.hidden[layer]) * (pre[layer - 1] > 0)
    return features @ features.T


def products_of_the_kernel(network: finite.Network, X: np.ndarray) -> Callable[[], None]:
    """The matrix products of an empirical NTK, alone: forward, backward, and two Gram matrices a layer."""
    n, width = len(X), network.width
    rng = np.random.default_rng(0)
    a, b, out = rng.standard_normal((n, width)), rng.standard_normal((n, width)), np.empty((n, width))
    gram = np.empty((n, n))

    def run() -> None:
        np.matmul(X, network.weights.hidden[0].T, out=out)
        for matrix in network.weights.hidden[1:]:
            np.matmul(a, matrix.T, out=out)
            np.matmul(b, matrix, out=out)
        for _ in network.weights.hidden:
            np.matmul(a, a.T, out=gram)
            np.matmul(b, b.T, out=gram)
        np.matmul(X, X.T, out=gram)

    return run


def empirical_kernel(quick: bool) -> Iterator[Row]:
    for depth in DEPTHS:
        yield from empirical_kernel_of(finite.Network.initialize(N_FEATURES, WIDTH, depth, rng=0), quick)


def empirical_kernel_of(network: finite.Network, quick: bool) -> Iterator[Row]:
    X, depth = normal_rows(N, N_FEATURES), network.depth
    fitting = int(min(4e9, (available_bytes() or 4e9) / 3) // (network.n_parameters * 8))
    few = X[: max(1, min(N, fitting) // (4 if quick else 1))]
    computed, expected = network.empirical_ntk(few), numpy_tangent_gram(network, few)
    error = float(np.abs(computed - expected).max() / np.abs(expected).max())
    yield Row(f"depth {depth}: difference from tangent features, relative", error, 1e-12, True, f"{error:.1e}")
    t = in_turn(
        {"ours": lambda: network.empirical_ntk(few), "features": lambda: numpy_tangent_gram(network, few)},
        1 if quick else 2,
    )
    yield faster(f"depth {depth}: NumPy tangent features / empirical NTK, n = {len(few)}", t["features"], t["ours"], 20)
    t = in_turn(
        {"ours": lambda: network.empirical_ntk(X), "products": products_of_the_kernel(network, X)}, 3 if quick else 5
    )
    yield at_most(f"depth {depth}: empirical NTK / its matrix products, n = {N}", t["ours"], t["products"], 1.5)
    tracemalloc.start()
    network.empirical_ntk(X)
    peak = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    allowed = 10 * N**2 + 4 * N * WIDTH
    absolute = f"{peak / 1e6:.1f} / {allowed / 1e6:.1f} million floats"
    yield Row(f"depth {depth}: memory / (10 n^2 + 4 n width)", peak / allowed, 1, True, absolute)


def training_step(quick: bool) -> Iterator[Row]:
    X, y = normal_rows(*DIGITS_SHAPE), normal_rows(DIGITS_SHAPE[0], 1)[:, 0]
    network = finite.Network.initialize(DIGITS_SHAPE[1], DIGITS_WIDTH, rng=0)
    passes = Propagation(X, DIGITS_WIDTH, 1, network.unit, ntk.threads.choose_n_threads(None))
    slopes = network.split(np.empty(network.n_parameters))
    pre, gradient = np.empty((len(X), DIGITS_WIDTH)), np.empty((DIGITS_WIDTH, DIGITS_SHAPE[1]))

    def products() -> None:
        np.matmul(X, network.weights.hidden[0].T, out=pre)
        pre @ network.weights.readout
        y @ pre
        np.matmul(pre.T, X, out=gradient)

    t = in_turn(
        {"ours": lambda: passes.gradient(network.weights, slopes, lambda f, rows: f - y[rows]), "products": products},
        5 if quick else 15,
    )
    yield at_most(f"training step, width {DIGITS_WIDTH}, digits / its products", t["ours"], t["products"], 1.5)


def slopes(quick: bool) -> Iterator[Row]:
    rows = normal_rows(12, 6)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    widths = [2**power for power in range(6, 10 if quick else 12)]
    for kernel in (ntk.NTK(1), ntk.NTK(3)):
        law = finite.kernel_convergence(kernel, rows, widths, n_networks=100, rng=0).law
        yield Row(f"{kernel}: slope of the deviation, from -1/2", abs(law.exponent + 0.5), 0.05, True, str(law))


def exponents(quick: bool) -> Iterator[Row]:
    for p in (3, 5, 10):
        for depth in DEPTHS:
            law = ntk.spectrum.sphere_eigenvalues(ntk.NTK(depth), p, 400).decay(100, 400)
            relative = abs(law.exponent / p + 1)
            yield Row(f"exponent by degree, depth {depth}, p = {p}: from p", relative, 0.05, True, str(law))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.finite", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    quick = parser.parse_args().quick
    console = Console()
    rows: list[Row] = []
    for measure in (empirical_kernel, training_step, slopes, exponents):
        console.print(f"measuring: {measure.__name__.replace('_', ' ')} ...")
        rows += measure(quick)
    print_targets(console, rows)


if __name__ == "__main__":
    main()
