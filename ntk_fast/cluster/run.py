"""Blocks handed out to workers, a few tasks at a time, until each is done, whoever dies on the way.

The scheduler knows of as many tasks as keep its workers busy, whatever their number in all. A task whose worker has
died is given to another by the scheduler; one whose inputs have died with all workers that had them is sent anew from
here. Results come in any order: who adds them up does so in the order of the blocks.
"""

from __future__ import annotations

import queue
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ntk_fast.cluster.home import Home
from ntk_fast.cluster.on_worker import Answer, NotHere, compute, give_up
from ntk_fast.cluster.shared import Inline, Shared
from ntk_fast.cluster.workers import Threads, address_of
from ntk_fast.schedule.tiling import SECONDS_BETWEEN_REPORTS, Tile

#: Tasks that the scheduler knows of: for each thread, and at most.
TASKS_A_THREAD, MOST_TASKS = 4, 10_000
#: How often a task may go down with its workers; each time counts as the scheduler's `allowed-failures`.
MOST_DEATHS = 5


@dataclass(eq=False)
class Task:
    """Some blocks, by their numbers, that one thread of a worker computes in turn."""

    blocks: dict[int, Tile]
    n_deaths: int = 0


class Run:
    """One pass over blocks; see the module."""

    def __init__(
        self,
        threads: Threads,
        home: Home,
        operation: Shared | Inline,
        receive: Callable[[Task, Answer], None],
    ) -> None:
        self._threads, self._client = threads, threads.client
        self._home, self._operation = home, operation
        self._receive = receive
        self._name = f"ntk_fast-{uuid.uuid4().hex}"
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pending: dict[str, tuple[Any, Task]] = {}
        self._again: deque[Task] = deque()
        self._number = 0

    @property
    def n_threads(self) -> int:
        """About how many threads the workers have together."""
        return self._threads.number

    def all(self, tasks: Iterator[Task], tick: Callable[[], None] = lambda: None) -> None:
        """Have all tasks done; calls `tick` about ten times a second. An error, or Ctrl-C, cancels what is queued."""
        try:
            while True:
                self._submit(tasks)
                if not self._pending:
                    return
                self._take(self._wait())
                tick()
        except BaseException as error:
            self._give_up()
            # whatever it met first, as asyncio's CancelledError, which is no Exception
            if self._client.status != "running" and not isinstance(error, KeyboardInterrupt | SystemExit):
                raise self._gone() from None
            raise

    def _gone(self) -> ConnectionError:
        return ConnectionError(f"The scheduler at {address_of(self._client)} does not answer any more.")

    def _submit(self, tasks: Iterator[Task]) -> None:
        most = min(MOST_TASKS, TASKS_A_THREAD * self.n_threads)
        while len(self._pending) < most:
            task = self._again.popleft() if self._again else next(tasks, None)
            if task is None:
                return
            self._number += 1
            future = self._client.submit(
                compute,
                self._name,
                self._home.token,
                self._operation.future,
                task.blocks,
                key=f"{self._name}-{self._number}",
                pure=False,
            )
            self._pending[future.key] = future, task
            future.add_done_callback(self._arrived.put)

    def _wait(self) -> list[Any]:
        """Return futures that have changed, perhaps none."""
        arrived = []
        with suppress(queue.Empty):
            arrived.append(self._arrived.get(timeout=SECONDS_BETWEEN_REPORTS))
            while True:
                arrived.append(self._arrived.get_nowait())
        if self._client.status != "running":
            raise self._gone()
        if self._operation.is_lost:
            self._begin_again()
            return []
        return arrived

    def _take(self, arrived: list[Any]) -> None:
        finished = []
        for future in arrived:
            if future.key not in self._pending:
                continue  # sent again meanwhile
            if future.status == "finished":
                finished.append(future)
            elif future.status == "error":
                self._fail(future)
            elif future.status == "pending":  # computed, and lost before it was fetched: the scheduler does it again
                future.add_done_callback(self._arrived.put)
            else:
                self._send_again(future)
        if finished:
            for future, answer in zip(finished, self._client.gather(finished), strict=True):
                if isinstance(answer, NotHere):
                    self._home.lose(answer.worker)
                    self._send_again(future)
                else:
                    _, task = self._pending.pop(future.key)
                    self._receive(task, answer)
            self._home.settle()

    def _fail(self, future: Any) -> None:
        """Raise a worker's error, with its blocks; its death is none, unless it happens again."""
        from distributed.scheduler import KilledWorker

        error = future.exception()
        _, task = self._pending[future.key]
        if isinstance(error, KilledWorker) and task.n_deaths < MOST_DEATHS:
            task.n_deaths += 1
            self._send_again(future)
            return
        raise placed(error, task.blocks)

    def _send_again(self, future: Any) -> None:
        _, task = self._pending.pop(future.key)
        self._again.append(task)

    def _begin_again(self) -> None:
        """Send an operation that is lost once more, and all tasks that wait for it."""
        old = [future for future, _ in self._pending.values()]
        self._again.extend(task for _, task in self._pending.values())
        self._pending.clear()
        self._client.cancel(old, force=True)
        self._threads.wait()
        self._operation.renew()

    def _give_up(self) -> None:
        futures = [future for future, _ in self._pending.values()]
        self._pending.clear()
        if self._client.status == "running":
            with suppress(Exception):
                self._client.cancel(futures, force=True)
                self._client.run(give_up, self._name, on_error="ignore")


def placed(error: BaseException, blocks: dict[int, Tile]) -> BaseException:
    """Return a worker's error with the blocks it belongs to, as an error of the same kind."""
    tiles = list(blocks.values())
    if not tiles:  # the matrix could not be built
        return error
    rows = f"{min(tile.row_start for tile in tiles)}:{max(tile.row_stop for tile in tiles)}"
    columns = f"{min(tile.column_start for tile in tiles)}:{max(tile.column_stop for tile in tiles)}"
    place = f"in the block of rows {rows} and columns {columns}"
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, f"{error.strerror} ({place})", error.filename)
    sentence = f"{str(error).rstrip('.') or type(error).__name__} ({place})."
    try:
        return type(error)(sentence)
    except TypeError:  # a kind that takes more than a sentence
        return RuntimeError(f"{type(error).__name__}: {sentence}")
