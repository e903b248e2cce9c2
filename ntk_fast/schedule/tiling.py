"""The schedule: which tiles there are, and threads that take them one by one.

It knows bounds, threads, progress and interrupts, and no mathematics. The calling thread only waits, so Ctrl-C reaches
it at once; workers finish the tile they are at (some milliseconds) and stop. No thread outlives the call: a fork
afterwards is safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Half-open ranges of rows and columns."""

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int

    @property
    def n_entries(self) -> int:
        return (self.row_stop - self.row_start) * (self.column_stop - self.column_start)


#: Fills one tile of the matrix; called from several threads at once, each with a function of its own.
FillTile = Callable[[Tile], None]

#: Called with the entries done so far and in all, from the calling thread, about ten times a second.
Progress = Callable[[int, int], None]

SECONDS_BETWEEN_REPORTS = 0.1


def ranges(n: int, step: int) -> Iterator[slice]:
    """Yield ranges of `step` numbers, the last one shorter, from 0 to n."""
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _bounds(n: int, block: int, first: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of `block`, the first one shortened to `first` where that is positive."""
    start, stop = 0, min(first or block, n)
    while start < n:
        yield start, stop
        start, stop = stop, min(stop + block, n)


def make_tiles(
    n_rows: int, n_columns: int, *, symmetric: bool, block_rows: int, block_columns: int, offset: int = 0
) -> list[Tile]:
    """Cut a matrix into tiles, all of a row of blocks before the next; symmetric: those that reach the upper half.

    `offset`: how far the first row and column boundary lies from the start, for tiles that begin on cache lines.
    """
    columns = list(_bounds(n_columns, block_columns, offset))
    return [
        Tile(row_start, row_stop, column_start, column_stop)
        for row_start, row_stop in _bounds(n_rows, block_rows, offset)
        for column_start, column_stop in columns
        if not symmetric or column_stop > row_start
    ]


def tiles_within(block: Tile, *, symmetric: bool, block_rows: int, block_columns: int) -> list[Tile]:
    """Cut a block of a matrix, which is a tile itself, into tiles."""
    row, column = block.row_start, block.column_start
    return [
        Tile(row + row_start, row + row_stop, column + column_start, column + column_stop)
        for row_start, row_stop in _bounds(block.row_stop - row, block_rows, 0)
        for column_start, column_stop in _bounds(block.column_stop - column, block_columns, 0)
        if not symmetric or column + column_stop > row + row_start
    ]


class Stopped(Exception):
    """A worker gave up inside a tile, because the run that it belongs to has been stopped."""


#: Of a worker's thread: the event that stops its run, so that tiles within a tile stop, too.
_worker = threading.local()


def stop_if_asked() -> None:
    """Give up, on a worker's thread whose run has been stopped: for what takes long within a tile."""
    stop: threading.Event | None = getattr(_worker, "stop", None)
    if stop is not None and stop.is_set():
        raise Stopped


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Have what this thread computes stop within a tile once an event is set: it works for somebody elsewhere."""
    _worker.stop = stop
    try:
        yield
    finally:
        _worker.stop = None


class _Run:
    """Tiles that several workers share."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self.tiles = iter(tiles)
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.changed = threading.Condition(self.lock)
        self.done = 0
        self.n_working = 0
        self.error: BaseException | None = None

    def work(self, make_fill: Callable[[], FillTile]) -> None:
        _worker.stop = self.stop
        try:
            fill = make_fill()
            while not self.stop.is_set():
                with self.lock:
                    tile = next(self.tiles, None)
                if tile is None:
                    break
                fill(tile)
                with self.lock:
                    self.done += tile.n_entries
        except BaseException as error:
            with self.lock:
                self.error = self.error or error
            self.stop.set()
        finally:
            with self.changed:
                self.n_working -= 1
                self.changed.notify_all()


def run_tiles(
    tiles: Sequence[Tile], make_fill: Callable[[], FillTile], n_threads: int, progress: Progress | None = None
) -> None:
    """Fill all tiles on `n_threads` threads; the first error of a worker, or Ctrl-C, stops all and is raised here."""
    total = sum(tile.n_entries for tile in tiles)
    n_threads = min(n_threads, len(tiles))
    if n_threads <= 1:
        fill = make_fill() if tiles else None
        done = 0
        for tile in tiles:
            assert fill is not None
            stop_if_asked()
            fill(tile)
            done += tile.n_entries
            if progress is not None:
                progress(done, total)
        return
    run = _Run(tiles)
    workers = [threading.Thread(target=run.work, args=(make_fill,), daemon=True) for _ in range(n_threads)]
    try:
        for worker in workers:
            with run.lock:
                run.n_working += 1
            worker.start()
        while True:
            with run.changed:
                working = run.changed.wait_for(lambda: run.n_working == 0, SECONDS_BETWEEN_REPORTS) is False
                done = run.done
            if progress is not None:
                progress(done, total)
            if not working:
                break
    finally:
        run.stop.set()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if run.error is not None:
        raise run.error
