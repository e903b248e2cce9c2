"""read_gram: a part of a finished store, whatever its layout."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.out_of_core.zarr_store import ATTRIBUTE, require_zarr
from ntk_fast.validation import check_whole_number


def read_gram(
    path: str | os.PathLike[str],
    row_start: int = 0,
    row_stop: int | None = None,
    column_start: int = 0,
    column_stop: int | None = None,
) -> NDArray[np.floating[Any]]:
    """Return entries ``K[row_start:row_stop, column_start:column_stop]`` of a store that `write_gram` finished.

    Parameters
    ----------
    path : str or path-like
        Of a .npy file or a .zarr array; one that holds the upper triangle only is read as the whole matrix.
    row_start, column_start : int >= 0, default 0
    row_stop, column_stop : int >= 0, optional
        Half-open; by default the end.

    Returns
    -------
    ndarray of shape (row_stop - row_start, column_stop - column_start)

    Raises
    ------
    FileNotFoundError
        If there is no store, or it is not finished.
    ValueError
        If it is damaged or foreign, or a range is not in it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "K.npy"
    ...     ntk.write_gram(ntk.NTK(depth=1), np.eye(3), path)
    ...     ntk.read_gram(path, 0, 2)
    array([[1.        , 0.15915494, 0.15915494],
           [0.15915494, 1.        , 0.15915494]])
    """
    path = Path(path)
    if not path.exists():
        begun = path.with_name(path.name + ".partial").exists()
        reason = (
            "was begun and is not finished; write_gram(..., resume=True) goes on with it" if begun else "is missing"
        )
        raise FileNotFoundError(f"{path} {reason}.")
    stored, is_upper = _open_npy(path) if path.is_file() else _open_zarr(path)
    rows = _range(row_start, row_stop, stored.shape[0], "row")
    columns = _range(column_start, column_stop, stored.shape[1], "column")
    if path.is_dir():
        _refuse_missing_chunks(path, stored.chunks, rows, columns, is_upper)
    values = np.array(stored[rows, columns])
    if is_upper and rows.stop > columns.start + 1:
        below = np.arange(rows.start, rows.stop)[:, None] > np.arange(columns.start, columns.stop)
        np.copyto(values, np.asarray(stored[columns, rows]).T, where=below)
    return values


def _open_npy(path: Path) -> tuple[Any, bool]:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):
        stored = None
    if not isinstance(stored, np.ndarray):
        raise ValueError(f"{path} is not a whole .npy file of numbers.")
    if stored.ndim != 2 or stored.dtype.kind != "f":
        raise ValueError(f"{path} must hold a matrix of reals; got shape {stored.shape} of {stored.dtype}.")
    return stored, False


def _open_zarr(path: Path) -> tuple[Any, bool]:
    require_zarr()
    import zarr

    try:
        stored = zarr.open_array(path, mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path} is not a Zarr array: {error}.") from None
    about = stored.attrs.get(ATTRIBUTE)
    if not isinstance(about, dict) or stored.ndim != 2:
        raise ValueError(f"{path} is a Zarr array that write_gram did not write.")
    return stored, about["triangle"] == "upper"


def _refuse_missing_chunks(path: Path, chunks: tuple[int, int], rows: slice, columns: slice, is_upper: bool) -> None:
    """Raise if a chunk of a range is not there: Zarr would take it for zeros."""
    spans = [
        range(part.start // size, -(-part.stop // size)) for part, size in zip((rows, columns), chunks, strict=True)
    ]
    for i, j in itertools.product(*spans):
        place = (min(i, j), max(i, j)) if is_upper else (i, j)
        if not path.joinpath("c", *map(str, place)).is_file():
            raise ValueError(f"{path} is damaged: its chunk {place} is missing; write it again.")


def _range(start: int, stop: int | None, n: int, name: str) -> slice:
    start = check_whole_number(start, f"{name}_start", 0)
    stop = n if stop is None else check_whole_number(stop, f"{name}_stop", 0)
    if not start <= stop <= n:
        raise ValueError(
            f"{name}_start and {name}_stop must satisfy 0 <= start <= stop <= {n}; got {start} and {stop}."
        )
    return slice(start, stop)
