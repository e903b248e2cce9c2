"""The picture of a model: predicted against true values or a confusion matrix, and the path of ridges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ntk_fast.cli.demo_picture import FAINT, INK, STYLE
from ntk_fast.cli.model_errors import errors, is_classifier

#: Points of a scatter plot beyond which a random choice is drawn.
MOST_POINTS = 20_000
#: Classes beyond which the cells of a confusion matrix carry no numbers.
MOST_NUMBERED_CLASSES = 20


def draw(path: Path, model: Any, target: NDArray[Any], predicted: NDArray[Any], rows_name: str) -> None:
    """Draw into a PNG file; `rows_name` says which rows these are."""
    has_path = len(getattr(model, "path_errors_", ())) > 0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0 if has_path else 5.6, 5.2), layout="constrained")
        panels = figure.subplots(1, 2 if has_path else 1, squeeze=False)[0]
        if is_classifier(model):
            _draw_confusion(panels[0], target, predicted)
        else:
            _draw_predicted(panels[0], target, predicted)
        (name, words, _), *_ = errors(model, target, predicted)
        panels[0].set_title(f"{len(target)} {rows_name}, {name} {words.split(',')[0]}")
        if has_path:
            _draw_path(panels[1], model)
        figure.savefig(path, dpi=120, format="png")


def _draw_predicted(axes: Any, target: NDArray[Any], predicted: NDArray[Any]) -> None:
    shown: Any = slice(None)
    if len(target) > MOST_POINTS:
        shown = np.random.default_rng(0).choice(len(target), MOST_POINTS, replace=False)
    low = min(float(target.min()), float(predicted.min()))
    high = max(float(target.max()), float(predicted.max()))
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1)
    axes.scatter(target[shown], predicted[shown], s=8, color="#2563a8", alpha=0.5, linewidths=0)
    axes.set(xlabel="true", ylabel="predicted")


def _draw_confusion(axes: Any, target: NDArray[Any], predicted: NDArray[Any]) -> None:
    classes, codes = np.unique(np.concatenate([target, predicted]), return_inverse=True)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (codes[: len(target)], codes[len(target) :]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= MOST_NUMBERED_CLASSES:
        places = range(len(classes))
        rotation = 90 if max(len(str(name)) for name in classes) > 3 else 0
        axes.set_xticks(places, [str(name) for name in classes], rotation=rotation)
        axes.set_yticks(places, [str(name) for name in classes])
        for row, column in zip(*counts.nonzero(), strict=True):
            color = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)


def _draw_path(axes: Any, model: Any) -> None:
    axes.loglog(model.path_ridges_, model.path_errors_, color="#c2410c", linewidth=1.8)
    axes.axvline(model.ridge_, color=FAINT, linewidth=1)
    axes.set(title=f"Ridge {model.ridge_:.3g}, by leave-one-out", xlabel="ridge", ylabel="mean squared error")
