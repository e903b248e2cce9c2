"""What a target is: a promise of the project, and the case that measures it.

To add one: a function that yields rows, decorated with `@target(group)`, in the module of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.measure import Timing

#: The groups, in the order in which they run; each has a module of its name.
GROUPS = ("engine", "networks", "images", "large", "solvers", "models", "finite", "cluster")


@dataclass(frozen=True)
class Setting:
    """Sizes of a run."""

    quick: bool
    n: int
    rounds: int
    reference_rounds: int


FULL = Setting(quick=False, n=8000, rounds=9, reference_rounds=2)
QUICK = Setting(quick=True, n=3000, rounds=5, reference_rounds=1)


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, and what it is to be."""

    what: str
    value: float
    bound: float
    at_most: bool
    absolute: str = ""
    of_medians: float | None = None

    @property
    def is_met(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound


Measure = Callable[[Setting], Iterator[Row]]
TARGETS: dict[str, list[Measure]] = {group: [] for group in GROUPS}


def target(group: str) -> Callable[[Measure], Measure]:
    def register(measure: Measure) -> Measure:
        TARGETS[group].append(measure)
        return measure

    return register


def at_most(what: str, measured: Timing, against: Timing, bound: float) -> Row:
    """A time over another one, which is not to exceed a bound."""
    return _ratio(what, measured, against, bound, True)


def faster(what: str, slow: Timing, fast: Timing, bound: float) -> Row:
    """A speed-up: the slow thing's time over the fast one's."""
    return _ratio(what, slow, fast, bound, False)


def _ratio(what: str, a: Timing, b: Timing, bound: float, is_most: bool) -> Row:
    absolute = f"{a.best * 1e3:.3g} / {b.best * 1e3:.3g} ms"
    return Row(what, a.best / b.best, bound, is_most, absolute, a.median / b.median)


def megabytes(what: str, n_bytes: float, bound: float) -> Row:
    return Row(f"{what}, MB", n_bytes / 1e6, bound, True)


def normal_rows(n: int, n_features: int, dtype: str = "f8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n_features)).astype(dtype)
