"""Gaussian-process classification against scikit-learn's with the same kernel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.metrics import log_loss

import ntk_fast as ntk

PRIORS = {
    "ntk-bias": ntk.NTK(3, weight_variance=2.0, bias_variance=0.1),
    "nngp": ntk.NNGP(2, "abs", weight_variance=3.0),
    "arccos": ntk.ArcCosine(2),
}


def make_data(n_classes, seed=0):
    generator = np.random.default_rng(seed)
    n = int(10 ** generator.uniform(1.5, 2))
    X = generator.standard_normal((n, 3)) * 10.0 ** generator.uniform(-0.5, 0.5)
    scores = np.column_stack([X @ generator.standard_normal(3), np.abs(X[:, 0]), X[:, 1] * X[:, 2], X[:, 1]])
    names = np.array(["d", "a", "c", "b"])[:n_classes]
    y = names[(scores + 0.3 * generator.gumbel(size=scores.shape))[:, :n_classes].argmax(axis=1)]
    return X, y, generator.standard_normal((25, 3)) * X.std()


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS.keys())
def test_against_scikit_learn(prior, n_classes):
    X, y, X_new = make_data(n_classes, seed=n_classes)
    ours = ntk.NTKGaussianProcessClassifier(prior, fitted=()).fit(X, y)
    theirs = GaussianProcessClassifier(ntk.GaussianProcessKernel(prior), optimizer=None).fit(X, y)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    # theirs ends where a step raises the likelihood by less than 1e-10, and keeps the probabilities before that step
    np.testing.assert_allclose(ours.predict_proba(X_new), theirs.predict_proba(X_new), rtol=0, atol=5e-6)
    np.testing.assert_array_equal(ours.predict(X_new), theirs.predict(X_new))
    expected = theirs.log_marginal_likelihood()
    assert ours.log_marginal_likelihood_value_ == pytest.approx(expected, rel=1e-9)
    assert ours.kernel_ == prior


def test_gradient_against_scikit_learn():
    X, y, _ = make_data(2)
    prior = PRIORS["ntk-bias"]
    ours = ntk.NTKGaussianProcessClassifier(prior, fitted=(), per_layer=True).fit(X, y)
    ours.set_params(fitted=("weight_variance", "bias_variance"))
    theta = np.log([2.0] * 4 + [0.1] * 4) + np.random.default_rng(1).uniform(-1, 1, 8)
    value, gradient = ours.log_marginal_likelihood(theta, eval_gradient=True)
    theirs = GaussianProcessClassifier(ntk.GaussianProcessKernel(prior, per_layer=True), optimizer=None).fit(X, y)
    expected, expected_gradient = theirs.log_marginal_likelihood(theta, eval_gradient=True)
    assert value == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fit_finds_a_maximum_in_every_unit(n_classes):
    X, y, X_new = make_data(n_classes)
    prior = ntk.NTK(2, bias_variance=0.1)
    fitted = ntk.NTKGaussianProcessClassifier(prior).fit(X, y)
    value, gradient = fitted.log_marginal_likelihood(eval_gradient=True)
    assert value == pytest.approx(fitted.log_marginal_likelihood_value_, rel=1e-8)
    assert np.abs(gradient).max() < 1e-2
    given = ntk.NTKGaussianProcessClassifier(prior, fitted=()).fit(X, y)
    assert value > given.log_marginal_likelihood_value_
    probabilities = fitted.predict_proba(X_new)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    for unit in (1e-4, 10 ** np.random.default_rng(4).uniform(-4, 4), 1e4):
        moved = ntk.NTKGaussianProcessClassifier(prior).fit(unit * X, y)
        np.testing.assert_allclose(moved.predict_proba(unit * X_new), probabilities, atol=1e-4)


def test_probabilities_are_better_than_frequencies():
    X, y, _ = make_data(3, seed=0)
    train, test = slice(0, None, 2), slice(1, None, 2)
    model = ntk.NTKGaussianProcessClassifier(ntk.NTK(2, bias_variance=0.1), depths=(1, 3)).fit(X[train], y[train])
    assert model.kernel_.depth == (1, 3)[np.argmax(model.depth_values_)]
    frequencies = np.unique(y[train], return_counts=True)[1] / len(y[train])
    baseline = log_loss(y[test], np.tile(frequencies, (len(y[test]), 1)), labels=model.classes_)
    assert log_loss(y[test], model.predict_proba(X[test]), labels=model.classes_) < 0.8 * baseline


def test_saved_and_loaded(tmp_path):
    X, y, X_new = make_data(4)
    model = ntk.NTKGaussianProcessClassifier().fit(X, y)
    model.save(tmp_path / "model.ntk")
    loaded = ntk.load_model(tmp_path / "model.ntk")
    assert isinstance(loaded, ntk.NTKGaussianProcessClassifier)
    np.testing.assert_array_equal(loaded.predict_proba(X_new), model.predict_proba(X_new))
    np.testing.assert_array_equal(loaded.predict(X_new), model.predict(X_new))
    assert loaded.log_marginal_likelihood() == pytest.approx(model.log_marginal_likelihood_value_, rel=1e-8)


def test_repeated_and_separable_rows_have_probabilities():
    X = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), 5, axis=0)
    y = np.repeat([0, 1, 1], 5)
    for labels in (y, np.arange(15) % 2):
        probabilities = ntk.NTKGaussianProcessClassifier(ntk.NTK(1, bias_variance=0.1), fitted=()).fit(X, labels)
        values = probabilities.predict_proba(np.vstack([X, 1e12 * X, 1e-12 * X]))
        assert ((values > 0) & (values < 1)).all()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"fitted": ("noise_variance",)}, ValueError, "fitted must hold names out of 'weight_variance', 'bias_varia"),
        ({"depths": ()}, ValueError, "at least one depth"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be a whole number >= 1"),
        ({"n_restarts": -1}, ValueError, "n_restarts"),
        ({"kernel": 3}, TypeError, "kernel must be"),
        ({"scale_columns": "no"}, ValueError, "scale_columns must be 'auto', 'deviation', 'range' or None; got 'no'"),
    ],
)
def test_bad_parameters(parameters, error, message):
    X, y, _ = make_data(2)
    with pytest.raises(error, match=message):
        ntk.NTKGaussianProcessClassifier(**parameters).fit(X, y)
    with pytest.raises(ValueError, match="y must hold at least two classes; got one class, 'a'"):
        ntk.NTKGaussianProcessClassifier().fit(X, ["a"] * len(X))
