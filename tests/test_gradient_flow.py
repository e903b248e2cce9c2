"""Infinite ensembles against an independent implementation's values and against what is known exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk

#: neural-tangents 0.6.5, `predict.gradient_descent_mse_ensemble`; good to about 1e-8 itself.
PARITY = np.load(Path(__file__).parent / "data" / "neural_tangents_predict.npz")
NETWORKS = json.loads(str(PARITY["meta"]))
TIMES = {"0.5": 0.5, "20.0": 20.0, "1000.0": 1000.0, "None": None}


def network(name):
    settings = NETWORKS[name]
    weights = (settings["W0"] ** 2 / PARITY["X"].shape[1], *(settings["W"] ** 2,) * settings["L"])
    return ntk.NTK(settings["L"], weight_variance=weights, bias_variance=(settings["b"] or 0.0) ** 2)


@pytest.mark.parametrize(("layers", "column"), [("all", "ntk"), ("last", "nngp")])
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_against_neural_tangents(name, time, layers, column):
    flow = ntk.GradientFlowRegressor(
        network(name), time=TIMES[time], ridge=NETWORKS[name]["reg"], trained_layers=layers
    ).fit(PARITY["X"], PARITY["Y"])
    mean, covariance = flow.predict(PARITY["X_test"], return_cov=True)
    assert np.abs(mean - PARITY[f"{name}/t={time}/{column}/mean"]).max() <= 2e-8
    assert np.abs(covariance - PARITY[f"{name}/t={time}/{column}/cov"]).max() <= 2e-8


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    return generator.standard_normal((30, 4)), generator.standard_normal((30, 2)), generator.standard_normal((9, 4))


def test_at_time_zero_it_is_the_network_at_initialisation(data):
    X, Y, X_new = data
    mean, covariance = ntk.GradientFlowRegressor(ntk.NTK(2), time=0.0).fit(X, Y).predict(X_new, return_cov=True)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(covariance, ntk.NNGP(2)(X_new), rtol=1e-14)


def test_in_infinite_time_it_is_ridge_regression(data):
    X, Y, X_new = data
    flow = ntk.GradientFlowRegressor(ntk.NTK(2), ridge=0.1).fit(X, Y)
    ridge = ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(X, Y)
    np.testing.assert_allclose(flow.predict(X_new), ridge.predict(X_new), rtol=1e-10)


def test_last_layer_in_infinite_time_is_the_gaussian_process(data):
    X, Y, X_new = data
    flow = ntk.GradientFlowRegressor(ntk.NTK(2), ridge=0.1, trained_layers="last").fit(X, Y[:, 0])
    process = ntk.NTKGaussianProcessRegressor(ntk.NNGP(2), noise_variance=0.1, fitted=()).fit(X, Y[:, 0])
    for ours, theirs in zip(flow.predict(X_new, return_cov=True), process.predict(X_new, return_cov=True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_time_and_learning_rate_multiply(data):
    X, Y, X_new = data
    slow = ntk.GradientFlowRegressor(ntk.NTK(2), time=10.0, learning_rate=0.5).fit(X, Y).predict(X_new)
    fast = ntk.GradientFlowRegressor(ntk.NTK(2), time=5.0).fit(X, Y).predict(X_new)
    np.testing.assert_allclose(slow, fast, rtol=1e-12)


def test_a_differential_equation_step_by_step(data):
    """Explicit Euler steps of d f(X) / dt = -Theta (f(X) - Y) / Y.size, from f(X) = 0."""
    X, Y, _ = data
    theta, values, step = ntk.NTK(2)(X), np.zeros_like(Y), 0.01
    for _ in range(2000):
        values -= step * theta @ (values - Y) / Y.size
    flow = ntk.GradientFlowRegressor(ntk.NTK(2), time=20.0).fit(X, Y)
    np.testing.assert_allclose(flow.predict(X), values, atol=1e-3)


def test_repeated_rows_converge_to_their_mean_target():
    X = np.array([[1.0, 2.0], [1.0, 2.0], [0.5, -1.0]])
    flow = ntk.GradientFlowRegressor(ntk.NTK(2)).fit(X, [1.0, 3.0, 5.0])
    np.testing.assert_allclose(flow.predict(X), [2, 2, 5], rtol=1e-10)


def test_kernels_that_say_the_same_network(data):
    X, Y, X_new = data
    of_ntk = ntk.GradientFlowRegressor(ntk.NTK(2), time=3.0).fit(X, Y).predict(X_new)
    of_nngp = ntk.GradientFlowRegressor(ntk.NNGP(2), time=3.0).fit(X, Y).predict(X_new)
    np.testing.assert_array_equal(of_ntk, of_nngp)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"time": -1.0}, ValueError, "time must be >= 0; got -1.0"),
        ({"time": np.inf}, ValueError, "time must be finite"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be > 0"),
        ({"ridge": -1e-3}, ValueError, "ridge must be >= 0"),
        ({"trained_layers": "first"}, ValueError, "trained_layers must be 'all' or 'last'; got 'first'"),
        ({"kernel": ntk.ArcCosine()}, TypeError, "kernel must be an NTK or an NNGP"),
        ({"kernel": "rbf"}, TypeError, "kernel must be an ArcCosine, NNGP or NTK; got 'rbf'"),
    ],
)
def test_bad_parameters(data, parameters, error, message):
    X, Y, _ = data
    with pytest.raises(error, match=message):
        ntk.GradientFlowRegressor(**parameters).fit(X, Y)
