"""Values that workers have: sent once, and again if all that had them are gone. No graph holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: A client keeps a value under one of these words while it is there, or will be.
KEPT = ("finished", "pending")


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
        # a list, as scatter would take an iterable value apart; unhashed, as what is sent again must be sent
        return cls(lambda: client.scatter([value], broadcast=True, hash=False)[0])

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


def _joined(blocks: list[Any]) -> Any:
    return np.concatenate(blocks) if len(blocks) != 1 else blocks[0]
