"""The estimators: against independent implementations' values, and their accuracy beside scikit-learn's own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

import ntk_fast as ntk
from bench.data import digits, mnist
from bench.targets import Row, Setting, normal_rows, target

PARITY = Path(__file__).parent.parent / "tests" / "data" / "neural_tangents_predict.npz"
ROWS_TO_CHOOSE_ON = 2000

CLASSIFIERS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "NTKClassifier": (
        ntk.NTKClassifier(),
        {
            "kernel": [ntk.NTK(depth, weight_variance=(1.0, *(2.0,) * depth)) for depth in (1, 2, 3, 5)],
            "ridge": [0.1, 1.0, 10.0],
        },
    ),
    "SVC": (SVC(), {"C": [1, 10, 100], "gamma": [0.01, 0.02, 0.03, 0.05, 0.1]}),
    "forest": (
        RandomForestClassifier(500, random_state=0, n_jobs=-1),
        {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]},
    ),
}


@target("models")
def gradient_flow(setting: Setting) -> Iterator[Row]:
    """GradientFlowRegressor against neural-tangents 0.6.5."""
    parity = np.load(PARITY)
    errors = []
    for name, network in json.loads(str(parity["meta"])).items():
        weights = (network["W0"] ** 2 / parity["X"].shape[1], *(network["W"] ** 2,) * network["L"])
        kernel = ntk.NTK(network["L"], weight_variance=weights, bias_variance=(network["b"] or 0.0) ** 2)
        for text, training in ((t, r) for t in ("0.5", "20.0", "1000.0", "None") for r in ("all", "last")):
            duration = None if text == "None" else float(text)
            flow = ntk.GradientFlowRegressor(kernel, duration, ridge=network["reg"], trained_layers=training)
            found = flow.fit(parity["X"], parity["Y"]).predict(parity["X_test"], return_cov=True)
            place = f"{name}/t={text}/{'ntk' if training == 'all' else 'nngp'}"
            errors += [np.abs(a - parity[f"{place}/{b}"]).max() for a, b in zip(found, ("mean", "cov"), strict=True)]
    absolute = f"{len(errors)} matrices"
    yield Row("gradient flow: from neural-tangents' mean and covariance", float(max(errors)), 2e-8, True, absolute)


@target("models")
def gaussian_process(setting: Setting) -> Iterator[Row]:
    """NTKGaussianProcessRegressor against scikit-learn's with the same kernel, and finite differences."""
    X, new = normal_rows(300, 5), normal_rows(100, 5, seed=1)
    y = np.abs(X[:, 0]) + X[:, 1] * X[:, 2]
    prior = ntk.NTK(3, bias_variance=0.1)
    ours = ntk.NTKGaussianProcessRegressor(prior, 0.05, fitted=()).fit(X, y)
    theirs = GaussianProcessRegressor(ntk.GaussianProcessKernel(prior), alpha=0.05, optimizer=None).fit(X, y)
    value = ours.log_marginal_likelihood_value_
    pairs = [*zip(ours.predict(new, return_std=True), theirs.predict(new, return_std=True), strict=True)]
    pairs.append((np.array([value]), np.array([theirs.log_marginal_likelihood_value_])))
    error = max(float((np.abs(a - b) / np.abs(b).max()).max()) for a, b in pairs)
    yield Row("Gaussian process: from scikit-learn's mean, deviation, likelihood, relative", error, 1e-8, True)
    ours.set_params(fitted=("weight_variance", "bias_variance", "noise_variance"))
    theta, step = np.log([1.0, 0.1, 0.05]), 1e-3
    _, gradient = ours.log_marginal_likelihood(theta, eval_gradient=True)
    differences = np.array(
        [
            np.dot([ours.log_marginal_likelihood(theta + k * step * e) for k in (-2, -1, 1, 2)], [1, -8, 8, -1])
            for e in np.eye(3)
        ]
    ) / (12 * step)
    error = float(np.abs(gradient - differences).max() / np.abs(differences).max())
    yield Row("Gaussian process: derivatives from finite differences, relative", error, 1e-6, True)


@target("models")
def accuracy(setting: Setting) -> Iterator[Row]:
    """Five stratified folds, the same for all; settings are chosen within each training part, on at most 2000 rows."""
    for name, (X, y) in {"digits": digits(), "MNIST": mnist()}.items():
        if setting.quick:
            X, y = X[::10], y[::10]
        means = {label: _mean_accuracy(*CLASSIFIERS[label], X, y) for label in CLASSIFIERS}
        absolute = ", ".join(f"{label} {mean:.2f} ({seconds:.0f} s)" for label, (mean, seconds) in means.items())
        ours = means.pop("NTKClassifier")[0]
        better = max(mean for mean, _ in means.values())
        what = f"{name}, {len(X)} rows, 5 folds: percent right, beyond the better of SVC and forest"
        yield Row(what, ours - better, -0.5, False, absolute)


def _mean_accuracy(classifier: Any, grid: dict[str, list[Any]], X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the percentage right, and the seconds it took."""
    start, scores = time.perf_counter(), []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        some = np.random.default_rng(0).permutation(train)[:ROWS_TO_CHOOSE_ON]
        folds = StratifiedKFold(3, shuffle=True, random_state=1)
        best = GridSearchCV(classifier, grid, cv=folds, refit=False).fit(X[some], y[some]).best_params_
        scores.append(100 * clone(classifier).set_params(**best).fit(X[train], y[train]).score(X[test], y[test]))
    return float(np.mean(scores)), time.perf_counter() - start
