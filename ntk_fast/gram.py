"""Gram matrices: from checked input to tiles, on every backend the same way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import Backend, GramTask, ImageBackend, TileTask
from ntk_fast.caller import warns_once
from ntk_fast.lower.compile import compile_program
from ntk_fast.lower.limit import Limit
from ntk_fast.lower.program import Program
from ntk_fast.lower.row_parameters import norm_range
from ntk_fast.lower.scaled import UNIT, Scaled
from ntk_fast.lower.spatial_compile import compile_spatial
from ntk_fast.lower.spatial_program import SpatialProgram
from ntk_fast.narrowing import computing_dtype
from ntk_fast.rows.prepared import MeasuredRows, Rows
from ntk_fast.rows.preparing import measure, prepare_rows
from ntk_fast.schedule.memory import refuse_too_large
from ntk_fast.schedule.threads import choose_n_threads, single_threaded_blas
from ntk_fast.schedule.tiling import Progress, Tile, make_tiles, run_tiles
from ntk_fast.validation import (
    check_dtype,
    check_out,
    check_progress,
    check_rows,
    check_same_features,
    refuse_overflow,
    share_memory,
    warn_of_underflow,
)

CACHE_LINE = 64
#: Seconds of work, roughly, that a tile may take: threads share tiles evenly, and Ctrl-C waits for one.
LONGEST_TILE = 0.05
#: Of an entry and a map of corners away from 0, on one thread.
SECONDS_OF_CORNERS = 5e-7


@warns_once
def gram(
    kernel: Limit,
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    out: NDArray[Any] | None = None,
    dtype: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.floating]:
    """Return the Gram matrix of rows, ``K[i, j] = kernel(X[i], Y[j])``; the same as ``kernel(X, Y, ...)``.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    X : array-like of shape (n, n_features)
        Real, finite rows, at least one column. Memory-mapped, read-only and non-contiguous rows are fine. Of a network
        that begins with `Input`, also its images or sequences, (n, height, width, channels) or (n, length, channels).
    Y : array-like of shape (m, n_features), optional
        None, or the same memory: the rows of `X`; then only half of the matrix is computed, and its diagonal is exact.
    out : ndarray of shape (n, n) or (n, m), optional
        Where to write the result; of its dtype, writeable, otherwise any: a memory-mapped array, a strided view.
    dtype : float32 or float64, optional
        Of the computation and the result. By default float32 if all rows are float32, else float64.
    backend : {"cython", "numba", "numpy"}, optional
        By default the environment's ``NTK_FAST_BACKEND``, else the fastest present.
    n_threads : int >= 1, optional
        By default the environment's ``NTK_FAST_NUM_THREADS``, else its ``OMP_NUM_THREADS``, else all processors that
        the process may use. The result is the same to the last bit for every number.
    progress : callable, optional
        Called as ``progress(entries_done, entries_in_all)``, from the calling thread, about ten times a second.

    Returns
    -------
    ndarray of shape (n, n) or (n, m)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or the result would overflow its dtype.
    ImportError
        If the backend asked for is not installed.
    MemoryError
        If the result does not fit in the free memory.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> ntk.gram(ntk.NTK(depth=1), np.eye(2))  # Eq. 6: 1 on the diagonal, 1 / (2 pi) for orthogonal rows
    array([[1.        , 0.15915494],
           [0.15915494, 1.        ]])
    """
    shape_of_rows = image_shape(kernel)
    chosen = choose_backend(backend)
    threads = choose_n_threads(n_threads)
    check_progress(progress)
    x_values, y_values = check_both(X, None if are_same(X, Y) else Y, dtype, shape_of_rows)
    shape = (len(x_values), len(x_values if y_values is None else y_values))
    if out is not None:
        out = check_out(out, shape, x_values.dtype)
        if any(share_memory(out, rows) for rows in (x_values, y_values) if rows is not None):
            raise ValueError("out must not share memory with the rows.")
    else:
        refuse_too_large(shape, x_values.dtype)
    x, y, program = prepare(kernel, x_values, y_values, chosen)
    if out is None:
        out = np.empty(shape, dtype=x_values.dtype)
    fill_gram(GramTask(program, x, y, out), chosen, threads, progress)
    return out


def are_same(X: Any, Y: Any) -> bool:
    """Whether Y is X, or another view of all of the same memory."""
    if Y is X:
        return True
    if not (isinstance(X, np.ndarray) and isinstance(Y, np.ndarray)):
        return False
    layouts = [(rows.ctypes.data, rows.shape, rows.strides, rows.dtype) for rows in (X, Y)]
    return layouts[0] == layouts[1] and not any(isinstance(rows, np.ma.MaskedArray) for rows in (X, Y))


def check_both(
    X: ArrayLike, Y: ArrayLike | None, dtype: Any, shape: tuple[int, ...] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.floating] | None]:
    """Return checked rows of one dtype: the one asked for, else float32 if all are float32, else float64."""
    wanted = None if dtype is None else check_dtype(dtype)
    x = check_rows(X, "X", wanted, shape)
    if Y is None:
        return x, None
    y = check_rows(Y, "Y", wanted, shape)
    if x.dtype != y.dtype:
        x, y = (check_rows(rows, name, np.dtype(np.float64)) for rows, name in ((x, "X"), (y, "Y")))
    check_same_features(x, y)
    return x, y


def check_kernel(kernel: Any) -> None:
    """Refuse what is no kernel."""
    if not isinstance(kernel, Limit):
        raise TypeError(f"kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got a {type(kernel).__name__}.")


def image_shape(kernel: Any) -> tuple[int, ...] | None:
    """Return the shape of the images or sequences that a kernel takes; None if it takes rows."""
    check_kernel(kernel)
    shape: tuple[int, ...] | None = kernel.plan.shape
    return shape


def compile_for(kernel: Limit, dtype: np.dtype, backend: Backend, *square_norms: Scaled) -> Program | SpatialProgram:
    """Compile a kernel for a backend's tiles and for rows whose squared norms lie in the range of those given."""
    norms = norm_range(*square_norms)
    dtype = computing_dtype(kernel.plan, kernel.has_tangent, dtype, backend, norms)
    compiled = compile_program if kernel.plan.shape is None else compile_spatial
    return compiled(kernel.plan, kernel.has_tangent, dtype, backend.pieces(dtype), norms)


