"""Infinite ensembles against an independent implementation's values and against what is known exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.solvers import Cholesky

#: neural-tangents 0.6.5, `predict.gradient_descent_mse_ensemble`; good to about 1e-8 itself.
PARITY = np.load(Path(__file__).parents[1] / "data" / "neural_tangents_predict.npz")
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
    coefficients = Cholesky().solve(ntk.NTK(2), X, Y, ridge=0.1).coefficients
    np.testing.assert_allclose(flow.predict(X_new), ntk.NTK(2)(X_new, X) @ coefficients, rtol=1e-10)


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


@pytest.mark.parametrize("layers", ["all", "last"])
def test_many_times_are_as_many_fits(data, layers):
    X, Y, X_new = data
    flow = ntk.GradientFlowRegressor(ntk.NTK(2), time=3.0, ridge=0.01, trained_layers=layers).fit(X, Y)
    times = [0.0, 0.7, 3.0, 1e9, np.inf]
    mean, covariance = flow.predict(X_new, return_cov=True, times=times)
    again, deviation = flow.predict(X_new, return_std=True, times=times)
    assert (mean.shape, covariance.shape, deviation.shape) == ((5, 9, 2), (5, 9, 9), (5, 9))
    np.testing.assert_array_equal(mean, again)
    for i, time in enumerate(times):
        alone = ntk.GradientFlowRegressor(
            ntk.NTK(2), time=None if np.isinf(time) else time, ridge=0.01, trained_layers=layers
        ).fit(X, Y)
        expected_mean, expected = alone.predict(X_new, return_cov=True)
        np.testing.assert_allclose(mean[i], expected_mean, atol=1e-11)
        np.testing.assert_allclose(covariance[i], expected, atol=1e-11)
        np.testing.assert_allclose(deviation[i] ** 2, np.diag(expected), atol=1e-11)
        np.testing.assert_allclose(alone.predict(X_new, return_std=True)[1], deviation[i], atol=1e-6)
        np.testing.assert_allclose(flow.predict(X_new, times=time), mean[i], atol=1e-11)
    single = ntk.GradientFlowRegressor(ntk.NTK(2)).fit(X, Y[:, 0])
    assert single.predict(X_new, times=[1, 2]).shape == (2, 9)
    assert single.predict(X_new, times=1).shape == (9,)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("layers", ["all", "last"])
def test_variances_are_not_negative_and_covariances_symmetric(seed, layers):
    generator = np.random.default_rng(seed)
    n, n_features = np.round(10 ** generator.uniform((0.3, 0), (2, 1.3))).astype(int)
    scale, bias, ridge = 10 ** generator.uniform((-6, -6, -12), (6, 6, 0))
    kernel = ntk.NTK(int(generator.integers(1, 6)), bias_variance=bias)
    X = scale * generator.standard_normal((n, n_features))
    flow = ntk.GradientFlowRegressor(kernel, ridge=ridge * (seed % 2), trained_layers=layers).fit(X, X[:, 0])
    rows = np.vstack([X, X[:1], 2 * X, 0 * X[:1]])  # of training rows the variance is rounding errors
    covariance = flow.predict(rows, return_cov=True)[1]
    np.testing.assert_array_equal(covariance, covariance.T)
    assert (np.diag(covariance) >= 0).all()
    deviation = flow.predict(rows, return_std=True, times=[0.0, 1.0, np.inf])[1]
    assert (deviation >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"times": -1.0}, ValueError, "times must be >= 0, infinity included; got -1.0"),
        ({"times": [1.0, np.nan]}, ValueError, "times must be >= 0, infinity included; got nan"),
        ({"times": "soon"}, TypeError, "times must be a number or a vector of numbers; got 'soon'"),
        ({"times": []}, TypeError, "times must be a number or a vector of numbers"),
        ({"times": [[1.0]]}, TypeError, "times must be a number or a vector of numbers"),
        ({"return_std": True, "return_cov": True}, ValueError, "cannot both be true"),
        ({"return_std": "yes"}, TypeError, "return_std"),
    ],
)
def test_bad_predictions(data, arguments, error, message):
    X, Y, X_new = data
    flow = ntk.GradientFlowRegressor(ntk.NTK(2)).fit(X, Y)
    with pytest.raises(error, match=message):
        flow.predict(X_new, **arguments)


def test_targets_near_the_end_of_float64(data):
    X, Y, X_new = data
    expected = ntk.GradientFlowRegressor(ntk.NTK(2), ridge=1.0).fit(X, Y).predict(X_new, times=[1.0, np.inf])
    found = ntk.GradientFlowRegressor(ntk.NTK(2), ridge=1.0).fit(X, 1e306 * Y).predict(X_new, times=[1.0, np.inf])
    np.testing.assert_allclose(found / 1e306, expected, rtol=1e-10, atol=1e-12)


def test_models_of_earlier_releases_have_deviations_but_no_other_times():
    folder = Path(__file__).parents[1] / "data" / "saved_models"
    flow, rows = ntk.load_model(folder / "flow.ntk"), np.load(folder / "predictions.npz")["rows"]
    covariance = flow.predict(rows, return_cov=True)[1]
    np.testing.assert_allclose(flow.predict(rows, return_std=True)[1] ** 2, np.diag(covariance), atol=1e-12)
    with pytest.raises(ValueError, match="fit it again"):
        flow.predict(rows, times=1.0)
