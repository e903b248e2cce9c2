"""A matrix at home on the workers: each is sent the rows once, and keeps what it builds of them.

Dask's own copies of data will not do: its memory manager takes away, every two seconds, those that no task waits for,
and products would send the rows over and over (measured: 4.6 times in 20 products).
"""

from __future__ import annotations

import time
import uuid
import weakref
from functools import partial
from typing import Any

import numpy as np

from ntk_fast.cluster.on_worker import Recipe, forget, hold
from ntk_fast.cluster.shared import sent
from ntk_fast.cluster.workers import Threads, threads_of_workers

SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_QUESTIONS = 0.01, 1.0
#: A future is as it should be, or will be.
KEPT = ("finished", "pending")


class Home:
    """What workers need to build a matrix.

    Parameters
    ----------
    threads : Threads
        Of the client.
    recipe : Recipe
    arrays : list of ndarray or dask.array
        The rows that do not come from files; a dask.array is computed where it is.

    Attributes
    ----------
    token : str
        What the workers know it by.
    """

    def __init__(self, threads: Threads, recipe: Recipe, arrays: list[Any]) -> None:
        self.token = uuid.uuid4().hex
        self._threads, self._client = threads, threads.client
        self._recipe = recipe
        self._arrays = [each if isinstance(each, np.ndarray) else _Collected(self._client, each) for each in arrays]
        self._settled: set[str] = set()
        self._is_missing = True
        self._number = 0
        weakref.finalize(self, _forget, self._client, self.token)

    def lose(self, worker: str) -> None:
        """Note that a worker does not have it any more: another process has its address."""
        self._settled.discard(worker)
        self._is_missing = True

    def settle(self) -> None:
        """Have every worker that there is keep it, if one is known not to; those that die on the way are let go."""
        while self._is_missing:
            self._threads.wait()
            present = set(threads_of_workers(self._client))
            self._settled &= present
            missing = sorted(present - self._settled)
            if not missing:
                self._is_missing = False
                return
            # to one of them, from which the others get it
            arrays = [
                each.future() if isinstance(each, _Collected) else sent(self._client, each, workers=missing[:1])
                for each in self._arrays
            ]
            self._hold(missing, arrays)

    def _hold(self, workers: list[str], arrays: list[Any]) -> None:
        waiting = {}
        for worker in workers:
            self._number += 1
            key = f"ntk_fast-hold-{self.token}-{self._number}"
            waiting[worker] = self._client.submit(
                hold, self.token, self._recipe, arrays, workers=[worker], allow_other_workers=False, key=key, pure=False
            )
        asked = time.monotonic()
        while waiting and all(array.status in KEPT for array in arrays):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for worker, future in list(waiting.items()):
                if future.status == "error":
                    raise future.exception()
                if future.status not in KEPT:
                    return  # sent anew
                if future.status == "finished":
                    self._settled.add(worker)
                    del waiting[worker]
            if time.monotonic() - asked > SECONDS_BETWEEN_QUESTIONS:
                asked, present = time.monotonic(), threads_of_workers(self._client)
                waiting = {worker: future for worker, future in waiting.items() if worker in present}


class _Collected:
    """The rows of a dask.array, whose chunks stay where they are until a worker joins them."""

    def __init__(self, client: Any, collection: Any) -> None:
        self._client = client
        rows = collection.rechunk({1: -1}) if collection.numblocks[1] > 1 else collection
        self._chunks = client.compute(list(rows.to_delayed().ravel()))

    def future(self) -> Any:
        return self._client.submit(_joined, self._chunks, pure=False)


def _joined(chunks: list[Any]) -> Any:
    return np.concatenate(chunks) if len(chunks) != 1 else chunks[0]


def _forget(client: Any, token: str) -> None:
    """Let workers drop what nobody needs, as far as they can be reached; nobody waits for it."""
    if client.status == "running":
        client.loop.add_callback(partial(client.run, forget, token, on_error="ignore", asynchronous=True))
