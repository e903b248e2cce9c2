"""Tables as people have them, turned into rows of numbers: categories, gaps and dates."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ntk_fast.estimators.column_encodings import LeftOut, encoding_of
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.rows.frames import Column, columns_of, columns_of_array, is_frame
from ntk_fast.validation import as_array, check_whole_number


class TableEncoder(SavedEstimator, TransformerMixin, BaseEstimator):
    """Turn a data frame with texts, gaps and dates into rows of numbers.

    Columns of few texts become one column of 0 and 1 for each text. Gaps in numbers are filled with the median, and
    marked in a column of their own. Dates become days since 1970. Columns of texts that are hardly ever the same, of
    one text only, or of nothing are left out. Numbers pass as they are: estimators of this package see to their units.

    Parameters
    ----------
    max_categories : int >= 2, default 50
        Columns of more texts are left out, unless the frame's library calls them categories.

    Attributes
    ----------
    encodings_ : list of Number, Date, Category or LeftOut
        What was found out, column by column; ``str`` says it.
    feature_names_in_ : ndarray of str
        If the columns have names, by which `transform` finds them, in whatever order; other columns are passed over.
    n_features_in_ : int

    See Also
    --------
    ntk_fast.save_model : saves a pipeline of it and an estimator.

    Examples
    --------
    >>> import pandas as pd
    >>> import ntk_fast as ntk
    >>> from sklearn.pipeline import make_pipeline
    >>> table = pd.DataFrame({"size": [30.0, None, 80.0, 45.0], "heating": ["gas", "oil", "gas", "oil"]})
    >>> ntk.TableEncoder().fit_transform(table)
    array([[30.,  0.,  1.,  0.],
           [45.,  1.,  0.,  1.],
           [80.,  0.,  1.,  0.],
           [45.,  0.,  0.,  1.]])
    >>> model = make_pipeline(ntk.TableEncoder(), ntk.NTKRegressor()).fit(table, [300.0, 400.0, 700.0, 380.0])
    >>> model.predict(table[["heating", "size"]]).shape
    (4,)
    """

    def __init__(self, max_categories: int = 50) -> None:
        self.max_categories = max_categories

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Find out what each column is.

        Parameters
        ----------
        X : data frame of pandas, polars or pyarrow, or array of shape (n, n_columns)
        y : ignored

        Returns
        -------
        The encoder itself.

        Raises
        ------
        TypeError, ValueError
            If a column holds infinities, numbers but for a few texts, or neither numbers, texts nor dates; if names
            repeat; if all columns are left out.
        """
        most = check_whole_number(self.max_categories, "max_categories", 2)
        columns = _columns(X)
        if not columns or not len(columns[0].values):
            raise ValueError("X must hold at least one row and one column.")
        names = [column.name for column in columns]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"X has {names.count(repeated)} columns {repeated!r}; columns must differ in their names.")
        encodings = [encoding_of(column, most) for column in columns]
        if all(isinstance(encoding, LeftOut) for encoding in encodings):
            found = "; ".join(f"{name!r} {encoding}" for name, encoding in zip(names, encodings, strict=True))
            raise ValueError(f"No column of X can be used: {found}.")
        validate_data(self, X, skip_check_array=True)
        self.encodings_ = encodings
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return rows of numbers.

        Parameters
        ----------
        X : as for `fit`
            Columns are found by name if those of `fit` had names and these do, else by position.

        Returns
        -------
        ndarray of shape (n, n_features_out)

        Raises
        ------
        TypeError, ValueError
            If a column is missing, or does not hold what it did in `fit`.

        Warns
        -----
        UserWarning
            If a column holds a text that it did not hold in `fit`.
        """
        check_is_fitted(self, "encodings_")
        columns = self._in_order(_columns(X))
        parts = [encoding.encode(column) for encoding, column in zip(self.encodings_, columns, strict=True)]
        return np.concatenate(parts, axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of what `transform` returns, as "size", "size is missing", "heating=gas", "built in days".

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "encodings_")
        pairs = zip(self._names(), self.encodings_, strict=True)
        return np.array([name for given, encoding in pairs for name in encoding.names(given)], dtype=object)

    def describe(self) -> list[tuple[str, str]]:
        """Return what becomes of each column: its name, and words.

        Returns
        -------
        list of (str, str)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "encodings_")
        return [(name, str(encoding)) for name, encoding in zip(self._names(), self.encodings_, strict=True)]

    def _names(self) -> list[str]:
        return list(getattr(self, "feature_names_in_", [str(i) for i in range(self.n_features_in_)]))

    def _in_order(self, columns: list[Column]) -> list[Column]:
        names = [column.name for column in columns]
        wanted = list(getattr(self, "feature_names_in_", ()))
        if wanted and all(isinstance(name, str) for name in names):
            for name in wanted:
                if names.count(name) != 1:
                    raise ValueError(f"X must have one column {name!r}, as in training; got {names.count(name)} of it.")
            return [columns[names.index(name)] for name in wanted]
        if len(columns) != self.n_features_in_:
            raise ValueError(f"X must have {self.n_features_in_} columns, as in training; got {len(columns)}.")
        return columns


def _columns(X: Any) -> list[Column]:
    if is_frame(X):
        return list(columns_of(X))
    array = as_array(X, "X", "a data frame, or an array (n_rows, n_columns)")
    if array.ndim != 2:
        raise ValueError(f"X must be a data frame, or an array (n_rows, n_columns); got shape {array.shape}.")
    return list(columns_of_array(array))