def entries_within(seconds: float, kernel: Limit, dtype: np.dtype, backend: Backend) -> int | None:
    """Return about how many entries of a kernel of images one thread computes in a time; None of a kernel of rows."""
    if kernel.plan.shape is None:
        return None
    program = compile_for(kernel, dtype, backend, UNIT)
    assert isinstance(program, SpatialProgram)
    assert isinstance(backend, ImageBackend)
    return max(1, int(seconds / seconds_of_entry(program, 0, backend)))


def prepare_for(program: Program | SpatialProgram, kernel: Limit, rows: MeasuredRows, backend: Backend) -> Rows:
    """Prepare rows for tiles of a program that was compiled for them, and perhaps for others."""
    return prepare_rows(rows, kernel.plan, program, backend)


def prepare(
    kernel: Limit, x_values: NDArray[np.floating], y_values: NDArray[np.floating] | None, backend: Backend
) -> tuple[Rows, Rows | None, Program | SpatialProgram]:
    """Prepare rows for tiles of a kernel, and refuse those whose kernel values overflow."""
    shape = image_shape(kernel)
    measured = [
        measure(values, name, backend, shape)
        for values, name in ((x_values, "X"), (y_values, "Y"))
        if values is not None
    ]
    program = compile_for(kernel, x_values.dtype, backend, *(rows.square_norm for rows in measured))
    prepared = [prepare_for(program, kernel, rows, backend) for rows in measured]
    largest = [float(rows.root_diagonal.max(initial=0.0)) for rows in prepared]
    refuse_overflow(largest[0], largest[-1], x_values.dtype)
    if all(rows.inverse_norm.any() for rows in measured):
        warn_of_underflow(kernel, largest[0], largest[-1], x_values.dtype)
    return prepared[0], prepared[1] if y_values is not None else None, program


def tile_shape(task: TileTask, backend: Backend) -> tuple[int, int]:
    """Return the rows and columns of tiles of a task, as they suit the backend."""
    if isinstance(task.program, SpatialProgram):
        assert isinstance(backend, ImageBackend)
        return backend.image_block(task.program)
    n_features = task.x.values.shape[1]
    block_rows, block_columns = backend.block_shape(n_features, task.dtype, task.program.n_parameters)
    seconds_per_row = block_columns * seconds_of_entry(task.program, n_features, backend)
    block_rows = max(16, min(block_rows, int(LONGEST_TILE / seconds_per_row)))
    return block_rows - (block_rows % 64 if block_rows > 64 else 0), block_columns


def seconds_of_entry(program: Program | SpatialProgram, n_features: int, backend: Backend) -> float:
    """Return about what an entry costs on one thread."""
    if isinstance(program, SpatialProgram):
        assert isinstance(backend, ImageBackend)
        return backend.seconds_per_term * program.cost
    # about 10^-11 s a multiply-add
    corners = SECONDS_OF_CORNERS * program.n_corners
    return 1e-11 * n_features + backend.seconds_per_layer * (1 + program.cost) + corners


def choose_tiles(task: TileTask, backend: Backend, offset: int = 0) -> list[Tile]:
    """Cut a task into tiles of a size that suits the backend; see `make_tiles` for `offset`."""
    n_rows, n_columns = task.shape
    block_rows, block_columns = tile_shape(task, backend)
    return make_tiles(
        n_rows,
        n_columns,
        symmetric=task.y is None,
        block_rows=block_rows,
        block_columns=block_columns,
        offset=0 if isinstance(task.program, SpatialProgram) else offset,
    )


def fill_gram(task: GramTask, backend: Backend, n_threads: int, progress: Progress | None = None) -> None:
    """Fill `task.out`, tile by tile."""
    # column-major: the transpose is what is stored in rows. BLAS may round it differently: its tiles stay as they are
    if not backend.uses_blas and abs(task.out.strides[0]) < abs(task.out.strides[1]):
        x, y = (task.x, None) if task.y is None else (task.y, task.x)
        task = GramTask(task.program, x, y, task.out.T)
    offset = 0
    itemsize, row_bytes = task.out.itemsize, task.out.strides[0]
    if not backend.uses_blas and row_bytes % CACHE_LINE == 0 and task.out.strides[1] == itemsize:
        offset = -task.out.ctypes.data % CACHE_LINE // itemsize
    tiles = choose_tiles(task, backend, offset)
    with single_threaded_blas() if backend.uses_blas else nullcontext():
        run_tiles(tiles, lambda: backend.fill_tile(task), n_threads, progress)
