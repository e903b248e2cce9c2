"""Values that workers have: sent once, and again if all that had them are gone. No graph holds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ntk_fast.cluster.workers import address_of

#: A client keeps a value under one of these words while it is there, or will be.
KEPT = ("finished", "pending")


#: From when on it is given up; rows that take longer than that to send are sent, unless a worker dies.
SECONDS_TO_SEND = 60.0
#: Smaller values go along with each task, which spares the scheduler a question.
SMALL_BYTES = 1 << 16


class Inline:
    """A small value that goes along with each task."""

    is_lost = False

    def __init__(self, value: Any) -> None:
        self.future = value

    def renew(self) -> None:
        """Nothing is ever lost."""


class Shared:
    """A value on the workers, as the future that tasks take.

    Parameters
    ----------
    make : callable
        Puts it there, and returns its future.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.future = make()

    @classmethod
    def of(cls, client: Any, value: Any) -> Shared:
        """Send a value of this process to all workers."""
        return cls(lambda: _sent(client, value))

    @classmethod
    def collected(cls, client: Any, collection: Any) -> Shared:
        """Have a worker join the chunks of a dask.array of rows, which this process never sees."""
        rows = collection.rechunk({1: -1}) if collection.numblocks[1] > 1 else collection
        blocks = client.compute(list(rows.to_delayed().ravel()))
        return cls(lambda: client.submit(_joined, blocks, pure=False))

    @property
    def is_lost(self) -> bool:
        return self.future.status not in KEPT

    def renew(self) -> None:
        self.future = self._make()


def _sent(client: Any, value: Any) -> Any:
    """Return the future of a value that all workers have; workers may die, and others come, on the way."""
    deadline = time.monotonic() + SECONDS_TO_SEND
    while True:
        try:
            # a list, as scatter would take an iterable value apart; unhashed, as what is sent again must be sent
            return client.scatter([value], broadcast=True, hash=False)[0]
        except (KeyError, OSError) as error:  # the first: of a worker that the scheduler has just forgotten
            if client.status != "running" or time.monotonic() > deadline:
                raise ConnectionError(
                    f"Nothing can be sent to the workers of the scheduler at {address_of(client)} ({error})."
                ) from None
            time.sleep(0.1)


def _joined(blocks: list[Any]) -> Any:
    return np.concatenate(blocks) if len(blocks) != 1 else blocks[0]
