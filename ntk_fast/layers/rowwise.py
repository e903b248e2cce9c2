"""What layers other than Dense do to the units of a network of finite width: functions of each row, and derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

#: float64; layers say of themselves that they take any real numbers.
Reals = NDArray[Any]


class Rowwise(Protocol):
    """A function of the units of one or several layers, row by row.

    Arrays of shape (n_rows, n_units), or (n_rows, n_positions, n_units) for images and sequences.
    """

    def value(self, *units: Reals) -> Reals:
        """Return the units that it makes."""

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        """Return how they change when the given ones move along tangents."""

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        """Return the gradients by the given ones, of a function whose gradient by what it makes is the cotangent.

        The cotangent may be of a single row, which stands for all, unless positions change.
        """
