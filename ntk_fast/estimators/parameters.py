"""Parameters that several estimators share, checked when they are fitted, as scikit-learn does."""

from __future__ import annotations

from typing import Any

from ntk_fast.kernels import NTK, Kernel

#: What `kernel=None` means.
DEFAULT_KERNEL = NTK(depth=3)


def choose_kernel(kernel: Any) -> Kernel:
    """Return the kernel given, or the default."""
    if kernel is None:
        return DEFAULT_KERNEL
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an ArcCosine, NNGP or NTK; got {kernel!r} of type {type(kernel).__name__}.")
    return kernel
