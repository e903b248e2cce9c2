"""What a column of a table is to a model: numbers, dates, categories, or nothing; kept as a few numbers and words.

A model file holds these small classes, and the command line says them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from ntk_fast.rows.frames import Column, is_missing

#: Of texts in a column of at least so many, a share above which hardly any occurs twice: they are no categories.
FEW, MOST_DIFFERENT = 20, 0.9
#: Of texts among numbers, a share up to which they are slips, and not names like the numbers.
MOST_SLIPS = 0.1
DAY = np.timedelta64(1, "D")
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?")
OTHER_DATE = re.compile(r"\d{1,4}([/.-])\d{1,2}\1\d{1,4}([ T]\d\d?:\d\d.*)?")


@dataclass(frozen=True)
class Number:
    """A column of numbers, as they are; gaps get the median, and where there were some a column says so."""

    median: float
    has_gaps: bool
    is_text: ClassVar[bool] = False

    def encode(self, column: Column) -> NDArray[np.float64]:
        return _with_gaps(column.name, _numbers_of(column), self.median, self.has_gaps)

    def names(self, name: str) -> list[str]:
        return [name, f"{name} is missing"] if self.has_gaps else [name]

    def __str__(self) -> str:
        return f"number, gaps filled with {self.median:.6g} and marked" if self.has_gaps else "number"


@dataclass(frozen=True)
class Date:
    """A column of dates: in days since 1970; gaps as those of numbers."""

    median: float
    has_gaps: bool
    is_text: ClassVar[bool] = False

    def encode(self, column: Column) -> NDArray[np.float64]:
        return _with_gaps(column.name, _days_of(column), self.median, self.has_gaps)

    def names(self, name: str) -> list[str]:
        return [f"{name} in days", f"{name} is missing"] if self.has_gaps else [f"{name} in days"]

    def __str__(self) -> str:
        gaps = ", gaps filled with their median and marked" if self.has_gaps else ""
        return f"date, as days since 1970{gaps}"


@dataclass(frozen=True)
class Category:
    """A column of texts: one column of 0 and 1 each, all 0 for a text that was not there in training."""

    texts: tuple[str, ...]
    has_gaps: bool
    is_text: ClassVar[bool] = True

    def encode(self, column: Column) -> NDArray[np.float64]:
        texts = _texts_of(column)
        unknown = sorted({text for text in texts if text is not None} - set(self.texts))
        if unknown:
            shown = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
            message = f"Column {column.name!r} holds {shown}, unknown from training: taken as none of its categories."
            warn(message, stacklevel=4)
        if None in texts and not self.has_gaps:
            _warn_of_gaps(column.name, texts.count(None), "taken as none of its categories")
        places: dict[str | None, int] = {text: place for place, text in enumerate(self.texts)}
        if self.has_gaps:
            places[None] = len(self.texts)
        codes = np.array([places.get(text, -1) for text in texts], dtype=np.int64)
        return (codes[:, None] == np.arange(len(places))).astype(np.float64)

    def names(self, name: str) -> list[str]:
        return [f"{name}={text}" for text in self.texts] + [f"{name} is missing"] * self.has_gaps

    def __str__(self) -> str:
        gaps = " and one where it is missing" if self.has_gaps else ""
        return f"category, a column of 0 and 1 for each of {len(self.texts)} texts{gaps}"


@dataclass(frozen=True)
class LeftOut:
    """A column that is not used."""

    reason: str
    is_text: ClassVar[bool] = True

    def encode(self, column: Column) -> NDArray[np.float64]:
        return np.empty((len(column.values), 0))

    def names(self, name: str) -> list[str]:
        return []

    def __str__(self) -> str:
        return f"left out: {self.reason}"


Encoding = Number | Date | Category | LeftOut

#: By the names that model files have for them.
ENCODINGS: dict[str, type[Encoding]] = {kind.__name__: kind for kind in (Number, Date, Category, LeftOut)}


def encoding_of(column: Column, max_categories: int) -> Encoding:
    """Return what a column is, from its values in training.

    Raises
    ------
    TypeError, ValueError
        If it holds infinities, numbers but for a few texts, or neither numbers, texts nor dates.
    """
    kind = column.values.dtype.kind
    if kind == "M":
        return _of_gaps(Date, _days_of(column))
    if kind in "fiub" and not column.is_category:
        return _of_gaps(Number, _numbers_of(column))
    texts = _texts_of(column)
    present = [text for text in texts if text is not None]
    if not present:
        return LeftOut("it holds nothing")
    different = sorted(set(present))
    hardly_repeat = len(present) >= FEW and len(different) > MOST_DIFFERENT * len(present)
    if not column.is_category:
        odd = [text for text in present if not _is_number(text)]
        if not odd:
            return _of_gaps(Number, _numbers_of(column))
        is_category = len(different) <= max_categories and not hardly_repeat
        if len(odd) <= MOST_SLIPS * len(present) or (len(odd) < len(present) / 2 and not is_category):
            raise ValueError(
                f"Column {column.name!r} holds numbers but for {len(odd)} of {len(present)} cells, such as {odd[0]!r}: "
                "mend these, or leave the column out."
            )
        if all(_is_date(text) for text in present):
            return _of_gaps(Date, _days_of(column))
        if all(OTHER_DATE.fullmatch(text) for text in present):
            odd = [text for text in present if not _is_date(text)]
            return LeftOut(f"it holds dates that are not written as 2024-12-31, such as {odd[0]!r}")
        if not is_category:
            return LeftOut(f"{len(different)} different texts in {len(texts)} rows, such as {different[0]!r}")
    has_gaps = len(present) < len(texts)
    if len(different) == 1 and not has_gaps:
        return LeftOut(f"it holds {different[0]!r} everywhere")
    return Category(tuple(different), has_gaps)


def _of_gaps(kind: type[Number] | type[Date], values: NDArray[np.float64]) -> Encoding:
    present = values[~np.isnan(values)]
    if not len(present):
        return LeftOut("it holds nothing")
    return kind(float(np.median(present)), len(present) < len(values))


def _warn_of_gaps(name: Any, count: int, what: str) -> None:
    warn(f"Column {name!r} has gaps in {count} rows, and had none in training: {what}.", stacklevel=5)


def _with_gaps(name: Any, values: NDArray[np.float64], median: float, has_gaps: bool) -> NDArray[np.float64]:
    is_gap = np.isnan(values)
    if is_gap.any() and not has_gaps:
        _warn_of_gaps(name, int(is_gap.sum()), "filled with the median of training")
    filled = np.where(is_gap, median, values)
    return np.column_stack([filled, is_gap]) if has_gaps else filled[:, None]


def _numbers_of(column: Column) -> NDArray[np.float64]:
    """Return numbers, NaN for gaps."""
    if column.values.dtype.kind in "fiub":
        numbers = column.values.astype(np.float64)
    else:
        texts = _texts_of(column)
        for text in texts:
            if text is not None and not _is_number(text):
                raise ValueError(f"Column {column.name!r} must hold numbers, as in training; got {text!r}.")
        numbers = np.array([np.nan if text is None else float(text) for text in texts])
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.argmax())
        raise ValueError(f"Column {column.name!r} must hold finite numbers; row {row} holds {column.values[row]!s}.")
    return numbers


def _days_of(column: Column) -> NDArray[np.float64]:
    """Return dates in days since 1970, NaN for gaps."""
    moments = column.values
    if moments.dtype.kind != "M":
        texts = _texts_of(column)
        for text in texts:
            if text is not None and not _is_date(text):
                raise ValueError(
                    f"Column {column.name!r} must hold dates such as 2024-12-31, as in training; got {text!r}."
                )
        moments = np.array(["NaT" if text is None else text for text in texts], dtype="datetime64[us]")
    days: NDArray[np.float64] = (moments - np.datetime64(0, "D")) / DAY
    return days


def _texts_of(column: Column) -> list[str | None]:
    """Return texts, None for gaps; numbers that are names of categories are written without a needless .0."""
    values = column.values
    if values.dtype.kind in "mMcV" or (values.dtype.kind == "O" and not all(map(_is_simple, values))):
        raise TypeError(f"Column {column.name!r} must hold numbers, texts or dates; got {values.dtype}.")
    texts: list[str | None] = []
    for value in values.tolist():
        if is_missing(value):
            texts.append(None)
            continue
        text = f"{value:.17g}" if isinstance(value, float) and value.is_integer() else str(value).strip()
        texts.append(text or None)
    return texts


def _is_simple(value: Any) -> bool:
    return is_missing(value) or isinstance(value, (str, bool, int, float, np.generic))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _is_date(text: str) -> bool:
    """Whether a text is a date of ISO 8601 with its day, and perhaps its time, without a time zone."""
    if not ISO_DATE.fullmatch(text):
        return False
    try:
        np.datetime64(text, "us")
    except ValueError:
        return False
    return True
