"""How much memory there is, asked before a result is allocated that would not fit."""

from __future__ import annotations

import math

import numpy as np

from ntk_fast.schedule import container


def available_bytes() -> int | None:
    """Return the memory that can be had without swapping, as far as the system and its containers tell."""
    known = [free for free in (_free_of_the_system(), container.free_bytes()) if free is not None]
    return min(known, default=None)


def _free_of_the_system() -> int | None:
    try:
        with open("/proc/meminfo") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    except (OSError, ValueError, IndexError):
        return None


#: Results below this many bytes are not worth asking the system for.
SMALL_RESULT = 64 << 20


#: What helps where a Gram matrix is the result.
COMPUTE_IN_BLOCKS = (
    "pass a memory-mapped array as out (numpy.lib.format.open_memmap), or compute it in blocks of rows, "
    "kernel(X[start:stop], X)"
)


def refuse_too_large(
    shape: tuple[int, ...], dtype: np.dtype, *, copies: int = 1, what: str = "result", advice: str = COMPUTE_IN_BLOCKS
) -> None:
    """Raise if an array of this shape, so many times over, does not fit in the free memory."""
    needed = copies * math.prod(shape) * dtype.itemsize
    available = available_bytes() if needed > SMALL_RESULT else None
    if available is not None and needed > available:
        size = " x ".join(map(str, shape))
        raise MemoryError(
            f"The {size} {what} in {dtype} needs {needed / 1e9:.1f} GB and {available / 1e9:.1f} GB are free; {advice}."
        )
