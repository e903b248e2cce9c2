"""Bad input: checked once, here, before any work, with one sentence that says what came and what is accepted."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.caller import warn_caller
from ntk_fast.rows.frames import frame_rows, is_frame


def check_finite_number(value: Any, name: str) -> float:
    """Return a finite real number as a float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.floating, np.integer)):
        raise TypeError(f"{name} must be a real number; got {value!r} of type {type(value).__name__}.")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value!r}.")
    return number


def check_whole_number(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return an integer from `least` to `most`."""
    accepted = f"a whole number >= {least}" if most is None else f"a whole number from {least} to {most}"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {accepted}; got {value!r} of type {type(value).__name__}.") from None
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} must be {accepted}; got {number}.")
    return number


def check_variances(value: Any, name: str, depth: int, or_else: str = "") -> float | tuple[float, ...]:
    """Return a scalar >= 0, or depth + 1 of them (one scalar if all are equal, so that equal kernels compare equal)."""
    expected = f"a number >= 0 or a sequence of depth + 1 = {depth + 1} of them{or_else}"
    accepted = isinstance(value, (Real, np.floating, np.integer, Iterable)) and not isinstance(value, str)
    if not accepted:
        raise TypeError(f"{name} must be {expected}; got {value!r} of type {type(value).__name__}.")
    if np.ndim(value) == 0:
        parts = [value.item() if isinstance(value, np.ndarray) else value]
    else:
        parts = list(value)
        if len(parts) != depth + 1:
            raise ValueError(f"{name} must be {expected}; got {len(parts)} values.")
    numbers = [check_finite_number(part, name) for part in parts]
    for number in numbers:
        if number < 0:
            raise ValueError(f"{name} must be {expected}; got {number!r}.")
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


def check_dtype(value: Any, name: str = "dtype") -> np.dtype:
    """Return float32 or float64."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"{name} must be float32 or float64; got {value!r}.") from None
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"{name} must be float32 or float64; got {dtype}.")
    return dtype


def refuse_masked(values: Any, name: str) -> None:
    """Raise if numbers that a mask hides would be taken as they are, also in a list of rows."""
    parts = values if isinstance(values, (list, tuple)) else (values,)
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise ValueError(f"{name} must not have masked values: fill or drop them.")


def as_array(values: Any, name: str, accepted: str) -> NDArray[Any]:
    """Return values as a NumPy array, whatever holds them, without a copy where that is possible."""
    refuse_masked(values, name)
    try:
        if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):  # only of the array API standard
            return np.from_dlpack(values)
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be {accepted}; NumPy could not make one: {error}") from None
    except (BufferError, IndexError, RuntimeError, TypeError) as error:  # of tensors, each library in its own words
        raise TypeError(
            f"{name} must be {accepted}; NumPy could not make one of a {type(values).__name__} ({error}): "
            "convert it to a NumPy array first."
        ) from None


def check_reals(values: Any, name: str, accepted: str) -> NDArray[np.float64]:
    """Return an array of real numbers, of any shape, in float64."""
    array = as_array(values, name, accepted)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be {accepted}; got dtype {array.dtype} (from a {type(values).__name__}).")
    return array.astype(np.float64, copy=False)


