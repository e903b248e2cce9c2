"""write_gram: what is asked for, what is on the disk already, and what follows from both."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.backends import choose_backend
from ntk_fast.backends.engines import chosen_engine
from ntk_fast.caller import warns_once
from ntk_fast.disk import DISK_FULL, shared_words
from ntk_fast.gram import are_same, check_both, check_kernel, entries_within, image_shape
from ntk_fast.kernels import Kernel
from ntk_fast.layers.json_text import to_record
from ntk_fast.out_of_core.begun import find_begun, has_its_name, is_same, journal_name, lost_blocks, partial_name
from ntk_fast.out_of_core.block_matrix import BlockMatrix
from ntk_fast.out_of_core.blocks_to_disk import Threads, Workforce, write_blocks
from ntk_fast.out_of_core.journal import Journal
from ntk_fast.out_of_core.npy_store import NpyStore
from ntk_fast.out_of_core.row_blocks import sliceable
from ntk_fast.out_of_core.store import Store
from ntk_fast.out_of_core.zarr_store import ZarrStore
from ntk_fast.rows.stored import opened
from ntk_fast.schedule.threads import choose_n_threads
from ntk_fast.schedule.tiling import Progress, make_tiles
from ntk_fast.validation import check_flag, check_progress, check_whole_number
from ntk_fast.version import __version__

DEFAULT_CHUNK_SIZE = 1024
#: Of a thread, about, where entries take long: so much is lost when work breaks off.
SECONDS_A_BLOCK = 15.0


@warns_once
def write_gram(
    kernel: Kernel,
    X: ArrayLike,
    path: str | os.PathLike[str],
    Y: ArrayLike | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    dtype: Any = None,
    backend: str | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    chunk_size: int | None = None,
    compressor: Any = None,
    triangle: str = "both",
    client: Any = None,
) -> None:
    """Write the Gram matrix ``K[i, j] = kernel(X[i], Y[j])`` to disk, without ever holding much of it in memory.

    Until it is finished the store is called `path` + ".partial". Its journal, `path` + ".journal", says which blocks
    are finished, and afterwards of which kernel and rows the store is. Killed or interrupted at any moment and called
    again with ``resume=True``, it goes on where it was, and ends with the same bits as if nothing had happened. A full
    disk is an error that keeps what was done.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    X : array-like of shape (n, n_features), or a path
        Real, finite rows. They may be a memory-mapped file larger than memory, or anything that is sliced like an array
        (an HDF5 or a Zarr array): rows are read in blocks. The path of a .npy file or a .zarr array stands for it.
    path : str or path-like
        Ends in ".npy" (one file, as of :func:`numpy.save`) or ".zarr" (a Zarr v3 array; needs the extra `zarr`).
    Y : array-like of shape (m, n_features), optional
        None, or the same memory: the rows of `X`; the matrix is then symmetric.
    resume : bool, default False
        Go on with an unfinished store; begin if there is none; do nothing if `path` is finished, is unchanged and is
        this matrix, as its journal says. Blocks that are not as they were written, a chunk that is missing or cut
        short, are computed again.
    overwrite : bool, default False
        Replace what is at `path` once the new matrix is finished, and give up an unfinished store; with `resume` only
        if it is of another matrix.
    dtype, backend, n_threads
        As in :func:`ntk_fast.gram`.
    progress : callable, optional
        Called as ``progress(entries_done, entries_in_all)`` from the calling thread: at the start, with what an earlier
        run did, and then about ten times a second.
    chunk_size : int >= 1, optional
        Rows and columns of a Zarr chunk; by default 1024, and fewer for images of which so many take long.
    compressor : {None, "blosc", "gzip", "zstd"} or a Zarr codec, default None
        Of Zarr chunks. Kernel values compress by a tenth or so.
    triangle : {"both", "upper"}, default "both"
        "upper": a symmetric Zarr store holds only chunks on and above the diagonal; :func:`ntk_fast.read_gram` reads
        the others from their mirror images.
    client : dask.distributed.Client, optional
        Its workers compute and write the blocks, each with as many threads as it has (`n_threads` is for one machine);
        the journal stays here. `path` must be a .zarr store in a folder that all workers see. Arrays are sent to each
        worker once; a path is opened there; a `dask.array` never comes here. What was begun on one machine may be
        finished on a cluster, and the other way round, with the same bits. See docs/cluster.md.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, the result would overflow, or what is to be resumed is of another kernel, other
        rows, another dtype, layout, backend or version, or has changed.
    FileExistsError
        If there is something at `path`, or an unfinished store, and neither `resume` nor `overwrite` say what to do; if
        it is no Zarr array, or the temporary or the journal's name is taken, whatever they say.
    BlockingIOError
        If another process is writing this store.
    ConnectionError
        If the scheduler of `client` does not answer, or has had no workers for a minute; what is written is kept.
    OSError
        If the disk is full, read-only or broken.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "K.npy"
    ...     ntk.write_gram(ntk.NTK(depth=2), X, path)
    ...     bool((np.load(path) == ntk.NTK(depth=2)(X)).all())
    True
    """
    path, Y = Path(path), None if are_same(X, Y) else Y
    _check_layout(path, chunk_size, compressor, triangle, symmetric=Y is None)
    if client is not None:
        from ntk_fast.cluster import check_client

        check_client(client)
        if path.suffix.lower() == ".npy":
            raise ValueError(f"path must end in .zarr where several machines write with client; got {str(path)!r}.")
    is_npy = path.suffix.lower() == ".npy"
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    resume, overwrite = check_flag(resume, "resume"), check_flag(overwrite, "overwrite")
    check_progress(progress)
    shape_of_rows = image_shape(kernel)
    chosen, engine = choose_backend(backend), chosen_engine(backend)
    threads = choose_n_threads(n_threads)
    x_rows = sliceable(opened(X, "X"), "X", shape_of_rows)
    y_rows = None if Y is None else sliceable(opened(Y, "Y"), "Y", shape_of_rows)
    for name, rows in (("X", x_rows), ("Y", y_rows)):
        if path.exists() and any(os.path.samefile(file, path) for file in _mapped_files(rows)):
            raise ValueError(f"path must not be the file that {name} is mapped from; got {path}.")
    # of no rows: their dtype and columns are checked here, their values block by block
    x_start, _ = check_both(x_rows[:0], None if y_rows is None else y_rows[:0], dtype)
    shape = (x_rows.shape[0], (x_rows if y_rows is None else y_rows).shape[0])
    partial = partial_name(path)
    store: Store
    most = entries_within(SECONDS_A_BLOCK, kernel, x_start.dtype, chosen)
    if is_npy:
        store = NpyStore(partial, shape, x_start.dtype, Y is None, most)
    else:
        size = _chunk_size(most) if chunk_size is None else chunk_size
        about = {**described(kernel), "triangle": triangle}
        store = ZarrStore(partial, shape, x_start.dtype, Y is None, size, compressor, about, most)

    def workforce() -> Workforce:
        if client is None:
            return Threads(BlockMatrix(kernel, x_rows, y_rows, x_start.dtype, chosen), threads)
        from ntk_fast.cluster.rows import for_workers
        from ntk_fast.cluster.writing import Workers

        rows = [("X", for_workers(X, x_rows, "X")), *([] if Y is None else [("Y", for_workers(Y, y_rows, "Y"))])]
        with shared_words(path) as probe:
            return Workers(client, engine, kernel, x_start.dtype, rows, probe)

    with _named_errors(path), closing(Journal(journal_name(path), path)) as journal, closing(store):
        try:
            is_begun = find_begun(path, store, journal, resume, overwrite)
            if path.exists():
                store.remove_replaced(path)
            work = workforce()
            tiles = make_tiles(
                *shape,
                symmetric=store.mirrors,
                block_rows=store.block_shape[0],
                block_columns=store.block_shape[1],
            )
            identity = {
                **described(kernel),
                "dtype": x_start.dtype.name,
                "shape": list(shape),
                "rows": work.fingerprints,
                "store": store.description,
                "engine": str(engine),
                "version": __version__,
            }
            goes_on = is_begun and resume and is_same(path, journal, identity, overwrite)
            if goes_on and has_its_name(path, store, journal, overwrite):
                if not lost_blocks(path, store, journal, tiles):
                    if progress is not None:
                        n_entries = sum(tile.n_entries for tile in tiles)
                        progress(n_entries, n_entries)
                    return
                path.rename(store.path)  # unfinished again
            if goes_on and store.path.exists():
                lost = lost_blocks(store.path, store, journal, tiles)
                if lost:
                    journal.lose(lost)
            else:
                journal.begin(identity, len(tiles), store.n_parts)  # first: it may not speak of a store that is gone
                store.remove()
            write_blocks(path, store, journal, work, tiles, progress, overwrite)
        finally:
            if journal.identity is None and not journal.owns(partial):
                journal.remove()


def _chunk_size(most_entries: int | None) -> int:
    """Return the rows and columns of a chunk: the default, or fewer where entries take long."""
    return DEFAULT_CHUNK_SIZE if most_entries is None else max(1, min(DEFAULT_CHUNK_SIZE, math.isqrt(most_entries)))


def described(kernel: Kernel) -> dict[str, Any]:
    """Return a kernel as data: equal for equal kernels, however they were written."""
    check_kernel(kernel)
    return {"kernel": type(kernel).__name__, "network": to_record(kernel.network)}


def _mapped_files(rows: Any) -> Iterator[str]:
    """Yield the files that rows, or what they are a view of, are mapped from, and that are still there."""
    while rows is not None:
        name = getattr(rows, "filename", None) if isinstance(rows, np.memmap) else None  # none if it has no file
        if name is not None and os.path.exists(name):
            yield str(name)
        rows = getattr(rows, "base", None)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Have errors that come without a file's name, as that of a full disk, say where."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        is_full = error.errno in DISK_FULL
        sentence = "The disk is full; make room, and call again" if is_full else error.strerror
        raise OSError(error.errno, sentence, str(path)) from error


def _check_layout(path: Path, chunk_size: int | None, compressor: Any, triangle: str, *, symmetric: bool) -> None:
    if path.suffix.lower() not in (".npy", ".zarr"):
        raise ValueError(f"path must end in .npy or .zarr; got {str(path)!r}.")
    if triangle not in ("both", "upper"):
        raise ValueError(f"triangle must be 'both' or 'upper'; got {triangle!r}.")
    if path.suffix.lower() == ".npy":
        for name, value, default in (
            ("chunk_size", chunk_size, None),
            ("compressor", compressor, None),
            ("triangle", triangle, "both"),
        ):
            if value != default:
                raise ValueError(f"{name} is for a .zarr store; got {name}={value!r} with {str(path)!r}.")
    if chunk_size is not None:
        check_whole_number(chunk_size, "chunk_size", 1)
    if triangle == "upper" and not symmetric:
        raise ValueError("triangle='upper' needs a symmetric matrix: one without Y.")
