"""The ways to compute on this machine: a backend and, for the compiled one, an instruction set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ntk_fast.backends import available_backends, choose_backend
from ntk_fast.backends.base import Backend


@dataclass(frozen=True)
class Engine:
    """A backend, and the instruction set that it is held to (None: its own choice)."""

    backend: str
    instruction_set: str | None = None

    def __str__(self) -> str:
        return self.backend if self.instruction_set is None else f"{self.backend}-{self.instruction_set}"

    @contextmanager
    def selected(self) -> Iterator[str]:
        """Hold the environment to this instruction set; yields the backend's name."""
        before = os.environ.get("NTK_FAST_ISA")
        try:
            if self.instruction_set is not None:
                os.environ["NTK_FAST_ISA"] = self.instruction_set
            yield self.backend
        finally:
            if self.instruction_set is not None:
                os.environ.pop("NTK_FAST_ISA")
                if before is not None:
                    os.environ["NTK_FAST_ISA"] = before


def available_engines() -> list[Engine]:
    """Return every engine that runs here, fastest first."""
    engines = []
    for backend in available_backends():
        if backend == "cython":
            from ntk_fast.backends.cython_backend import available_instruction_sets

            engines += [Engine(backend, name) for name in available_instruction_sets()]
        else:
            engines.append(Engine(backend))
    return engines


def chosen_engine(backend: str | None = None) -> Engine:
    """Return the engine that a call with this `backend` argument runs on."""
    chosen = choose_backend(backend)
    return Engine(chosen.name, chosen.instruction_set)


def backend_of(engine: Engine) -> Backend:
    """Return the backend of an engine, whatever the environment names; raise if it does not run here."""
    backend = choose_backend(engine.backend)
    if engine.instruction_set in (None, backend.instruction_set):
        return backend
    from ntk_fast.backends.cython_backend import CythonBackend, available_instruction_sets

    assert engine.instruction_set is not None
    if engine.instruction_set not in available_instruction_sets():
        raise ValueError(f"this processor has {', '.join(available_instruction_sets())} only")
    return CythonBackend(engine.instruction_set)
