"""CSV files: their separator, their header, and their lines, with progress where there are many."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ntk_fast.cli.progress import shown_stages

#: Bytes from which on reading shows its progress, and lines between two steps of it.
LARGE, LINES_BETWEEN_STEPS = 8 << 20, 10_000

#: What stands for a number that is missing, and is no name of a column.
MISSING = {"", "na", "n/a", "nan", "null", "none", "missing", "?", "-", "."}


@dataclass(frozen=True, eq=False)
class CsvFile:
    """An open CSV file.

    Attributes
    ----------
    names : list of str
        Of the columns: "1", "2", ... if there is no header.
    has_header : bool
        Whether the first line is one: if none of its cells is a number, or one is a name where the second line has a
        number.
    delimiter : str
        A semicolon or a tab if the first line has one outside of quotes, else a comma.
    """

    path: Path
    names: list[str]
    has_header: bool
    delimiter: str
    _file: Any

    def text(self) -> Iterator[str]:
        """Yield the lines as they are, from the first one on."""
        self._file.seek(0)
        size = self.path.stat().st_size
        if size < LARGE:
            yield from iter(self._file.readline, "")  # and not from the file, which would be closed with this iterator
            return
        with shown_stages(f"Reading {self.path}") as report:
            read = 0
            for number, line in enumerate(self._file):
                read += len(line)
                if number % LINES_BETWEEN_STEPS == 0:
                    report(f"line {number + 1}", min(1.0, read / size))
                yield line

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the cells of each line that is not blank, with its number; the header is left out."""
        for line, cells in islice(_lines(self.text(), self.delimiter), int(self.has_header), None):
            if len(cells) != len(self.names):
                raise ValueError(
                    f"{self.path}: line {line} has {len(cells)} cells, the first line has {len(self.names)}."
                )
            yield line, cells


@contextmanager
def opened_csv(path: Path) -> Iterator[CsvFile]:
    """Open a CSV file; what is no such file is a ValueError, also while its lines are read."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = re.sub('"[^"]*"', "", file.readline())
            delimiter = next((mark for mark in ";\t" if mark in first), ",")
            file.seek(0)
            beginning = [cells for _, cells in islice(_lines(file, delimiter), 2)]
            if not beginning:
                raise ValueError(f"{path} is empty.")
            has_header = _is_header(*beginning)
            names = beginning[0] if has_header else [str(i + 1) for i in range(len(beginning[0]))]
            yield CsvFile(path, names, has_header, delimiter, file)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file in UTF-8.") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file that can be read: {error}; is a quote not closed?") from None


def _lines(text: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of lines that are not blank, with their numbers."""
    reader = csv.reader(text, delimiter=delimiter)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_header(first: list[str], second: list[str] | None = None) -> bool:
    """Whether no cell of the first line is a number, or one that could be a name is none where the second line's is."""
    if not any(map(is_number, first)):
        return True
    return second is not None and any(
        _is_name(above) and is_number(below) for above, below in zip(first, second, strict=False)
    )


def _is_name(cell: str) -> bool:
    return not is_number(cell) and cell.lower() not in MISSING
