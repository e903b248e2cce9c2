"""Results that do not fit are refused before they are allocated."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ntk_fast.schedule import container, memory

FLOAT64 = np.dtype(np.float64)


def test_the_free_memory_is_some_of_this_machines():
    available = memory.available_bytes()
    assert available is None or 0 < available < 1 << 50


def test_the_least_of_the_systems_and_the_containers_counts(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda path: io.StringIO("MemTotal: 64 kB\nMemAvailable:   32000000 kB\n"))
    monkeypatch.setattr(container, "free_bytes", lambda: 5_000_000_000)
    assert memory.available_bytes() == 5_000_000_000
    monkeypatch.setattr(container, "free_bytes", lambda: None)
    assert memory.available_bytes() == 32_000_000 * 1024


def test_where_the_system_does_not_tell_nothing_is_refused(monkeypatch):
    def missing(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("builtins.open", missing)
    monkeypatch.setattr(container, "free_bytes", lambda: None)
    assert memory.available_bytes() is None
    memory.refuse_too_large((10**9, 10**9), FLOAT64)


def test_what_fits_exactly_is_allowed_and_a_row_more_is_not(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 20_000 * 20_000 * 8)
    memory.refuse_too_large((20_000, 20_000), FLOAT64)
    with pytest.raises(MemoryError, match=r"20001 x 20000 result in float64 needs 3\.2 GB and 3\.2 GB are free"):
        memory.refuse_too_large((20_001, 20_000), FLOAT64)