def flattened(array: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Return images or sequences of a shape as rows; rows pass as they are, if they have as many numbers."""
    got, n_features = tuple(array.shape), math.prod(shape)
    if got[1:] == shape:
        return array.reshape(got[0], n_features)
    if len(got) == 2 and got[1] == n_features:
        return array
    what = "images" if len(shape) == 3 else "sequences"
    hint = f"; for one of them pass {name}[None]" if got in (shape, (n_features,)) else ""
    raise ValueError(
        f"{name} must hold {what} of shape (n, {', '.join(map(str, shape))}), as the network's Input has them, or the "
        f"same as rows of shape (n, {n_features}); got shape {got}{hint}."
    )


def check_rows(
    rows: Any, name: str, dtype: np.dtype | None, shape: tuple[int, ...] | None = None
) -> NDArray[np.floating]:
    """Return rows as an (n, n_features) array of float32 or float64, contiguous along the features; no copy if it is.

    `shape`: that of the images or sequences which they are; then arrays of these are taken, too.
    Values are looked at later, where their norms are computed: `rows.prepare_rows` refuses NaN and infinity.
    """
    kind = type(rows).__name__
    if hasattr(rows, "toarray") and hasattr(rows, "nnz"):
        raise TypeError(f"{name} must be a dense array of rows; got a sparse {kind}: pass {name}.toarray().")
    array = frame_rows(rows, name) if is_frame(rows) else as_array(rows, name, "a 2-D array of real numbers")
    if array.dtype.kind == "c":
        raise TypeError(f"{name} must hold real numbers; got complex dtype {array.dtype}.")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype} (from a {kind}).")
    if shape is not None:
        array = flattened(array, name, shape)
    if array.ndim != 2:
        hint = f"; for one row pass {name}.reshape(1, -1)" if array.ndim == 1 else ""
        if array.ndim > 2:
            hint = f"; of images pass {name}.reshape(len({name}), -1), or take a network that begins with Input"
        raise ValueError(f"{name} must be a 2-D array (n_rows, n_features); got shape {array.shape}{hint}.")
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column; got shape {array.shape}.")
    if dtype is None:
        dtype = np.dtype(np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64)
    inner = array.strides[1] == dtype.itemsize or array.shape[1] == 1
    plain = array.dtype == dtype and inner and array.strides[0] % dtype.itemsize == 0 and array.flags.aligned
    if plain and array.dtype.isnative and (array.strides[0] >= 0):
        return array
    if array.dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize:
        with np.errstate(over="ignore"):
            converted = np.ascontiguousarray(array, dtype=dtype)
        overflown = np.isinf(converted) & np.isfinite(array)
        if overflown.any():
            row = int(np.flatnonzero(overflown.any(axis=1))[0])
            raise ValueError(f"{name} does not fit in {dtype}: row {row} holds a value beyond {np.finfo(dtype).max:g}.")
        return converted
    return np.ascontiguousarray(array, dtype=dtype)


def is_one_row(row: Any) -> bool:
    """Whether this is a single row, (n_features,)."""
    if isinstance(row, (list, tuple)):
        return bool(row) and all(isinstance(value, (Real, np.generic)) for value in row)
    return getattr(row, "ndim", None) == 1


def check_same_features(x: NDArray[Any], y: NDArray[Any]) -> None:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"X and Y must have the same number of columns; got {x.shape[1]} and {y.shape[1]}.")


def refuse_not_finite(rows: NDArray[np.floating], name: str) -> None:
    """Raise if a row holds NaN or infinity, naming the first."""
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        column = int(np.flatnonzero(~np.isfinite(rows[row]))[0])
        raise ValueError(
            f"{name} must be finite; row {row} holds {rows[row, column]} in column {column} "
            f"({int(bad.sum())} of {len(rows)} rows are not finite)."
        )


def check_out(out: Any, shape: tuple[int, int], dtype: np.dtype) -> NDArray[np.floating]:
    """Return `out` if a result of this shape and dtype can be written into it."""
    expected = f"a writeable, aligned NumPy array of shape {shape} and dtype {dtype}"
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be {expected}; got a {type(out).__name__}.")
    if out.shape != shape:
        raise ValueError(f"out must be {expected}; got shape {out.shape}.")
    if out.dtype != dtype or not out.dtype.isnative:
        raise ValueError(f"out must be {expected}; got dtype {out.dtype.str}.")
    if not out.flags.writeable:
        raise ValueError(f"out must be {expected}; got a read-only array.")
    if not out.flags.aligned or any(stride % dtype.itemsize for stride in out.strides):
        raise ValueError(
            f"out must be {expected}; got one at address {out.ctypes.data:#x} with strides {out.strides}, "
            f"not all multiples of {dtype.itemsize} bytes."
        )
    if _overlaps_itself(out):
        raise ValueError(f"out must be {expected}; got one with strides {out.strides}: entries share memory.")
    return out


def _overlaps_itself(matrix: NDArray[Any]) -> bool:
    """Whether two entries of an aligned matrix lie at one address: i * row stride = j * column stride."""
    (n_rows, n_columns), (row, column) = matrix.shape, map(abs, matrix.strides)
    if matrix.size == 0:
        return False
    if row == 0 or column == 0:
        return (row == 0 and n_rows > 1) or (column == 0 and n_columns > 1)
    common = math.gcd(row, column)
    return column // common < n_rows and row // common < n_columns


def share_memory(out: NDArray[Any], rows: NDArray[Any]) -> bool:
    """Whether two arrays have a number in common, and not just a range of addresses."""
    try:
        return np.shares_memory(out, rows, max_work=1_000_000)  # type: ignore[arg-type]  # NumPy's stub knows -1 and 0
    except np.exceptions.TooHardError:
        return True


def refuse_overflow(
    x_root: float, y_root: float, dtype: np.dtype, *, what: str = "result", remedy: str = "scale the rows down"
) -> None:
    """Raise if sqrt(K(x, x) K(y, y)) of the largest rows exceeds the dtype."""
    limit = float(np.finfo(dtype).max)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.float64(x_root) * np.float64(y_root)
    if not largest <= limit:
        raise ValueError(
            f"The {what} would overflow {dtype}: K reaches {largest:.3g}, the largest {dtype} is {limit:.3g}; "
            f"{remedy}{' or pass dtype=numpy.float64' if dtype == np.float32 else ''}."
        )


class UnderflowWarning(RuntimeWarning):
    """All values of a kernel are too small for the dtype, and 0."""


def warn_of_underflow(kernel: Any, x_root: float, y_root: float, dtype: np.dtype) -> None:
    """Warn if sqrt(K(x, x) K(y, y)) of the largest rows, not zero, is 0 in the dtype, and the kernel is not."""
    with np.errstate(under="ignore"):
        largest = dtype.type(np.float64(x_root) * np.float64(y_root))
    if largest == 0 and not kernel.is_zero:
        wider = " or pass dtype=numpy.float64" if dtype == np.float32 else ""
        warn_caller(
            f"All values of {shortened(kernel)} underflow to 0 in {dtype}: scale the rows up, raise weight_variance "
            f'("he" keeps the variance from layer to layer){wider}.',
            UnderflowWarning,
            severity=0.0,
        )


def shortened(value: Any, most: int = 120) -> str:
    """Return a value as a sentence can bear it: kernels of many layers take pages."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def check_vector(value: Any, name: str, length: int) -> NDArray[np.float64]:
    """Return a finite vector of `length` real numbers as float64."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError
        vector = np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a vector of {length} real numbers; got a {type(value).__name__}.") from None
    if array.shape != (length,):
        raise ValueError(f"{name} must be a vector of {length} real numbers; got shape {array.shape}.")
    if not np.isfinite(vector).all():
        place = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(f"{name} must be finite; entry {place} is {vector[place]}.")
    return vector


def check_not_negative(value: Any, name: str) -> float:
    """Return a finite real number >= 0 as a float."""
    number = check_finite_number(value, name)
    if number < 0:
        raise ValueError(f"{name} must be >= 0; got {value!r}.")
    return number


def check_positive(value: Any, name: str) -> float:
    """Return a finite real number > 0 as a float."""
    number = check_finite_number(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be > 0; got {value!r}.")
    return number


def check_rng(rng: Any) -> np.random.Generator:
    """Return the generator given, or a new one from a seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    is_whole = isinstance(rng, (int, np.integer)) and not isinstance(rng, (bool, np.bool_))
    if rng is None or (is_whole and rng >= 0):
        return np.random.default_rng(rng)
    raise (ValueError if is_whole else TypeError)(
        f"rng must be a numpy.random.Generator, a whole number >= 0 or None; got {rng!r}."
    )


def check_flag(value: Any, name: str) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}.")
    return bool(value)


def refuse_overflown(result: NDArray[np.floating], what: str) -> None:
    """Raise if a result that was computed from finite numbers is not finite."""
    if not np.isfinite(result).all():
        raise ValueError(f"{what} would overflow float64: scale the rows or the parameters down.")


def check_progress(progress: Any) -> None:
    """Raise if a progress function is not one."""
    if progress is not None and not callable(progress):
        raise TypeError(
            f"progress must be a function of (entries_done, entries_in_all); got a {type(progress).__name__}."
        )
