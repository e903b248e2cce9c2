"""Kernel ridge regression and classification: what they compute, choose, and refuse."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntk_fast as ntk
from ntk_fast.estimators import FitWarning, expansion, ridge_choice
from ntk_fast.estimators import ridge as ridge_module
from ntk_fast.estimators.calibration import fit_slope, probabilities
from ntk_fast.estimators.ridge import choose_solver

PRIOR = ntk.NTK(2, bias_variance=0.1)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((200, 4))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * generator.standard_normal(200)
    return X, y, generator.standard_normal((50, 4))


#: What makes an estimator plain kernel ridge regression, without intercept, on the rows as they are.
PLAIN = {"scale_columns": None, "fit_intercept": False}


def diagonal(X, kernel=PRIOR):
    return kernel.diag(X).mean()


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg", "nystroem"])
@pytest.mark.parametrize("n_targets", [None, 1, 3])
def test_regression_is_scikit_learns_kernel_ridge(solver, n_targets, data):
    X, y, X_new = data
    Y = y if n_targets is None else np.column_stack([y, X])[:, :n_targets]
    options = {"ridge": 0.3 / diagonal(X), "solver": solver, "n_centres": 200, "tolerance": 1e-12, **PLAIN}
    ours = ntk.NTKRegressor(PRIOR, **options).fit(X, Y)
    theirs = KernelRidge(alpha=0.3, kernel=ntk.GaussianProcessKernel(PRIOR)).fit(X, Y)
    assert ours.predict(X_new).shape == theirs.predict(X_new).shape
    np.testing.assert_allclose(ours.predict(X_new), theirs.predict(X_new), atol=1e-8)
    assert ours.ridge_ == pytest.approx(0.3)
    assert ours.n_iter_ == len(ours.residuals_) - 1
    assert ours.solver_ == ("cholesky" if solver == "auto" else solver)


@pytest.mark.parametrize("solver", ["cholesky", "cg", "nystroem"])
def test_weights_are_scikit_learns(solver, data):
    X, y, X_new = data
    weights = np.random.default_rng(0).uniform(0, 3, 200) * (np.arange(200) % 5 > 0)
    options = {"ridge": 0.3, "solver": solver, "n_centres": 160, "tolerance": 1e-12, **PLAIN}
    ours = ntk.NTKRegressor(PRIOR, **options).fit(X, y, weights)
    theirs = KernelRidge(alpha=ours.ridge_, kernel=ntk.GaussianProcessKernel(PRIOR)).fit(X, y, weights)
    np.testing.assert_allclose(ours.predict(X_new), theirs.predict(X_new), atol=1e-8)
    nothing = weights == 0  # is left out of every fit
    np.testing.assert_allclose(ours.leave_one_out_predictions_[nothing], theirs.predict(X[nothing]), atol=1e-8)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1e308, 1.7e308])
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_targets_of_any_size_are_predicted(scale, solver):
    """Without a warning, and with leave-one-out figures like those of targets of an ordinary size."""
    X = np.random.default_rng(0).standard_normal((80, 3))
    y = X[:, 0] + 0.3 * np.sin(3 * X[:, 1])
    y /= np.abs(y).max()
    model, ordinary = (ntk.NTKRegressor(solver=solver, random_state=0).fit(X, targets) for targets in (y * scale, y))
    np.testing.assert_allclose(model.predict(X) / scale, y, atol=1e-6 if scale > 1e-300 else 1e-3)
    assert model.leave_one_out_score_ == pytest.approx(ordinary.leave_one_out_score_, abs=1e-3)


@pytest.mark.parametrize("ridge", [0.1, 3])
def test_whole_weights_are_repetitions(ridge, data):
    X, y, X_new = data
    counts = np.random.default_rng(0).integers(0, 4, 200)
    weighted = ntk.NTKRegressor(ridge=ridge, scale_columns="deviation").fit(X, y, sample_weight=counts)
    repeated = ntk.NTKRegressor(ridge=ridge, scale_columns="deviation")
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.predict(X_new), repeated.predict(X_new), rtol=1e-8)
    assert weighted.ridge_ == pytest.approx(repeated.ridge_)


@pytest.mark.parametrize("solver", ["auto", "cg", "nystroem"])
def test_units_do_not_matter(solver, data):
    """Predictions follow y -> a y + b, and do not change with units of columns."""
    X, y, X_new = data
    generator = np.random.default_rng(0)
    options = {"solver": solver, "n_centres": 50, "tolerance": 1e-10, "random_state": 0}
    plain = ntk.NTKRegressor(**options).fit(X, y)
    for _ in range(3):
        units, offsets = 10 ** generator.uniform(-100, 100, 4), generator.uniform(-1e3, 1e3, 4)
        scale, shift = 10 ** generator.uniform(-100, 100), generator.uniform(-1e3, 1e3)
        model = ntk.NTKRegressor(**options).fit((X + offsets) * units, scale * (y + shift))
        assert model.relative_ridge_ == pytest.approx(plain.relative_ridge_, rel=1e-6)
        predicted = model.predict((X_new + offsets) * units) / scale - shift
        np.testing.assert_allclose(predicted, plain.predict(X_new), atol=1e-6)
        assert model.leave_one_out_score_ == pytest.approx(plain.leave_one_out_score_, abs=1e-8)


@pytest.mark.parametrize("depth", [1, 20, 150])
def test_a_ridge_means_the_same_at_every_depth_and_variance(depth, data):
    X, y, X_new = data
    small = ntk.NTKRegressor(ntk.NTK(depth, weight_variance=0.9), ridge=0.01).fit(X, y)
    large = ntk.NTKRegressor(ntk.NTK(depth, weight_variance=1.9), ridge=0.01).fit(X, y)
    np.testing.assert_allclose(small.predict(X_new), large.predict(X_new), atol=1e-8)
    assert small.relative_ridge_ == pytest.approx(0.01)
    assert small.ridge_ == pytest.approx(0.01 * small.kernel_.diag(small.X_fit_).mean())


def test_images_are_divided_by_ranges_and_tables_by_deviations(data):
    X, labels = load_digits(return_X_y=True)
    model = ntk.NTKClassifier().fit(X[:400], labels[:400])
    assert model.column_scaling_.by == "range"
    assert model.score(X[400:800], labels[400:800]) > 0.9
    table = np.random.default_rng(0).uniform(-2, 2, (200, 3))
    signal = np.sin(2 * table[:, 0])
    table[7, 0] = 30  # is the range, and a small part of the deviation
    assert ntk.NTKRegressor().fit(table, signal).column_scaling_.by == "deviation"
    assert ntk.NTKRegressor(scale_columns="range").fit(*data[:2]).column_scaling_.by == "range"
    assert ntk.NTKRegressor(scale_columns=None).fit(*data[:2]).column_scaling_.by is None


def test_constant_columns_and_columns_of_rounding_errors_change_nothing(data):
    X, y, X_new = data
    more = np.random.default_rng(0).standard_normal((250, 2)) * 1e-16 + [1.0, 30.0]
    plain, padded = ntk.NTKRegressor().fit(X, y), ntk.NTKRegressor().fit(np.column_stack([X, more[:200]]), y)
    other = np.column_stack([X_new, more[200:] + 5])  # what was constant in training says nothing
    np.testing.assert_array_equal(padded.predict(other), plain.predict(X_new))


def test_the_ridge_chosen_by_leave_one_out(data):
    X, y, X_new = data
    chosen = ntk.NTKRegressor(PRIOR, scale_columns="deviation").fit(X, y)
    given = ntk.NTKRegressor(PRIOR, ridge=chosen.relative_ridge_, scale_columns="deviation").fit(X, y)
    np.testing.assert_allclose(chosen.predict(X_new), given.predict(X_new), rtol=1e-8)
    np.testing.assert_allclose(chosen.leave_one_out_errors_, given.leave_one_out_errors_, rtol=1e-7, atol=1e-9)
    assert chosen.ridge_ == chosen.path_ridges_[np.argmin(chosen.path_errors_)]
    assert chosen.path_errors_.min() == pytest.approx(1 - chosen.leave_one_out_score_)
    assert given.path_ridges_.shape == given.path_errors_.shape == (0,)
    # near the noise's variance, and better than ten times more or less of it
    truth = np.sin(X_new[:, 0]) + X_new[:, 1] * X_new[:, 2]
    errors = [
        np.mean((given.set_params(ridge=factor * chosen.relative_ridge_).fit(X, y).predict(X_new) - truth) ** 2)
        for factor in (1.0, 30.0, 1 / 300)
    ]
    assert errors[0] < errors[1]
    assert errors[0] < 1.1 * errors[2]


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("is_centred", [False, True])
def test_leave_one_out_predictions_are_those_of_models_fitted_without_the_row(is_centred, is_weighted, data):
    X, y, _ = data
    X, Y = X[:40], np.column_stack([y[:40] + 7, X[:40, 0] ** 2])
    weights = np.random.default_rng(0).uniform(0.1, 3, 40) if is_weighted else None
    options = {"scale_columns": None, "fit_intercept": is_centred}
    model = ntk.NTKRegressor(PRIOR, **options).fit(X, Y, weights)
    assert not model.leave_one_out_is_estimate_
    np.testing.assert_allclose(model.leave_one_out_errors_, Y - model.leave_one_out_predictions_)
    for row in (0, 21, 39):
        rest = np.arange(40) != row
        part = None if weights is None else weights[rest]
        w = np.ones(39) if weights is None else part
        relative = model.ridge_ / np.average(PRIOR.diag(X[rest]), weights=w)  # the same ridge on the diagonal
        without = ntk.NTKRegressor(PRIOR, ridge=relative, **options).fit(X[rest], Y[rest], part)
        np.testing.assert_allclose(model.leave_one_out_predictions_[row], without.predict(X[[row]])[0], rtol=1e-8)


@pytest.mark.parametrize("solver", ["cg", "nystroem"])
def test_estimates_of_leave_one_out_say_so_and_are_near(solver, data):
    X, y, _ = data
    exact = ntk.NTKRegressor().fit(X, y)
    model = ntk.NTKRegressor(solver=solver, n_centres=120, rank=50, random_state=0).fit(X, y)
    assert model.leave_one_out_is_estimate_
    assert not exact.leave_one_out_is_estimate_
    assert model.solver_ == solver
    assert model.leave_one_out_score_ == pytest.approx(exact.leave_one_out_score_, abs=0.05)
    assert solver == "nystroem" or model.relative_ridge_ == exact.relative_ridge_


def test_beyond_some_rows_the_ridge_comes_from_some_of_them(data, monkeypatch):
    X, y, X_new = data
    monkeypatch.setattr(ridge_choice, "MOST_ROWS_TO_DECOMPOSE", 100)
    model = ntk.NTKRegressor(random_state=0).fit(X, y)
    assert model.solver_ == "cholesky"
    assert len(model.path_ridges_) > 0
    given = ntk.NTKRegressor(ridge=model.relative_ridge_).fit(X, y)
    np.testing.assert_allclose(model.predict(X_new), given.predict(X_new), rtol=1e-9)
    np.testing.assert_allclose(model.leave_one_out_errors_, given.leave_one_out_errors_, rtol=1e-9)


def test_without_leave_one_out(data):
    X, y, X_new = data
    model = ntk.NTKRegressor(ridge=0.1, leave_one_out=False).fit(X, y)
    assert model.leave_one_out_predictions_ is model.leave_one_out_score_ is None
    np.testing.assert_allclose(model.predict(X_new), ntk.NTKRegressor(ridge=0.1).fit(X, y).predict(X_new))
    classifier = ntk.NTKClassifier(ridge=0.1, leave_one_out=False).fit(X, y > 0)
    with pytest.raises(ValueError, match="fit it anew with leave_one_out=True"):
        classifier.predict_proba(X_new)


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


def test_a_fit_that_is_probably_not_meant_warns_once(data):
    X, y, _ = data
    cases = {
        r"ridge is 1e\+04 times the mean diagonal": lambda: ntk.NTKRegressor(ridge=1e4).fit(X, y),
        r"is 0 on all training rows, .* weight_variance='he'": lambda: ntk.NTKRegressor(ntk.NTK(1100)).fit(X, y),
        "all rows are 0": lambda: ntk.NTKRegressor(ntk.NTK(2)).fit(np.ones((30, 2)), y[:30]),
        "The targets are 4 different whole numbers": lambda: ntk.NTKRegressor().fit(X, np.clip(np.rint(y), -1, 2)),
        r"worse than the targets' mean: R2 is -": lambda: ntk.NTKRegressor(ridge=1e-9).fit(
            X, np.random.default_rng(1).standard_normal(200)
        ),
        r"worse than the most frequent class, which is right on 85.0% .* Pass ridge='loo', or": lambda: (
            ntk.NTKClassifier(ridge=1e-9).fit(X, np.random.default_rng(1).permutation(200) < 30)
        ),
        "The targets are 2 different whole numbers": lambda: ntk.GradientFlowRegressor(ridge=0.1).fit(X, y > 0),
        "they are labels, fit an NTKClassifier": lambda: ntk.NTKGaussianProcessRegressor(PRIOR, fitted=()).fit(
            X, (y > 0).astype(float)
        ),
    }
    for message, fit in cases.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit()
        assert [warning.category for warning in caught] == [FitWarning]
        assert re.search(message, str(caught[0].message))
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ntk.NTKRegressor().fit(X, y)
        ntk.NTKRegressor().fit(X, np.rint(10 * y))
        ntk.NTKClassifier().fit(X, np.random.default_rng(1).permutation(200) < 30)  # no better than chance, nor worse
        model = ntk.NTKRegressor().fit(X, np.full(200, 7))
    np.testing.assert_allclose(model.predict(X), 7)
    with pytest.warns(FitWarning):
        zero = ntk.NTKRegressor(ntk.NTK(1100)).fit(X, y)
    np.testing.assert_allclose(zero.predict(X), y.mean())


def test_predictions_do_not_depend_on_how_rows_are_grouped(data, monkeypatch):
    X, y, X_new = data
    model = ntk.NTKRegressor(PRIOR).fit(X, y)
    whole = model.predict(X_new)
    monkeypatch.setattr(expansion, "ROWS_AT_A_TIME", 7)
    np.testing.assert_allclose(model.predict(X_new), whole, rtol=1e-13)


def test_the_fitted_model_keeps_its_own_rows(data):
    X, y, X_new = data
    own = X.copy()
    model = ntk.NTKRegressor(PRIOR).fit(own, y)
    before = model.predict(X_new)
    own[:] = 0
    np.testing.assert_array_equal(model.predict(X_new), before)


def test_inside_pipelines_and_searches(data):
    X, y, X_new = data
    search = GridSearchCV(
        make_pipeline(StandardScaler(), ntk.NTKRegressor()),
        {"ntkregressor__kernel": [ntk.NTK(1), PRIOR], "ntkregressor__ridge": [0.01, 1.0]},
        cv=3,
    ).fit(X, y)
    assert search.predict(X_new).shape == (50,)
    assert search.best_score_ > 0.8


def test_the_solver_chosen_by_size(monkeypatch):
    monkeypatch.setattr(ridge_module, "available_bytes", lambda: 16e9)
    assert [choose_solver("auto", n) for n in (10, 15_000, 15_001, 50_000, 50_001)] == [
        "cholesky", "cholesky", "cg", "cg", "nystroem",
    ]  # fmt: skip
    monkeypatch.setattr(ridge_module, "available_bytes", lambda: 1e9)
    assert choose_solver("auto", 10_000) == "cg"
    assert choose_solver("cholesky", 10**6) == "cholesky"


def test_random_states_repeat(data):
    X, y, X_new = data
    predictions = [
        ntk.NTKRegressor(PRIOR, solver="nystroem", n_centres=20, random_state=state).fit(X, y).predict(X_new)
        for state in (1, 1, np.random.RandomState(1), 2)
    ]
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[0], predictions[2])
    assert (predictions[0] != predictions[3]).any()


def test_reports(data):
    said = []
    model = ntk.NTKRegressor(PRIOR, ridge=1.0, leave_one_out=False)
    model.fit(*data[:2], report=lambda what, share: said.append(what))
    assert said[-1] == "Cholesky factorisation"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"ridge": -1.0}, ValueError, "ridge must be >= 0; got -1.0"),
        ({"ridge": np.nan}, ValueError, "ridge must be finite"),
        ({"ridge": "auto"}, ValueError, "ridge must be a number >= 0 or 'loo'; got 'auto'"),
        ({"ridge": None}, TypeError, "ridge must be a real number"),
        ({"solver": "lu"}, ValueError, "solver must be one of 'auto', 'cholesky', 'cg', 'nystroem'; got 'lu'"),
        ({"scale_columns": True}, ValueError, "scale_columns must be 'auto', 'deviation', 'range' or None; got True"),
        ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False; got 1"),
        ({"leave_one_out": "no"}, TypeError, "leave_one_out must be True or False; got 'no'"),
        ({"kernel": "ntk"}, TypeError, "kernel must be an ArcCosine, NNGP or NTK; got 'ntk' of type str"),
        ({"solver": "nystroem", "n_centres": 201}, ValueError, "n_centres must not exceed the number of rows; got 201"),
        ({"n_centres": 0}, ValueError, "n_centres must be a whole number >= 1"),
        ({"rank": -1}, ValueError, "rank must be a whole number >= 0"),
        ({"tolerance": 0.0}, ValueError, "tolerance must lie between 0 and 1; got 0.0"),
        ({"max_iterations": 1.5}, TypeError, "max_iterations must be a whole number"),
        ({"n_threads": 0}, ValueError, "n_threads must be a whole number >= 1"),
    ],
)
def test_bad_parameters(parameters, error, message, data):
    X, y, _ = data
    with pytest.raises(error, match=message):
        ntk.NTKRegressor(**parameters).fit(X, y)


def test_bad_targets(data):
    X, y, _ = data
    with pytest.raises(ValueError, match="NaN"):
        ntk.NTKRegressor().fit(X, np.where(y > 0, y, np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ntk.NTKRegressor().fit(X, y[:-1])
    with pytest.raises(ValueError, match="y must hold at least two classes; got one class, 'a'"):
        ntk.NTKClassifier().fit(X, ["a"] * 200)
    with pytest.raises(ValueError, match="class_weight must be a dict, 'balanced' or None; got 'even'"):
        ntk.NTKClassifier(class_weight="even").fit(X, y > 0)
    with pytest.raises(ValueError, match=r"class_weight must hold finite weights >= 0; got \{True: -1\}"):
        ntk.NTKClassifier(class_weight={True: -1}).fit(X, y > 0)
    with pytest.raises(ValueError, match="class_weight must be None where rows have several labels"):
        ntk.NTKClassifier(class_weight="balanced").fit(X, np.column_stack([y > 0, y > 1]))
    for weights, message in (
        (-np.ones(200), r"sample_weight must be >= 0; that of row 0 is -1\.0"),
        (np.ones(199), r"sample_weight must be a vector of 200 real numbers; got shape \(199,\)"),
        (np.zeros(200), "sample_weight must be > 0 for some row"),
        (np.full(200, np.nan), "sample_weight must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            ntk.NTKRegressor().fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="y must hold at least two classes; got one class, True"):
        ntk.NTKClassifier().fit(X, y > 0, sample_weight=(y > 0).astype(float))
    with pytest.raises(ValueError, match="Unknown label type"):
        ntk.NTKClassifier().fit(X, y)


def test_bad_rows(data):
    X, y, X_new = data
    with pytest.raises(NotFittedError):
        ntk.NTKRegressor().predict(X_new)
    model = ntk.NTKRegressor().fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but NTKRegressor is expecting 4 features"):
        model.predict(X_new[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        model.predict(np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match=r"singular to working precision .* pass a larger ridge or noise, such as 1e-"):
        ntk.NTKRegressor(ridge=0).fit(np.vstack([X, X]), np.append(y, y))
