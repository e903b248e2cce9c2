"""Kernel ridge regression: what it computes, in which units, and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest
from plain_ridge import PLAIN, PRIOR, diagonal
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntk_fast as ntk
from ntk_fast.estimators import expansion
from ntk_fast.estimators import ridge as ridge_module
from ntk_fast.estimators.ridge import choose_solver


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
