"""Transformers of pixels: statistics by channel, whitening, and models on images from end to end."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntk_fast as ntk
from ntk_fast import layers

RANDOM = np.random.default_rng(0)


@parametrize_with_checks([ntk.ChannelScaler(), ntk.ZCAWhitener(), ntk.ZCAWhitener(regularization=0.0)])
def test_scikit_learn_takes_them(estimator, check):
    check(estimator)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_channels(scale):
    images = (RANDOM.standard_normal((20, 4, 5, 3)) * (1, 10, 0) + (5, 0, 3)) * scale
    rows = images.reshape(20, -1)
    scaler = ntk.ChannelScaler(n_channels=3).fit(rows)
    scaled = scaler.transform(rows).reshape(images.shape)
    np.testing.assert_allclose(scaled.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=(0, 1, 2)), (1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(rows)), rows, rtol=1e-12, atol=1e-12 * scale)
    assert list(scaler.get_feature_names_out()[:2]) == ["x0", "x1"]


@pytest.mark.parametrize("regularization", [0.0, 1e-3, 1.0])
def test_whitening(regularization):
    rows = RANDOM.standard_normal((50, 8)) @ RANDOM.standard_normal((8, 8)) * 1e3 + 7e3
    whitener = ntk.ZCAWhitener(regularization).fit(rows)
    white = whitener.transform(rows)
    covariance = np.cov(rows.T, bias=True)
    regular = covariance + regularization * np.trace(covariance) / 8 * np.eye(8)
    root = whitener.whitening_
    np.testing.assert_allclose(root, root.T, rtol=1e-12)
    np.testing.assert_allclose(root @ regular @ root, np.eye(8), atol=1e-9)
    np.testing.assert_allclose(np.cov(white.T, bias=True), root @ covariance @ root, atol=1e-12)
    np.testing.assert_allclose(whitener.inverse_transform(white), rows, rtol=1e-9)
    other = ntk.ZCAWhitener(regularization).fit(rows * 1e-60)
    np.testing.assert_allclose(other.transform(rows * 1e-60), white, rtol=1e-7, atol=1e-9)


def test_constant_columns_and_equal_rows():
    rows = np.c_[RANDOM.standard_normal(9), np.full(9, 0.1)]
    for regularization in (0.0, 0.1):
        np.testing.assert_allclose(ntk.ZCAWhitener(regularization).fit_transform(rows)[:, 1], 0, atol=1e-12)
        assert not ntk.ZCAWhitener(regularization).fit_transform(np.ones((3, 2))).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_and_dtypes(tmp_path, dtype):
    rows = RANDOM.random((12, 6)).astype(dtype)
    for transformer in (ntk.ChannelScaler(3), ntk.ZCAWhitener()):
        transformer.fit(rows).save(tmp_path / "transformer.ntk")
        again = type(transformer).load(tmp_path / "transformer.ntk")
        assert again.transform(rows).dtype == dtype
        np.testing.assert_array_equal(again.transform(rows), transformer.transform(rows))


@pytest.mark.parametrize(
    ("transformer", "sentence"),
    [
        (ntk.ChannelScaler(5), "n_channels must divide the number of columns, 6; got 5."),
        (ntk.ChannelScaler(0), "n_channels must be a whole number >= 1"),
        (ntk.ZCAWhitener(-1), "regularization must be >= 0; got -1."),
    ],
)
def test_bad_parameters(transformer, sentence):
    with pytest.raises(ValueError) as error:
        transformer.fit(np.ones((2, 6)))
    assert str(error.value).startswith(sentence)


def test_models_of_images_divide_all_pixels_by_one_number():
    network = layers.cntk(1, (3, 3, 2), pooling=None, bias_variance=0.1)
    images, targets = RANDOM.random((12, 18)), RANDOM.standard_normal(12)
    weights = RANDOM.integers(0, 3, 12)
    model = ntk.NTKRegressor(ntk.NTK(network=network)).fit(images, targets, weights)
    scaled = np.repeat(model.column_scaling_.apply(images), weights, axis=0)
    assert np.mean((scaled**2).sum(axis=1)) / 9 == pytest.approx(1)
    quotients = scaled / np.repeat(images, weights, axis=0)
    np.testing.assert_allclose(quotients, quotients[0, 0])
    for scale in (1e-12, 1e150):
        other = ntk.NTKRegressor(ntk.NTK(network=network)).fit(images * scale, targets, weights)
        np.testing.assert_allclose(other.predict(images * scale), model.predict(images), rtol=1e-6)
    blank = ntk.NTKRegressor(ntk.NTK(network=network), ridge=0.1).fit(0 * images, targets)
    np.testing.assert_allclose(blank.predict(images[:1] * 0), targets.mean())


def test_classifier_of_images(tmp_path):
    X, y = load_digits(return_X_y=True)
    small = X.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    network = layers.cntk(1, (4, 4, 1), pooling=None)
    model = make_pipeline(ntk.ChannelScaler(), ntk.NTKClassifier(ntk.NTK(network=network)))
    model.fit(small[:150], y[:150])
    assert model.score(small[150:300], y[150:300]) > 0.85
    ntk.save_model(model, tmp_path / "digits.ntk")
    again = ntk.load_model(tmp_path / "digits.ntk")
    np.testing.assert_array_equal(again.decision_function(small[:5]), model.decision_function(small[:5]))
