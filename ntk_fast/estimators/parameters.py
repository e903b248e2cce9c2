"""Parameters that several estimators share, checked when they are fitted, as scikit-learn does."""

from __future__ import annotations

from typing import Any

from ntk_fast.kernels import NTK, Kernel
from ntk_fast.solvers.base import Report, silent

#: What `kernel=None` means.
DEFAULT_KERNEL = NTK(depth=3)


def choose_kernel(kernel: Any) -> Kernel:
    """Return the kernel given, or the default."""
    if kernel is None:
        return DEFAULT_KERNEL
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an ArcCosine, NNGP or NTK; got {kernel!r} of type {type(kernel).__name__}.")
    return kernel


def choose_report(report: Any) -> Report:
    """Return the report given, or one that says nothing."""
    if report is None:
        return silent
    if not callable(report):
        raise TypeError(f"report must be a function of (stage, share of it done); got a {type(report).__name__}.")
    return report
