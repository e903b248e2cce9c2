"""Predictions in blocks, their errors in words, and their picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.new_files import check_new, new_file
from ntk_fast.cli.progress import shown_progress

#: Rows that are predicted between two steps of the progress bar.
BLOCK_ROWS = 1 << 14


def predict_in_blocks(model: Any, rows: NDArray[np.floating[Any]], description: str) -> NDArray[Any]:
    """Return the model's predictions, with progress."""
    parts = []
    with shown_progress(description, "rows") as progress:
        for start in range(0, len(rows), BLOCK_ROWS):
            parts.append(model.predict(rows[start : start + BLOCK_ROWS]))
            progress(min(start + BLOCK_ROWS, len(rows)), len(rows))
    return np.concatenate(parts)


def is_classifier(model: Any) -> bool:
    return hasattr(model, "classes_")


def error_lines(model: Any, target: NDArray[Any], predicted: NDArray[Any]) -> list[tuple[str, str]]:
    """Return names and values of the errors that fit the model: accuracy, or R2 and root mean squared error."""
    if is_classifier(model):
        n_right = int((target == predicted).sum())
        return [("accuracy", f"{n_right / len(target):.2%}, {n_right} of {len(target)}")]
    squares = float(((target - predicted) ** 2).mean())
    variance = float(target.var())
    lines = [("RMSE", f"{squares**0.5:.6g}")]
    return [("R2", f"{1 - squares / variance:.6f}"), *lines] if variance > 0 else lines


def check_picture(path: Path | None, force: bool) -> None:
    """Refuse, before any work, a picture that could not be written."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise ValueError(f"--plot must name a .png file; got {path}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib: pip install 'ntk_fast[plot]'.")
    check_new(path, force)


def draw_model(
    path: Path, force: bool, model: Any, target: NDArray[Any], predicted: NDArray[Any], rows_name: str
) -> None:
    """Draw predictions beside the truth into a PNG file, and the path of ridges if the model has one."""
    from ntk_fast.cli.model_picture import draw

    with new_file(path, force) as temporary:
        draw(temporary, model, target, predicted, rows_name)
