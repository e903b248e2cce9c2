"""Forking a process while another thread of it fits a model.

OpenBLAS ends its own threads before a fork, whoever uses them: a product that another thread has under way on several
of them, or LAPACK's, is then never finished, and often the fork is not either. So while a fit of ours is under way, a
fork first holds BLAS to one thread and waits until BLAS's other threads have nothing left to do. What is called
meanwhile runs on one thread and asks for no other.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ntk_fast.schedule import threads

TASKS = Path("/proc/self/task")
#: How long a fork waits, in seconds: other libraries' threads, which may be busy for ever, cannot be told from BLAS's.
PATIENCE = 10.0
#: So often in turn, a millisecond apart, all must be seen asleep: a product about to wake them takes microseconds.
LOOKS = 5


class _Fork(threading.local):
    """What the fork under way on this thread has taken."""

    user: object | None = None  # of the limit of BLAS
    is_quiet = True  # BLAS's threads were seen to have nothing left to do


_fork = _Fork()


def _quieten_blas() -> None:
    """Before a fork."""
    if not (threads.may_use_several() and TASKS.exists()):
        return
    end = time.monotonic() + PATIENCE
    _fork.user, _fork.is_quiet = threads.hold_to_one(PATIENCE), False
    looks = 0
    while looks < LOOKS and time.monotonic() < end:
        time.sleep(1e-3)
        looks = 0 if any(_strangers_at_work()) else looks + 1
    _fork.is_quiet = looks == LOOKS


def _strangers_at_work() -> Iterator[bool]:
    """Yield of every thread that is not Python's whether it works: BLAS's own sleep 0.03 s after their work ends."""
    known = {thread.native_id for thread in threading.enumerate()}
    for task in TASKS.iterdir():
        if int(task.name) not in known:
            try:
                yield (task / "stat").read_text().rpartition(")")[2].split()[0] in "RD"
            except OSError:  # it has ended
                continue


def _go_on_in_parent() -> None:
    user, _fork.user = _fork.user, None
    if user is not None:
        threads.release(user)


def _go_on_in_child() -> None:
    threads.forget_users(_fork.is_quiet)
    _fork.user, _fork.is_quiet = None, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_quieten_blas, after_in_parent=_go_on_in_parent, after_in_child=_go_on_in_child)
