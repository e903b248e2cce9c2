"""Progress on stderr: a bar where there is a terminal and rich to draw it, else a line now and then."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ntk_fast.tiling import Progress

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def shown_progress(description: str) -> Iterator[Progress]:
    """Yield a function to call with the entries done and in all."""
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        with _bar(description) as show:
            yield show
    else:
        yield _lines(description)


@contextmanager
def shown_stages(description: str) -> Iterator[Callable[[str, float], None]]:
    """Yield a function to call with what is being done and the share of it that is done, 0 to 1.

    The bar begins anew with each of them.
    """
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        with _bar(description) as show:
            yield lambda stage, share: show(round(share * 1000), 1000)
        return
    last = time.monotonic()

    def show_line(stage: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{description}: {stage}, {share:.0%}", file=sys.stderr, flush=True)

    yield show_line


@contextmanager
def _bar(description: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(show_speed=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(description: str) -> Progress:
    start = last = time.monotonic()
    finished = False

    def show(done: int, total: int) -> None:
        nonlocal last, finished
        now = time.monotonic()
        if finished or (done < total and now - last < SECONDS_BETWEEN_LINES):
            return
        last, finished = now, done == total
        seconds = now - start
        left = f", {seconds * (total - done) / done:.0f} s left" if 0 < done < total else ""
        print(f"{description}: {done / total:.0%} after {seconds:.1f} s{left}", file=sys.stderr, flush=True)

    return show
