"""Predictions in blocks, and their picture where one is asked for."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.new_files import check_new, new_file
from ntk_fast.cli.progress import shown_progress
from ntk_fast.sklearn_names import has_sklearn

#: Rows that are predicted between two steps of the progress bar.
BLOCK_ROWS = 1 << 14


def predict_in_blocks(
    predict: Callable[[Any], Any], rows: NDArray[np.floating[Any]], description: str, client: Any = None
) -> Any:
    """Return what `predict` says of all rows, an array or a tuple of arrays, with progress.

    All at once where a cluster does it: each of its workers is sent the model's rows once.
    """
    block_rows = BLOCK_ROWS if client is None else max(1, len(rows))
    parts: list[Any] = []
    with shown_progress(description, "rows") as progress, warnings.catch_warnings():
        # columns were found by their names before they became rows
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        progress(0, len(rows))
        for start in range(0, len(rows), block_rows):
            parts.append(predict(rows[start : start + block_rows]))
            progress(min(start + block_rows, len(rows)), len(rows))
    if isinstance(parts[0], tuple):
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    return np.concatenate(parts)


def check_scikit_learn() -> None:
    """Refuse, before any work, what needs scikit-learn where it is missing."""
    if not has_sklearn():
        raise ImportError("Models need scikit-learn 1.6 or later: pip install 'ntk_fast[sklearn]'.")


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
