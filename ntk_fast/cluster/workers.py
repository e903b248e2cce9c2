"""Which workers there are, and whether they may take part: asked before any work, and answered in one sentence."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntk_fast.backends.engines import Engine, backend_of
from ntk_fast.rows.stored import RowFile
from ntk_fast.version import __version__

#: How long a scheduler may take to answer.
SECONDS_TO_ANSWER = 10
#: The scheduler is asked so often which workers there are; after so long without any, or a connection, nobody waits.
SECONDS_BETWEEN_QUESTIONS, SECONDS_WITHOUT_WORKERS = 5.0, 60.0
SECONDS_BETWEEN_LOOKS = 0.1
#: Workers that a sentence names.
MOST_NAMED = 3

#: A worker without the package could not even read a function of ours: this one it has.
VERSION = "__import__('ntk_fast').__version__"


def check_client(client: Any) -> Any:
    """Return a client that is connected and has workers, or raise."""
    distributed = sys.modules.get("distributed")
    if distributed is None or not isinstance(client, distributed.Client):
        raise TypeError(f"client must be a dask.distributed.Client; got {client!r} of type {type(client).__name__}.")
    if client.asynchronous:
        raise ValueError("client must not be asynchronous: calls wait for their results.")
    if client.status in ("closed", "closing"):
        raise ValueError("client is closed: pass one that is connected to a scheduler.")
    if not threads_of_workers(client):
        raise ValueError(
            f"client has no workers: start some with the scheduler at {address_of(client)}, or wait for them with "
            "client.wait_for_workers(1)."
        )
    return client


def address_of(client: Any) -> str:
    scheduler = client.scheduler
    return str(scheduler.address if scheduler is not None else client._start_arg)


def threads_of_workers(client: Any) -> dict[str, int]:
    """Return how many threads each worker has; raise if the scheduler does not answer."""
    return dict(answer_of(client, lambda: client.scheduler.ncores(workers=None)))


def answer_of(client: Any, ask: Callable[[], Any]) -> Any:
    """Return the scheduler's answer; raise if there is none within `SECONDS_TO_ANSWER`."""

    async def asked() -> Any:
        return await ask()

    try:
        if client.status != "running":
            raise OSError(f"the client is {client.status}")
        return client.sync(asked, callback_timeout=SECONDS_TO_ANSWER)
    except (OSError, AttributeError) as error:  # no scheduler at all, where the connection was lost
        raise ConnectionError(
            f"The scheduler at {address_of(client)} does not answer ({error or f'within {SECONDS_TO_ANSWER} s'}): is "
            "it running, and can this machine reach it?"
        ) from None


class Threads:
    """How many threads the workers of a client have together: asked now and then."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._asked = self._had_workers = -math.inf
        self._number = 0

    @property
    def number(self) -> int:
        """At least 1; raises where there have been no workers for long."""
        if time.monotonic() - self._asked > SECONDS_BETWEEN_QUESTIONS:
            self._ask()
        return max(1, self._number)

    def wait(self) -> None:
        """Return once there is a worker."""
        self._ask()
        while not self._number:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self._ask()

    def _ask(self) -> None:
        before, self._asked = self._asked, time.monotonic()
        self._number = sum(threads_of_workers(self.client).values())
        if self._number or self._asked - before > SECONDS_WITHOUT_WORKERS:  # or nobody has asked for long
            self._had_workers = self._asked
        elif self._asked - self._had_workers > SECONDS_WITHOUT_WORKERS:
            raise ConnectionError(
                f"The scheduler at {address_of(self.client)} has had no workers for {SECONDS_WITHOUT_WORKERS:.0f} s."
            )


@dataclass(frozen=True)
class Terms:
    """What every worker must agree to."""

    engine: Engine
    pickled: bytes  # what it has to build a matrix with: the kernel among it
    files: tuple[RowFile, ...] = ()  # of rows, which it opens itself
    #: A file beside the store with words in it that only those can know who see the same folder.
    probe: tuple[str, bytes] | None = None


def refuse_unfit(client: Any, terms: Terms) -> None:
    """Raise if a worker has another version, or cannot do or see what the others can; it is named."""
    versions = client.run(eval, VERSION, on_error="return")
    without = [worker for worker, version in versions.items() if isinstance(version, ImportError)]
    if without:
        raise ValueError(f"{_named(without)} cannot import ntk_fast: install version {__version__} there.")
    for worker, version in versions.items():
        if not isinstance(version, Exception) and version != __version__:
            raise ValueError(
                f"{_named([worker])} has ntk_fast {version}, and the client {__version__}: install the same version."
            )
    answers = client.run(why_unfit, terms, on_error="return")
    for kind in dict.fromkeys(answers.values()):
        # an OSError: a worker that has died meanwhile
        if kind is not None and not isinstance(kind, OSError):
            workers = [worker for worker, answer in answers.items() if answer == kind]
            raise ValueError(f"{_named(workers)} {kind}")


def why_unfit(terms: Terms) -> str | None:
    """On a worker: what is in the way of its taking part, as the end of a sentence; None if nothing is."""
    from distributed.protocol import pickle

    try:
        backend_of(terms.engine)
    except (ImportError, ValueError) as error:
        return (
            f"cannot compute with the client's engine, {terms.engine} ({str(error).rstrip('.')}): set NTK_FAST_BACKEND "
            "or NTK_FAST_ISA at the client to what all have."
        )
    try:
        pickle.loads(terms.pickled)
    except Exception as error:  # whatever a function's module raises
        return (
            f"cannot load the kernel ({type(error).__name__}: {error}): its functions must be in modules that workers "
            "can import."
        )
    for file in terms.files:
        if not file.is_here():
            return f"does not see the rows, {file.path}: put them on a disk that all share, or pass an array."
    if terms.probe is not None:
        path, words = terms.probe
        try:
            is_same = Path(path).read_bytes() == words
        except OSError:
            is_same = False
        if not is_same:
            return f"does not see the folder of the store, {Path(path).parent}: name a path on a disk that all share."
    return None


def _named(workers: list[str]) -> str:
    more = f" and {len(workers) - MOST_NAMED} others" if len(workers) > MOST_NAMED else ""
    return (
        f"Worker{'s' if len(workers) > 1 else ''} {', '.join(workers[:MOST_NAMED])}{more}:"
        if more
        else (f"Worker{'s' if len(workers) > 1 else ''} {', '.join(workers)}")
    )
