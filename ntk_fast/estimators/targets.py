"""Rows with their targets or labels, checked before an estimator is fitted to them."""

from __future__ import annotations

from types import NoneType
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from ntk_fast.caller import warn_caller
from ntk_fast.rows.frames import is_missing
from ntk_fast.rows.sklearn_check import readable, validate_data
from ntk_fast.validation import as_array, check_vector

#: Of rows as estimators take them: others become the first.
FLOATS = [np.float64, np.float32]


def checked_regression(estimator: Any, X: Any, y: Any) -> tuple[NDArray[np.floating[Any]], NDArray[np.float64]]:
    """Return rows and targets to fit; targets (n,) or (n, n_targets)."""
    y = readable(y, "y")
    _refuse_other_than_numbers(y)
    rows, y = validate_data(estimator, X, y, multi_output=True, y_numeric=True, dtype=FLOATS)
    targets = np.asarray(y, dtype=np.float64)
    if not np.isfinite(targets).all():  # None among objects becomes NaN, and only here
        raise ValueError("y must hold finite numbers; a target is missing.")
    return rows, targets


def checked_classification(estimator: Any, X: Any, y: Any) -> tuple[NDArray[np.floating[Any]], NDArray[Any]]:
    """Return rows and labels to fit: (n,), or (n, n_labels) of 0 and 1 where a row may have several."""
    y = readable(y, "y")
    if y is not None:
        _refuse_unordered_labels(y)
    is_multilabel = len(getattr(y, "shape", None) or np.shape(y)) == 2 and type_of_target(y) == "multilabel-indicator"
    if is_multilabel:
        y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    elif y is not None:
        y = _one_column(y)
    rows, y = validate_data(estimator, X, y, dtype=FLOATS, multi_output=is_multilabel)
    check_classification_targets(y)
    return rows, y


def checked_weights(sample_weight: Any, rows: NDArray[np.floating[Any]]) -> NDArray[np.float64] | None:
    """Return weights of rows, (n,), or None where all count the same."""
    if sample_weight is None:
        return None
    given = as_array(readable(sample_weight, "sample_weight"), "sample_weight", "a number for each row")
    weights = check_vector(given if given.ndim else np.repeat(given, len(rows)), "sample_weight", len(rows))
    if (weights < 0).any():
        place = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(f"sample_weight must be >= 0; that of row {place} is {weights[place]}.")
    if not weights.any():
        raise ValueError("sample_weight must be > 0 for some row; all weights are zero, and no sample is left to fit.")
    return weights


def _refuse_other_than_numbers(y: Any) -> None:
    """Raise if a target of a regression is a word, a date or an object."""
    values = as_array(y, "y", "a number, or several, for each row")
    is_foreign = values.dtype.kind in "USMmV"
    for value in values.flat if is_foreign or values.dtype.kind == "O" else ():
        if is_foreign or not isinstance(value, (SupportsFloat, NoneType)):
            raise TypeError(f"y must hold numbers; got dtype {values.dtype}, for one {value!r}.")


def _one_column(y: Any) -> Any:
    """Return labels as a vector, with a warning if they are a column; what is neither is refused elsewhere."""
    if len(shape := np.shape(y)) != 2 or shape[1] != 1:
        return y
    warn_caller("A column-vector y was passed when a 1d array was expected: pass y.ravel().", DataConversionWarning)
    return np.asarray(y).ravel()


def _refuse_unordered_labels(y: Any) -> None:
    """Raise if a label is missing, or some are text and others are not: such labels cannot be sorted."""
    labels = np.asarray(y, dtype=object if isinstance(y, (list, tuple)) else None)
    if labels.dtype.kind == "V":
        raise TypeError(f"y must hold labels, text or numbers; got dtype {labels.dtype}.")
    if labels.dtype.kind != "O" or labels.ndim != 1:
        return
    for place, label in enumerate(labels):
        if is_missing(label):
            raise ValueError(f"y must hold a label for each row; that of row {place} is {label!r}.")
    is_text = [isinstance(label, str) for label in labels]
    if any(is_text) and not all(is_text):
        one, other = labels[is_text.index(True)], labels[is_text.index(False)]
        raise TypeError(f"y must hold labels of one kind, all text or all numbers; got {one!r} and {other!r}.")
