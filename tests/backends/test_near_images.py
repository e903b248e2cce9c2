"""Nearly equal images, and what pools between activations make of them: as exact as any others, in every engine."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_images import drawn_images, drawn_network
from image_oracle import exact_entry

import ntk_fast as ntk
from ntk_fast import layers as L
from ntk_fast.backends.engines import available_engines
from ntk_fast.lower import near_images as near_images_of_package

ENGINES = available_engines()
TOLERANCE = {np.float64: 1e-14, np.float32: 1e-6}
#: Of other activations.
CURVED_TOLERANCE = {np.float64: 1e-12, np.float32: 3e-6}
CURVED = (
    L.Erf(),
    L.Gelu(),
    L.Sin(frequency=0.7, phase=0.3),
    L.Cos(),
    L.Rbf(0.5),
    L.Gaussian(exponent=-0.5),
    L.Exp(rate=0.3),
    L.SigmoidLike(),
    L.Hermite(3),
    L.Polynomial((0.5, 1.0, 0.3)),
    L.Sign(),
    L.Step(),
    L.Monomial(3),
    L.RectifiedMonomial(2),
)


def random_network(rng: np.random.Generator, shape: tuple[int, ...]) -> L.Sequential:
    """One or two pools with activations behind them."""
    bias, activation = rng.choice([0.0, 0.1, 1.0]), rng.choice([L.Relu(), L.LeakyRelu(0.2), L.Abs()])

    def pool() -> L.Layer:
        kind, strides = rng.choice([L.AveragePool, L.SumPool]), None if rng.random() < 0.5 else 1
        return kind(2 if rng.random() < 0.7 else (1, 2), strides=strides, padding=str(rng.choice(["SAME", "VALID"])))

    parts = [L.Conv(3, bias_variance=bias), activation, pool(), L.Conv(int(rng.integers(1, 3)), bias_variance=bias)]
    parts += [activation] if rng.random() < 0.6 else [activation, pool(), L.Conv(1, bias_variance=bias), activation]
    return L.Sequential(L.Input(*shape), *parts, rng.choice([L.Flatten(), L.GlobalAveragePool()]), L.Dense())


def near_images(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two images at a relative distance from 1e-12 to 1, perhaps scaled, moved, or half black."""
    x = rng.standard_normal(shape) * 10 ** rng.uniform(-2, 2)
    y = x + 10 ** rng.uniform(-12, 0) * np.abs(x).max() * rng.standard_normal(shape)
    if rng.random() < 0.2:
        y = np.roll(y, 1, axis=0)
    if rng.random() < 0.2:
        x[:2], y[:2] = 0, 0
    return x, rng.choice([1.0, 1.0, 3.0]) * y


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
def test_pools_lose_nothing_of_nearly_equal_images(seed, dtype):
    rng = np.random.default_rng([20, seed])
    for engine in [ENGINES[k % len(ENGINES)] for k in range(seed, seed + 3)]:
        shape = (*rng.integers(3, 5, 2).tolist(), int(rng.integers(1, 3)))
        network, (x, y) = random_network(rng, shape), (part.astype(dtype) for part in near_images(rng, shape))
        kernel = rng.choice([ntk.NTK, ntk.NNGP])(network=network)
        value, scale = exact_entry(network, x, y, kernel.has_tangent)
        with engine.selected() as backend:
            got = kernel(x[None], y[None], backend=backend)[0, 0]
        assert abs(got - value) <= TOLERANCE[dtype] * scale, (engine, network, x.tolist(), y.tolist())


def test_near_images_are_the_same_in_any_company():
    """Only they are computed with more digits, whatever stands beside them in a matrix."""
    rng = np.random.default_rng(21)
    network = L.Sequential(
        L.Input(4, 4, 2), L.Conv(3), L.Relu(), L.AveragePool(2), L.Conv(2), L.Relu(), L.Flatten(), L.Dense()
    )
    kernel, X = ntk.NTK(network=network), rng.standard_normal((12, 4, 4, 2))
    X[7] = X[2] * (1 + 1e-7 * rng.standard_normal(X[2].shape))
    K = kernel(X, n_threads=2)
    assert (K == K.T).all()
    for i, j in ((2, 7), (3, 7)):
        assert kernel(X[i : i + 1], X[j : j + 1])[0, 0] == K[i, j]
    assert abs(K[2, 7] - exact_entry(network, X[2], X[7], True)[0]) <= 1e-14 * K[2, 2]


