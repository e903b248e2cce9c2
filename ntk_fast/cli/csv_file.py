"""CSV files as data frames, read by pandas: plain, compressed, or standard input; with progress where it takes long."""

from __future__ import annotations

import bz2
import csv
import gzip
import inspect
import io
import lzma
import sys
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.csv_layout import MISSING, CsvLayout, CsvOptions, cells_of, layout_of
from ntk_fast.cli.progress import shown_stages
from ntk_fast.solvers.base import Report, silent

#: What a CSV file's name ends in, before the ending of a compressed one.
ENDINGS = (".csv", ".tsv")
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
STANDARD_INPUT = Path("-")
#: Bytes from which on reading shows its progress.
LARGE = 8 << 20


def is_csv(path: Path) -> bool:
    """Whether a path names a CSV file, a compressed one, or standard input."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return path == STANDARD_INPUT or last in ENDINGS or (before in ENDINGS and last in OPENERS)


@dataclass(frozen=True, eq=False)
class CsvFile:
    """A CSV file whose layout is known."""

    path: Path
    layout: CsvLayout

    @classmethod
    def of(cls, path: Path, options: CsvOptions) -> CsvFile:
        """Find out how a file is laid out.

        Raises
        ------
        ImportError
            Without pandas.
        OSError, ValueError
            If the file cannot be read, or is no CSV file.
        """
        _pandas()
        with _readable(path), _opened(path) as text:
            return cls(path, layout_of(text, path, options))

    @property
    def names(self) -> list[str]:
        """Names of the columns, row labels left out: "1", "2", ... without a header."""
        n_columns = self.layout.n_columns - self.layout.has_labels
        return self.layout.names or [str(i + 1) for i in range(n_columns)]

    def read(self, raw: Collection[int] = (), text: Collection[int] = ()) -> Any:
        """Return all rows as a pandas.DataFrame whose columns are numbered from 0; gaps are NaN.

        Parameters
        ----------
        raw : positions of columns that stay as they are written, gaps too
        text : positions of columns that stay text

        Raises
        ------
        OSError, ValueError
            If the file cannot be read, or its lines differ in their numbers of cells.
        """
        pandas, path, layout = _pandas(), self.path, self.layout
        with _readable(path):
            try:
                with _shown(path) as report, _opened(path, report) as lines:
                    frame = _parse(pandas, lines, layout, raw, text)
            except pandas.errors.ParserError as error:
                _refuse_ragged(path, layout)
                raise csv.Error(str(error).removeprefix("Error tokenizing data. C error: ").strip()) from None
            gaps = _gaps(frame)
            if gaps[:, -1].any():
                _refuse_ragged(path, layout)  # pandas fills lines that are too short
            if gaps.all(axis=1).any():
                frame = _without_blank_rows(path, layout, frame)
        return frame

    def cell(self, row: int, column: int) -> tuple[int, str]:
        """Return the line and the text of a cell, by reading the file once more."""
        with _opened(self.path) as text:
            for number, (line, cells) in enumerate(_records(text, self.layout)):
                if number == row:
                    return line, cells[column + self.layout.has_labels]
        raise ValueError(f"{self.path} was changed while it was read.")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one sentence why a file cannot be read."""
    try:
        yield
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8: save it as one.") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file that can be read: {error}; is a quote not closed?") from None
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is not a compressed file, or is cut short ({error}).") from None


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise ImportError("Reading CSV files needs pandas: pip install 'ntk_fast[csv]'.") from None


def _parse(pandas: Any, lines: TextIO, layout: CsvLayout, raw: Collection[int], text: Collection[int]) -> Any:
    for _ in range(layout.lines_before):
        lines.readline()
    labels = int(layout.has_labels)
    positions = range(-labels, layout.n_columns - labels)
    columns = [f"column {position}" for position in positions]  # whole numbers would mean positions, and names too
    as_they_are = [columns[position + labels] for position in raw]
    missing = ["NaN", "<NA>", *(form for word in MISSING for form in (word, word.upper(), word.capitalize()))]
    options: dict[str, Any] = {"float_precision": "round_trip"}
    if "float_precision" not in inspect.signature(pandas.read_csv).parameters:
        options = {}  # later releases always read numbers to the last bit
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'float_precision' argument is deprecated")
        try:
            frame = pandas.read_csv(
                lines,
                sep=r"\s+" if layout.separator == " " else layout.separator,
                decimal=layout.decimal,
                header=None,
                names=columns,
                index_col=False,
                dtype=dict.fromkeys([columns[position + labels] for position in [*raw, *text]], str),
                na_values={column: missing for column in columns if column not in as_they_are},
                keep_default_na=False,
                skipinitialspace=True,
                low_memory=False,  # one type a column, whatever its length
                **options,
            )
        except pandas.errors.EmptyDataError:
            frame = pandas.DataFrame(columns=columns)
    return frame.set_axis(positions, axis=1).iloc[:, labels:]


def _gaps(frame: Any) -> NDArray[np.bool_]:
    """Return which cells hold nothing."""
    gaps = np.array(frame.isna())
    for position in range(frame.shape[1]):
        if frame[position].dtype.kind == "O":
            gaps[:, position] |= (frame[position] == "").to_numpy(dtype=bool, na_value=True)
    return gaps


def _refuse_ragged(path: Path, layout: CsvLayout) -> None:
    with _opened(path) as text:
        for line, cells in _records(text, layout):
            if len(cells) != layout.n_columns:
                raise ValueError(f"{path}: line {line} has {len(cells)} cells, the first line has {layout.n_columns}.")


def _records(text: TextIO, layout: CsvLayout) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not blank, with its line."""
    for line, cells in cells_of(text, layout.separator):
        if line > layout.lines_before:
            yield line, cells


def _without_blank_rows(path: Path, layout: CsvLayout, frame: Any) -> Any:
    """Leave out rows of separators alone, which spreadsheets write below a table."""
    with _opened(path) as text:
        for _ in range(layout.lines_before):
            text.readline()
        rows = [cells for cells in csv.reader(text, delimiter=layout.separator) if len(cells) > 1 or any(cells)]
    has_cells = [any(cell.strip() for cell in cells) for cells in rows]
    return frame[has_cells].reset_index(drop=True) if len(has_cells) == len(frame) else frame


@contextmanager
def _opened(path: Path, report: Report = silent) -> Iterator[TextIO]:
    """Open a CSV file as text; tell how much of it is read."""
    if path == STANDARD_INPUT:
        binary: BinaryIO = io.BytesIO(_standard_input())
        size = 0
    else:
        binary = open(path, "rb")  # noqa: SIM115  closed below
        size = path.stat().st_size
    with binary:
        watched: Any = io.BufferedReader(_Watched(binary, size, report), 1 << 18) if size else binary
        opener = OPENERS.get(path.suffix.lower())
        plain = watched if opener is None else opener(watched, "rb")
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield text


class _Watched(io.RawIOBase):
    """A file that tells how much of it is read."""

    def __init__(self, file: BinaryIO, size: int, report: Report) -> None:
        self._file, self._size, self._report = file, size, report

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self._report("rows", min(1.0, self._file.tell() / self._size))
        return len(content)


@cache
def _standard_input() -> bytes:
    """Return all of standard input, which can be read only once."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("Standard input, -, is a terminal: name a file, or pipe one in.")
    return sys.stdin.buffer.read()


@contextmanager
def _shown(path: Path) -> Iterator[Report]:
    if path == STANDARD_INPUT or path.stat().st_size < LARGE:
        yield silent
        return
    with shown_stages(f"Reading {path}") as report:
        yield report
