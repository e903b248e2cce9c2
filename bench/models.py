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
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.svm import SVC

import ntk_fast as ntk
from bench.data import KEEL_HELD_OUT, KEEL_TUNED, Fold, digits, keel, mnist, regressions
from bench.targets import Row, Setting, normal_rows, target
from ntk_fast.estimators.scaling import ColumnScaling
from ntk_fast.solvers import Spectral

PARITY = Path(__file__).parent.parent / "tests" / "data" / "neural_tangents_predict.npz"
ROWS_TO_CHOOSE_ON = 2000

CLASSIFIERS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "NTKClassifier": (
        ntk.NTKClassifier(),
        {
            "kernel": [ntk.NTK(depth, weight_variance="he", bias_variance=bias) for depth in (1, 3) for bias in (0, 1)],
            "scale_columns": ["range", None],
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
def gaussian_process_fit(setting: Setting) -> Iterator[Row]:
    """A fit of NTKGaussianProcessRegressor beside scikit-learn's of an RBF kernel with amplitude and noise.

    Both fit three parameters. A bare RBF() fits one, at a noise that is given, and so does ours beside it.
    """
    X = normal_rows(500, 3)
    y = np.abs(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * np.random.default_rng(1).standard_normal(500)
    prior = ntk.NTK(3, bias_variance=0.1)
    models = {
        "ours": ntk.NTKGaussianProcessRegressor(prior),
        "theirs": GaussianProcessRegressor(ConstantKernel() * RBF() + WhiteKernel()),
        "ours of one": ntk.NTKGaussianProcessRegressor(prior, 0.01, fitted=("weight_variance",), normalize_y=False),
        "theirs of one": GaussianProcessRegressor(RBF(), alpha=0.01),
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(2 if setting.quick else 5):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(X, y)
            times[name].append(time.perf_counter() - start)
    ours, theirs, ours_of_one, theirs_of_one = (min(times[name]) for name in models)
    absolute = f"{ours:.2f} s, {theirs:.2f} s; of one parameter {ours_of_one:.2f} s, {theirs_of_one:.2f} s"
    yield Row(
        "Gaussian process: fit of 500 rows, depth 3 with bias / scikit-learn's RBF", ours / theirs, 4.0, True, absolute
    )


@target("models")
def classifications_as_they_come(setting: Setting) -> Iterator[Row]:
    """NTKClassifier() and a random forest, both as they are, on the raw columns of KEEL's folds."""
    n_folds = 1 if setting.quick else 3
    for kind, names in (("settings were compared on", KEEL_TUNED), ("held out", KEEL_HELD_OUT)):
        ours, forest, differences = [], [], {}
        for name in names:
            folds = keel(name, n_folds)
            ours.append(_percent_right(ntk.NTKClassifier(random_state=0), folds))
            forest.append(_percent_right(RandomForestClassifier(random_state=0), folds))
            differences[name] = ours[-1] - forest[-1]
        worst = sorted(differences, key=lambda name: differences[name])[:3]
        absolute = f"{np.mean(ours):.2f}, forest {np.mean(forest):.2f}; least: " + ", ".join(
            f"{name} {differences[name]:+.1f}" for name in worst
        )
        if names is KEEL_TUNED:
            yield Row(f"NTKClassifier(): percent right, {len(names)} sets of KEEL", float(np.mean(ours)), 78.8, False)
        what = f"NTKClassifier(): percent right beyond a random forest, {len(names)} sets {kind}"
        yield Row(what, float(np.mean(ours) - np.mean(forest)), -0.5, False, absolute)


def _percent_right(classifier: Any, folds: list[Fold]) -> float:
    return 100 * float(np.mean([clone(classifier).fit(X, y).score(*new) for X, y, *new in folds]))


@target("models")
def regressions_as_they_come(setting: Setting) -> Iterator[Row]:
    """NTKRegressor() as it is against the best of a grid, chosen on the test parts, and in other units."""
    kernels = [
        kind(depth, weight_variance="he", bias_variance=bias)
        for kind in (ntk.NTK, ntk.NNGP)
        for depth in (1, 2, 3, 5)
        for bias in (0.0, 0.1, 1.0)
    ]
    for name, (X, y) in regressions().items():
        ours, elsewhere, grid = [], [], []
        units = 10.0 ** np.random.default_rng(0).uniform(-6, 6, X.shape[1])
        for train, test in KFold(5, shuffle=True, random_state=0).split(X):
            model = ntk.NTKRegressor(random_state=0)
            ours.append(model.fit(X[train], y[train]).score(X[test], y[test]))
            moved = X * units + 10 * units * X.std(axis=0)
            model.fit(moved[train], 1e-3 * y[train] + 100)
            elsewhere.append(model.score(moved[test], 1e-3 * y[test] + 100))
            if not setting.quick:
                grid.append([_r2_of_ridges(kernel, X, y, train, test) for kernel in kernels])
        score = float(np.mean(ours))
        moved_score = f"{np.mean(elsewhere):.4f} in other units"
        if grid:
            best = float(np.mean(grid, axis=0).max())
            yield Row(
                f"NTKRegressor(): R2 short of the best of a grid, {name}", best - score, 0.01, True, f"{score:.4f}"
            )
        change = float(np.abs(np.subtract(ours, elsewhere)).max())
        yield Row(f"NTKRegressor(): change of R2 by units, {name}", change, 0.005, True, moved_score)


def _r2_of_ridges(kernel: Any, X: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> list[float]:
    """Return R2 on the test part for a path of ridges, with standardised columns."""
    scaling = ColumnScaling.of(X[train])
    rows, new, mean = scaling.apply(X[train]), scaling.apply(X[test]), y[train].mean()
    decomposition = Spectral().decompose(kernel, rows)
    ridges = np.geomspace(1e-5, 3, 23) * kernel.diag(rows).mean()
    targets = (y[train] - mean)[:, None]
    coefficients = np.column_stack([decomposition.coefficients(targets, ridge) for ridge in ridges])
    predicted = kernel(new, rows) @ coefficients + mean
    return [float(1 - ((column - y[test]) ** 2).mean() / y[test].var()) for column in predicted.T]


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
