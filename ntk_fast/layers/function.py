"""Any function as an activation."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.cornered import Cornered
from ntk_fast.layers.corners import corners_of
from ntk_fast.layers.expanded import ExpandedActivation

if TYPE_CHECKING:
    from ntk_fast.lower.plan import Builder, Node

#: Central differences of order 8: a step, and the least.
STEP, LEAST_STEP = 0.02, 1e-9
DIFFERENCES = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])

#: Numbers that a function is tried on.
TRIED = np.concatenate([[0.0], np.geomspace(1e-3, 20, 13)])


@dataclass(frozen=True, repr=False)
class Activation(ExpandedActivation):
    """A function of your own, by its Hermite expansion (see :mod:`ntk_fast.layers.expanded`).

    Parameters
    ----------
    function : callable
        Takes a float64 array of any shape, and returns real, finite numbers of the same shape; smooth ones need few
        terms. What kinks and steep places cost in accuracy is measured, and said in a warning; but functions
        that are straight between corners, eight at most, as the hard tanh, are found out and computed in closed form.
    derivative : callable, optional
        Its derivative, likewise. By default differences of the function take its place.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Notes
    -----
    Such an activation can be pickled, and written as JSON, if its functions can be imported: not lambdas. Reading JSON
    imports nothing: the modules must have been imported before.

    Examples
    --------
    >>> round(Activation(np.arctan, lambda z: 1 / (1 + z * z)).gain, 9)
    0.449700916
    """

    function: Callable[[Reals], Reals]
    derivative_function: Callable[[Reals], Reals] | None = None

    def __init__(self, function: Callable[[Reals], Reals], derivative: Callable[[Reals], Reals] | None = None) -> None:
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "derivative_function", derivative)
        values = check_function(function, "function")
        if np.ptp(values) == 0:
            raise ValueError("function must not be constant.")
        if derivative is not None:
            check_function(derivative, "derivative")

    @property
    def has_derivative(self) -> bool:
        return self.derivative_function is not None

    @property
    def parity(self) -> int:
        return _parity(self.function)

    def __call__(self, z: Reals) -> Reals:
        return np.asarray(self.function(z), dtype=np.float64)

    def derivative(self, z: Reals) -> Reals:
        if self.derivative_function is not None:
            return np.asarray(self.derivative_function(z), dtype=np.float64)
        size = np.abs(z)
        step = STEP * np.maximum(1.0, 0.25 * size)
        if self.has_tail:  # a kink at 0 must stay outside
            step = np.minimum(step, np.maximum(0.2 * size, LEAST_STEP))
        differences = (
            factor * (self(z + k * step) - self(z - k * step)) for k, factor in enumerate(DIFFERENCES, start=1)
        )
        return sum(differences) / step

    def lower(self, builder: Builder, node: Node) -> Node:
        corners = corners_of(self.function)
        return builder.map(node, self if corners is None else Cornered(corners, repr(self)))

    def __reduce__(self) -> Any:
        for function in (self.function, self.derivative_function):
            if function is not None:
                path_of(function)
        return type(self), (self.function, self.derivative_function)

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> Activation:
        return cls(values["function"], values.get("derivative_function"))

    def field_to_plain(self, name: str, value: Any) -> Any:
        return None if value is None else path_of(value)

    @classmethod
    def field_from_plain(cls, name: str, value: Any) -> Any:
        return None if value is None else function_at(value)

    def __repr__(self) -> str:
        names = [
            getattr(f, "__qualname__", repr(f)) for f in (self.function, self.derivative_function) if f is not None
        ]
        return f"Activation({', '.join(names)})"


def check_function(function: Any, name: str) -> Reals:
    """Try a function on an array, and return what it makes of it."""
    if not callable(function):
        raise TypeError(f"{name} must be a function of arrays; got {function!r} of type {type(function).__name__}.")
    z = np.stack([-TRIED, TRIED])
    try:
        with np.errstate(all="ignore"):
            of_one_row = np.asarray(function(z.ravel()))
            values = np.asarray(function(z.copy()))
    except Exception as error:
        raise TypeError(
            f"{name} must take an array and return one of the same shape, as np.tanh does; "
            f"it raised {type(error).__name__}: {error}"
        ) from error
    for shape, needed in ((of_one_row.shape, (z.size,)), (values.shape, z.shape)):
        if shape != needed:
            raise ValueError(
                f"{name} must return an array of the same shape as its argument; got {shape} for {needed}."
            )
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must return real numbers; got dtype {values.dtype}.")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{name} must return finite numbers; got {values[bad][0]} at {z[bad][0]:g}.")
    return values.astype(np.float64)


@lru_cache(maxsize=256)
def _parity(function: Callable[[Reals], Reals]) -> int:
    below, above = (np.asarray(function(sign * TRIED), dtype=np.float64) for sign in (-1, 1))
    size = 1e-15 * np.abs([below, above]).max()
    return 1 if np.abs(above - below).max() <= size else -1 if np.abs(above + below).max() <= size else 0


def path_of(function: Any) -> str:
    """Return "module:name" of a function that can be imported."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if isinstance(function, np.ufunc):
        module, name = "numpy", function.__name__
    if module is None or name is None or _attribute(module, name) is not function:
        raise TypeError(
            f"{function!r} cannot be stored: it must be a function that can be imported by its name, defined by def at "
            "the top level of a module."
        )
    return f"{module}:{name}"


def _attribute(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def function_at(path: Any) -> Callable[[Reals], Reals]:
    """Return the function with this path. Nothing is imported, and the standard library is left alone."""
    module, _, name = path.partition(":") if isinstance(path, str) else ("", "", "")
    found = _attribute(module, name) if module.split(".")[0] not in {*sys.stdlib_module_names, ""} else None
    if module == "__main__":
        found = _attribute(module, name)
    if not isinstance(found, types.FunctionType | np.ufunc):
        raise ValueError(f"{path!r} is not a function of a module that has been imported: import it first.")
    return found
