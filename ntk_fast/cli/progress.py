"""Progress on stderr: a bar where there is a terminal and rich to draw it, else a line now and then."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ntk_fast.solvers.base import Report
from ntk_fast.tiling import Progress

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def shown_progress(description: str) -> Iterator[Progress]:
    """Yield a function to call with the entries done and in all."""
    if _has_bar():
        with _bar(description) as (bar, task):
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _lines(description)


@contextmanager
def shown_stages(description: str) -> Iterator[Report]:
    """Yield a function to call with what is being done and the share of it that is done, None if that is not known."""
    if _has_bar():
        with _bar(description) as (bar, task):
            before = 0.0

            def show(stage: str, share: float | None) -> None:
                nonlocal before
                if (share or 0.0) < before:
                    bar.reset(task)  # what comes next takes a time of its own
                before = share or 0.0
                total = None if share is None else 1.0
                bar.update(task, description=f"{description}: {stage}", completed=before, total=total)

            yield show
        return
    start = last = time.monotonic()

    def show_line(stage: str, share: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            done = "" if share is None else f", {share:.0%}"
            print(f"{description}: {stage}{done} after {now - start:.0f} s", file=sys.stderr, flush=True)

    yield show_line


def _has_bar() -> bool:
    return sys.stderr.isatty() and importlib.util.find_spec("rich") is not None


@contextmanager
def _bar(description: str) -> Iterator[tuple[Any, Any]]:
    """Yield rich's progress display, and its one task."""
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
        yield progress, progress.add_task(description, total=None)


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
