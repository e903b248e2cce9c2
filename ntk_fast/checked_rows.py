"""scikit-learn's check of rows and targets, with data frames turned into numbers as kernels do it."""

from __future__ import annotations

from typing import Any

from sklearn.utils import check_array, check_X_y
from sklearn.utils import validation as sklearn_validation

from ntk_fast.frames import frame_rows, is_frame

NOT_GIVEN = "no_validation"  # scikit-learn's word for it


def validate_data(estimator: Any, X: Any, y: Any = NOT_GIVEN, *, reset: bool = True, **checks: Any) -> Any:
    """Return checked rows, or rows and targets; take or compare the number and the names of columns.

    As `sklearn.utils.validation.validate_data`, which leaves frames to NumPy: words that look like numbers pass there,
    and what becomes of missing values and of columns of several kinds depends on the frame's library.
    """
    if not is_frame(X):
        return sklearn_validation.validate_data(estimator, X, y, reset=reset, **checks)
    rows = frame_rows(X, "X")
    sklearn_validation.validate_data(estimator, X, y, reset=reset, skip_check_array=True)
    if isinstance(y, str) and y == NOT_GIVEN:
        return check_array(rows, estimator=estimator, input_name="X", **checks)
    return check_X_y(rows, y, estimator=estimator, **checks)
