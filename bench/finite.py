"""Finite networks and spectra: speed, memory, and the measured slopes, exponents and bounds."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np

import ntk_fast as ntk
from bench.measure import in_turn
from bench.targets import Row, Setting, at_most, faster, normal_rows, target
from ntk_fast import finite, theory
from ntk_fast.finite.propagation import Propagation
from ntk_fast.schedule.memory import available_bytes
from ntk_fast.schedule.threads import choose_n_threads

N, N_FEATURES, WIDTH, DEPTHS = 1000, 64, 4096, (1, 3)
#: Of the free memory, what tangent features may take: two thirds, and the rest is for what is computed from them.
LARGEST_FEATURES = 2 / 3
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


@target("finite")
def empirical_kernel(setting: Setting) -> Iterator[Row]:
    """The empirical NTK against its tangent features, as many as fit in memory, and against its own matrix products."""
    for depth in DEPTHS:
        network = finite.Network.initialize(N_FEATURES, WIDTH, depth, rng=0)
        yield from _against_features(network, 4e9 if setting.quick else LARGEST_FEATURES * (available_bytes() or 4e9))
        yield from _against_products(network, setting.rounds)


def _against_features(network: finite.Network, n_bytes: float) -> Iterator[Row]:
    n, depth = min(N, int(n_bytes // (network.n_parameters * 8))), network.depth
    X = normal_rows(n, N_FEATURES)
    expected = numpy_tangent_gram(network, X)
    error = float(np.abs(network.empirical_ntk(X) - expected).max() / np.abs(expected).max())
    yield Row(f"depth {depth}: empirical NTK from the Gram matrix of tangent features, relative", error, 1e-12, True)
    t = in_turn({"ours": lambda: network.empirical_ntk(X), "features": lambda: numpy_tangent_gram(network, X)}, 2)
    yield faster(f"depth {depth}: NumPy tangent features / empirical NTK, n = {n}", t["features"], t["ours"], 20)


def _against_products(network: finite.Network, rounds: int) -> Iterator[Row]:
    X, depth = normal_rows(N, N_FEATURES), network.depth
    t = in_turn({"ours": lambda: network.empirical_ntk(X), "products": products_of_the_kernel(network, X)}, rounds)
    yield at_most(f"depth {depth}: empirical NTK / its matrix products, n = {N}", t["ours"], t["products"], 1.5)
    tracemalloc.start()
    network.empirical_ntk(X)
    peak = tracemalloc.get_traced_memory()[1] / 8
    tracemalloc.stop()
    allowed = 10 * N**2 + 4 * N * WIDTH
    absolute = f"{peak / 1e6:.1f} / {allowed / 1e6:.1f} million floats"
    yield Row(f"depth {depth}: memory / (10 n^2 + 4 n width)", peak / allowed, 1, True, absolute)


@target("finite")
def training_step(setting: Setting) -> Iterator[Row]:
    X, y = normal_rows(*DIGITS_SHAPE), normal_rows(DIGITS_SHAPE[0], 1)[:, 0]
    network = finite.Network.initialize(DIGITS_SHAPE[1], DIGITS_WIDTH, rng=0)
    passes = Propagation(X, network.graph, choose_n_threads(None))
    slopes = network.split(np.empty(network.n_parameters))
    pre, gradient = np.empty((len(X), DIGITS_WIDTH)), np.empty((DIGITS_WIDTH, DIGITS_SHAPE[1]))

    def products() -> None:
        np.matmul(X, network.weights.hidden[0].T, out=pre)
        pre @ network.weights.readout
        y @ pre
        np.matmul(pre.T, X, out=gradient)

    t = in_turn(
        {"ours": lambda: passes.gradient(network.weights, slopes, lambda f, rows: f - y[rows]), "products": products},
        2 * setting.rounds,
    )
    yield at_most(f"training step, width {DIGITS_WIDTH}, digits / its products", t["ours"], t["products"], 1.5)


@target("finite")
def slopes(setting: Setting) -> Iterator[Row]:
    rows = normal_rows(12, 6)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    widths = [2**power for power in range(6, 10 if setting.quick else 12)]
    for kernel in (ntk.NTK(1), ntk.NTK(3)):
        law = finite.kernel_convergence(kernel, rows, widths, n_networks=100, rng=0).law
        yield Row(f"{kernel}: slope of the deviation, from -1/2", abs(law.exponent + 0.5), 0.05, True, str(law))


@target("finite")
def exponents(setting: Setting) -> Iterator[Row]:
    for p in (3, 5, 10):
        for depth in DEPTHS:
            law = ntk.spectrum.sphere_eigenvalues(ntk.NTK(depth), p, 400).decay(100, 400)
            relative = abs(law.exponent / p + 1)
            yield Row(f"exponent by degree, depth {depth}, p = {p}: from p", relative, 0.05, True, str(law))


@target("finite")
def experiments(setting: Setting) -> Iterator[Row]:
    """`ntk-fast theory`: how long it takes, and how many of its claims are seen."""
    for quick in (True,) if setting.quick else (True, False):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            outcomes = theory.run(None, folder, quick)
            seconds = time.perf_counter() - start
        claims = [claim for outcome in outcomes.values() for claim in outcome.claims]
        what = f"ntk-fast theory{' --quick' if quick else ''}"
        yield Row(f"{what}: seconds", seconds, 60 if quick else 900, True)
        unseen = sum(not claim.holds for claim in claims)
        yield Row(f"{what}: claims not seen", unseen, 0, True, f"of {len(claims)}")
