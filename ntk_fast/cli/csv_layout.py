"""How a CSV file is laid out: its separator, its decimal mark, its header and its row labels, from its first lines."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

#: What stands for a value that is missing.
MISSING = ("", "na", "n/a", "nan", "null", "none", "missing", "?", "-", ".")
#: Records that are looked at.
SAMPLE = 200
#: Separators that are found without being named, in this order, and what the options and reports call them.
SEPARATORS = {";": "semicolon", "\t": "tab", ",": "comma", "|": "pipe", " ": "blanks"}
#: A header of so many consecutive whole numbers from 0 on (from elsewhere) is no row, whatever is below it.
LONG_COUNT_FROM_0, LONG_COUNT = 4, 8
#: Of whole numbers that count something.
MOST_DIGITS = 19


@dataclass(frozen=True)
class CsvOptions:
    """What the user says of a CSV file, None where it is to be found out."""

    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None


@dataclass(frozen=True, eq=False)
class CsvLayout:
    """How a CSV file is laid out.

    Attributes
    ----------
    separator, decimal : str
    names : list of str or None
        Of the columns, row labels left out; None without a header.
    n_columns : int
        Row labels included.
    lines_before : int
        Lines up to the first row.
    has_labels : bool
        Whether the first column holds row labels, such as pandas' index.
    header_note : str
        What to say of the header.
    """

    separator: str
    decimal: str
    names: list[str] | None
    n_columns: int
    lines_before: int
    has_labels: bool
    header_note: str

    @property
    def notes(self) -> list[str]:
        """What was found out and is worth a word."""
        notes = [] if self.header_note == "header" else [self.header_note]
        if self.has_labels:
            notes.append("row labels in the first column left out")
        if self.separator != ",":
            notes.append(f"separated by {SEPARATORS.get(self.separator, repr(self.separator))}")
        if self.decimal != ".":
            notes.append("decimal commas")
        return notes


def add_csv_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how CSV files are laid out."""
    group = parser.add_argument_group("CSV files", "what is not said is found out, and told")
    group.add_argument("--header", choices=["yes", "no"], help="whether the first line names the columns")
    group.add_argument("--separator", metavar="MARK", help=f"one character, or {', '.join(SEPARATORS.values())}")
    group.add_argument("--decimal", choices=[".", ","], help="the decimal mark")


def csv_options(arguments: argparse.Namespace) -> CsvOptions:
    """Return what parsed arguments say of CSV files."""
    separator = arguments.separator
    if separator is not None:
        separator = {name: mark for mark, name in SEPARATORS.items()}.get(separator, separator.replace("\\t", "\t"))
        if len(separator) != 1 or separator.isalnum() or separator in '"\r\n+-.':
            known = ", ".join(SEPARATORS.values())
            raise ValueError(f"--separator must be one character that numbers lack, or {known}; got {separator!r}.")
        if separator == arguments.decimal:
            raise ValueError(f"--separator and --decimal must differ; got {separator!r} for both.")
    header = None if arguments.header is None else arguments.header == "yes"
    return CsvOptions(header, separator, arguments.decimal)


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a number; infinities and NaN are."""
    return to_number(cell, decimal) is not None


def to_number(cell: str, decimal: str = ".") -> float | None:
    """Return the number that a cell holds, or None."""
    if "_" in cell or (decimal != "." and "." in cell):
        return None
    try:
        return float(cell.replace(decimal, "."))
    except ValueError:
        return None


def is_missing_cell(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def cells_of(text: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the stripped cells of each record that is not blank, with the number of its last line."""
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num, stripped[: -1 if separator == " " and not stripped[-1] else None]


