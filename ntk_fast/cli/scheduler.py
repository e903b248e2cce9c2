"""--scheduler: the workers of a Dask cluster compute, and this command waits for them."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: How long a scheduler may take to answer.
SECONDS_TO_ANSWER = 10


def add_scheduler_argument(group: Any, words: str) -> None:
    group.add_argument("--scheduler", metavar="ADDRESS", help=f"{words}, at tcp://HOST:PORT; see docs/cluster.md")


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Any]:
    """Yield a client of the scheduler that is asked for, or None."""
    if arguments.scheduler is None:
        yield None
        return
    if importlib.util.find_spec("distributed") is None:
        raise ImportError("--scheduler needs dask.distributed: pip install 'ntk_fast[dask]'.")
    from distributed import Client

    from ntk_fast.cluster import check_client

    # what goes wrong is said in one sentence, at the end
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(arguments.scheduler, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip() or f"no answer within {SECONDS_TO_ANSWER} s"
        raise ConnectionError(
            f"--scheduler: {arguments.scheduler} does not answer ({reason.splitlines()[0]})."
        ) from None
    with client:
        yield check_client(client)


def workers_in_words(client: Any) -> str:
    """Return how many workers a client has, and how many threads they have together."""
    from ntk_fast.cluster.workers import threads_of_workers

    threads = threads_of_workers(client)
    return f"{len(threads)} workers with {sum(threads.values())} threads"
