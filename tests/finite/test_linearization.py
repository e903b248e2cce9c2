"""The linearisation is Eq. 3, splits as Eq. 5, and its fit is the least-squares solution."""

from __future__ import annotations

import numpy as np
import pytest

from ntk_fast import finite
from ntk_fast.finite import linearization


def make(width, depth=1, activation="relu", n=20, seed=0):
    rng = np.random.default_rng(seed)
    network = finite.Network.initialize(4, width, depth, activation, rng)
    return network, rng.standard_normal((n, 4)), rng.standard_normal(n)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ["relu", finite.softplus(2.0)], ids=repr)
def test_equation_3(depth, activation):
    network, rows, _ = make(15, depth, activation)
    lin = network.linearize()
    parameters = network.parameters + np.random.default_rng(1).standard_normal(network.n_parameters)
    change = network.tangent_features(rows) @ (parameters - network.parameters)
    np.testing.assert_allclose(lin(rows, parameters), network(rows) + change, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(lin(rows, network.parameters), network(rows), rtol=1e-13, atol=1e-14)


def test_equation_5():
    network, rows, _ = make(15)
    parameters = np.random.default_rng(1).standard_normal(network.n_parameters)
    w0, w = network.weights.hidden[0], network.split(parameters).hidden[0]
    fixed, correction = network.linearize().split(rows, parameters)
    active = (rows @ w0.T > 0) / np.sqrt(15)
    np.testing.assert_allclose(fixed, (active * (rows @ w0.T)) @ network.split(parameters).readout, rtol=1e-12)
    np.testing.assert_allclose(correction, (active * (rows @ (w - w0).T)) @ network.weights.readout, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_term_zero_of_relu_is_minus_depth_times_the_network(depth):
    network, rows, _ = make(30, depth)
    np.testing.assert_allclose(network.linearize().term_zero(rows), -depth * network(rows), rtol=1e-11, atol=1e-13)


def test_term_zero_converges_to_a_gaussian_process_and_does_not_vanish():
    rows = np.array([[1.0, 0.0], [0.6, 0.8]])
    rng = np.random.default_rng(0)
    values = np.array([finite.Network.initialize(2, 512, rng=rng).linearize().term_zero(rows) for _ in range(600)])
    from ntk_fast import ArcCosine

    expected = ArcCosine(order=1)(rows)  # Eq. 1
    error = np.sqrt((np.outer(expected.diagonal(), expected.diagonal()) + expected**2) / len(values))
    assert np.all(np.abs(values.T @ values / len(values) - expected) < 4 * error)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("width", [2, 40], ids=["few parameters", "many parameters"])
@pytest.mark.parametrize("activation", ["relu", finite.softplus(2.0)], ids=repr)
def test_fit_is_the_least_squares_solution_nearest_to_the_start(ridge, width, activation):
    network, rows, y = make(width, activation=activation)
    fitted = network.linearize().fit(rows, y, ridge) - network.parameters
    features = network.tangent_features(rows)
    stacked = np.concatenate([features, np.sqrt(ridge) * np.eye(network.n_parameters)])
    target = np.concatenate([y - network(rows), np.zeros(network.n_parameters)])
    expected = np.linalg.lstsq(stacked if ridge else features, target if ridge else target[: len(rows)])[0]
    np.testing.assert_allclose(fitted, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("ridge", [0.0, 1e-12])
def test_fit_is_exact_where_the_kernel_has_lost_half_its_digits(ridge):
    """100 rows in two dimensions: singular values of the features fall below 1e-8 of the largest."""
    rng = np.random.default_rng(0)
    network = finite.Network.initialize(2, 300, activation=finite.softplus(1.0), rng=rng)
    rows = rng.standard_normal((100, 2))
    y = np.sin(3 * rows[:, 0])
    lin = network.linearize()
    features, residual = network.tangent_features(rows), y - network(rows)
    fitted = lin.fit(rows, y, ridge) - network.parameters
    best = np.linalg.lstsq(features, residual)[0]
    objectives = [((residual - features @ c) ** 2).sum() + ridge * c @ c for c in (fitted, best)]
    assert objectives[0] <= 1.01 * objectives[1] + 1e-6


def test_fit_through_the_kernel(monkeypatch):
    network, rows, y = make(40)
    through_features = network.linearize().fit(rows, y, 0.01)
    monkeypatch.setattr(linearization, "MOST_FEATURES", 0)
    np.testing.assert_allclose(network.linearize().fit(rows, y, 0.01), through_features, rtol=1e-9, atol=1e-9)


def test_fit_with_repeated_rows():
    network, rows, y = make(40)
    rows, y = np.concatenate([rows, rows]), np.concatenate([y, y + 2])
    lin = network.linearize()
    np.testing.assert_allclose(lin(rows, lin.fit(rows, y)), np.tile(y[:20] + 1, 2), rtol=1e-6, atol=1e-6)


def test_bad_input():
    network, rows, y = make(4)
    with pytest.raises(ValueError, match="ridge must be >= 0; got -1"):
        network.linearize().fit(rows, y, ridge=-1.0)
    with pytest.raises(ValueError, match=r"y must be a vector of 20 real numbers; got shape \(19,\)"):
        network.linearize().fit(rows, y[:-1])
    with pytest.raises(ValueError, match="parameters must be a vector of 20 real numbers"):
        network.linearize()(rows, y[:-1])
