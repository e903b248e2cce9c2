"""Names that need scikit-learn, which is an extra: imported when they are first used.

Without it they are not there (`hasattr` is False, `import *` passes over them), and who asks for one reads what to
install.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from typing import Any


def has_sklearn() -> bool:
    """Return whether scikit-learn is installed, without importing it."""
    return importlib.util.find_spec("sklearn") is not None


def import_for(package: str, module: str, name: str) -> Any:
    """Return a name of a module, for the `__getattr__` of a package; raise if it needs a missing scikit-learn.

    Raises
    ------
    AttributeError
        As `hasattr` wants it; from an ImportError that says why.
    ImportError
        If a ``from package import name`` asks: it would put a sentence of its own in the place of an AttributeError's.
    """
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        sentence = f"{package}.{name} needs scikit-learn 1.6 or later: pip install 'ntk_fast[sklearn]'."
        missing = ImportError(sentence, name=error.name)
        asking = sys._getframe(2).f_globals.get("__name__")  # of __getattr__'s caller
        if asking in ("importlib._bootstrap", "_frozen_importlib"):
            raise missing from error
        missing.__cause__ = error
        raise AttributeError(sentence, name=name) from missing
