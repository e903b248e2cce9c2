"""Tiles of images, in every engine, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers as L
from ntk_fast.backends.engines import available_engines

ENGINES = [engine for engine in available_engines() if engine.backend == "cython"]
TOLERANCE = {np.float64: 2e-14, np.float32: 1e-6}

NETWORKS = {
    "bias, global pool": (
        (6, 7, 3),
        [L.Conv(3, bias_variance=0.1), L.Relu(), L.Conv(3), L.Relu(), L.GlobalAveragePool()],
    ),
    "no bias, flat": ((5, 4, 2), [L.Conv(3), L.Relu(), L.Conv((3, 2)), L.LeakyRelu(0.3), L.Flatten()]),
    "strides": (
        (7, 8, 1),
        [L.Conv(3, strides=2, bias_variance=0.2), L.Relu(), L.Conv(3, padding="VALID"), L.Relu(), L.GlobalSumPool()],
    ),
    "circles and gaps": (
        (6, 8, 1),
        [
            L.Conv(3, padding="CIRCULAR"),
            L.Relu(),
            L.Conv(2, strides=2, padding="CIRCULAR"),
            L.Relu(),
            L.Conv(2, dilation=2),
            L.Abs(),
            L.GlobalAveragePool(),
        ],
    ),
    "pools": (
        (8, 8, 2),
        [
            L.Conv(3),
            L.Relu(),
            L.AveragePool(2),
            L.Conv(3),
            L.Relu(),
            L.AveragePool(3, 1, "SAME"),
            L.SumPool(2),
            L.Flatten(),
        ],
    ),
    "branches": (
        (5, 6, 2),
        [
            L.Conv(3, bias_variance=0.1),
            L.Residual(L.Relu(), L.Conv(3)),
            L.LayerNorm(),
            L.Product(L.Relu(), L.Conv(3)),
            L.Dense(),
            L.Residual(L.AveragePool(3, 1, "SAME"), L.Relu(), L.Conv(1)),
            L.Relu(),
            L.GlobalAveragePool(),
        ],
    ),
    "sequence, parameters": (
        (9, 3),
        [L.Conv(3, bias_variance=0.1), L.Erf(), L.Conv(3), L.Gelu(), L.GlobalAveragePool()],
    ),
    "attention": (
        (6, 3),
        [L.Conv(3, bias_variance=0.1), L.Relu(), L.Attention(bias_variance=0.1), L.Relu(), L.GlobalAveragePool()],
    ),
    "attention of every kind": (
        (4, 3, 2),
        [
            L.Conv(2),
            L.Attention(zeta="relu"),
            L.LeakyRelu(0.3),
            L.AveragePool(2, 1),
            L.Attention(zeta="identity", query_key_scale=0.3),
            L.Abs(),
            L.Flatten(),
        ],
    ),
    "products of covariances": (
        (4, 3, 2),
        [L.Conv(3), L.Relu(), L.Attention("d^-0.5", "identity"), L.Relu(), L.GlobalAveragePool()],
    ),
    "products of tangents": (
        (4, 4, 2),
        [L.Product(L.Sequential(L.Conv(3), L.Relu(), L.Conv(2), L.Tangent()), L.Conv(3)), L.Conv(2), L.Flatten()],
    ),
    "terms": ((5, 5, 2), [L.Conv(3), L.Silu(), L.Conv(3), L.Exp(0.5), L.Flatten()]),
}


def images(shape: tuple[int, ...], n: int, seed: int) -> np.ndarray:
    """Duplicates, scaled and opposite ones, bright and dark parts, nothing at all, one pixel; then random ones."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, *shape))
    X[1], X[2], X[3] = X[0], 3 * X[0], -X[0]
    X[4, : shape[0] // 2] = 0
    X[5] = 0
    X[6] = 0
    X[6, -1] = 1
    X[7] = 0.5
    return X.reshape(n, -1)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", [ntk.NNGP, ntk.NTK])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_engine_equals_the_reference(name, kind, dtype):
    shape, parts = NETWORKS[name]
    kernel = kind(network=L.Sequential(L.Input(*shape), *parts, L.Dense()))
    X = images(shape, 19, 1).astype(dtype)
    Y = np.concatenate([X[:1] * (1 + dtype(1e-2)), images(shape, 9, 2).astype(dtype)])
    exact = [X.astype(np.float64), Y.astype(np.float64)]
    expected = kernel(*exact, backend="numpy")
    scale = np.sqrt(np.outer(*(kernel.diag(rows, backend="numpy") for rows in exact)))
    for engine in ENGINES:
        with engine.selected() as backend:
            K, symmetric = kernel(X, Y, backend=backend), kernel(X, backend=backend, n_threads=2)
            whole = kernel(X, X.copy(), backend=backend, n_threads=1)
        tolerance = (
            TOLERANCE[dtype]
            * (3 if name.startswith(("attention", "products")) else 1)
            * (5000 if name == "terms" and dtype is np.float64 else 1)
        )  # Silu: 768 terms
        assert (np.abs(K - expected) <= tolerance * scale).all(), engine
        assert (symmetric == symmetric.T).all()
        bound = np.sqrt(np.outer(np.diag(symmetric), np.diag(symmetric)))
        assert (np.abs(symmetric - whole) <= tolerance * bound + 1e-30).all(), engine


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_an_entry_does_not_depend_on_its_company(engine):
    shape, parts = NETWORKS["pools"]
    kernel = ntk.NTK(network=L.Sequential(L.Input(*shape), *parts, L.Dense()))
    X, Y = images(shape, 18, 3), images(shape, 20, 4)
    with engine.selected() as backend:
        K = kernel(X, Y, backend=backend, n_threads=2)
        assert (kernel(X[5:], Y[7:8], backend=backend) == K[5:, 7:8]).all()
        assert kernel(X[:0], Y, backend=backend).shape == (0, 20)
