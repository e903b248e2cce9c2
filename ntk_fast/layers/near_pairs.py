"""Nearly parallel pairs through an activation that is not homogeneous, without cancellation.

Normalised, the activation sigma(sqrt(q) z) is a unit vector b(q) in the space of functions of a standard normal z, and
for rows of variances q, q' at cosine 1 the output's cosine is b(q).b(q'). With the arc length `ell` of this curve and
its squared curvature `bend`, for near rows

    1 - b.b' = |b - b'|^2 / 2 = L^2 / 2 (1 - bend L^2 / 12 + ...),    L = ell(q) - ell(q'),

and what a cosine below 1 takes away is the integral of D, the derivative of the map, all of whose values are positive
here: three Gauss-Legendre nodes give it to the last digit. Far pairs are 1 minus the cosine, and so are those whose
curve bends too much between them for the series.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ntk_fast.compensated import Reals

#: The 1 - cosine of an output below which it is not taken by subtraction; its input's is no larger, nor L^2 / 2.
NEAR = 1e-5
#: The L^3 bend up to which the series above is better than a subtraction: its next term is about (L^3 bend)^2 / 720.
BENDING = 3e-7
#: The same where tiles compute in float32.
NEAR_FLOAT32, BENDING_FLOAT32 = 1e-2, 3e-3

GAUSS_NODES = 0.5 + np.array([-0.5, 0.0, 0.5]) * np.sqrt(0.6)
GAUSS_WEIGHTS = np.array([5, 8, 5]) / 18


def near_pair_thresholds(dtype: np.dtype) -> tuple[float, float]:
    """Return NEAR and BENDING for tiles that compute in this dtype."""
    return (NEAR_FLOAT32, BENDING_FLOAT32) if dtype == np.float32 else (NEAR, BENDING)


def near_complement(
    m: Reals,
    cosine: Reals,
    ell: tuple[Reals, Reals],
    bend: tuple[Reals, Reals],
    derivative: Callable[[Reals], Reals],
    rounding: Reals | None = None,
) -> Reals:
    """Return 1 - cosine of the output: as above where the pair is near, else by subtraction.

    Parameters
    ----------
    m, cosine : arrays
        1 - cosine of the input, and the cosine of the output.
    ell, bend : pairs of arrays
        Those of the two rows.
    derivative : callable
        D as a function of the input's m.
    rounding : array, optional
        Where D is a function of sqrt(m + rounding), as that of an activation which large variances make steep at 0:
        then this root is the variable of integration.
    """
    m, cosine = np.broadcast_arrays(m, cosine)
    near = 1 - cosine < NEAR
    if not near.any():
        return 1 - cosine
    length, mean_bend = ell[0] - ell[1], 0.5 * (bend[0] + bend[1])
    square = length * length
    near &= np.abs(length * square * mean_bend) < BENDING
    gap = 0.5 * square * (1 - mean_bend / 12 * square)
    lost = np.zeros_like(m)
    if rounding is None:
        for node, weight in zip(GAUSS_NODES, GAUSS_WEIGHTS, strict=True):
            lost += weight * derivative(m * node)
    else:
        start, stop = np.sqrt(rounding), np.sqrt(m + rounding)
        whole = np.maximum(start + stop, np.finfo(np.float64).tiny)
        for node, weight in zip(GAUSS_NODES, GAUSS_WEIGHTS, strict=True):
            root = start + node * (m / whole)  # m / (start + stop) = stop - start
            lost += weight * (2 * root / whole) * derivative(m * node * ((start + root) / whole))
    return np.where(near, gap + m * lost, 1 - cosine)
