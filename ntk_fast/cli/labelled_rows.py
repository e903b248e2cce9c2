"""Rows with a target each: a column of the same file, or a file of its own.

A column is named by its header, or by its position counted from 1; -1 is the last.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.csv_file import is_number, opened_csv
from ntk_fast.cli.row_files import is_archive, read_rows


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows, and their targets if there are any."""

    rows: NDArray[np.floating[Any]]  # (n, n_features)
    target: NDArray[Any] | None  # (n,): float64, or text
    names: list[str] | None  # of the features: the header of a CSV file that has one
    target_name: str | None
    unused: str | None = None  # why the usual column of targets, which is there, is not used


def add_target_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options that say where targets are."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument(
        "--target", metavar="COLUMN", help="the column of targets: its header, or its position from 1 (-1: the last)"
    )
    group.add_argument("--target-file", type=Path, metavar="FILE", help="an .npy file with a target for each row")
    parser.add_argument("--key", metavar="NAME", help="the array to take from an .npz archive that holds several")


def read_labelled_rows(
    path: Path,
    target: str | None = None,
    target_file: Path | None = None,
    key: str | None = None,
    features: Sequence[str] | None = None,
    usual_target: str | None = None,
) -> LabelledRows:
    """Read rows and their targets, checked.

    Parameters
    ----------
    path : Path
        Of an .npy, .npz or .csv file.
    target : str, optional
        The column of targets.
    target_file : Path, optional
        Or the .npy file that holds them.
    key : str, optional
        Which array of an .npz archive.
    features : sequence of str, optional
        Columns to take, in this order, from a CSV file that has a header; other columns are passed over. By default all
        but the target.
    usual_target : str, optional
        The column of targets, if `target` is not given, a header has it, and no cell of it is empty.

    Raises
    ------
    OSError, TypeError, ValueError
        If a file cannot be read, or does not hold what is asked for.
    """
    if key is not None and not is_archive(path):
        raise ValueError(f"--key names an array of an .npz archive; got {path}.")
    if path.suffix.lower() == ".csv":
        found = _read_csv(path, target, features, usual_target if target_file is None else None)
    else:
        rows = read_rows(path, key)
        found = LabelledRows(rows, None, None, None)
        if target is not None:
            column = _position(target, [str(i + 1) for i in range(rows.shape[1])], path)
            labels = rows[:, column].astype(np.float64)
            found = LabelledRows(np.delete(rows, column, axis=1), labels, None, None)
    if found.rows.shape[1] == 0 or len(found.rows) == 0:
        raise ValueError(f"{path} must hold at least one row and one column of features.")
    if target_file is None:
        return found
    return LabelledRows(found.rows, _read_target(target_file, len(found.rows)), found.names, None)


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


def _position(column: str, names: Sequence[str], path: Path) -> int:
    """Return the position, from 0, of a column; a header wins over a number."""
    if names.count(column) > 1:
        raise ValueError(f"{path} has {names.count(column)} columns {column!r}; name the target by its position.")
    if column in names:
        return names.index(column)
    try:
        number = int(column)
    except ValueError:
        number = 0
    if 1 <= number <= len(names) or number == -1:
        return (number - 1) % len(names) if number > 0 else len(names) - 1
    shown = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
    raise ValueError(f"{path} has no column {column!r}; it has {len(names)}: {shown}.")


def _read_csv(path: Path, target: str | None, features: Sequence[str] | None, usual_target: str | None) -> LabelledRows:
    with opened_csv(path) as file:
        names = file.names
        is_usual = target is None and file.has_header and usual_target in names
        column = usual_target if is_usual else target
        target_at = None if column is None else _position(column, names, path)
        taken = _taken(names, target_at, features if file.has_header else None, path)
        values, labels, unused = array("d"), [], None
        for line, cells in file.rows():
            for position in taken:
                values.append(_number(cells[position], names[position], line, path))
            if target_at is not None:
                if not cells[target_at]:
                    unused = f"column {names[target_at]!r} is empty in line {line}"
                    if not is_usual:
                        raise ValueError(f"{path}: {unused}.")
                labels.append(cells[target_at])
    rows = np.frombuffer(values, dtype=np.float64).reshape(-1, len(taken)) if values else np.empty((0, len(taken)))
    return LabelledRows(
        rows,
        None if target_at is None or unused else _numbers_or_text(labels, names[target_at], path),
        [names[position] for position in taken] if file.has_header else None,
        names[target_at] if target_at is not None and file.has_header else None,
        unused,
    )


def _taken(names: list[str], target_at: int | None, features: Sequence[str] | None, path: Path) -> list[int]:
    """Return the positions of the features."""
    if features is None:
        return [column for column in range(len(names)) if column != target_at]
    missing = [name for name in features if names.count(name) != 1]
    if missing:
        raise ValueError(f"{path} must have one column {missing[0]!r}, as the rows had that the model was fitted on.")
    return [names.index(name) for name in features]


def _number(cell: str, name: str, line: int, path: Path) -> float:
    number = float(cell) if is_number(cell) else None
    if number is None or not np.isfinite(number):
        found = f"holds {cell!r}" if cell else "is empty there"
        raise ValueError(f"{path}: column {name!r} must hold finite numbers: line {line} {found}.")
    return number


def _numbers_or_text(cells: list[str], name: str, path: Path) -> NDArray[Any]:
    """Return float64 if every cell is a number, else text."""
    if not all(map(is_number, cells)):
        return np.array(cells)
    numbers = np.array(cells, dtype=np.float64)
    finite = np.isfinite(numbers)
    if not finite.all():
        cell = cells[int(finite.argmin())]
        raise ValueError(f"{path}: column {name!r} must hold finite numbers or text; got {cell!r}.")
    return numbers
