"""Values that workers have: sent once, and again if all that had them are gone. No graph holds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ntk_fast.cluster.workers import address_of, threads_of_workers

#: A client keeps a value under one of these words while it is there, or will be.
KEPT = ("finished", "pending")


#: From when on it is given up; rows that take longer than that to send are sent, unless a worker dies.
SECONDS_TO_SEND = 60.0
#: Smaller values go along with each task, which spares the scheduler a question.
SMALL_BYTES = 1 << 13


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
        return cls(lambda: sent(client, value))

    @property
    def is_lost(self) -> bool:
        return self.future.status not in KEPT

    def renew(self) -> None:
        self.future = self._make()


def sent(client: Any, value: Any, workers: list[str] | None = None) -> Any:
    """Return the future of a value that all workers have, or one of some; they may die, and others come, meanwhile."""
    deadline = time.monotonic() + SECONDS_TO_SEND
    while True:
        try:
            # a list, as scatter would take an iterable value apart; unhashed, as what is sent again must be sent
            return client.scatter([value], workers=workers, broadcast=workers is None, hash=False)[0]
        except (KeyError, OSError, ValueError) as error:  # of a worker that the scheduler has just forgotten
            if workers is not None and set(workers) - set(threads_of_workers(client)):
                workers = list(threads_of_workers(client))[:1] or None
            if client.status != "running" or time.monotonic() > deadline:
                raise ConnectionError(
                    f"Nothing can be sent to the workers of the scheduler at {address_of(client)} ({error})."
                ) from None
            time.sleep(0.1)
