"""Warnings that point at the line of whoever called the package, however deep inside they arise, and are said once."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

#: Of the files whose lines are not the caller's.
PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep

P = ParamSpec("P")
R = TypeVar("R")
#: Of the call under way: by category, how bad the worst is, and its message.
_worst: ContextVar[dict[type[Warning], tuple[float, str]] | None] = ContextVar("worst", default=None)

#: What the call under way says in words of its own.
_unsaid: ContextVar[frozenset[type[Warning]]] = ContextVar("unsaid", default=frozenset())


def warn_caller(message: str, category: type[Warning], severity: float | None = None) -> None:
    """Warn, from the line that called the package: an optimiser's, which calls back, is not that.

    Warnings with a severity arise in every layer and every matrix that a call computes: of each category its worst is
    said, once, where the call returns (`warns_once`).
    """
    if category in _unsaid.get():
        return
    worst = _worst.get()
    if severity is not None and worst is not None:
        if category not in worst or severity > worst[category][0]:
            worst[category] = severity, message
        return
    frame, level, outermost = sys._getframe(0), 1, 1
    while frame.f_back is not None:
        if os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
            outermost = level
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=outermost + 1)


def warns_once(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function a call of the package's user: within another such function it changes nothing."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if _worst.get() is not None:
            return function(*args, **kwargs)
        worst: dict[type[Warning], tuple[float, str]] = {}
        token = _worst.set(worst)
        try:
            result = function(*args, **kwargs)
        finally:
            _worst.reset(token)
        for category, (_, message) in worst.items():
            warn_caller(message, category)
        return result

    return called


@contextmanager
def on_trial() -> Iterator[None]:
    """Say nothing of what is tried and thrown away: warnings with a severity, where variances are looked for."""
    token = _worst.set({})
    try:
        yield
    finally:
        _worst.reset(token)


@contextmanager
def without(category: type[Warning]) -> Iterator[None]:
    """Say nothing of a category: who calls says it in words of its own."""
    token = _unsaid.set(_unsaid.get() | {category})
    try:
        yield
    finally:
        _unsaid.reset(token)