@pytest.mark.parametrize("dtype", CURVED_TOLERANCE)
@pytest.mark.parametrize("activation", CURVED, ids=str)
def test_pools_behind_other_activations_lose_nothing_either(activation, dtype):
    seed = CURVED.index(activation)
    rng = np.random.default_rng([22, seed])
    for engine in (ENGINES[seed % len(ENGINES)], ENGINES[0]):
        shape, kind = (3, *rng.integers(2, 4, 1).tolist(), 2), rng.choice([L.AveragePool, L.SumPool])
        end = (
            L.Conv(1, bias_variance=rng.choice([0.0, 0.1])),
            L.Relu(),
            rng.choice([L.Flatten(), L.GlobalAveragePool()]),
        )
        network = L.Sequential(L.Input(*shape), L.Conv(2, bias_variance=0.1), activation, kind(2, 1), *end, L.Dense())
        x = rng.uniform(0.2, 2) * rng.standard_normal(shape)
        y = x + 10 ** rng.uniform(-10, -4) * rng.standard_normal(shape)
        x, y = x.astype(dtype), y.astype(dtype)
        value, scale = exact_entry(network, x, y, True)
        with engine.selected() as backend:
            got = ntk.NTK(network=network)(x[None], y[None], backend=backend)[0, 0]
        assert abs(got - value) <= CURVED_TOLERANCE[dtype] * scale, (engine, network, x.tolist(), y.tolist())


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("activation", [L.Relu(), L.Erf()], ids=str)
def test_what_an_image_is_to_itself_loses_nothing(activation, engine):
    """Where its own windows are nearly equal: a pattern that repeats, nearly."""
    rng = np.random.default_rng(23)
    conv = L.Conv(2, padding="CIRCULAR", bias_variance=0.1), activation, L.AveragePool(2, 1)
    network = L.Sequential(L.Input(4, 4, 2), *conv, L.Conv(1), L.Relu(), L.GlobalAveragePool(), L.Dense())
    kernel = ntk.NTK(network=network)
    for distance in (1e-2, 1e-4, 1e-6):
        x = np.tile(rng.standard_normal((2, 2, 2)), (2, 2, 1)) + distance * rng.standard_normal((4, 4, 2))
        value, scale = exact_entry(network, x, x, True)
        with engine.selected() as backend:
            for got in (kernel.diag(x[None], backend=backend)[0], kernel(x[None], backend=backend)[0, 0]):
                assert abs(got - value) <= 1e-14 * scale, (engine, distance, x.tolist())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(8))
def test_drawn_networks_are_exact(seed, dtype):
    """Every layer, and attention, on images of any scale."""
    rng = np.random.default_rng([24, seed])
    grid = rng.integers(1, 4, 2) if seed % 4 else rng.integers(2, 6, 1)
    shape = (*grid.tolist(), int(rng.integers(1, 3)))
    network, (x, y) = drawn_network(rng, shape), drawn_images(rng, shape, 2).astype(dtype)
    kernel = rng.choice([ntk.NTK, ntk.NNGP])(network=network)
    value, scale = exact_entry(network, x, y, kernel.has_tangent)
    for engine in ENGINES:
        with engine.selected() as backend:
            got = kernel(x[None], y[None], backend=backend)[0, 0]
        assert abs(got - value) <= TOLERANCE[dtype] * scale, (engine, network, x.tolist(), y.tolist())


def test_many_near_images_are_what_pairs_of_them_are(monkeypatch):
    """What is kept of an image depends on nothing else: not on the others, nor on how much is kept."""
    rng = np.random.default_rng(25)
    end = L.AveragePool(2), L.Conv(2), L.Relu(), L.Flatten(), L.Dense()
    for activation in (L.Relu(), L.Erf(), L.Elu()):
        kernel = ntk.NTK(network=L.Sequential(L.Input(4, 4, 1), L.Conv(3), activation, *end))
        X = rng.standard_normal((4, 4, 1)) * (1 + 1e-6 * rng.standard_normal((5, 4, 4, 1)))
        K = kernel(X)
        monkeypatch.setattr(near_images_of_package, "MOST_KEPT", 2)
        near_images_of_package._kept.clear()
        for i in range(4):
            assert (kernel(X[i : i + 1], X[i + 1 :])[0] == K[i, i + 1 :]).all()
            assert kernel(X[i : i + 1], X[4:])[0, 0] == K[i, 4]
