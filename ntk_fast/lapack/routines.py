"""LAPACK's and BLAS's routines as they are, called without the interpreter's lock.

SciPy's wrappers hold that lock and copy what is not in Fortran's order. Here the same routines of the same library are
called through the pointers that SciPy exports for Cython, on memory in place.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@cache
def _routine(name: str, n_arguments: int) -> Any:
    """Return a routine of SciPy's BLAS or LAPACK, all of whose arguments are pointers."""
    from scipy import LowLevelCallable
    from scipy.linalg import cython_blas, cython_lapack

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    library = cython_lapack if name in cython_lapack.__pyx_capi__ else cython_blas
    exported = LowLevelCallable.from_cython(library, name)
    address = pointer(exported.function, exported.signature.encode())
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address)


def call(name: str, *arguments: bytes | int | float | NDArray[Any]) -> None:
    """Call a routine that has no `info` with letters, numbers, and arrays, each by the address of its first entry."""
    held = [*map(_in_memory, arguments)]
    _routine(name, len(held))(*map(_address, held))


def call_checked(name: str, *arguments: bytes | int | float | NDArray[Any]) -> int:
    """Call a routine likewise, and return its `info`, the last argument of each."""
    info = ctypes.c_int(0)
    held = [*map(_in_memory, arguments), info]
    _routine(name, len(held))(*map(_address, held))
    if info.value < 0:
        raise RuntimeError(f"LAPACK's {name} refuses its argument {-info.value}")
    return info.value


def _in_memory(argument: bytes | int | float | NDArray[Any]) -> Any:
    """Return what has an address: an array, or a letter or number that a pointer can point to."""
    if isinstance(argument, np.ndarray):
        return argument
    if isinstance(argument, bytes):
        return ctypes.c_char(argument)
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int(argument)


def _address(held: Any) -> int:
    return held.ctypes.data if isinstance(held, np.ndarray) else ctypes.addressof(held)


def leading_dimension(matrix: Reals) -> int:
    """Return the distance of its rows, in numbers, of a matrix whose rows are contiguous."""
    return max(1, matrix.strides[0] // matrix.itemsize, matrix.shape[1])


def check_square(matrix: Reals) -> int:
    """Return the size of a matrix that can be worked on in place."""
    n = len(matrix)
    assert matrix.dtype == np.float64
    assert matrix.shape == (n, n)
    assert matrix.flags.c_contiguous
    assert matrix.flags.writeable
    return n
