"""Which backends there are, and which one computes: the argument, else the environment, else the fastest present.

The map:

    base               what a backend is, and what tasks are
    cython_backend     C in SIMD (`_tile.pyx`, csrc/); `cython_images`
    plain_loops        the same compiled by Numba, to be read
    numpy_backend      the reference; `numpy_images`
    image_schedule     what C and Numba do for a tile of images, and in which order
    blas_products      products with vectors by BLAS; `narrowed`: float32 matrices computed in float64
    engines            a backend with an instruction set: all ways to compute on this machine
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import cache, lru_cache

from ntk_fast.backends.base import Backend
from ntk_fast.caller import warn_caller

BACKEND_VARIABLE = "NTK_FAST_BACKEND"

#: Fastest first.
BACKENDS = ("cython", "numba", "numpy")


#: What a backend cannot do without, and what to say where that is not there.
_NEEDED = {
    "cython": (
        "ntk_fast.backends._tile",
        "the compiled extension is not installed; install a C compiler and Python's headers, then ntk_fast again",
    ),
    "numba": ("numba", "Numba is not installed"),
}


@cache
def why_missing(name: str) -> str | None:
    """Return why a backend cannot run here; None if it can."""
    if name not in _NEEDED:
        return None
    module, absent = _NEEDED[name]
    if importlib.util.find_spec(module) is None:
        return absent
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever an installation raises that was truncated, or built for something else
        return f"{module} is installed but cannot be loaded ({type(error).__name__}: {error}); install it again"
    return None


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that run here, fastest first.

    Returns
    -------
    tuple of str
        Out of "cython", "numba" and "numpy"; the last is always there.

    Examples
    --------
    >>> "numpy" in available_backends()
    True
    """
    return tuple(name for name in BACKENDS if why_missing(name) is None)


def _load(name: str) -> Backend:
    if name == "cython":
        from ntk_fast.backends.cython_backend import CythonBackend, choose_instruction_set

        return CythonBackend(choose_instruction_set())
    if name == "numba":
        from ntk_fast.backends.plain_loops.backend import NumbaBackend

        return NumbaBackend()
    from ntk_fast.backends.numpy_backend import NumpyBackend

    return NumpyBackend()


@lru_cache(maxsize=1)
def _warn_of_fallback(name: str) -> None:
    warn_caller(f"ntk_fast runs on {name.capitalize()}: {why_missing('cython')}.", RuntimeWarning)


def choose_backend(name: str | None = None) -> Backend:
    """Return the backend of this name, of the environment's name, or the fastest; one asked for by name must exist.

    It keeps to the instruction set that the environment names now: tables, tiles and scratch memory are made for it.
    """
    source = "backend"
    if name is None and os.environ.get(BACKEND_VARIABLE, "").strip():
        name, source = os.environ[BACKEND_VARIABLE].strip(), BACKEND_VARIABLE
    if name is None:
        fastest = next(backend for backend in BACKENDS if why_missing(backend) is None)
        if fastest != "cython":
            _warn_of_fallback(fastest)
        return _load(fastest)
    if name in BACKENDS and why_missing(name) is None:
        return _load(name)
    present = ", ".join(repr(backend) for backend in available_backends())
    if name not in BACKENDS:
        raise ValueError(f"{source} must be one of {present}; got {name!r}.")
    raise ImportError(f"{source} {name!r} is not available: {why_missing(name)}. Present: {present}.")
