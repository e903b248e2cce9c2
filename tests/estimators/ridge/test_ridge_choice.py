"""The ridge, where leave-one-out errors choose it."""

from __future__ import annotations

import numpy as np
import pytest
from plain_ridge import PRIOR

import ntk_fast as ntk
from ntk_fast.estimators import ridge_choice


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
