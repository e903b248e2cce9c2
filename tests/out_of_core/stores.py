"""Stores to be written, interrupted and looked into."""

from __future__ import annotations

import io
import itertools
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ntk_fast as ntk

KERNEL = ntk.NTK(2)


def rows(n: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 5)).astype(dtype)


def npy_bytes(matrix: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, matrix)
    return buffer.getvalue()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def in_process(action: Callable[[], None]) -> int:
    """Run an action in a forked process; returns the signal that ended it, 0 if none did."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kill_at(call: int) -> None:
    """Kill this process when it comes to its `call`-th change of the disk; a write is first made by half."""
    counter, lock = itertools.count(1), threading.Lock()

    def wrapped(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def changed(*arguments: Any, **options: Any) -> Any:
            with lock:
                if next(counter) == call:
                    if name == "pwrite":
                        file, content, offset = arguments
                        original(file, content[: len(content) // 2], offset)
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

        return changed

    for name in ("open", "pwrite", "fsync", "ftruncate", "posix_fallocate", "replace", "rename", "unlink", "mkdir"):
        setattr(os, name, wrapped(name))


def begin(path: Path, X: np.ndarray, Y: np.ndarray | None = None, **options: Any) -> None:
    """Leave an unfinished store."""

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, X, path, Y, n_threads=1, progress=interrupt, **options)


def begin_most(path: Path, X: np.ndarray, **options: Any) -> None:
    """Leave a store of which nearly everything is finished."""

    def interrupt(done: int, total: int) -> None:
        if done > 0.9 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, X, path, n_threads=1, progress=interrupt, **options)