def layout_of(text: TextIO, path: Path, options: CsvOptions) -> CsvLayout:
    """Find out how a CSV file is laid out; `text` is read from where it is.

    Raises
    ------
    ValueError
        If the file is empty, its first lines differ in their numbers of cells, or its first line might be a header and
        might be a row.
    """
    lines = list(islice(text, 2 * SAMPLE))
    separator = options.separator or _separator(lines, path)
    records = list(islice(cells_of(iter(lines), separator), SAMPLE))
    if not records:
        raise ValueError(f"{path} is empty.")
    (header_line, first), below = records[0], [cells for _, cells in records[1:]]
    decimal = options.decimal or ("." if separator == "," else _decimal(cells for _, cells in records))
    if options.header is None:
        has_header, note = _is_header(first, below, decimal, path)
    else:
        has_header, note = options.header, "header" if options.header else "no header"
    names = first if has_header else None
    n_columns = len(first)
    has_labels = False
    if names is not None and below:
        if len(first) > 1 and all(len(cells) == len(first) + 1 for cells in below) and _are_labels(below, decimal):
            n_columns, has_labels = len(first) + 1, True  # as R's write.table leaves the labels' name away
        elif len(first) > 1 and re.fullmatch(r"(Unnamed: \d+)?", first[0]) and _are_labels(below, decimal):
            names, has_labels = first[1:], True  # as pandas and R's write.csv write them
    lines_before = header_line if has_header else 0
    for line, cells in records[has_header:]:
        if len(cells) != n_columns:
            raise ValueError(f"{path}: line {line} has {len(cells)} cells, the first line has {len(first)}.")
    if names is not None:
        names = [name or f"column {i + 1 + has_labels}" for i, name in enumerate(names)]
    return CsvLayout(separator, decimal, names, n_columns, lines_before, has_labels, note)


def _separator(lines: Sequence[str], path: Path) -> str:
    if ".tsv" in path.suffixes:
        return "\t"
    first = next((re.sub('"[^"]*"', "", line).strip() for line in lines if line.strip()), "")
    mark = next((mark for mark in SEPARATORS if mark in first.replace(" ", "")), ",")
    words = first.split()
    return " " if mark not in first and len(words) > 1 and all(map(is_number, words)) else mark


def _decimal(records: Iterator[list[str]]) -> str:
    """Return a comma if there are numbers with one, and none with a point."""
    has_commas = False
    for cells in records:
        for cell in cells:
            if re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", cell):
                return "."
            has_commas = has_commas or re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell) is not None
    return "," if has_commas else "."


def _is_header(first: list[str], below: list[list[str]], decimal: str, path: Path) -> tuple[bool, str]:
    """Whether the first line is a header, and what to say of it; refuse what might be one and might be a row."""
    names = [cell for cell in first if not is_number(cell, decimal) and not is_missing_cell(cell)]
    if len(names) == len(first) or not any(is_number(cell, decimal) for cell in first):
        return True, "header"
    if below and any(
        not is_number(cell, decimal) and not is_missing_cell(cell) and is_number(under, decimal)
        for cell, under in zip(first, below[0], strict=False)
    ):
        return True, "header"
    places = [place for place, cell in enumerate(first) if is_number(cell, decimal)]
    numbers = [first[place] for place in places]
    if not all(map(_is_count, numbers)) or len(set(numbers)) < len(numbers):
        return False, "no header"
    start = int(numbers[0])
    counts = [int(cell) for cell in numbers] == list(range(start, start + len(numbers)))
    columns = [[cells[place] for cells in below if place < len(cells)] for place in range(len(first))]
    # whole numbers above, and below them numbers that are none
    stands_out = bool(below) and all(
        any(is_number(cell, decimal) and not _is_count(cell) for cell in columns[place]) for place in places
    )
    # a word that does not occur again
    has_title = any(cell in names and cell not in column for cell, column in zip(first, columns, strict=True))
    is_long = len(numbers) >= (LONG_COUNT_FROM_0 if start == 0 else LONG_COUNT)
    above_labels = first[0] == "" and bool(below) and _are_labels(below, decimal)
    shown = _shortened(first[1:] if above_labels else first)
    if above_labels or (counts and (is_long or (stands_out and len(numbers) > 1))):
        return True, f"header of numbers, {shown}"
    if below and ((counts and (start == 0 or has_title) and len(numbers) > 1) or stands_out):
        raise ValueError(
            f"{path}: the first line, {shown}, may be a header and may be a row: pass --header yes or --header no."
        )
    return False, "no header"


def _is_count(cell: str) -> bool:
    """Whether a cell is a whole number as headers have them."""
    return cell.isdecimal() and len(cell) < MOST_DIGITS


def _shortened(cells: Sequence[str]) -> str:
    return ",".join(cells) if len(cells) <= 6 else f"{','.join(cells[:3])},...,{cells[-1]}"


def _are_labels(rows: list[list[str]], decimal: str) -> bool:
    """Whether the first cells are whole numbers or names, and no measurements."""
    cells = [row[0] for row in rows]
    return all(map(_is_count, cells)) or not any(is_number(cell, decimal) for cell in cells)
