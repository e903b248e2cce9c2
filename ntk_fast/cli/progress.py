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
def shown_progress(description: str, unit: str) -> Iterator[Progress]:
    """Yield a function to call with how many units (entries, rows, ...) are done and in all."""
    if not _has_bar():
        yield _lines(description, unit)
        return
    with _bar(description) as (bar, task):
        begun: list[tuple[float, int]] = []

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            begun[:] = begun or [(now, done)]
            rate = _rate(done - begun[0][1], now - begun[0][0], unit)
            bar.update(task, completed=done, total=total, rate=rate)

        yield show


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
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress, progress.add_task(description, total=None, rate="")


def _lines(description: str, unit: str) -> Progress:
    start = last = time.monotonic()
    first: int | None = None  # what an earlier run had done
    finished = False

    def show(done: int, total: int) -> None:
        nonlocal last, finished, first
        now = time.monotonic()
        first = done if first is None else first
        if finished or (done < total and now - last < SECONDS_BETWEEN_LINES):
            return
        last, finished = now, done == total
        seconds = now - start
        left = f", {seconds * (total - done) / (done - first):.0f} s left" if first < done < total else ""
        rate = _rate(done - first, seconds, unit)
        share = done / total if total else 1.0
        print(f"{description}: {share:.0%} after {seconds:.1f} s, {rate}{left}", file=sys.stderr, flush=True)

    return show


def _rate(count: int, seconds: float, unit: str) -> str:
    return f"{count / seconds if seconds > 0 else 0:.3g} {unit}/s"
