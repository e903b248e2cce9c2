"""Gaussian processes against scikit-learn's with the same kernel, and derivatives against finite differences."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor

import ntk_fast as ntk
from ntk_fast import layers

PRIORS = {
    "ntk-bias": ntk.NTK(3, bias_variance=0.1),
    "nngp": ntk.NNGP(2, "abs"),
    "arccos": ntk.ArcCosine(2),
}


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((80, 3))
    y = np.abs(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * generator.standard_normal(80)
    return X, y, generator.standard_normal((20, 3))


@pytest.mark.parametrize("normalize_y", [False, True])
@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())
def test_against_scikit_learn(prior, n_targets, normalize_y, data):
    X, y, X_new = data
    y = y if n_targets == 1 else np.column_stack([y, 3 * X[:, 1] + 5])
    ours = ntk.NTKGaussianProcessRegressor(prior, 0.05, fitted=(), normalize_y=normalize_y).fit(X, y)
    theirs = GaussianProcessRegressor(
        ntk.GaussianProcessKernel(prior), alpha=0.05, optimizer=None, normalize_y=normalize_y
    ).fit(X, y)
    for options in ({}, {"return_std": True}, {"return_cov": True}):
        mine, other = ours.predict(X_new, **options), theirs.predict(X_new, **options)
        for a, b in zip(mine, other, strict=True) if options else [(mine, other)]:
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    ours.set_params(fitted=("weight_variance", "bias_variance"))
    value, gradient = ours.log_marginal_likelihood(eval_gradient=True)
    expected, expected_gradient = theirs.log_marginal_likelihood(theirs.kernel_.theta, eval_gradient=True)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("per_layer", [False, True])
def test_gradient_against_finite_differences(per_layer, data):
    X, y, _ = data
    process = ntk.NTKGaussianProcessRegressor(PRIORS["ntk-bias"], 0.05, fitted=()).fit(X, y)
    process.set_params(fitted=("weight_variance", "bias_variance", "noise_variance"), per_layer=per_layer)
    theta = np.append(np.log([1.0] * 4 + [0.1] * 4) if per_layer else np.log([1.0, 0.1]), np.log(0.05)) + 0.2
    _, gradient = process.log_marginal_likelihood(theta, eval_gradient=True)
    step = 1e-3
    for direction, derivative in zip(np.eye(len(theta)), gradient, strict=True):
        values = [process.log_marginal_likelihood(theta + k * step * direction) for k in (-2, -1, 1, 2)]
        difference = np.dot(values, [1, -8, 8, -1]) / (12 * step)
        assert abs(difference - derivative) <= 1e-6 * np.abs(gradient).max(), (derivative, difference)


def test_fitting_reaches_a_maximum(data):
    X, y, _ = data
    process = ntk.NTKGaussianProcessRegressor(ntk.NTK(2, bias_variance=0.1), 0.1).fit(X, y)
    value, gradient = process.log_marginal_likelihood(eval_gradient=True)
    assert value == pytest.approx(process.log_marginal_likelihood_value_, rel=1e-12)
    inside = (process.theta_ > np.log(1e-4)) & (process.theta_ < np.log(1e4))
    assert np.abs(gradient[inside]).max() < 1e-2
    start = ntk.NTKGaussianProcessRegressor(ntk.NTK(2, bias_variance=0.1), 0.1, fitted=()).fit(X, y)
    assert value > start.log_marginal_likelihood_value_ + 1


def test_known_noise_and_variance_are_found():
    generator = np.random.default_rng(3)
    X = generator.standard_normal((300, 5))
    truth = ntk.NNGP(1, weight_variance=1.5)
    functions = np.linalg.cholesky(truth(X) + 0.04 * np.eye(300)) @ generator.standard_normal((300, 5))
    process = ntk.NTKGaussianProcessRegressor(ntk.NNGP(1), 1.0).fit(X, functions)
    assert process.noise_variance_ == pytest.approx(0.04, rel=0.2)
    assert process.kernel_.weight_variance == pytest.approx(1.5, rel=0.2)


def test_parameters_left_out_stay(data):
    X, y, _ = data
    process = ntk.NTKGaussianProcessRegressor(ntk.NTK(2, bias_variance=0.1), 0.07, fitted=["weight_variance"]).fit(X, y)
    assert process.kernel_.bias_variance == 0.1
    assert process.noise_variance_ == 0.07
    assert process.kernel_.weight_variance != 1.0
    untouched = ntk.NTKGaussianProcessRegressor(ntk.NTK(2), 0.07, fitted=()).fit(X, y)
    assert untouched.kernel_ == ntk.NTK(2)


def test_depths_are_compared(data):
    X, y, _ = data
    prior = ntk.NTK(1, weight_variance=(0.3, 2.0), bias_variance=0.1)
    process = ntk.NTKGaussianProcessRegressor(prior, 0.1, depths=(1, 2, 4)).fit(X, y)
    alone = [
        ntk.NTKGaussianProcessRegressor(
            ntk.NTK(depth, weight_variance=(0.3, *(2.0,) * depth), bias_variance=0.1), 0.1
        ).fit(X, y)
        for depth in (1, 2, 4)
    ]
    np.testing.assert_allclose(process.depth_values_, [one.log_marginal_likelihood_value_ for one in alone], rtol=1e-6)
    assert process.kernel_.depth == (1, 2, 4)[np.argmax(process.depth_values_)]
    value = process.log_marginal_likelihood(process.theta_)
    assert value == pytest.approx(process.log_marginal_likelihood_value_, rel=1e-12)


@pytest.mark.parametrize(
    "prior",
    [
        None,
        ntk.NTK(2, bias_variance=0.1),
        ntk.NNGP(1, "abs", bias_variance=1.0),
        ntk.NTK(2),
        ntk.ArcCosine(1),
        2.0 * ntk.NNGP(1, "gelu", bias_variance=0.1) + ntk.NTK(1),
        ntk.NNGP(
            network=layers.Sequential(layers.Residual(layers.Dense(), layers.Relu(), layers.Dense()), layers.Dense())
        ),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_a_fit_does_not_depend_on_units(prior):
    generator = np.random.default_rng(5)
    n, p = int(10 ** generator.uniform(1.5, 2)), int(10 ** generator.uniform(0.3, 1))
    X, X_new = generator.standard_normal((n, p)), generator.standard_normal((200, p))
    y, truth = (np.abs(rows[:, 0]) + np.sin(2 * rows[:, 1]) for rows in (X, X_new))
    y += 0.1 * generator.standard_normal(n)
    expected = ntk.NTKGaussianProcessRegressor(prior).fit(X, y)
    mean, deviation = expected.predict(X_new, return_std=True)
    of_rows = [1e-30, 1e-4, 10 ** generator.uniform(-4, 4), 1e4, 1e30, 1.0, 1.0]
    of_targets = [1.0, 1e4, 10 ** generator.uniform(-4, 4), 1e-4, 1.0, 1e30, 1e-30]
    for a, b in zip(of_rows, of_targets, strict=True):
        process = ntk.NTKGaussianProcessRegressor(prior).fit(a * X, b * y + 7 * b)
        moved, wider = process.predict(a * X_new, return_std=True)
        np.testing.assert_allclose(moved / b - 7, mean, atol=1e-4 * truth.std(), err_msg=f"{a}, {b}")
        np.testing.assert_allclose(wider / b, deviation, rtol=1e-3)
        ratio = process.y_scale_[0] / expected.y_scale_[0] / b  # 1 / b, or 1 where kernels have no unit
        value = process.log_marginal_likelihood_value_ - n * np.log(ratio)
        assert value == pytest.approx(expected.log_marginal_likelihood_value_, abs=1e-4)
        assert process.noise_variance_ * ratio**2 == pytest.approx(expected.noise_variance_, rel=1e-2, abs=1e-6)


def test_columns_of_different_units_do_not_matter_to_the_default_kernel(data):
    X, y, X_new = data
    expected = ntk.NTKGaussianProcessRegressor().fit(X, y)
    units, origins = np.array([1e-3, 1.0, 1e4]), np.array([0.0, 5.0, -1e5])
    process = ntk.NTKGaussianProcessRegressor().fit(X * units + origins, y)
    np.testing.assert_allclose(process.predict(X_new * units + origins), expected.predict(X_new), atol=1e-4)
    as_they_are = ntk.NTKGaussianProcessRegressor(scale_columns=None).fit(X, y)
    np.testing.assert_array_equal(as_they_are.X_fit_, X)


def test_what_is_not_fitted_stays_whatever_the_units(data):
    X, y, _ = data
    prior = ntk.NTK(2, weight_variance=(0.5, 1.0, 2.0), bias_variance=0.3)
    for fitted in ((), ("noise_variance",), ("weight_variance", "noise_variance"), ("bias_variance",)):
        process = ntk.NTKGaussianProcessRegressor(prior, 0.07, fitted=fitted).fit(1e2 * X, 1e3 * y)
        if "weight_variance" not in fitted:
            assert process.kernel_.weight_variance == prior.weight_variance
        if "bias_variance" not in fitted:
            assert process.kernel_.bias_variance == prior.bias_variance
        assert (process.noise_variance_ == 0.07) is ("noise_variance" not in fitted)


def test_noise_of_each_row_against_scikit_learn(data):
    X, y, X_new = data
    noise = 10.0 ** np.random.default_rng(2).uniform(-6, 2, len(X))
    prior = PRIORS["ntk-bias"]
    ours = ntk.NTKGaussianProcessRegressor(prior, noise, fitted=()).fit(X, y)
    theirs = GaussianProcessRegressor(ntk.GaussianProcessKernel(prior), alpha=noise, optimizer=None).fit(X, y)
    for a, b in zip(ours.predict(X_new, return_std=True), theirs.predict(X_new, return_std=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(theirs.log_marginal_likelihood_value_, rel=1e-10)
    fitted = ntk.NTKGaussianProcessRegressor(prior, noise).fit(X, y)
    np.testing.assert_array_equal(fitted.noise_variance_, noise)
    assert fitted.log_marginal_likelihood_value_ > ours.log_marginal_likelihood_value_
    moved = ntk.NTKGaussianProcessRegressor(prior, 1e6 * noise).fit(X, 1e3 * y)
    np.testing.assert_allclose(moved.predict(X_new) / 1e3, fitted.predict(X_new), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="include_noise must be False where noise_variance was given for each row"):
        fitted.predict(X_new, return_std=True, include_noise=True)


def test_intervals_of_observations_add_the_noise(data):
    X, y, X_new = data
    process = ntk.NTKGaussianProcessRegressor(PRIORS["ntk-bias"], 0.3, fitted=(), normalize_y=True).fit(X, 100 * y)
    noise = 0.3 * (100 * y).var()
    mean, deviation = process.predict(X_new, return_std=True)
    same, wider = process.predict(X_new, return_std=True, include_noise=True)
    np.testing.assert_array_equal(same, mean)
    np.testing.assert_allclose(wider**2 - deviation**2, noise, rtol=1e-9)
    covariances = [process.predict(X_new, return_cov=True, include_noise=included)[1] for included in (False, True)]
    np.testing.assert_allclose(covariances[1] - covariances[0], noise * np.eye(20), rtol=1e-9, atol=1e-9 * noise)


def test_a_bias_that_vanishes_is_no_failure():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((80, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process = ntk.NTKGaussianProcessRegressor().fit(X, X @ [2.0, 1.0] + 0.1 * generator.standard_normal(80))
    assert max(process.kernel_.bias_variance) < 1e-5 * min(process.kernel_.weight_variance)


def test_a_maximum_at_a_bound_is_a_warning(data):
    X, _, _ = data
    exact = np.linalg.cholesky(ntk.NTK(1)(X)) @ np.random.default_rng(0).standard_normal(len(X))
    with pytest.warns(ConvergenceWarning, match="largest at a bound of what was fitted: noise_variance = "):
        ntk.NTKGaussianProcessRegressor(ntk.NTK(1)).fit(X, exact)


def test_restarts_do_no_worse_and_repeat(data):
    X, y, _ = data
    prior = ntk.NTK(2, weight_variance=1e3, bias_variance=1e3)
    once = ntk.NTKGaussianProcessRegressor(prior, 0.1).fit(X, y)
    more = [ntk.NTKGaussianProcessRegressor(prior, 0.1, n_restarts=2, random_state=1).fit(X, y) for _ in range(2)]
    assert more[0].log_marginal_likelihood_value_ >= once.log_marginal_likelihood_value_
    assert more[0].kernel_ == more[1].kernel_


def test_samples_have_the_posterior_mean_and_covariance(data):
    X, y, X_new = data
    Y = np.column_stack([y, 10 * y + 3])
    process = ntk.NTKGaussianProcessRegressor(PRIORS["ntk-bias"], 0.05, fitted=(), normalize_y=True).fit(X, Y)
    samples = process.sample_y(X_new, 20_000, random_state=0)
    assert samples.shape == (20, 2, 20_000)
    mean, covariance = process.predict(X_new, return_cov=True)
    for target in range(2):
        scale = covariance[:, :, target].max()
        np.testing.assert_allclose(samples[:, target].mean(axis=1), mean[:, target], atol=0.05 * scale**0.5)
        np.testing.assert_allclose(np.cov(samples[:, target]), covariance[:, :, target], atol=0.05 * scale)
    assert process.fit(X, y).sample_y(X_new).shape == (20, 1)


def test_parameters_of_activations_are_fitted():
    generator = np.random.default_rng(0)
    X = generator.uniform(-1, 1, (30, 1))
    y = np.sin(3 * X[:, 0]) + 0.1 * generator.standard_normal(30)
    names = ("noise_variance", "activation__frequency")
    process = ntk.NTKGaussianProcessRegressor(ntk.NNGP(1, "sin", bias_variance=0.1), fitted=names).fit(X, y)
    value, gradient = process.log_marginal_likelihood(eval_gradient=True)
    np.testing.assert_allclose(gradient, 0, atol=0.02)
    frequency = process.kernel_.activation.frequency
    assert frequency == pytest.approx(np.exp(process.theta_[0]))
    for factor in (0.8, 1.25):
        assert process.log_marginal_likelihood(process.theta_ + np.array([np.log(factor), 0])) < value - 0.1
    assert process.kernel_.variances == ntk.NNGP(1, "sin", bias_variance=0.1).variances


def test_networks_on_images_are_fitted_whatever_the_unit_of_pixels():
    generator = np.random.default_rng(1)
    images, y = generator.random((12, 3, 3, 1)).reshape(12, 9), generator.standard_normal(12)
    conv = [layers.Conv((2, 2), bias_variance=0.1), layers.Relu(), layers.Flatten(), layers.Dense()]
    kernel = ntk.NTK(network=layers.Sequential(layers.Input(3, 3, 1), *conv))
    fits = [ntk.NTKGaussianProcessRegressor(kernel).fit(unit * images, y) for unit in (1.0, 255.0)]
    values = [process.log_marginal_likelihood_value_ for process in fits]
    assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert values[0] > ntk.NTKGaussianProcessRegressor(kernel, fitted=()).fit(images, y).log_marginal_likelihood_value_
    np.testing.assert_allclose(fits[0].predict(images), fits[1].predict(255.0 * images), atol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"noise_variance": -0.1}, ValueError, "noise_variance must be >= 0"),
        ({"fitted": ("depth",)}, ValueError, "fitted must hold names out of .*; got 'depth'"),
        ({"fitted": ("activation__slope",)}, ValueError, "fitted must hold names out of .*; got 'activation__slope'"),
        ({"depths": (0,)}, ValueError, "depths must be a whole number >= 1"),
        ({"depths": ()}, ValueError, "at least one depth"),
        ({"depths": 3}, TypeError, "depths must be a sequence of whole numbers >= 1, or None; got 3"),
        ({"fitted": None}, TypeError, "fitted must be a sequence of names; got None"),
        ({"per_layer": "no"}, TypeError, "per_layer must be True or False; got 'no'"),
        ({"normalize_y": "no"}, TypeError, "normalize_y must be True or False; got 'no'"),
        ({"scale_columns": 1}, ValueError, "scale_columns must be 'auto', 'deviation', 'range' or None; got 1"),
        ({"noise_variance": [0.1, 0.2]}, ValueError, r"one for each row; got shape \(2,\) for 80 rows"),
        ({"noise_variance": np.full(80, -1.0)}, ValueError, "one for each row; got -1.0 for row 0"),
        ({"noise_variance": np.full(80, np.nan)}, ValueError, "one for each row; got nan for row 0"),
        ({"noise_variance": ["a"] * 80}, TypeError, "noise_variance must be a number >= 0, or one for each row; got"),
        ({"n_restarts": -1}, ValueError, "n_restarts"),
        ({"kernel": 3}, TypeError, "kernel must be"),
    ],
)
def test_bad_parameters(data, parameters, error, message):
    X, y, _ = data
    with pytest.raises(error, match=message):
        ntk.NTKGaussianProcessRegressor(**parameters).fit(X, y)


def test_bad_calls(data):
    X, y, X_new = data
    for scale in (1e-100, 1e100, 1e200):
        with pytest.raises(ValueError, match=r"y has a mean square of .* scale it, or pass normalize_y=True"):
            ntk.NTKGaussianProcessRegressor().fit(X, scale * y)
    process = ntk.NTKGaussianProcessRegressor(fitted=()).fit(X, y)
    with pytest.raises(ValueError, match="cannot both"):
        process.predict(X_new, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match=r"theta must have shape \(0,\)"):
        process.log_marginal_likelihood([1.0])
    with pytest.raises(ValueError, match="theta must hold logarithms from -300 to 300"):
        process.set_params(fitted=("noise_variance",)).log_marginal_likelihood([1000.0])
    with pytest.raises(ValueError, match="singular to working precision"):
        ntk.NTKGaussianProcessRegressor(noise_variance=0.0, fitted=()).fit(np.vstack([X, X]), np.append(y, y))
