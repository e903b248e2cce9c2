"""The schedule: every entry in exactly one tile, progress that adds up, errors and interrupts that stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ntk_fast as ntk
from ntk_fast.schedule import tiling
from ntk_fast.schedule.tiling import Tile, make_tiles, run_tiles

sizes, blocks = st.integers(0, 200), st.integers(1, 64)
TILES = make_tiles(64, 64, symmetric=False, block_rows=8, block_columns=8)


def coverage(n_rows: int, n_columns: int, tiles: list[Tile]) -> np.ndarray:
    """How many tiles each entry is in."""
    count = np.zeros((n_rows, n_columns), dtype=int)
    for tile in tiles:
        assert 0 <= tile.row_start < tile.row_stop <= n_rows
        assert 0 <= tile.column_start < tile.column_stop <= n_columns
        count[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop] += 1
    return count


@given(sizes, sizes, blocks, blocks, st.integers(0, 7))
def test_tiles_cover_every_entry_once(n_rows, n_columns, block_rows, block_columns, offset):
    tiles = make_tiles(
        n_rows, n_columns, symmetric=False, block_rows=block_rows, block_columns=block_columns, offset=offset
    )
    assert (coverage(n_rows, n_columns, tiles) == 1).all()


@given(sizes, blocks, blocks, st.integers(0, 7))
def test_symmetric_tiles_cover_the_upper_half_and_leave_out_what_lies_below(n, block_rows, block_columns, offset):
    tiles = make_tiles(n, n, symmetric=True, block_rows=block_rows, block_columns=block_columns, offset=offset)
    count = coverage(n, n, tiles)
    assert (count <= 1).all()
    assert (count[np.triu_indices(n)] == 1).all()
    assert all(tile.column_stop > tile.row_start for tile in tiles)


@pytest.mark.parametrize("n_threads", [1, 2, 5, 1000])
def test_every_tile_is_filled_once(n_threads):
    filled: list[Tile] = []
    run_tiles(TILES, lambda: filled.append, n_threads)
    assert sorted(map(repr, filled)) == sorted(map(repr, TILES))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_no_tiles_are_no_work(n_threads):
    run_tiles([], lambda: pytest.fail("there is nothing to fill"), n_threads)


def test_each_thread_has_a_fill_of_its_own():
    made, used = [], {}

    def make_fill() -> Callable[[Tile], None]:
        made.append(threading.get_ident())

        def fill(_: Tile) -> None:
            time.sleep(0.001)
            used.setdefault(id(fill), set()).add(threading.get_ident())

        return fill

    run_tiles(TILES, make_fill, 4)
    assert len(set(made)) == len(made) <= 4
    assert all(len(threads) == 1 for threads in used.values())


@pytest.mark.parametrize("n_threads", [1, 3])
def test_progress_rises_to_the_whole_and_is_reported_from_the_calling_thread(n_threads):
    reports, threads = [], set()

    def progress(done: int, total: int) -> None:
        reports.append((done, total))
        threads.add(threading.get_ident())

    run_tiles(TILES, lambda: lambda _: time.sleep(0.01), n_threads, progress)
    done = [report[0] for report in reports]
    assert done == sorted(done)
    assert reports[-1] == (64 * 64, 64 * 64)
    assert {total for _, total in reports} == {64 * 64}
    assert threads == {threading.get_ident()}


def test_progress_of_a_gram_matrix_counts_entries(backend):
    reports = []
    ntk.NTK(2)(np.ones((70, 3)), np.ones((50, 3)), backend=backend, progress=lambda *report: reports.append(report))
    assert reports[-1] == (3500, 3500)


@pytest.mark.parametrize("n_threads", [1, 4])
def test_the_first_error_of_a_worker_stops_the_others_and_is_raised(n_threads):
    filled, threads_before = [], threading.active_count()

    def fill(tile: Tile) -> None:
        if tile is TILES[5]:
            raise ArithmeticError("tile 5")
        time.sleep(0.002)
        filled.append(tile)

    with pytest.raises(ArithmeticError, match="tile 5"):
        run_tiles(TILES, lambda: fill, n_threads)
    assert len(filled) < len(TILES) - 1
    assert threading.active_count() == threads_before


@pytest.mark.parametrize("n_threads", [1, 4])
def test_an_error_of_progress_stops_the_work(n_threads):
    filled = []

    def fill(tile: Tile) -> None:
        time.sleep(0.02)
        filled.append(tile)

    def progress(done: int, total: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_tiles(TILES, lambda: fill, n_threads, progress)
    assert len(filled) < len(TILES)


#: Computes for minutes; says when it starts, and after Ctrl-C how long that took and what BLAS's threads are.
INTERRUPTED = """
    import os, signal, sys, threading, time
    import numpy as np
    from threadpoolctl import ThreadpoolController, threadpool_limits
    import ntk_fast as ntk

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that it is ignored

    def blas_threads():
        return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]

    backend, n_threads, depth, bias = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    kernel = ntk.NTK(depth, weight_variance=(1.0, *(2.0,) * depth), bias_variance=bias)
    X = np.random.default_rng(0).standard_normal((12_000, 300))
    kernel(X[:70], backend=backend)  # compiled, loaded
    threadpool_limits(2, user_api="blas")
    before = blas_threads()
    out = np.empty((12_000, 12_000), dtype=np.float32)
    sent = []

    def interrupt():
        time.sleep(0.5)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        while True:
            kernel(X.astype(np.float32), out=out, backend=backend, n_threads=n_threads)
    except KeyboardInterrupt:
        print(time.perf_counter() - sent[0], blas_threads() == before, threading.active_count())
"""


@pytest.mark.parametrize(
    ("depth", "bias", "n_threads"), [(3, 0.0, 1), (1000, 0.1, 2)], ids=["profile, 1 thread", "1000 layers, 2 threads"]
)
def test_ctrl_c_stops_all_threads(n_threads, depth, bias, engine, tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    environment = os.environ | ({"NTK_FAST_ISA": engine.instruction_set} if engine.instruction_set else {})
    arguments = [engine.backend, str(n_threads), str(depth), str(bias)]
    run = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    seconds, blas_as_found, threads_left = run.stdout.split()
    assert float(seconds) < 20  # a second on a machine that has nothing else to do; a hang is what this excludes
    assert blas_as_found == "True"
    assert int(threads_left) <= 2  # the main thread, and perhaps the one that sent the signal


def test_an_unhandled_ctrl_c_ends_the_process_as_usual(tmp_path):
    script = (
        "import signal, numpy as np, ntk_fast as ntk\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nprint('ready', flush=True)\n"
        "K = np.empty((9000, 9000))\nwhile True: ntk.NTK(3)(np.ones((9000, 50)), out=K)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith(b"KeyboardInterrupt")


def test_tiles_within_a_tile_stop_when_the_outer_run_is_stopped():
    """A block of a matrix on disk is filled tile by tile by one worker: it need not be finished first."""
    outer = make_tiles(2, 1, symmetric=False, block_rows=1, block_columns=1)
    inner = make_tiles(9, 1, symmetric=False, block_rows=1, block_columns=1)
    is_inside, filled = threading.Event(), []

    def part(tile: Tile) -> None:
        is_inside.set()
        tiling._worker.stop.wait()
        filled.append(tile)

    def fill(tile: Tile) -> None:
        if tile == outer[0]:
            is_inside.wait()
            raise ValueError("the run stops here")
        run_tiles(inner, lambda: part, 1)

    with pytest.raises(ValueError, match="the run stops here"):
        run_tiles(outer, lambda: fill, 2)
    assert filled == inner[:1], "the part that it was at, and no other"
