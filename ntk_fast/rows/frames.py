"""Data frames of pandas, polars and pyarrow: their columns as NumPy arrays, and as rows of numbers.

A frame is known by its class's name, so none of these libraries is ever imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a data frame.

    Attributes
    ----------
    name : object
        A string, or whatever else the frame's library lets name a column.
    values : ndarray of shape (n,)
        Numbers (missing ones are NaN), datetime64, or objects.
    is_category : bool
        Whether its values are declared to be names of categories, numbers too.
    """

    name: Any
    values: NDArray[Any]
    is_category: bool = False


def is_frame(value: Any) -> bool:
    """Whether this is a data frame whose columns can be taken here."""
    return _reader_of(value) is not None


def columns_of(frame: Any) -> Iterator[Column]:
    """Yield the columns of a data frame."""
    reader = _reader_of(frame)
    assert reader is not None
    for name, values, is_category in reader(frame):
        yield Column(name, _typed(values), is_category)


def columns_of_array(array: NDArray[Any]) -> Iterator[Column]:
    """Yield the columns of a 2-D array, named by their positions."""
    for position in range(array.shape[1]):
        yield Column(position, _typed(array[:, position]))


def frame_rows(frame: Any, name: str) -> NDArray[Any]:
    """Return a data frame of numbers as an array (n, n_features), of the dtype that holds all its columns.

    Raises
    ------
    TypeError
        If a column holds something else, naming it.
    """
    kinds = {str(dtype) for dtype in getattr(frame, "dtypes", ())}
    if len(kinds) == 1 and kinds <= {"float32", "float64"}:
        return np.asarray(frame)  # pandas may have them as one array: no copy
    columns = list(columns_of(frame))
    for column in columns:
        if column.values.dtype.kind not in "fiub":
            raise TypeError(
                f"{name} must hold real numbers; column {column.name!r} of this {type(frame).__name__} holds "
                f"{_example(column.values)}: leave it out, or turn it into numbers."
            )
    if not columns:
        return np.empty((len(frame), 0))
    return np.column_stack([column.values for column in columns])


def is_missing(value: Any) -> bool:
    """Whether an object stands for a value that is not there: None, NaN, pandas' NA and NaT."""
    is_nan = isinstance(value, float | np.floating) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


Parts = Iterable[tuple[Any, NDArray[Any], bool]]


def _pandas(frame: Any) -> Parts:
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        dtype = series.dtype
        is_category = type(dtype).__name__ == "CategoricalDtype"
        if isinstance(dtype, np.dtype):
            yield name, series.to_numpy(), False
        elif dtype.kind in "fiub":  # nullable, of Arrow, or sparse
            plain = np.dtype(np.float32 if getattr(dtype, "numpy_dtype", None) == np.float32 else np.float64)
            yield name, series.to_numpy(dtype=plain, na_value=np.nan), False
        elif type(dtype).__name__ == "DatetimeTZDtype":
            yield name, series.to_numpy(dtype="datetime64[ns]"), False
        else:
            yield name, series.astype(object).to_numpy(), is_category


def _polars(frame: Any) -> Parts:
    for series in frame.get_columns():
        yield series.name, series.to_numpy(), str(series.dtype).startswith(("Categorical", "Enum"))


def _pyarrow(frame: Any) -> Parts:
    for name, column in zip(frame.schema.names, frame.columns, strict=True):
        is_category = str(column.type).startswith("dictionary")
        if is_category:
            column = column.cast(column.type.value_type)
        yield name, column.to_numpy(zero_copy_only=False), is_category


_READERS: dict[tuple[str, str], Callable[[Any], Parts]] = {
    ("pandas", "DataFrame"): _pandas,
    ("polars", "DataFrame"): _polars,
    ("pyarrow", "Table"): _pyarrow,
}


def _reader_of(value: Any) -> Callable[[Any], Parts] | None:
    kinds = ((kind.__module__.partition(".")[0], kind.__name__) for kind in type(value).__mro__)
    return next((_READERS[kind] for kind in kinds if kind in _READERS), None)


def _typed(values: NDArray[Any]) -> NDArray[Any]:
    """Return objects that are all numbers, or all dates, as such, missing ones as NaN or NaT; others as they are."""
    if values.dtype != object:
        return values
    is_gap = np.fromiter((is_missing(value) for value in values), dtype=bool, count=len(values))
    present = values[~is_gap]
    if not len(present):
        return values
    typed: NDArray[Any]
    if all(isinstance(value, Real | Decimal | np.bool_) for value in present):
        typed = np.full(len(values), np.nan)
        typed[~is_gap] = present.astype(np.float64)
    elif all(isinstance(value, date) for value in present):
        typed = np.full(len(values), np.datetime64("NaT", "us"))
        typed[~is_gap] = [np.datetime64(_without_zone(value), "us") for value in present]
    else:
        return values
    return typed


def _without_zone(value: date) -> date:
    """Return a moment of some time zone as one of UTC, without a zone; NumPy knows none."""
    has_zone = isinstance(value, datetime) and value.tzinfo is not None
    return value.astimezone(UTC).replace(tzinfo=None) if has_zone else value  # type: ignore[attr-defined]


def _example(values: NDArray[Any]) -> str:
    if values.dtype.kind in "Mm":
        return "dates" if values.dtype.kind == "M" else "durations"
    present = (value for value in values.tolist() if not is_missing(value))
    value = next(present, None)
    return "nothing" if value is None else f"objects such as {value!r}"
