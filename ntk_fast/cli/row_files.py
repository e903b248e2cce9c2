"""Rows from files: .npy (memory-mapped, so only what is used is read), .npz and .csv. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.csv_file import CsvFile, is_csv
from ntk_fast.cli.csv_layout import CsvOptions, to_number
from ntk_fast.rows.frames import columns_of, is_missing
from ntk_fast.validation import check_rows, refuse_not_finite

#: What a file that is cut short, damaged or of another kind raises in NumPy's readers.
DAMAGE = (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error)


def is_archive(path: Path) -> bool:
    """Whether the file is of the kind that holds several arrays by name."""
    return path.suffix.lower() == ".npz"


def read_rows(
    path: Path,
    key: str | None = None,
    dtype: np.dtype | None = None,
    csv_options: CsvOptions = CsvOptions(),  # noqa: B008  frozen
) -> NDArray[np.floating[Any]]:
    """Return the rows of a file, checked: 2-D, real, finite, float32 or float64.

    Parameters
    ----------
    path : Path
        Of an .npy, .npz or .csv file; - is standard input, a CSV file.
    key : str, optional
        Which array of an .npz archive; needed if there are several. Other files hold just one.
    dtype : float32 or float64, optional
        By default float32 for float32 rows, else float64.
    csv_options : CsvOptions, optional

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        If the file cannot be read, or does not hold such rows.
    """
    if path.suffix.lower() == ".npy":
        array = _read_npy(path)
    elif is_archive(path):
        array = _read_npz(path, key)
    elif is_csv(path):
        array = read_csv(path, csv_options)
    else:
        raise ValueError(f"{path} must be an .npy, .npz or .csv file (.tsv, .csv.gz and the like, or - likewise).")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{path} must hold rows by features, at least one of each; got an array of shape {array.shape}."
        )
    rows = check_rows(array, str(path), dtype)
    refuse_not_finite(rows, str(path))
    return rows


def _read_npy(path: Path) -> NDArray[Any]:
    with open(path, "rb"):
        pass  # a missing file, or one that may not be read, says so itself
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except DAMAGE as error:
        raise ValueError(f"{path} is not an .npy file of numbers, or is cut short ({error}).") from None


def _read_npz(path: Path, key: str | None) -> NDArray[Any]:
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is not an .npz archive, or is cut short.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            if key is None and len(names) == 1:
                key = names[0]
            if key in names:
                return archive[key]
    except DAMAGE as error:
        raise ValueError(f"{path} holds no array of numbers named {key!r}, or is damaged ({error}).") from None
    listed = ", ".join(names) or "no arrays"
    if key is None:
        raise ValueError(f"{path} holds {listed}; name one with --key.")
    raise ValueError(f"{path} has no array {key!r}; it holds {listed}.")


def read_csv(path: Path, options: CsvOptions) -> NDArray[np.float64]:
    """Return the numbers of a CSV file, all its columns but row labels."""
    file = CsvFile.of(path, options)
    frame = file.read()
    return numbers_of(file, frame, range(frame.shape[1]))


def numbers_of(file: CsvFile, features: Any, positions: Sequence[int]) -> NDArray[np.float64]:
    """Return columns that stand in a CSV file at `positions` as finite numbers; refuse others, naming the line."""
    rows = np.empty(features.shape)
    for place, column in enumerate(columns_of(features)):
        values = column.values
        if values.dtype.kind not in "fiub":
            values = np.array([_number(value, file.layout.decimal) for value in values], dtype=np.float64)
        rows[:, place] = values
        _refuse(~np.isfinite(rows[:, place]), file, positions[place])
    return rows


def refuse_infinities(file: CsvFile, features: Any, positions: Sequence[int]) -> None:
    """Refuse infinite numbers in columns that stand in a CSV file at `positions`, naming the line."""
    for place, column in enumerate(columns_of(features)):
        if column.values.dtype.kind == "f":
            _refuse(np.isinf(column.values), file, positions[place])


def _refuse(bad: NDArray[np.bool_], file: CsvFile, position: int) -> None:
    if not bad.any():
        return
    line, cell = file.cell(int(bad.argmax()), position)
    name = repr(file.names[position]) if file.layout.names else file.names[position]
    found = f"holds {cell!r}" if cell else "is empty there"
    what = "finite" if to_number(cell, file.layout.decimal) is not None else "numeric"
    raise ValueError(f"{file.path}: column {name} is not {what}: line {line} {found}.")


def _number(value: Any, decimal: str) -> float:
    number = None if is_missing(value) else to_number(str(value), decimal)
    return np.nan if number is None else number
