"""ntk-fast gram: the Gram matrix of rows in a file, into a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast
from ntk_fast.backends import BACKENDS
from ntk_fast.backends.engines import chosen_engine
from ntk_fast.cli.csv_layout import add_csv_arguments, csv_options
from ntk_fast.cli.kernel_arguments import add_kernel_arguments, kernel_from
from ntk_fast.cli.new_files import check_new, check_new_store
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.progress import shown_progress
from ntk_fast.cli.row_files import is_archive, read_rows
from ntk_fast.cli.scheduler import add_scheduler_argument, connected, workers_in_words
from ntk_fast.cli.summary import Summary, add_json_argument
from ntk_fast.disk import DISK_FULL
from ntk_fast.gram import check_both
from ntk_fast.kernels import Kernel
from ntk_fast.out_of_core.begun import discard_unfinished, journal_name, partial_name
from ntk_fast.schedule.threads import choose_n_threads
from ntk_fast.schedule.tiling import ranges

#: Entries that the summary looks at at a time, and the largest file that it reads again.
BLOCK_ENTRIES, MOST_BYTES_TO_LOOK_AT = 1 << 22, 4 << 30


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "gram",
        run,
        "Compute the Gram matrix of rows in a file (.npy, .npz, .csv) and write it to an .npy file or a .zarr store.",
        "ntk-fast gram rows.csv --out K.npy --kernel ntk --depth 3 --bias-variance 0.1",
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="rows by features")
    parser.add_argument("--other", type=Path, metavar="ROWS2", help="rows for the columns of the matrix; default: ROWS")
    parser.add_argument("--key", metavar="NAME", help="the array to take from an .npz archive that holds several")
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the .npy file or .zarr store to write")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--resume", action="store_true", help="keep unfinished work, as FILE.partial, and go on with what there is"
    )
    add_json_argument(parser)
    add_csv_arguments(parser)
    add_kernel_arguments(parser)
    group = parser.add_argument_group("computation")
    group.add_argument(
        "--dtype", choices=["float32", "float64"], help="default: float32 for float32 rows, else float64"
    )
    group.add_argument("--backend", metavar="NAME", help=f"{', '.join(BACKENDS)}; default: the fastest present")
    group.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    add_scheduler_argument(group, "have a Dask cluster compute and write a .zarr store")


def run(arguments: argparse.Namespace) -> None:
    target = _check_out(arguments)
    kernel = kernel_from(arguments)
    n_threads = choose_n_threads(arguments.threads)
    engine = chosen_engine(arguments.backend)
    x, y = _read(arguments)
    shape = (len(x), len(x if y is None else y))
    description = f"{shape[0]} x {shape[1]} {kernel}"
    computed_by, x_given, y_given = f"{engine}, {n_threads} threads", x, y
    start, shares = time.perf_counter(), []  # of the work that is done

    with connected(arguments) as client, shown_progress(description, "entries") as progress:

        def show(done: int, total: int) -> None:
            shares.append(done / total if total else 1.0)
            del shares[1:-1]
            progress(done, total)

        options: dict[str, Any] = {"backend": engine.backend, "n_threads": n_threads, "progress": show}
        if client is not None:
            computed_by, options["client"] = f"{engine}, {workers_in_words(client)}", client
            x_given, y_given = _paths_of_arrays(arguments, x, y)
        _write(arguments, target, kernel, x_given, y_given, options)
    seconds = time.perf_counter() - start
    n_bytes, share = _size(target), 1 - shares[0]
    summary = Summary()
    summary.add(
        "written",
        f"{arguments.out}: {shape[0]} x {shape[1]} {x.dtype}, {n_bytes / 1e6:.4g} MB",
        out=str(arguments.out),
        rows=shape[0],
        columns=shape[1],
        dtype=str(x.dtype),
        bytes=n_bytes,
    )
    summary.add("kernel", repr(kernel))
    words = _time(seconds, shape[0] * shape[1], share)
    summary.add("time", words, seconds=seconds, share_computed=share)
    summary.add("computed by", computed_by, engine=str(engine), threads=n_threads)
    if target.suffix.lower() == ".npy" and n_bytes <= MOST_BYTES_TO_LOOK_AT:
        _add_value_ranges(summary, np.load(target, mmap_mode="r", allow_pickle=False), is_symmetric=y is None)
    print(summary.text(arguments.json))


def _check_out(arguments: argparse.Namespace) -> Path:
    """Return the file that --out leads to, if this command may write there."""
    out, kind = arguments.out, arguments.out.suffix
    if kind.lower() not in (".npy", ".zarr"):
        raise ValueError(f"--out must name an .npy file or a .zarr store; got {out}.")
    if arguments.scheduler is not None and kind.lower() == ".npy":
        raise ValueError(f"--out must name a .zarr store where a cluster writes, with --scheduler; got {out}.")
    # with --resume an existing file is looked into: it may be this matrix, finished
    may_exist = arguments.force or arguments.resume
    target = (check_new if kind.lower() == ".npy" else check_new_store)(out, may_exist)
    if target in (arguments.rows.resolve(), arguments.other and arguments.other.resolve()):
        raise ValueError(f"--out must not be the file of the rows, {out}.")
    return target


def _paths_of_arrays(arguments: argparse.Namespace, x: Any, y: Any) -> tuple[Any, Any]:
    """Return for rows that are an .npy file its path, which workers open, and others as they are."""
    given = [
        path.resolve() if path is not None and path.suffix.lower() == ".npy" and isinstance(rows, np.memmap) else rows
        for path, rows in ((arguments.rows, x), (arguments.other, y))
    ]
    return given[0], given[1]


def _write(
    arguments: argparse.Namespace,
    target: Path,
    kernel: Kernel,
    x: Any,
    y: Any,
    options: dict[str, Any],
) -> None:
    """Write the matrix; without --resume nothing but a whole matrix stays, neither unfinished work nor its journal."""
    had_begun = partial_name(target).exists()
    try:
        ntk_fast.write_gram(kernel, x, target, y, resume=arguments.resume, overwrite=arguments.force, **options)
    except (FileExistsError, ValueError) as error:  # found before any work: what there is stays
        sentence = str(error).replace("resume=True", "--resume").replace("overwrite=True", "--force")
        raise type(error)(sentence) from None
    except BlockingIOError:
        raise
    except BaseException as error:
        if not arguments.resume and (arguments.force or not had_begun):
            discard_unfinished(target)
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                sentence = "The disk is full; nothing was kept. With --resume what is done would be"
                raise OSError(error.errno, sentence, str(target)) from None
        raise
    if not arguments.resume:
        journal_name(target).unlink(missing_ok=True)


def _time(seconds: float, n_entries: int, share: float) -> str:
    """Return the time in words, with the speed of the share of the matrix that was computed in it."""
    if not share:
        return f"{seconds:.3g} s; the matrix was finished before"
    before = "" if share == 1 else f"; {1 - share:.0%} of it was there before"
    return f"{seconds:.3g} s with the disk, {share * n_entries / seconds:.3g} entries/s{before}"


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def _read(arguments: argparse.Namespace) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]:
    dtype = None if arguments.dtype is None else np.dtype(arguments.dtype)
    paths = [path for path in (arguments.rows, arguments.other) if path is not None]
    if arguments.key is not None and not any(is_archive(path) for path in paths):
        raise ValueError(f"--key names an array of an .npz archive; got {' and '.join(map(str, paths))}.")
    layout = csv_options(arguments)
    x, *others = (read_rows(path, arguments.key, dtype, layout) for path in paths)
    for y in others:
        if x.shape[1] != y.shape[1]:
            widths = f"{x.shape[1]} and {y.shape[1]}"
            raise ValueError(f"{paths[0]} and {paths[1]} must have the same number of columns; got {widths}.")
        return check_both(x, y, None)
    return x, None


def _add_value_ranges(summary: Summary, matrix: NDArray[np.floating[Any]], is_symmetric: bool) -> None:
    step = max(1, BLOCK_ENTRIES // matrix.shape[1])
    blocks = [matrix[rows] for rows in ranges(len(matrix), step)]
    least, most = min(float(block.min()) for block in blocks), max(float(block.max()) for block in blocks)
    summary.add("values", f"{least:.6g} to {most:.6g}", least=least, largest=most)
    if is_symmetric:
        diagonal = matrix.diagonal()
        low, high = float(diagonal.min()), float(diagonal.max())
        summary.add("diagonal", f"{low:.6g} to {high:.6g}", least_on_diagonal=low, largest_on_diagonal=high)
