"""How many threads there are to use, and BLAS held to as many."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from ntk_fast.schedule import container
from ntk_fast.validation import check_whole_number

THREADS_VARIABLE = "NTK_FAST_NUM_THREADS"
#: What joblib sets in its workers, and batch systems in their jobs.
OPENMP_VARIABLE = "OMP_NUM_THREADS"


def available_cores() -> int:
    """Return the processors that this process may use, by its affinity and by its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


@cache
def _quota() -> float | None:
    """The container's, read once: a dozen small files, which would be half of the time of a small matrix."""
    return container.processors()


def choose_n_threads(n_threads: int | None) -> int:
    """Return the argument if given, else the environment's number, else the number of usable processors.

    Of the environment NTK_FAST_NUM_THREADS comes first and OMP_NUM_THREADS second, of whose list the first is meant.
    """
    if n_threads is not None:
        return check_whole_number(n_threads, "n_threads", 1)
    text = os.environ.get(THREADS_VARIABLE, "").strip()
    if text:
        if not _is_positive(text):
            raise ValueError(f"{THREADS_VARIABLE} must be a whole number >= 1; got {text!r}.")
        return int(text)
    first = os.environ.get(OPENMP_VARIABLE, "").partition(",")[0].strip()
    return int(first) if _is_positive(first) else available_cores()  # OpenMP passes over what is no number, too


def _is_positive(text: str) -> bool:
    return text.isdecimal() and int(text) >= 1


@cache
def _controller() -> Any:
    import scipy.linalg.blas  # noqa: F401  the library that Numba's products call must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _take_turn() -> None:
    """Have threadpoolctl (from 3.8 on) obey this thread: it lets one set the number for OpenBLAS and ignores others."""
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


class _BlasLimit:
    """The least of the limits of all concurrent users, until the last of them is done."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.limits: dict[object, int] = {}  # of each user
        self.found: list[tuple[Any, int]] = []  # BLAS libraries, and how many threads each had before the first user

    def add(self, user: object, n_threads: int) -> None:
        with self.lock:
            if not self.limits:
                self.found = [(library, library.num_threads) for library in _controller().lib_controllers]
            self.limits[user] = n_threads
            self.apply()

    def remove(self, user: object) -> None:
        with self.lock:
            self.limits.pop(user, None)  # not there if Ctrl-C came before
            self.apply()

    def apply(self) -> None:
        _take_turn()  # from another thread, perhaps, than the last time
        for library, n_found in self.found:
            n_threads = min([n_found, *self.limits.values()])
            if library.num_threads != n_threads:
                library.set_num_threads(n_threads)
        _take_turn()  # nobody's, as before


_blas_limit = _BlasLimit()


def may_use_several() -> bool:
    """Return whether users of ours may be in BLAS with more than one thread, of a kind that ends them at a fork."""
    return max([*_blas_limit.limits.values()], default=1) > 1 and any(
        library.internal_api == "openblas" and n_found > 1 for library, n_found in _blas_limit.found
    )


def hold_to_one(patience: float) -> object | None:
    """Hold BLAS to one thread and return the user to `release`, or none if the limit's lock is not free for so long."""
    user = object()
    if not _blas_limit.lock.acquire(timeout=patience):
        return None
    try:
        _blas_limit.limits[user] = 1
        _blas_limit.apply()
    finally:
        _blas_limit.lock.release()
    return user


def release(user: object) -> None:
    """End a user of the limit."""
    _blas_limit.remove(user)


def forget_users(is_quiet: bool) -> None:
    """In a forked child, whose users of BLAS are threads of its parent: leave BLAS as it is safe to use.

    A product on several threads holds a lock of OpenBLAS, and in the child nobody is there to give it back: where one
    may have been under way, the child's BLAS stays at one thread, which asks for no lock. Else it has its threads back.
    """
    global _blas_limit
    before, _blas_limit = _blas_limit, _BlasLimit()
    if before.limits:
        _blas_limit.found = before.found
        if not is_quiet:
            _blas_limit.limits = {before: 1}
        _blas_limit.apply()


@contextmanager
def limited_blas(n_threads: int | None = None) -> Iterator[None]:
    """Hold BLAS to so many threads, by default those of `choose_n_threads`, and to fewer if other users ask for fewer.

    It never gets more threads than it had; what it had it gets back when the last of all concurrent users is done.
    """
    limit, user = choose_n_threads(n_threads), object()
    try:
        _blas_limit.add(user, limit)
        yield
    finally:
        _blas_limit.remove(user)


def single_threaded_blas() -> AbstractContextManager[None]:
    """Hold BLAS to one thread while threads of ours call it."""
    return limited_blas(1)
