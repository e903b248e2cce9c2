"""Rows from files: .npy (memory-mapped, so only what is used is read), .npz and .csv. Nothing is ever unpickled."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.csv_file import CsvFile, is_number, opened_csv
from ntk_fast.validation import check_rows, refuse_not_finite

#: What a file that is cut short, damaged or of another kind raises in NumPy's readers.
DAMAGE = (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error)


def is_archive(path: Path) -> bool:
    """Whether the file is of the kind that holds several arrays by name."""
    return path.suffix.lower() == ".npz"


def read_rows(path: Path, key: str | None = None, dtype: np.dtype | None = None) -> NDArray[np.floating[Any]]:
    """Return the rows of a file, checked: 2-D, real, finite, float32 or float64.

    Parameters
    ----------
    path : Path
        Of an .npy, .npz or .csv file.
    key : str, optional
        Which array of an .npz archive; needed if there are several. Other files hold just one.
    dtype : float32 or float64, optional
        By default float32 for float32 rows, else float64.

    Raises
    ------
    OSError, TypeError, ValueError
        If the file cannot be read, or does not hold such rows.
    """
    kind = path.suffix.lower()
    if kind == ".npy":
        array = _read_npy(path)
    elif is_archive(path):
        array = _read_npz(path, key)
    elif kind == ".csv":
        array = read_csv(path)[0]
    else:
        raise ValueError(f"{path} must be an .npy, .npz or .csv file.")
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


def read_csv(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Return the numbers of a CSV file and the names of its columns: see `csv_file`."""
    with opened_csv(path) as file:
        numbers = _parse_fast(file)
        if numbers is None or numbers.shape[1] != len(file.names):
            numbers = _parse_line_by_line(file)
        return numbers, file.names


def _parse_fast(file: CsvFile) -> NDArray[np.float64] | None:
    """Parse with NumPy; None if that does not work, whatever the reason."""
    text = islice(file.text(), int(file.has_header), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there are no rows
        try:
            return np.loadtxt(text, delimiter=file.delimiter, quotechar='"', comments=None, ndmin=2)
        except ValueError:
            return None


def _parse_line_by_line(file: CsvFile) -> NDArray[np.float64]:
    """Parse what NumPy's reader refuses: it is more lenient about blanks, and says where a number is missing."""
    rows = []
    for line, cells in file.rows():
        for name, cell in zip(file.names, cells, strict=True):
            if not is_number(cell):
                column = f"column {name!r}" if file.has_header else f"column {name}"
                found = f"holds {cell!r}" if cell else "is empty there"
                raise ValueError(f"{file.path}: {column} is not numeric: line {line} {found}.")
        rows.append([float(cell) for cell in cells])
    return np.array(rows) if rows else np.empty((0, len(file.names)))
