"""A matrix that workers have, as the client sees it: operations on its blocks, and what they make of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ntk_fast.backends.engines import Engine
from ntk_fast.caller import warn_caller
from ntk_fast.cluster.home import Home
from ntk_fast.cluster.on_worker import Answer, Recipe
from ntk_fast.cluster.run import Run, Task
from ntk_fast.cluster.shared import SMALL_BYTES, Inline, Shared
from ntk_fast.cluster.workers import Terms, Threads, refuse_unfit
from ntk_fast.rows.stored import RowFile
from ntk_fast.schedule.in_order import InOrder
from ntk_fast.schedule.tiling import Progress, Tile
from ntk_fast.version import __version__

#: Of a task: short ones cost the scheduler's time, some milliseconds each; long ones are lost with their worker.
SECONDS_A_TASK, SHORTEST_TASK = 4.0, 0.05
#: Tasks for each thread, at least, if blocks allow for so many: at the end nobody waits long for the last one.
FEWEST_TASKS_A_THREAD = 4
#: Seconds of tasks, together, from which on what was measured counts for more than what was expected.
LEAST_MEASURED = 0.5


class Remote:
    """A matrix that each worker builds once, from rows that are sent once or that it opens itself.

    Parameters
    ----------
    client : dask.distributed.Client
        Checked.
    engine : Engine
        What all compute with.
    build : callable
        Of (backend, *rows), on a worker; pickled.
    rows : sequence of (name, rows)
        Rows are arrays, a `RowFile` or a dask.array.
    probe : (path, content), optional
        As in `Terms`.
    """

    def __init__(
        self,
        client: Any,
        engine: Engine,
        build: Callable[..., Any],
        rows: list[tuple[str, Any]],
        probe: tuple[str, bytes] | None = None,
    ) -> None:
        from distributed.protocol import pickle as with_functions

        self._client, self._threads, self._pace = client, Threads(client), Pace()
        names = tuple(name for name, _ in rows)
        files = tuple(values if isinstance(values, RowFile) else None for _, values in rows)
        pickled = with_functions.dumps(build)
        refuse_unfit(client, Terms(engine, pickled, tuple(file for file in files if file is not None), probe))
        arrays = [values for _, values in rows if not isinstance(values, RowFile)]
        self._home = Home(self._threads, Recipe(__version__, engine, pickled, files, names), arrays)
        self._home.settle()

    def look(self, operation: Callable[[Any], Any]) -> Any:
        """Return what an operation says of the matrix, on one worker; warnings become those of this process."""
        answers: list[Answer] = []
        self._run(_Look(operation), lambda task, answer: answers.append(answer)).all(iter([Task({})]))
        for message, category in answers[0].said:
            warn_caller(message, category)
        return answers[0].result

    def each(
        self,
        operation: Callable[[Any, dict[int, Tile]], list[Any]],
        blocks: list[Tile],
        seconds: Callable[[Tile], float],
        take: Callable[[int, Any], None],
        progress: Progress | None = None,
    ) -> None:
        """Have `take(number, result)` called for each block in turn with what an operation makes of it.

        The operation returns a list, a result for each block that it gets; `seconds`: about what a block takes.
        """
        in_order = InOrder(take)
        total, done = sum(block.n_entries for block in blocks), 0

        def receive(task: Task, answer: Answer) -> None:
            nonlocal done
            self._pace.add(sum(map(seconds, task.blocks.values())), answer.seconds)
            for (number, block), result in zip(task.blocks.items(), answer.result, strict=True):
                in_order.put(number, result)
                done += block.n_entries

        def tick() -> None:
            if progress is not None:
                progress(done, total)

        run = self._run(operation, receive)
        run.all(tasks_of(dict(enumerate(blocks)), self._expected(seconds), run), tick)

    def _expected(self, seconds: Callable[[Tile], float]) -> Callable[[Tile], float]:
        """Return about what a block takes, as far as tasks have shown; it decides on tasks, never on blocks."""
        return lambda block: self._pace.factor * seconds(block)

    def write(
        self,
        operation: Callable[[Any, dict[int, Tile]], Any],
        blocks: dict[int, Tile],
        seconds: Callable[[Tile], float],
        receive: Callable[[dict[int, Tile], Any], None],
        progress: Progress | None = None,
    ) -> None:
        """Have `receive(blocks, result)` called for every task, as they come, with what an operation made of it."""
        total, done = sum(block.n_entries for block in blocks.values()), 0

        def take(task: Task, answer: Answer) -> None:
            nonlocal done
            self._pace.add(sum(map(seconds, task.blocks.values())), answer.seconds)
            receive(task.blocks, answer.result)
            done += sum(block.n_entries for block in task.blocks.values())

        def tick() -> None:
            if progress is not None:
                progress(done, total)

        run = self._run(operation, take)
        run.all(tasks_of(blocks, self._expected(seconds), run), tick)

    def _run(self, operation: Any, receive: Callable[[Task, Answer], None]) -> Run:
        is_small = len(pickle.dumps(operation)) <= SMALL_BYTES
        sent = Inline(operation) if is_small else Shared.of(self._client, operation)
        return Run(self._threads, self._home, sent, receive)


class Pace:
    """By how much what was expected is off, from what has been measured."""

    def __init__(self) -> None:
        self._expected = self._measured = 0.0

    def add(self, expected: float, measured: float) -> None:
        self._expected += expected
        self._measured += measured

    @property
    def factor(self) -> float:
        return self._measured / self._expected if self._measured > LEAST_MEASURED else 1.0


def tasks_of(blocks: dict[int, Tile], seconds: Callable[[Tile], float], run: Run) -> Iterator[Task]:
    """Yield runs of blocks of about `SECONDS_A_TASK`, and shorter ones where they would be few, or are the last."""
    numbers = iter(blocks)
    left = sum(block.n_entries for block in blocks.values())
    following = next(numbers, None)
    while following is not None:
        of_entry = seconds(blocks[following]) / blocks[following].n_entries
        most = min(SECONDS_A_TASK, max(SHORTEST_TASK, left * of_entry / (FEWEST_TASKS_A_THREAD * run.n_threads)))
        some: dict[int, Tile] = {}
        expected = 0.0
        while following is not None and (not some or expected + seconds(blocks[following]) <= most):
            block = some[following] = blocks[following]
            expected += seconds(block)
            left -= block.n_entries
            following = next(numbers, None)
        yield Task(some)


@dataclass(frozen=True, eq=False)
class _Look:
    """An operation on a matrix and none of its blocks."""

    inner: Callable[[Any], Any]

    def __call__(self, matrix: Any, blocks: dict[int, Tile]) -> Any:
        return self.inner(matrix)
