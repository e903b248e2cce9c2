"""What an experiment is: claims of the lecture with what was measured, a table, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.schedule.tiling import Progress

#: Draws into a matplotlib Figure, which is not imported before a picture is drawn.
Draw = Callable[[Any], None]


@dataclass(frozen=True)
class Claim:
    """One statement of the lecture, and what became of it."""

    source: str  # the equation or the section
    equation: str  # what is claimed, as a formula
    statement: str  # as the lecture has it
    measured: str
    holds: bool  # the statement; or, where there is one, the correction
    correction: str | None = None  # what holds instead, where the lecture slips


@dataclass(frozen=True)
class Outcome:
    """Everything that an experiment leaves: claims, the table behind them, the picture of some panels side by side."""

    claims: Sequence[Claim]
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    n_panels: int
    draw: Draw
    caption: str


@dataclass(frozen=True)
class Experiment:
    """An experiment, by name. `measure` takes whether to be quick, and how to report progress."""

    name: str
    title: str
    question: str
    measure: Callable[[bool, Progress], Outcome]


class Counter:
    """Counts steps of an experiment for its progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        progress(0, total)

    def step(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def unit_rows(rng: np.random.Generator, n: int, n_features: int) -> NDArray[np.float64]:
    """Rows that are uniform on the unit sphere."""
    rows = rng.standard_normal((n, n_features))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))
