"""Functions of one's own that are straight between corners, as a pair of Gaussians sees them, to many digits.

Given u, a function of v that is straight between corners has a mean in closed form; what is left is one integral over
u. Only the corners are shared with `layers`, not what is made of them.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import mpmath
from mpmath import mpf

from ntk_fast.high_precision.quadrature import over_u
from ntk_fast.layers.corners import Corners

#: Beyond so many deviations nothing is left, to forty digits.
REACH = 14
#: Around a corner of v the integrand turns within a few of these, times its deviation given u.
TURNS = (-8, -3, -1, 0, 1, 3, 8)


def of_corners(corners: Corners, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Return E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] for variances a, b and covariance c."""
    positions, slopes = [mpf(x) for x in corners.positions], [mpf(x) for x in corners.slopes]
    bends = [slope - before for before, slope in pairwise(slopes)]
    intercepts = list(accumulate((-d * x for d, x in zip(bends, positions, strict=True)), initial=mpf(0)))
    at_zero = sum(x < 0 for x in positions)
    intercepts = [mpf(corners.origin) + part - intercepts[at_zero] for part in intercepts]

    def of_number(z: Any) -> tuple[Any, Any]:
        k = sum(z > x for x in positions)
        return intercepts[k] + slopes[k] * z, slopes[k]

    def given(mean: Any, deviation: Any) -> tuple[Any, Any]:
        if not deviation:
            return of_number(mean)
        ends = [(x - mean) / deviation for x in positions]
        below = [mpf(0), *map(mpmath.ncdf, ends), mpf(1)]
        density = [mpf(0), *map(mpmath.npdf, ends), mpf(0)]
        value = slope_mean = mpf(0)
        for k, slope in enumerate(slopes):
            share = below[k + 1] - below[k]
            value += (intercepts[k] + slope * mean) * share + slope * deviation * (density[k] - density[k + 1])
            slope_mean += slope * share
        return value, slope_mean

    roots = mpmath.sqrt(a), mpmath.sqrt(b)
    cosine = c / (roots[0] * roots[1]) if a and b else mpf(0)
    square = (1 - cosine) * (1 + cosine)
    sine = mpmath.sqrt(square) if square > mpmath.mp.eps * 1000 else mpf(0)
    ends = {mpf(k) for k in range(-REACH, REACH + 1, 4)} | ({x / roots[0] for x in positions} if a else set())
    if b and cosine:
        ends |= {(x / roots[1] + turn * sine) / cosine for x in positions for turn in TURNS}
    kept = sorted(end for end in ends if abs(end) <= REACH)
    return over_u(of_number, given, roots, cosine, sine, kept)
