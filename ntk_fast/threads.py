"""How many threads there are to use, BLAS held to one thread while ours run, and long calls that Ctrl-C interrupts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from ntk_fast.validation import check_whole_number

THREADS_VARIABLE = "NTK_FAST_NUM_THREADS"

SECONDS_BETWEEN_TICKS = 0.1

Result = TypeVar("Result")


def available_cores() -> int:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_n_threads(n_threads: int | None) -> int:
    """Return the argument if given, else the environment's number, else the number of usable processors."""
    if n_threads is not None:
        return check_whole_number(n_threads, "n_threads", 1)
    text = os.environ.get(THREADS_VARIABLE, "").strip()
    if not text:
        return available_cores()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{THREADS_VARIABLE} must be a whole number >= 1; got {text!r}.")
    return int(text)


@lru_cache(maxsize=1)
def _controller() -> Any:
    import scipy.linalg.blas  # noqa: F401  the library that Numba's products call must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _take_turn() -> None:
    """Have threadpoolctl (from 3.8 on) obey this thread: it lets one set the number for OpenBLAS and ignores others."""
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


_lock = threading.Lock()
_n_users = 0
_limiter: Any = None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of all concurrent users is done; then restore what the first one found."""
    global _n_users, _limiter
    with _lock:
        if _n_users == 0:
            _take_turn()
            _limiter = _controller().limit(limits=1)
        _n_users += 1
    try:
        yield
    finally:
        with _lock:
            _n_users -= 1
            if _n_users == 0:
                _take_turn()  # the first user was perhaps another thread
                _limiter.restore_original_limits()
                _limiter = None
                _take_turn()  # nobody's, as before


def aside(call: Callable[[], Result], tick: Callable[[], None] | None = None) -> Result:
    """Run one long call that leaves the interpreter's lock, of NumPy or LAPACK, on a thread of its own.

    The calling thread waits for it and hears Ctrl-C; `tick` is called at once, and ten times a second meanwhile. An
    interrupted call cannot be stopped, only left: it runs to its end in the background, and its result is dropped.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work, daemon=True)
    if tick is not None:
        tick()
    worker.start()
    worker.join(SECONDS_BETWEEN_TICKS)
    while worker.is_alive():
        if tick is not None:
            tick()
        worker.join(SECONDS_BETWEEN_TICKS)
    if errors:
        raise errors[0]
    return results[0]
