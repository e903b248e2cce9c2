"""Rows with a target each: a column of the same file, or a file of its own.

A column is named by its header, or by its position counted from 1; -1 is the last.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.csv_file import CsvFile, is_csv
from ntk_fast.cli.csv_layout import CsvOptions, add_csv_arguments, is_number, to_number
from ntk_fast.cli.row_files import is_archive, numbers_of, read_rows, refuse_infinities


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Features, and their targets if there are any.

    Attributes
    ----------
    features : ndarray or pandas.DataFrame of shape (n, n_columns)
        Of a CSV file a frame of whatever its columns hold, with their names if it has a header.
    target : ndarray of shape (n,) or None
        float64, or text.
    names : list of str or None
        Of the features: the header of a CSV file that has one.
    target_name : str or None
    unused : str or None
        Why the usual column of targets, which is there, is not used.
    notes : list of str
        How a CSV file is laid out.
    source : CsvFile or None
    positions : list of int
        Of the features in the CSV file.
    """

    features: Any
    target: NDArray[Any] | None = None
    names: list[str] | None = None
    target_name: str | None = None
    unused: str | None = None
    notes: list[str] = field(default_factory=list)
    source: CsvFile | None = None
    positions: list[int] = field(default_factory=list)

    @property
    def others(self) -> list[str]:
        """Names of the file's columns that are neither features nor targets."""
        used = {*(self.names or []), self.target_name}
        return [name for name in (self.source.layout.names or [] if self.source else []) if name not in used]

    def numbers(self) -> NDArray[np.floating[Any]]:
        """Return the features as rows of finite numbers; refuse others, naming the line."""
        if self.source is None:
            return self.features
        return numbers_of(self.source, self.features, self.positions)


def add_target_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options that say where targets are, and how files are to be read."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument(
        "--target", metavar="COLUMN", help="the column of targets: its header, or its position from 1 (-1: the last)"
    )
    group.add_argument("--target-file", type=Path, metavar="FILE", help="an .npy file with a target for each row")
    parser.add_argument("--key", metavar="NAME", help="the array to take from an .npz archive that holds several")
    add_csv_arguments(parser)


def column_list(text: str) -> list[str]:
    """Return the columns of an option: commas between them, in double quotes if they hold one."""
    return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True), [])]


@dataclass(frozen=True)
class Choice:
    """Which columns are features, in a CSV file and elsewhere.

    Attributes
    ----------
    columns, dropped : list of str or None
        Those to take, or those to leave, by header or position; by default all but the target are taken.
    named : list of str or None
        Those to find by their headers, in this order, if there is a header; other columns are passed over.
    is_text : sequence of bool
        Of the features, which are text, whatever they look like; by default none is said to be.
    """

    columns: list[str] | None = None
    dropped: list[str] | None = None
    named: list[str] | None = None
    is_text: Sequence[bool] = ()

    def positions(self, names: list[str], has_header: bool, target_at: int | None, path: Path) -> list[int]:
        """Return the positions of the features."""
        if self.named is not None and has_header:
            for name in self.named:
                if names.count(name) != 1:
                    raise ValueError(
                        f"{path} must have one column {name!r}, as the rows had that the model was fitted on; it has "
                        f"{names.count(name)}: {_shown(names)}."
                    )
            return [names.index(name) for name in self.named]
        taken = list(range(len(names)))
        if self.columns is not None:
            taken = list(dict.fromkeys(_position(column, names, path, "--columns") for column in self.columns))
            if target_at in taken:
                raise ValueError(f"--columns must not hold the target; got {names[taken[taken.index(target_at)]]!r}.")
        left = {_position(column, names, path, "--drop") for column in self.dropped or []}
        taken = [position for position in taken if position != target_at and position not in left]
        repeated = [names[position] for position in taken if has_header and names.count(names[position]) > 1]
        if repeated:
            raise ValueError(
                f"{path} has {names.count(repeated[0])} columns {repeated[0]!r}, and columns are found by name: rename "
                "all but one."
            )
        return taken


