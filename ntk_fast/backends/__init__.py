"""Which backends there are, and which one computes: the argument, else the environment, else the fastest present."""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import cache, lru_cache

from ntk_fast.backends.base import Backend

BACKEND_VARIABLE = "NTK_FAST_BACKEND"

#: Fastest first.
BACKENDS = ("cython", "numba", "numpy")


@cache
def why_missing(name: str) -> str | None:
    """Return why a backend cannot run here; None if it can."""
    if name == "cython" and importlib.util.find_spec("ntk_fast.backends._tile") is None:
        return "the compiled extension is not installed; install a C compiler and Python's headers, then ntk_fast again"
    if name == "numba" and importlib.util.find_spec("numba") is None:
        return "Numba is not installed"
    return None


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that run here, fastest first.

    Examples
    --------
    >>> "numpy" in available_backends()
    True
    """
    return tuple(name for name in BACKENDS if why_missing(name) is None)


@cache
def _load(name: str) -> Backend:
    if name == "cython":
        from ntk_fast.backends.cython_backend import CythonBackend

        return CythonBackend()
    if name == "numba":
        from ntk_fast.backends.numba_backend import NumbaBackend

        return NumbaBackend()
    from ntk_fast.backends.numpy_backend import NumpyBackend

    return NumpyBackend()


@lru_cache(maxsize=1)
def _warn_of_fallback(name: str) -> None:
    warnings.warn(f"ntk_fast runs on {name.capitalize()}: {why_missing('cython')}.", RuntimeWarning, stacklevel=5)


def choose_backend(name: str | None = None) -> Backend:
    """Return the backend of this name, of the environment's name, or the fastest; one asked for by name must exist."""
    source = "backend"
    if name is None and os.environ.get(BACKEND_VARIABLE, "").strip():
        name, source = os.environ[BACKEND_VARIABLE].strip(), BACKEND_VARIABLE
    if name is None:
        fastest = available_backends()[0]
        if fastest != "cython":
            _warn_of_fallback(fastest)
        return _load(fastest)
    present = ", ".join(repr(backend) for backend in available_backends())
    if name not in BACKENDS:
        raise ValueError(f"{source} must be one of {present}; got {name!r}.")
    reason = why_missing(name)
    if reason is not None:
        raise ImportError(f"{source} {name!r} is not available: {reason}. Present: {present}.")
    return _load(name)
