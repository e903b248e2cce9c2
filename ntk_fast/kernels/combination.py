"""Sums and products of kernels as they were written, so that their parts can be changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ntk_fast.validation import check_not_negative


@dataclass(frozen=True)
class Combination:
    """How a sum or a product of kernels was written: what stands left and right of the operator, numbers too."""

    operation: Callable[[Any, Any], Any]
    k1: Any
    k2: Any

    @property
    def parameters(self) -> dict[str, Any]:
        return {"k1": self.k1, "k2": self.k2}

    def with_parameters(self, k1: Any, k2: Any) -> Any:
        if not any(hasattr(part, "get_params") for part in (k1, k2)):
            raise TypeError(f"k1 or k2 must be a kernel of ntk_fast; got {k1!r} and {k2!r}.")
        return self.operation(k1, k2)


def check_operand(value: Any, what: str) -> float:
    """Refuse what is no kernel and no number >= 0 in a sum or a product."""
    name = f"{what} of a kernel"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.floating, np.integer)):
        hint = ""
        if type(value).__module__.startswith("sklearn."):
            hint = "; ntk_fast.GaussianProcessKernel(kernel) can be combined with kernels of scikit-learn"
        raise TypeError(f"{name} must be a kernel of ntk_fast or a number >= 0; got a {type(value).__name__}{hint}.")
    return check_not_negative(value, name)
