"""Kernel ridge regression and classification: what they compute, choose, and refuse."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntk_fast as ntk
from ntk_fast.estimators import expansion
from ntk_fast.estimators import ridge as ridge_module
from ntk_fast.estimators.ridge import choose_solver

PRIOR = ntk.NTK(2, bias_variance=0.1)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((200, 4))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * generator.standard_normal(200)
    return X, y, generator.standard_normal((50, 4))


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg", "nystroem"])
@pytest.mark.parametrize("n_targets", [None, 1, 3])
def test_regression_is_scikit_learns_kernel_ridge(solver, n_targets, data):
    X, y, X_new = data
    Y = y if n_targets is None else np.column_stack([y, X])[:, :n_targets]
    ours = ntk.NTKRegressor(PRIOR, ridge=0.3, solver=solver, n_centres=200, tolerance=1e-12).fit(X, Y)
    theirs = KernelRidge(alpha=0.3, kernel=ntk.GaussianProcessKernel(PRIOR)).fit(X, Y)
    assert ours.predict(X_new).shape == theirs.predict(X_new).shape
    np.testing.assert_allclose(ours.predict(X_new), theirs.predict(X_new), atol=1e-8)
    assert ours.n_iter_ == len(ours.residuals_) - 1
    assert ours.solver_ == ("cholesky" if solver == "auto" else solver)


def test_the_ridge_chosen_by_leave_one_out(data):
    X, y, X_new = data
    chosen = ntk.NTKRegressor(PRIOR, ridge="loo").fit(X, y)
    given = ntk.NTKRegressor(PRIOR, ridge=chosen.ridge_).fit(X, y)
    np.testing.assert_allclose(chosen.predict(X_new), given.predict(X_new), rtol=1e-8)
    assert chosen.ridge_ == chosen.path_ridges_[np.argmin(chosen.path_errors_)]
    assert given.path_ridges_.shape == given.path_errors_.shape == (0,)
    # near the noise's variance, and better than ten times more or less of it
    truth = np.sin(X_new[:, 0]) + X_new[:, 1] * X_new[:, 2]
    errors = [
        np.mean((ntk.NTKRegressor(PRIOR, ridge=factor * chosen.ridge_).fit(X, y).predict(X_new) - truth) ** 2)
        for factor in (1.0, 30.0, 1 / 300)
    ]
    assert errors[0] < errors[1]
    assert errors[0] < 1.1 * errors[2]


@pytest.mark.parametrize("solver", ["cholesky", "cg", "nystroem"])
def test_classification_is_regression_on_centred_one_hot_targets(solver):
    X, labels = load_digits(return_X_y=True)
    X, labels = X[:400], labels[:400]
    names = np.array([f"digit {label}" for label in range(10)])
    model = ntk.NTKClassifier(ntk.NTK(3), ridge=10.0, solver=solver, n_centres=300, tolerance=1e-12)
    model.fit(X[:300], names[labels[:300]])
    regression = ntk.NTKRegressor(ntk.NTK(3), ridge=10.0).fit(X[:300], np.eye(10)[labels[:300]] - 0.1)
    np.testing.assert_allclose(model.decision_function(X[300:]), regression.predict(X[300:]), atol=1e-7)
    np.testing.assert_array_equal(model.predict(X[300:]), names[regression.predict(X[300:]).argmax(axis=1)])
    np.testing.assert_array_equal(model.classes_, names)
    assert model.score(X[300:], names[labels[300:]]) > 0.9
    assert not hasattr(model, "predict_proba")


def test_two_classes_have_one_target(data):
    X, y, X_new = data
    model = ntk.NTKClassifier(PRIOR, ridge=0.1).fit(X, y > 0)
    regression = ntk.NTKRegressor(PRIOR, ridge=0.1).fit(X, (y > 0) - 0.5)
    np.testing.assert_allclose(model.decision_function(X_new), regression.predict(X_new), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X_new), regression.predict(X_new) > 0)


def test_leave_one_out_in_classification():
    X, labels = load_digits(return_X_y=True)
    model = ntk.NTKClassifier(ntk.NTK(3), ridge="loo").fit(X[:300], labels[:300])
    assert model.score(X[300:], labels[300:]) > 0.85


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
    ntk.NTKRegressor(PRIOR).fit(*data[:2], report=lambda what, share: said.append(what))
    assert said[-1] == "Cholesky factorisation"


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"ridge": -1.0}, ValueError, "ridge must be >= 0; got -1.0"),
        ({"ridge": np.nan}, ValueError, "ridge must be finite"),
        ({"ridge": "auto"}, ValueError, "ridge must be a number >= 0 or 'loo'; got 'auto'"),
        ({"ridge": None}, TypeError, "ridge must be a real number"),
        ({"solver": "lu"}, ValueError, "solver must be one of 'auto', 'cholesky', 'cg', 'nystroem'; got 'lu'"),
        ({"ridge": "loo", "solver": "cg"}, ValueError, "ridge='loo' decomposes the 200 x 200 kernel matrix"),
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
