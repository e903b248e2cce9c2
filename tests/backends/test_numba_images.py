"""Images in plain loops, against the reference: networks, shapes and images are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from described_networks import image_network_of
from hypothesis import given, settings
from hypothesis import strategies as st

import ntk_fast as ntk
from ntk_fast import layers as L

pytest.importorskip("numba")

TOLERANCE = {np.float64: 1e-14, np.float32: 1e-6}
KINKED = [L.Relu(), L.LeakyRelu(0.3), L.Abs()]
SMOOTH = [L.Erf(), L.Gelu(), L.Sin(), L.Gaussian(), L.Hermite(2)]
VALUES = np.load(Path(__file__).parents[1] / "data" / "neural_tangents_networks.npz")
DESCRIBED = {name: net for name, net in json.loads(str(VALUES["meta"])).items() if net["inputs"] != "rows"}


@st.composite
def blocks(draw: st.DrawFn, activations: list[L.Layer], is_sequence: bool) -> list[L.Layer]:
    """A layer or a few, on grids of at least 3 positions along each dimension, of which they leave as many."""
    activation = draw(st.sampled_from(activations))
    bias = draw(st.sampled_from([0.0, 0.3]))
    size = draw(st.sampled_from([1, 2, 3, 4] if is_sequence else [1, 2, 3, (3, 1), (2, 3)]))
    padding = draw(st.sampled_from(["SAME", "CIRCULAR"]))
    kinds: list[list[L.Layer]] = [
        [L.Conv(size, padding=padding, bias_variance=bias), activation],
        [L.Conv(2, dilation=2, bias_variance=bias), activation, L.AveragePool(2, 1, "SAME")],
        [L.Conv(3, bias_variance=bias), L.Residual(activation, L.Conv(size)), activation],
        [L.Conv(size), L.Attention(zeta=draw(st.sampled_from(["softmax", "relu"])), bias_variance=bias), activation],
        [L.Conv(3), L.LayerNorm(), L.Product(activation, L.Conv(1)), L.Dense(), activation],
        [
            L.Conv(3, weight_variance=2.0),
            L.Concatenate(activation, L.Conv(1, bias_variance=bias)),
            L.Conv(2),
            activation,
        ],
    ]
    return draw(st.sampled_from(kinds))


@st.composite
def networks(draw: st.DrawFn, activations: list[L.Layer]) -> L.Sequential:
    is_sequence = draw(st.booleans())
    sides = [draw(st.integers(3, 7)) for _ in range(1 if is_sequence else 2)]
    middle = [layer for _ in range(draw(st.integers(1, 3))) for layer in draw(blocks(activations, is_sequence))]
    strided = L.Conv(3, strides=2, padding=draw(st.sampled_from(["SAME", "VALID"])), bias_variance=0.1)
    ends: list[list[L.Layer]] = [
        [L.GlobalAveragePool()],
        [L.Flatten()],
        [L.AveragePool(2), L.Flatten()],
        [L.SumPool(2), L.Conv(2), activations[0], L.GlobalSumPool()],
        [strided, activations[0], L.GlobalAveragePool()],
    ]
    end = draw(st.sampled_from(ends))
    return L.Sequential(L.Input(*sides, draw(st.integers(1, 3))), *middle, *end, L.Dense(1.0, 0.1))


def images(shape: tuple[int, ...], n: int, seed: int, scale: float) -> np.ndarray:
    """Random ones; then copies: equal, nearly equal, larger, opposite, half blank, blank, of one pixel, constant."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 8, *shape))
    first = X[0]
    X[n] = first
    X[n + 1] = first * (1 + 1e-9 * rng.standard_normal(shape))
    X[n + 2], X[n + 3], X[n + 4] = 3 * first, -first, first
    X[n + 4, : shape[0] // 2] = 0
    X[n + 5] = 0
    X[n + 6] = 0
    X[n + 6, -1] = 1
    X[n + 7] = 0.5
    return scale * X.reshape(len(X), -1)


def errors(kernel: ntk.kernels.Kernel, X: np.ndarray, Y: np.ndarray | None, dtype: type) -> np.ndarray:
    """Errors of a matrix, as shares of the roots of the two diagonal entries."""
    given = [rows.astype(dtype) for rows in (X, Y) if rows is not None]
    exact = [rows.astype(np.float64) for rows in given]
    expected = kernel(*exact, backend="numpy")
    roots = [np.sqrt(kernel.diag(rows, backend="numpy")) for rows in (exact[0], exact[-1])]
    bound = np.outer(*roots)
    return np.abs(kernel(*given, backend="numba") - expected) / np.where(bound > 0, bound, 1.0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@given(st.data())
@settings(max_examples=6, deadline=None)
def test_networks_with_kinks_equal_the_reference(dtype, data):
    network = data.draw(networks(KINKED))
    kernel = data.draw(st.sampled_from([ntk.NNGP, ntk.NTK]))(network=network)
    scale, n = data.draw(st.sampled_from([1e-6, 1.0, 1e4])), data.draw(st.integers(1, 12))
    X = images(kernel.plan.shape, n, 1, scale)
    for error in (errors(kernel, X, None, dtype), errors(kernel, X, X.copy(), dtype)):
        assert error.max() <= 3 * TOLERANCE[dtype]


@pytest.mark.parametrize("name", DESCRIBED)
def test_matrices_equal_those_of_neural_tangents(name):
    network = DESCRIBED[name]
    X, Y = (VALUES[f"{network['inputs']}/{which}"] for which in "XY")
    kernel = ntk.NTK(network=image_network_of(network["layers"], X.shape[1:]))
    expected = VALUES[f"{name}/ntk/XY"]
    error = np.abs(kernel(X, Y, backend="numba") - expected) / np.sqrt(np.outer(kernel.diag(X), kernel.diag(Y)))
    assert error.max() <= (1e-9 if "layernorm" in str(network["layers"]) else 1e-10)


@pytest.mark.parametrize("shape", [(12, 12, 2), (16, 17, 1)])
def test_large_images_take_fewer_lanes_and_have_the_same_kernel(shape):
    network = L.Sequential(L.Input(*shape), L.Conv(3, bias_variance=0.1), L.Relu(), L.GlobalAveragePool(), L.Dense())
    X = images(shape, 2, 3, 1.0)
    kernel = ntk.NTK(network=network)
    assert errors(kernel, X[-4:], X, np.float64).max() <= 1e-14
    assert errors(kernel, X[-4:], X, np.float32).max() <= 1e-6


def test_an_entry_does_not_depend_on_its_company_or_on_threads():
    network = L.Sequential(
        L.Input(5, 6, 1), L.Conv(3), L.Relu(), L.AveragePool(2), L.Conv(2), L.Relu(), L.Flatten(), L.Dense()
    )
    kernel = ntk.NTK(network=network)
    X, Y = images((5, 6, 1), 40, 4, 1.0), images((5, 6, 1), 30, 5, 1.0)
    K = kernel(X, Y, backend="numba", n_threads=2)
    assert (kernel(X, Y, backend="numba", n_threads=1) == K).all()
    assert (kernel(X[5:], Y[7:8], backend="numba") == K[5:, 7:8]).all()
    assert kernel(X[:0], Y, backend="numba").shape == (0, len(Y))
    symmetric = kernel(X, backend="numba")
    assert (symmetric == symmetric.T).all()
    assert (np.diag(symmetric) == kernel.diag(X, backend="numba")).all()


def test_copies_of_an_image_have_one_row():
    network = L.Sequential(
        L.Input(6, 6, 1),
        *(L.Conv(3), L.Relu(), L.AveragePool(2), L.Conv(2), L.Relu()),
        L.GlobalAveragePool(),
        L.Dense(),
    )
    X = images((6, 6, 1), 3, 6, 1.0)
    K = ntk.NTK(network=network)(X, backend="numba")
    assert (K[3, 4:] == K[0, 4:]).all()
    assert abs(K[0, 3] / K[0, 0] - 1) <= 1e-14
