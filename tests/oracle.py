"""Gram matrices against `ntk_fast.high_precision`: the kernels at 50 digits, on the very floats given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf
from numpy.typing import NDArray

from ntk_fast.high_precision import exact_value
from ntk_fast.kernels import Kernel

DIGITS = 50


@cache
def _exact_entry(kernel: Kernel, x: tuple[float, ...], y: tuple[float, ...]) -> mpf:
    return exact_value(kernel, x, y, DIGITS)


def exact_gram(kernel: Kernel, X: NDArray[Any], Y: NDArray[Any]) -> list[list[mpf]]:
    """Return kernel(X, Y) to about 50 digits."""
    columns = [tuple(map(float, y)) for y in Y]
    return [[_exact_entry(kernel, tuple(map(float, x)), y) for y in columns] for x in X]


def exact_diagonal(kernel: Kernel, X: NDArray[Any]) -> list[mpf]:
    return [_exact_entry(kernel, row, row) for row in (tuple(map(float, x)) for x in X)]


@dataclass(frozen=True)
class Worst:
    """The entry that is furthest off, for a failing test to print."""

    error: float  # over sqrt(K(x, x) K(y, y))
    i: int
    j: int
    got: float
    expected: mpf
    x: NDArray[Any]
    y: NDArray[Any]

    def __str__(self) -> str:
        return (
            f"error {self.error:.3g} at [{self.i}, {self.j}]: got {self.got!r}, "
            f"exact {mpmath.nstr(self.expected, 20)}\n"
            f"x = np.array({self.x.tolist()}, dtype={self.x.dtype})\n"
            f"y = np.array({self.y.tolist()}, dtype={self.y.dtype})"
        )


def worst_entry(kernel: Kernel, X: NDArray[Any], Y: NDArray[Any], K: NDArray[np.floating]) -> Worst:
    """Compare a Gram matrix with the exact one. A difference within the dtype's smallest number counts as none."""
    assert K.shape == (len(X), len(Y))
    smallest = float(np.finfo(K.dtype).smallest_subnormal)
    worst = Worst(-1.0, 0, 0, 0.0, mpf(0), X[:0], Y[:0])
    with mpmath.workdps(DIGITS):
        roots = [[mpmath.sqrt(value) for value in exact_diagonal(kernel, rows)] for rows in (X, Y)]
        for i, row in enumerate(exact_gram(kernel, X, Y)):
            for j, expected in enumerate(row):
                difference = abs(mpf(float(K[i, j])) - expected)
                scale = roots[0][i] * roots[1][j]
                error = 0.0 if difference <= smallest else float(difference / scale) if scale else float("inf")
                if not error <= worst.error:  # NaN counts as worst, too
                    worst = Worst(error, i, j, float(K[i, j]), expected, X[i], Y[j])
    return worst


def largest_ulps(got: NDArray[np.floating], expected: list[mpf]) -> float:
    """Return the largest error in units of the last place of the exact numbers."""
    assert got.shape == (len(expected),)
    with mpmath.workdps(DIGITS):
        return max(
            float(abs(mpf(float(value)) - exact) / float(np.spacing(got.dtype.type(float(exact)))))
            for value, exact in zip(got, expected, strict=True)
        )
