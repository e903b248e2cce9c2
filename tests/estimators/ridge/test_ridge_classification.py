"""Classification by kernel ridge regression, and its probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from plain_ridge import PRIOR
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import cross_val_score

import ntk_fast as ntk
from ntk_fast.estimators.calibration import fit_slope, probabilities


@pytest.mark.parametrize("solver", ["cholesky", "cg", "nystroem"])
def test_classification_is_regression_on_one_hot_targets(solver):
    X, labels = load_digits(return_X_y=True)
    X, labels = X[:400], labels[:400]
    names = np.array([f"digit {label}" for label in range(10)])
    options = {"ridge": 0.01, "scale_columns": "range"}
    model = ntk.NTKClassifier(ntk.NTK(3), solver=solver, n_centres=300, tolerance=1e-12, **options)
    model.fit(X[:300], names[labels[:300]])
    regression = ntk.NTKRegressor(ntk.NTK(3), **options).fit(X[:300], np.eye(10)[labels[:300]] - 0.1)
    np.testing.assert_allclose(model.decision_function(X[300:]), regression.predict(X[300:]), atol=1e-7)
    np.testing.assert_array_equal(model.predict(X[300:]), names[regression.predict(X[300:]).argmax(axis=1)])
    np.testing.assert_array_equal(model.classes_, names)
    assert model.score(X[300:], names[labels[300:]]) > 0.9


def test_two_classes_have_one_target(data):
    X, y, X_new = data
    model = ntk.NTKClassifier(PRIOR, ridge=0.1).fit(X, y > 0)
    regression = ntk.NTKRegressor(PRIOR, ridge=0.1).fit(X, (y > 0) - 0.5)
    np.testing.assert_allclose(model.decision_function(X_new), regression.predict(X_new), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X_new), regression.predict(X_new) > 0)
    assert model.leave_one_out_predictions_.shape == (200,)
    right = (model.leave_one_out_predictions_ > 0) == (y > 0)
    assert model.leave_one_out_score_ == right.mean()


def test_class_weights_are_weights_of_rows(data):
    X, y, X_new = data
    labels = np.where(y > 1, "rare", "common")
    share = (labels == "rare").mean()
    balanced = ntk.NTKClassifier(ridge=0.1, class_weight="balanced").fit(X, labels)
    rows = np.where(labels == "rare", 0.5 / share, 0.5 / (1 - share))
    weighted = ntk.NTKClassifier(ridge=0.1).fit(X, labels, sample_weight=rows)
    both = ntk.NTKClassifier(ridge=0.1, class_weight={"rare": 2.0}).fit(X, labels, np.where(labels == "rare", 3.0, 1))
    product = ntk.NTKClassifier(ridge=0.1).fit(X, labels, np.where(labels == "rare", 6.0, 1))
    np.testing.assert_allclose(balanced.decision_function(X_new), weighted.decision_function(X_new), rtol=1e-9)
    np.testing.assert_allclose(both.decision_function(X_new), product.decision_function(X_new), rtol=1e-9)
    plain = ntk.NTKClassifier(ridge=0.1).fit(X, labels)
    assert (balanced.predict(X_new) == "rare").sum() > (plain.predict(X_new) == "rare").sum()


@pytest.mark.parametrize("n_labels", [1, 3])
def test_rows_with_several_labels(n_labels, data):
    X, y, X_new = data
    Y = np.column_stack([y > 0, X[:, 0] > 0, X[:, 1] * X[:, 2] > 0])[:, :n_labels].astype(int)
    if n_labels == 1:
        Y = np.column_stack([Y, np.zeros(200, dtype=int)])  # a label that no row has
    model = ntk.NTKClassifier().fit(X, Y)
    assert model.predict(X_new).shape == model.predict_proba(X_new).shape == (50, Y.shape[1])
    np.testing.assert_array_equal(model.predict(X_new), model.predict_proba(X_new) > 0.5)
    assert set(np.unique(model.predict(X_new))) <= {0, 1}
    assert accuracy_score(Y, model.predict(X)) > 0.8
    sparse = ntk.NTKClassifier().fit(X, csr_matrix(Y))
    np.testing.assert_array_equal(sparse.predict(X_new), model.predict(X_new))
    each = ntk.NTKClassifier(ridge=model.relative_ridge_, scale_columns=model.column_scaling_.by).fit(X, Y[:, 0])
    np.testing.assert_allclose(each.decision_function(X_new), model.decision_function(X_new)[:, 0], rtol=1e-6)


def test_probabilities_are_calibrated():
    """Labels drawn with known probabilities: what is predicted is near them, and log_loss scoring works."""
    generator = np.random.default_rng(0)
    X = generator.uniform(-2, 2, (1500, 2))
    truth = 1 / (1 + np.exp(-3 * X[:, 0]))
    y = np.where(generator.random(1500) < truth, "yes", "no")
    model = ntk.NTKClassifier().fit(X[:700], y[:700])
    found = model.predict_proba(X[700:])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[found.argmax(axis=1)], model.predict(X[700:]))
    assert np.abs(found[:, 1] - truth[700:]).mean() < 0.05
    best = log_loss(y[700:], np.column_stack([1 - truth, truth])[700:])
    assert log_loss(y[700:], found) < best + 0.02
    scores = cross_val_score(ntk.NTKClassifier(), X[:300], y[:300], scoring="neg_log_loss", cv=3)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_slope_of_probabilities_is_the_likeliest(seed):
    generator = np.random.default_rng(seed)
    n_classes = generator.integers(2, 6)
    scores = generator.standard_normal((400, n_classes)) * 10 ** generator.uniform(-2, 0)
    slope = 10 ** generator.uniform(0, 1.5)
    drawn = (scores * slope + generator.gumbel(size=scores.shape)).argmax(axis=1)
    found = fit_slope(scores, np.eye(n_classes)[drawn], None, True)

    def loss(value):  # of the labels, and of one more of each class for every row
        likelihoods = np.log(probabilities(scores, value, True))
        return -likelihoods[np.arange(400), drawn].sum() - likelihoods.sum() / 400

    assert loss(found) <= min(loss(1.01 * found), loss(found / 1.01))
    assert 0.4 < found / slope < 1.3
    perfect = fit_slope(np.array([[1.0], [-1.0]] * 50), np.array([[1.0], [0.0]] * 50), None, True)
    assert probabilities(np.ones((1, 1)), perfect, True)[0, 1] == pytest.approx(101 / 102, abs=1e-4)
