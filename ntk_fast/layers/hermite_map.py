"""The map of an activation that is given by its Hermite coefficients.

With normalised Hermite polynomials h_n, sigma(sqrt(q) z) - E[sigma] = N(q) sum_n a_n(q) h_n(z) over n = 1, 2, ...,
where sum_n a_n^2 = 1, and (Mehler's formula)

    cosine' = sum_n a_n a_n' cosine^n,     D = sum_n n a_n a_n' cosine^(n - 1).

The row parameters after `ell` and `bend` are the number of terms that the row needs, and a_1, a_2, ... A pair takes as
many terms as the one of its rows that needs more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.curved import CurvedActivation, Parts

#: Row parameters before a_1.
BEFORE = 3


@dataclass(frozen=True, repr=False)
class HermiteMap(CurvedActivation, abstract=True):
    """See the module."""

    map_kind: ClassVar[str] = "polynomial"
    formula: ClassVar[str] = "sum_n c_n(q) c_n(q') cosine^n, c_n: Hermite coefficients"

    @property
    def separates_mean(self) -> bool:
        return self.parity >= 0

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        coefficients = self.row_parameters(np.array([variance]), 1e-14)[BEFORE:, 0] ** 2
        series = np.zeros(max(n_terms, len(coefficients) + 1))
        series[1 : len(coefficients) + 1] = coefficients
        return series[:n_terms]

    def parts(self, m: Reals, x: Reals, y: Reals) -> Parts:
        cosine = 1 - m
        square = cosine * cosine
        # sums over odd and over even n of a_n a_n' cosine^n: as polynomials in cosine^2, and their derivatives by it
        sums = [np.zeros(np.broadcast_shapes(np.shape(m), x.shape[1:], y.shape[1:])) for _ in range(4)]
        n_terms = np.maximum(x[0], y[0])
        # what only one of the two has is multiplied by 0
        for n in range(min(int(n_terms.max(initial=0)), len(x) - 1, len(y) - 1), 0, -1):
            which = n % 2
            sums[which + 2] = sums[which + 2] * square + sums[which]
            sums[which] = sums[which] * square + np.where(n <= n_terms, x[n] * y[n], 0.0)
        even, odd, even_derivative, odd_derivative = sums
        return Parts(
            cosine * odd,
            square * even,
            odd + 2 * square * odd_derivative,
            2 * cosine * (even + square * even_derivative),
        )
