"""Parameters that several estimators share, checked when they are fitted, as scikit-learn does."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def refuse_text(y: Any) -> None:
    """Raise if targets of a regression are words or dates, or hold some."""
    values = np.asarray(y)
    has_words = values.dtype.kind == "O" and any(isinstance(value, str) for value in values.flat)
    if has_words or values.dtype.kind in "USMm":
        raise TypeError(f"y must hold numbers; got dtype {values.dtype}, for one {values.flat[0]!r}.")


def choose_report(report: Any) -> Report:
    """Return the report given, or one that says nothing."""
    if report is None:
        return silent
    if not callable(report):
        raise TypeError(f"report must be a function of (stage, share of it done); got a {type(report).__name__}.")
    return report
