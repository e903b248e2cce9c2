"""Warnings that point at the line of whoever called the package, however deep inside they arise."""

from __future__ import annotations

import os
import sys
import warnings

#: Of the files whose lines are not the caller's.
PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn, from the innermost line that is not the package's own."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
