"""Empirical kernels are Gram matrices of features that are never formed, and approach the infinite-width kernels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import finite

ACTIVATIONS = ("relu", "abs", ntk.leaky_relu(0.3), finite.softplus(5.0))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_gram_of_tangent_features(depth, activation):
    rng = np.random.default_rng(depth)
    network = finite.Network.initialize(6, 70, depth, activation, rng)
    x, y = rng.standard_normal((150, 6)), rng.standard_normal((40, 6))
    x_features, y_features = network.tangent_features(x), network.tangent_features(y)
    for kernel, expected in (
        (network.empirical_ntk(x), x_features @ x_features.T),
        (network.empirical_ntk(x, y), x_features @ y_features.T),
        (network.empirical_nngp(x), network.hidden_features(x) @ network.hidden_features(x).T),
        (network.empirical_nngp(x, y), network.hidden_features(x) @ network.hidden_features(y).T),
    ):
        assert kernel.shape == expected.shape
        assert np.abs(kernel - expected).max() <= 1e-12 * np.abs(expected).max()


def test_symmetric_matrices_are_exactly_symmetric():
    network = finite.Network.initialize(3, 50, 2, rng=0)
    kernel = network.empirical_ntk(np.random.default_rng(0).standard_normal((300, 3)))
    assert np.array_equal(kernel, kernel.T)


@pytest.mark.parametrize("depth", [1, 3])
def test_memory_does_not_grow_with_the_parameters(depth):
    n, width = 200, 1024
    network = finite.Network.initialize(8, width, depth, rng=0)
    rows = np.random.default_rng(0).standard_normal((n, 8))
    network.empirical_ntk(rows[:2])
    tracemalloc.start()
    network.empirical_ntk(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tiles = 2 * 2 * 128 * 128  # two factors, two threads
    assert peak / 8 < 10 * n**2 + 4 * n * width + tiles


@pytest.mark.parametrize(("kernel", "limit"), [("ntk", ntk.NTK), ("nngp", ntk.NNGP)])
@pytest.mark.parametrize("activation", ["relu", "abs", ntk.leaky_relu(0.3)], ids=repr)
def test_average_over_networks_at_depth_one_is_the_limit(kernel, limit, activation):
    rows = np.random.default_rng(0).standard_normal((6, 4))
    average = finite.average_kernel(
        rows, kernel=kernel, n_networks=200, width=64, activation=activation, rng=np.random.default_rng(1)
    )
    deviation = (average.mean - limit(1, activation)(rows)) / average.standard_error
    assert np.abs(deviation).max() < 5  # 36 entries, correlated


def test_standard_error_is_that_of_a_mean():
    rows, other = np.eye(3), np.ones((2, 3))
    average = finite.average_kernel(rows, other, n_networks=5, width=10, rng=3)
    generator = np.random.default_rng(3)
    each = [finite.Network.initialize(3, 10, rng=generator).empirical_ntk(rows, other) for _ in range(5)]
    np.testing.assert_allclose(average.mean, np.mean(each, axis=0), rtol=1e-13)
    np.testing.assert_allclose(average.standard_error, np.std(each, axis=0, ddof=1) / np.sqrt(5), rtol=1e-12)


def test_averages_report_their_progress():
    seen = []
    finite.average_kernel(np.eye(2), n_networks=3, width=4, rng=0, progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_bad_input():
    with pytest.raises(ValueError, match="X must be a 2-D array"):
        finite.average_kernel([[1, 2], [3]], n_networks=3, width=4)
    with pytest.raises(ValueError, match="kernel must be 'ntk' or 'nngp'"):
        finite.average_kernel(np.eye(2), kernel="rbf", n_networks=3, width=4)
    with pytest.raises(ValueError, match="n_networks must be a whole number >= 2; got 1"):
        finite.average_kernel(np.eye(2), n_networks=1, width=4)
