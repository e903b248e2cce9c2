"""Progress on stderr: a bar where there is a terminal and rich to draw it, else a line now and then."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ntk_fast.schedule.tiling import Progress
from ntk_fast.solvers.base import Report

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
            start, first = begun[0]
            share = (done - first) / (total - first) if total > first else None
            bar.update(task, completed=done, total=total, share=share, rate=_rate(done - first, now - start, unit))

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
                bar.update(task, description=f"{description}: {stage}", completed=before, total=total, share=share)

            yield show
        return
    begun = last = time.monotonic()
    before = 0.0

    def show_line(stage: str, share: float | None) -> None:
        nonlocal last, begun, before
        now = time.monotonic()
        begun = now if (share or 0.0) < before else begun
        before = share or 0.0
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            done = "" if share is None else f"{share:.0%}, "
            print(f"{description}: {stage}, {done}{_time(now - begun, share)}", file=sys.stderr, flush=True)

    yield show_line


def _has_bar() -> bool:
    return sys.stderr.isatty() and importlib.util.find_spec("rich") is not None


@contextmanager
def _bar(description: str) -> Iterator[tuple[Any, Any]]:
    """Yield rich's progress display, and its one task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.text import Text

    class TimeColumn(ProgressColumn):
        def render(self, task: Any) -> Any:
            return Text(_time(task.elapsed or 0.0, task.fields["share"]) + task.fields["rate"])

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(show_speed=False),
        TimeColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress, progress.add_task(description, total=None, share=None, rate="")


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
        share = done / total if total else 1.0
        of_this_run = (done - first) / (total - first) if total > first else None
        said = _time(now - start, of_this_run) + _rate(done - first, now - start, unit)
        print(f"{description}: {share:.0%}, {said}", file=sys.stderr, flush=True)

    return show


def _time(seconds: float, share: float | None) -> str:
    """Return how long it took, and how long it is going to take in all if that can be known: "12 of 40 s"."""
    if not share or share >= 1:
        return f"{_rounded(seconds)} s"
    whole = seconds / share
    return (
        f"{_rounded(seconds)} of {_rounded(whole)} s" if whole < 600 else f"{seconds / 60:.0f} of {whole / 60:.0f} min"
    )


def _rounded(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 2 else f"{seconds:.0f}"


def _rate(count: int, seconds: float, unit: str) -> str:
    """Return the speed of this run, or nothing where it has none to tell."""
    return f", {count / seconds:.3g} {unit}/s" if count > 0 and seconds > 0 else ""
