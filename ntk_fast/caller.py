"""Warnings that point at the line of whoever called the package, however deep inside they arise."""

from __future__ import annotations

import os
import sys
import warnings

#: Of the files whose lines are not the caller's.
PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn, from the line that called the package: an optimiser's, which calls back, is not that."""
    frame, level, outermost = sys._getframe(0), 1, 1
    while frame.f_back is not None:
        if os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
            outermost = level
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=outermost + 1)
