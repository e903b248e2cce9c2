"""Results that threads or workers have in any order, taken in the order of their numbers: rounding follows no clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class InOrder(Generic[Result]):
    """Calls ``take(number, result)`` for the numbers 0, 1, 2, ... in turn, each once, however they come.

    Examples
    --------
    >>> taken = InOrder(lambda number, letter: print(number, letter))
    >>> taken.put(1, "b")
    >>> taken.put(0, "a")
    0 a
    1 b
    """

    def __init__(self, take: Callable[[int, Result], None]) -> None:
        self._take = take
        self._waiting: dict[int, Result] = {}
        self._next = 0
        self._lock = threading.Lock()

    def put(self, number: int, result: Result) -> None:
        """Keep a result until all before it have been taken."""
        with self._lock:
            self._waiting[number] = result
            while self._next in self._waiting:
                self._take(self._next, self._waiting.pop(self._next))
                self._next += 1
