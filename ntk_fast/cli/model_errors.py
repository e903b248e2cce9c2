"""What is wrong with a model's predictions, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_classifier(model: Any) -> bool:
    return hasattr(model, "classes_")


def errors(model: Any, target: NDArray[Any], predicted: NDArray[Any]) -> list[tuple[str, str, float]]:
    """Return names, words and values of the errors that fit the model: accuracy, or R2 and root mean squared error."""
    if is_classifier(model):
        n_right = int((target == predicted).sum())
        return [("accuracy", f"{n_right / len(target):.2%}, {n_right} of {len(target)}", n_right / len(target))]
    scale = float(np.abs(np.concatenate([target, predicted])).max()) or 1.0  # squares of what it divides are finite
    squares = float((((target - predicted) / scale) ** 2).mean())
    variance = float((target / scale).var())
    lines = [("RMSE", f"{squares**0.5 * scale:.6g}", squares**0.5 * scale)]
    r2 = 1 - squares / variance if variance > 0 else 0.0
    return [("R2", f"{r2:.6f}", r2), *lines] if variance > 0 else lines
