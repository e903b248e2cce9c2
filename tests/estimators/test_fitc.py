"""Gaussian processes through centres: against the exact one, finite differences, and held-out rows."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.derivatives import LogParameters
from ntk_fast.estimators import fitc
from ntk_fast.estimators.fitc import CentreLikelihood
from ntk_fast.estimators.marginal_likelihood import Model
from ntk_fast.estimators.process_parameters import MOST_ROWS_TO_FACTORISE, choose_process_solver

PRIOR = ntk.NTK(2, bias_variance=0.2)


def make_data(n, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, 3)) * np.array([1.0, 0.5, 2.0])
    y = np.abs(X[:, 0]) + np.sin(3 * X[:, 1]) * X[:, 2] + 0.2 * generator.standard_normal(n)
    return X, y


@pytest.mark.parametrize("fits_mean", [False, True])
@pytest.mark.parametrize("noise", ["one", "of each row"])
@pytest.mark.parametrize("prior", [PRIOR, ntk.NNGP(3, "abs", bias_variance=0.1), ntk.NTK(2)], ids=repr)
def test_gradient_against_finite_differences(prior, noise, fits_mean, monkeypatch):
    monkeypatch.setattr(fitc, "BLOCK", 40 * 70)  # several blocks, the last one shorter
    X, y = make_data(300)
    Y = np.column_stack([y + 2, X[:, 1]])
    variances = 0.05 if noise == "one" else 10.0 ** np.random.default_rng(1).uniform(-3, 0, len(X))
    model = Model(LogParameters(prior, per_layer=True), variances, noise == "one", fits_mean)
    kept = CentreLikelihood(X, Y, X[:40], 1e-7)
    value, gradient = kept(model, True)
    recomputed = CentreLikelihood(X, Y, X[:40], 1e-7)
    recomputed._keeps = False
    assert recomputed(model, True)[0] == value
    np.testing.assert_array_equal(recomputed(model, True)[1], gradient)
    step, theta = 1e-3, model.theta
    for direction, derivative in zip(np.eye(len(theta)), gradient, strict=True):
        values = [kept(model.at(theta + k * step * direction), False)[0] for k in (-2, -1, 1, 2)]
        difference = np.dot(values, [1, -8, 8, -1]) / (12 * step)
        assert abs(difference - derivative) <= 1e-8 * np.abs(gradient).max(), (derivative, difference)


def test_with_all_rows_as_centres_it_is_exact():
    X, y = make_data(120)
    X_new, _ = make_data(30, seed=1)
    exact = ntk.NTKGaussianProcessRegressor(PRIOR, random_state=0).fit(X, y)
    through = ntk.NTKGaussianProcessRegressor(PRIOR, solver="fitc", n_centres=120, random_state=0).fit(X, y)
    assert through.log_marginal_likelihood_value_ == pytest.approx(exact.log_marginal_likelihood_value_, abs=1e-2)
    for options in ({"return_std": True}, {"return_std": True, "include_noise": True}):
        for a, b in zip(through.predict(X_new, **options), exact.predict(X_new, **options), strict=True):
            np.testing.assert_allclose(a, b, atol=5e-3)
    fixed = {"fitted": (), "noise_variance": 0.04}
    exact, through = (
        ntk.NTKGaussianProcessRegressor(PRIOR, solver=solver, n_centres=120, **fixed).fit(X, y)
        for solver in ("cholesky", "fitc")
    )
    for a, b in zip(through.predict(X_new, return_cov=True), exact.predict(X_new, return_cov=True), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_cover_what_they_say(seed):
    generator = np.random.default_rng(seed)
    n, p = int(10 ** generator.uniform(3, 3.3)), int(10 ** generator.uniform(0.3, 1))
    X = generator.standard_normal((n + 3000, p)) * 10.0 ** generator.uniform(-3, 3, p)
    Z = X / X.std(axis=0)
    y = np.abs(Z[:, 0]) + np.sin(2 * Z[:, 1]) + generator.choice([0.1, 0.5]) * generator.standard_normal(len(X))
    process = ntk.NTKGaussianProcessRegressor(solver="fitc", n_centres=100, random_state=0).fit(X[:n], 1e3 * y[:n])
    mean, deviation = process.predict(X[n:], return_std=True, include_noise=True)
    covered = (np.abs(1e3 * y[n:] - mean) <= 1.6448536 * deviation).mean()
    assert 0.87 <= covered <= 0.93, (n, p, covered)


def test_saved_loaded_sampled_and_consistent(tmp_path):
    X, y = make_data(400)
    X_new, _ = make_data(20, seed=1)
    process = ntk.NTKGaussianProcessRegressor(PRIOR, solver="fitc", n_centres=60, random_state=3).fit(X, y)
    assert process.solver_ == "fitc"
    assert process.X_fit_.shape == (60, 3)
    again = ntk.NTKGaussianProcessRegressor(PRIOR, solver="fitc", n_centres=60, random_state=3).fit(X, y)
    assert again.kernel_ == process.kernel_
    _, deviation = process.predict(X_new, return_std=True)
    _, covariance = process.predict(X_new, return_cov=True)
    np.testing.assert_allclose(np.diagonal(covariance), deviation**2, rtol=1e-9)
    assert process.sample_y(X_new, 5).shape == (20, 5)
    process.save(tmp_path / "process.ntk")
    loaded = ntk.load_model(tmp_path / "process.ntk")
    for a, b in zip(loaded.predict(X_new, return_std=True), process.predict(X_new, return_std=True), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="log_marginal_likelihood needs a model with solver='cholesky'"):
        loaded.log_marginal_likelihood()


def test_the_solver_is_chosen_by_the_number_of_rows():
    assert choose_process_solver("auto", None, MOST_ROWS_TO_FACTORISE)[0] == "cholesky"
    assert choose_process_solver("auto", None, MOST_ROWS_TO_FACTORISE + 1)[0] == "fitc"
    assert choose_process_solver("fitc", None, 20_000) == ("fitc", 707)
    assert choose_process_solver("cholesky", None, 20_000)[0] == "cholesky"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"solver": "svgp"}, ValueError, "solver must be one of 'auto', 'cholesky', 'fitc'; got 'svgp'"),
        ({"n_centres": 51}, ValueError, "n_centres must not exceed the number of rows; got 51 for 50 rows"),
        ({"n_centres": 0}, ValueError, "n_centres must be a whole number >= 1"),
    ],
)
def test_bad_parameters(parameters, error, message):
    X, y = make_data(50)
    with pytest.raises(error, match=message):
        ntk.NTKGaussianProcessRegressor(**parameters).fit(X, y)