def read_labelled_rows(
    path: Path,
    csv_options: CsvOptions,
    target: str | None = None,
    target_file: Path | None = None,
    key: str | None = None,
    choice: Choice = Choice(),
    usual_target: str | None = None,
) -> LabelledRows:
    """Read rows and their targets, checked.

    Parameters
    ----------
    path : Path
        Of an .npy, .npz or .csv file.
    csv_options : CsvOptions
    target : str, optional
        The column of targets.
    target_file : Path, optional
        Or the .npy file that holds them.
    key : str, optional
        Which array of an .npz archive.
    choice : Choice, optional
        Which columns are features.
    usual_target : str, optional
        The column of targets, if `target` is not given, a header has it, and no cell of it is empty.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        If a file cannot be read, or does not hold what is asked for.
    """
    if key is not None and not is_archive(path):
        raise ValueError(f"--key names an array of an .npz archive; got {path}.")
    if is_csv(path):
        found = _read_csv(path, csv_options, target, choice, usual_target if target_file is None else None)
    else:
        if csv_options != CsvOptions():
            raise ValueError(f"--header, --separator and --decimal are for CSV files; got {path}.")
        rows = read_rows(path, key)
        names = [str(i + 1) for i in range(rows.shape[1])]
        column = None if target is None else _position(target, names, path, "--target")
        positions = choice.positions(names, False, column, path)
        labels = None if column is None else rows[:, column].astype(np.float64)
        found = LabelledRows(rows if len(positions) == len(names) else rows[:, positions], labels)
    if 0 in found.features.shape:
        raise ValueError(f"{path} must hold at least one row and one column of features.")
    if target_file is None:
        return found
    return replace(found, target=_read_target(target_file, len(found.features)), target_name=None)


def _read_target(path: Path, n_rows: int) -> NDArray[Any]:
    if path.suffix.lower() != ".npy":
        raise ValueError(f"--target-file must name an .npy file; got {path}.")
    try:
        values = np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path} is not an .npy file of numbers or text, or is cut short ({error}).") from None
    if values.shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(f"{path} must hold one target for each of {n_rows} rows; got shape {values.shape}.")
    values = values.reshape(n_rows)
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{path} must hold real numbers or text; got dtype {values.dtype}.")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} must hold finite numbers; got {values[~np.isfinite(values)][0]}.")
    return values


def _position(column: str, names: Sequence[str], path: Path, option: str) -> int:
    """Return the position, from 0, of a column; a header wins over a number."""
    if names.count(column) > 1:
        raise ValueError(f"{path} has {names.count(column)} columns {column!r}; {option} names one by its position.")
    if column in names:
        return names.index(column)
    try:
        number = int(column)
    except ValueError:
        number = 0
    if 1 <= number <= len(names) or number == -1:
        return (number - 1) % len(names) if number > 0 else len(names) - 1
    raise ValueError(f"{path} has no column {column!r}; it has {len(names)}: {_shown(names)}.")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")


def _read_csv(
    path: Path, options: CsvOptions, target: str | None, choice: Choice, usual_target: str | None
) -> LabelledRows:
    file = CsvFile.of(path, options)
    names, has_header = file.names, file.layout.names is not None
    is_usual = target is None and has_header and usual_target in names
    column = usual_target if is_usual else target
    target_at = None if column is None else _position(column, names, path, "--target")
    taken = choice.positions(names, has_header, target_at, path)
    as_text = [position for position, is_text in zip(taken, choice.is_text, strict=False) if is_text]
    frame = file.read(raw=() if target_at is None else [target_at], text=as_text)
    labels, unused = None, None
    if target_at is not None:
        cells = [str(cell).strip() for cell in frame[target_at]]
        if "" in cells:
            unused = f"column {names[target_at]!r} is empty in line {file.cell(cells.index(''), target_at)[0]}"
            if not is_usual:
                raise ValueError(f"{path}: {unused}.")
        else:
            labels = _numbers_or_text(cells, names[target_at], file)
    features = frame[taken].set_axis([names[i] for i in taken] if has_header else range(len(taken)), axis=1)
    refuse_infinities(file, features, taken)
    return LabelledRows(
        features,
        labels,
        [names[position] for position in taken] if has_header else None,
        names[target_at] if target_at is not None and has_header else None,
        unused,
        file.layout.notes,
        file,
        taken,
    )


def _numbers_or_text(cells: list[str], name: str, file: CsvFile) -> NDArray[Any]:
    """Return float64 if every cell is a number, else text."""
    decimal = file.layout.decimal
    if not all(is_number(cell, decimal) for cell in cells):
        return np.array(cells)
    numbers = np.array([to_number(cell, decimal) for cell in cells], dtype=np.float64)
    finite = np.isfinite(numbers)
    if not finite.all():
        cell = cells[int(finite.argmin())]
        raise ValueError(f"{file.path}: column {name!r} must hold finite numbers or text; got {cell!r}.")
    return numbers
