"""Sums of variances over the positions that windows see, dimension by dimension."""

from __future__ import annotations

import numpy as np

from ntk_fast.compensated import Reals, two_sum
from ntk_fast.layers.window import OUTSIDE, Positions, Window
from ntk_fast.lower.scaled import Integers, Scaled

#: Roots of variances: mantissas and exponents of 2.
Roots = tuple[Reals, Integers]


def sums_seen(variance: Scaled, window: Window) -> Scaled:
    """Return what windows see of variances (n_positions, n): sums over their taps, (n_outputs, n).

    What is 2^-1000 of the largest variance of its image, or less, does not count.
    """
    top = largest_exponents(variance.is_zero, variance.exponent)
    shift = np.clip(variance.exponent - top, -1100, 0).astype(np.int32)
    n = variance.high.shape[1]
    high, low = (np.ldexp(part, shift).reshape(*window.grid, n) for part in (variance.high, variance.low))
    for axis, seen in enumerate(_seen_along(window)):
        high, low = _added_along(axis, high, seen), _added_along(axis, low, seen)
        low, high = high[1] + low[0], high[0]
    return Scaled.of(high.reshape(-1, n), low.reshape(-1, n), top)


def _added_along(axis: int, values: Reals, seen: Positions) -> tuple[Reals, Reals]:
    """Return sums over the taps of one dimension, (n_taps, n_outputs), and their rounding errors."""
    nothing = np.zeros([1 if k == axis else n for k, n in enumerate(values.shape)])
    padded = np.concatenate([values, nothing], axis=axis)  # where OUTSIDE finds a zero
    total = np.take(padded, seen[0], axis=axis)
    errors = np.zeros_like(total)
    for positions in seen[1:]:
        total, error = two_sum(total, np.take(padded, positions, axis=axis))
        errors += error
    return total, errors


def _seen_along(window: Window) -> list[Positions]:
    """Return of every dimension the position that each tap sees of each output, (n_taps, n_outputs), or `OUTSIDE`."""
    outputs = window.output or (1,) * len(window.grid)
    result = []
    for n, size, stride, step, before, m in zip(
        window.grid, window.sizes, window.strides, window.dilation, window.before, outputs, strict=True
    ):
        seen = np.arange(m)[None, :] * stride + np.arange(size)[:, None] * step - before
        if window.is_circular:
            seen %= n
        result.append(np.where((seen >= 0) & (seen < n), seen, OUTSIDE))
    return result


def roots_of(variance: Scaled) -> Roots:
    """Return the square roots, to the last bit or the next."""
    odd = variance.exponent & 1
    return np.sqrt(np.where(odd, 2 * variance.high, variance.high)), (variance.exponent - odd) >> 1


def ratio(above: Roots, below: Roots) -> Roots:
    """Return above / below; 0 where there is nothing below."""
    is_zero = below[0] == 0
    return np.where(is_zero, 0.0, above[0] / np.where(is_zero, 1.0, below[0])), above[1] - below[1]


def plain(root: Roots) -> Reals:
    """Return float64, infinite or 0 where a root is out of range."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(root[0], np.clip(root[1], -5000, 5000).astype(np.int32))


def relative(root: Roots) -> tuple[Reals, Integers]:
    """Return roots over a power of two of each image, the exponent of its largest, and these exponents."""
    exponent = largest_exponents(root[0] == 0, root[1])
    return plain((root[0], root[1] - exponent)), exponent


def largest_exponents(is_zero: np.ndarray, exponent: Integers) -> Integers:
    """Return the largest exponent of each image, of what is not 0."""
    lowest = np.iinfo(np.int64).min
    largest = np.where(is_zero, lowest, exponent).max(axis=0)
    return np.where(largest == lowest, 0, largest)
