"""Random features: inner products approach the kernels, and scikit-learn is content."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

import ntk_fast as ntk
from ntk_fast import finite, layers

NETWORK = layers.Sequential(
    layers.Dense(bias_variance=0.2),
    layers.Residual(layers.Gelu(), layers.Dense(0.7)),
    layers.Gelu(),
    layers.Dense(2, 0.5),
)
ROWS = np.random.default_rng(0).standard_normal((10, 4))


@pytest.mark.parametrize("kernel", ["nngp", "ntk", "arccos0"])
def test_scikit_learn_checks(kernel):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        check_estimator(finite.RandomFeatures(kernel, width=10, random_state=0))


@pytest.mark.parametrize(
    ("features", "limit"),
    [
        (finite.RandomFeatures("nngp", 30_000, random_state=0), ntk.ArcCosine(1)),
        (finite.RandomFeatures("arccos0", 30_000, random_state=0), ntk.ArcCosine(0)),
        (finite.RandomFeatures("arccos0", 2_000, depth=2, random_state=0), ntk.ArcCosine(0, 2)),
        (finite.RandomFeatures("ntk", 30_000, random_state=0), ntk.NTK(1)),
        (finite.RandomFeatures("nngp", 2_000, depth=2, random_state=0), ntk.NNGP(2)),
        (finite.RandomFeatures("nngp", 30_000, activation="abs", random_state=0), ntk.NNGP(1, "abs")),
        (finite.RandomFeatures("nngp", 3_000, random_state=0, network=NETWORK), ntk.NNGP(network=NETWORK)),
        (finite.RandomFeatures("ntk", 3_000, random_state=0, network=NETWORK), ntk.NTK(network=NETWORK)),
    ],
    ids=repr,
)
def test_inner_products_approach_the_kernel(features, limit):
    values, exact = features.fit_transform(ROWS), limit(ROWS)
    assert np.abs(values @ values.T - exact).max() < 8 / np.sqrt(features.width) * exact.max()


def test_ntk_features_are_the_two_blocks_of_equation_5():
    features = finite.RandomFeatures("ntk", width=7, random_state=0).fit(ROWS)
    (hidden,), readout = features.network_.weights.hidden, features.network_.weights.readout
    z = ROWS @ hidden.T
    first = (readout * (z > 0))[:, :, None] * ROWS[:, None, :]
    expected = np.concatenate([first.reshape(10, -1), np.maximum(z, 0)], axis=1) / np.sqrt(7)
    np.testing.assert_allclose(features.transform(ROWS), expected, rtol=1e-13)
    assert features.get_feature_names_out()[-1] == "randomfeatures34"


def test_bad_kernel():
    with pytest.raises(ValueError, match="kernel must be one of 'arccos0', 'nngp', 'ntk'; got 'rbf'"):
        finite.RandomFeatures("rbf").fit(ROWS)
    with pytest.raises(ValueError, match="network says it all"):
        finite.RandomFeatures(depth=2, network=NETWORK).fit(ROWS)
    with pytest.raises(ValueError, match="network must be None with kernel='arccos0'"):
        finite.RandomFeatures("arccos0", network=NETWORK).fit(ROWS)
