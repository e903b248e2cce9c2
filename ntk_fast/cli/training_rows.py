"""What `ntk-fast fit` does to a table before a model is fitted: rows kept out, columns encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast
from ntk_fast.cli.labelled_rows import LabelledRows

#: Seed of all that is drawn: the same command gives the same model.
SEED = 0


def split(share: float | None, target: NDArray[Any], task: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to fit, and those to keep out: of every class its share."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(target))
    if share is None:
        return rows, rows[:0]
    classes, counts = np.unique(target, return_counts=True)
    # scikit-learn refuses to stratify classes of one row, or more classes than rows to keep out
    room = min(share, 1 - share) * len(rows)
    stratified = task == "classification" and counts.min() > 1 and room >= len(classes)
    if not 1 <= round(share * len(rows)) < len(rows):
        raise ValueError(f"--validation {share:g} of {len(rows)} rows leaves none to fit or none to keep out.")
    chosen, held_out = train_test_split(
        rows, test_size=share, random_state=SEED, stratify=target if stratified else None
    )
    return np.sort(chosen), np.sort(held_out)


def encoded(data: LabelledRows, chosen: NDArray[np.intp]) -> tuple[Any, NDArray[np.floating[Any]]]:
    """Return how a table becomes rows, None where the file holds an array, and the rows to fit."""
    if data.source is None:
        return None, data.features[chosen] if len(chosen) < len(data.features) else data.features
    try:
        encoder = ntk_fast.TableEncoder().fit(data.features)
        if len(chosen) < len(data.features):  # what rows kept out hold is not to be known
            encoder.fit(data.features.iloc[chosen])
        return encoder, rows_at(data, chosen, encoder)
    except (TypeError, ValueError) as error:
        raise _about(data, error) from None


def rows_at(data: LabelledRows, chosen: NDArray[np.intp], encoder: Any) -> NDArray[np.floating[Any]]:
    """Return some of the rows as numbers."""
    if encoder is not None:
        return encoder.transform(data.features.iloc[chosen])
    return data.numbers()[chosen]


def _about(data: LabelledRows, error: Exception) -> Exception:
    """Return an encoder's error as one about the file."""
    assert data.source is not None
    sentence = str(error)
    path = str(data.source.path)
    if sentence.startswith(path):
        return error
    hint = ", or pass --drop" if "leave the column out" in sentence else ""
    sentence = sentence.replace(", or leave the column out", hint)
    return type(error)(f"{path}: {sentence[0].lower()}{sentence[1:]}".replace("no column of X", "no column"))
