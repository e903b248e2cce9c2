"""Exact kernels of infinitely wide neural networks, on all cores.

The map, in the order in which to read it:

    kernels       ArcCosine, NNGP, NTK: what a user calls
    activations   the registry of activations; `duals`: what one hidden layer does to an angle
    compensated   sums and products with their rounding errors, in NumPy
    recursion     the layers put together: the mathematics of every kernel, once
    profile       compiles a recursion into the short tables that tiles evaluate
    gram          checked rows -> tiles -> matrix; `validation`, `rows`, `memory` are its steps
    tiling        the schedule: tiles, threads, progress, interrupts; `threads`: how many, and BLAS held to one
    backends      who fills a tile: `cython_backend` (C, in csrc/), `numba_backend`, `numpy_backend` (the reference)
    cli           the command line, ntk-fast
"""

from ntk_fast.activations import leaky_relu
from ntk_fast.backends import available_backends
from ntk_fast.gram import gram
from ntk_fast.kernels import NNGP, NTK, ArcCosine
from ntk_fast.version import __version__

__all__ = ["NNGP", "NTK", "ArcCosine", "__version__", "available_backends", "gram", "leaky_relu"]
