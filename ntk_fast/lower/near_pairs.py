"""Nearly parallel pairs through an activation that is not homogeneous, without cancellation.

Normalised, the activation sigma(sqrt(q) z) is a unit vector b(q) in the space of functions of a standard normal z, and
for rows of variances q, q' at cosine 1 the output's cosine is b(q).b(q'). With the arc length `ell` of this curve and
its squared curvature `bend`, for near rows

    1 - b.b' = |b - b'|^2 / 2 = L^2 / 2 (1 - bend L^2 / 12 + ...),    L = ell(q) - ell(q'),

and what a cosine below 1 takes away is the integral of D, the derivative of the map, all of whose values are positive
here: three Gauss-Legendre nodes give it to the last digit. Far pairs are 1 minus the cosine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ntk_fast.compensated import Reals

#: m below which 1 - cosine is not taken by subtraction, and the |L| up to which the series above holds.
NEAR = 1e-5
NEAR_LENGTH = 5e-3

GAUSS_NODES = 0.5 + np.array([-0.5, 0.0, 0.5]) * np.sqrt(0.6)
GAUSS_WEIGHTS = np.array([5, 8, 5]) / 18


def near_complement(
    m: Reals,
    cosine: Reals,
    ell: tuple[Reals, Reals],
    bend: tuple[Reals, Reals],
    derivative: Callable[[Reals], Reals],
) -> Reals:
    """Return 1 - cosine of the output: as above where the pair is near, else by subtraction.

    `cosine`: of the output; `derivative`: D as a function of the input's m. All broadcast.
    """
    length = ell[0] - ell[1]
    near = (m < NEAR) & (np.abs(length) < NEAR_LENGTH)
    if not near.any():
        return 1 - cosine
    square = length * length
    gap = 0.5 * square * (1 - (bend[0] + bend[1]) / 24 * square)
    lost = sum(weight * derivative(m * node) for weight, node in zip(GAUSS_WEIGHTS, GAUSS_NODES, strict=True))
    return np.where(near, gap + m * lost, 1 - cosine)
