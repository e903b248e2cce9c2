"""What a worker does: it builds a matrix once, from rows that it has or opens, and computes blocks of it.

A worker's threads take a block each, and every block is computed by one thread, with BLAS held to one: as many as the
worker has, or as NTK_FAST_NUM_THREADS allows.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from ntk_fast.backends.engines import Engine, backend_of
from ntk_fast.rows.stored import RowFile
from ntk_fast.schedule.threads import THREADS_VARIABLE, choose_n_threads, single_threaded_blas
from ntk_fast.schedule.tiling import Tile, stoppable
from ntk_fast.version import __version__


@dataclass(eq=False)
class Recipe:
    """How a worker builds a matrix."""

    version: str
    engine: Engine
    #: Of a function of (backend, rows, ...) that returns the matrix; read when the versions are known to be equal.
    pickled: bytes
    #: For each of the rows their file, or None where they come as an array.
    files: tuple[RowFile | None, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Built:
    """A matrix, and the warnings that arose on the way."""

    matrix: Any
    said: list[tuple[str, type[Warning]]]


@dataclass(frozen=True)
class NotHere:
    """What a worker answers that came later, or had too many others since: it is to be sent the matrix first."""

    worker: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What an operation made of some blocks, the seconds that took, and what `Built.said`."""

    result: Any
    seconds: float
    said: list[tuple[str, type[Warning]]]


#: What this worker keeps, by its token, oldest first: recipes with their arrays, and what was built of them.
_held: OrderedDict[str, tuple[Recipe, list[Any]] | Built] = OrderedDict()
MOST_HELD = 8
_building = threading.Lock()
#: The runs whose client wants no more of them, and those under way.
_given_up: set[str] = set()
_under_way: dict[str, threading.Event] = {}


def hold(token: str, recipe: Recipe, arrays: list[Any]) -> None:
    """Keep what a matrix is built from."""
    if recipe.version != __version__:
        raise ValueError(f"A worker has ntk_fast {__version__}, and the client {recipe.version}.")
    with _building:
        _held[token] = recipe, list(arrays)
        while len(_held) > MOST_HELD:
            _held.popitem(last=False)


def forget(token: str) -> None:
    """Drop what nobody needs any more."""
    _held.pop(token, None)


def built(token: str) -> Built | None:
    """Return the matrix of a token, built when it is first asked for; None if it is not here."""
    with _building:
        found = _held.get(token)
        if found is None:
            return None
        _held.move_to_end(token)
        if not isinstance(found, Built):
            found = _held[token] = _build(*found)
        return found


def _build(recipe: Recipe, arrays: list[Any]) -> Built:
    from distributed.protocol import pickle

    given = iter(arrays)
    rows = [
        next(given) if file is None else _opened(file, name)
        for file, name in zip(recipe.files, recipe.names, strict=True)
    ]
    build = pickle.loads(recipe.pickled)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        matrix = build(backend_of(recipe.engine), *rows)
    return Built(matrix, [(str(warning.message), warning.category) for warning in said])


def _opened(file: RowFile, name: str) -> Any:
    if not file.is_here():
        raise FileNotFoundError(f"A worker does not see the rows, {file.path}: put them on a disk that all share.")
    return file.open(name)


@cache
def _turns() -> threading.Semaphore:
    """As many blocks at a time as the environment allows; more threads than that wait."""
    allowed = choose_n_threads(None) if os.environ.get(THREADS_VARIABLE, "").strip() else 1 << 20
    return threading.Semaphore(allowed)


@contextmanager
def _taking_part(run: str) -> Iterator[None]:
    """Compute as part of a run: on one thread, and no longer than it is wanted."""
    stop = _under_way.setdefault(run, threading.Event())
    if run in _given_up:
        stop.set()
    try:
        with _turns(), single_threaded_blas(), stoppable(stop):
            yield
    finally:
        _under_way.pop(run, None)


def give_up(run: str) -> None:
    """Stop what is under way of a run within a tile, and begin nothing more of it."""
    _given_up.add(run)
    event = _under_way.get(run)
    if event is not None:
        event.set()


def compute(run: str, token: str, operation: Callable[..., Any], blocks: dict[int, Tile]) -> Any:
    """Return what an operation makes of a matrix and some of its blocks, as an `Answer`, or `NotHere`."""
    with _taking_part(run):
        found = built(token)
        if found is None:
            from distributed import get_worker

            return NotHere(get_worker().address)
        start = time.perf_counter()
        result = operation(found.matrix, blocks)
        return Answer(result, time.perf_counter() - start, found.said)
