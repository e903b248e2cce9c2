"""The map of an activation that is given by its Hermite coefficients.

With normalised Hermite polynomials h_n, sigma(sqrt(q) z) - E[sigma] = N(q) sum_n a_n(q) h_n(z) over n = 1, 2, ...,
where sum_n a_n^2 = 1, and (Mehler's formula)

    cosine' = sum_n a_n a_n' cosine^n,     D = sum_n n a_n a_n' cosine^(n - 1).

The row parameters after `ell` and `bend` are the number of terms that the row needs, then, of an activation with a kink
at 0, what its tail is made of (`hermite_tails`), and a_1, a_2, ... A pair takes as many terms as the one of its rows
that needs more, and the tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.curved import CurvedActivation, Parts
from ntk_fast.layers.hermite_tails import LARGEST_SQUARE, N_NODES, START, tail_functions, tail_sums, tail_terms

#: Row parameters before the tail's, or before a_1.
BEFORE = 3


@dataclass(frozen=True, repr=False)
class HermiteMap(CurvedActivation, abstract=True):
    """See the module."""

    map_kind: ClassVar[str] = "polynomial"
    formula: ClassVar[str] = "sum_n c_n(q) c_n(q') cosine^n, c_n: Hermite coefficients"

    @property
    def separates_mean(self) -> bool:
        return self.parity >= 0

    @property
    def n_before(self) -> int:
        """How many row parameters there are before a_1."""
        return BEFORE + (2 * N_NODES if self.has_tail else 0)

    def cosine_series(self, variance: float, n_terms: int) -> Reals:
        parameters = self.row_parameters(np.array([variance]), 1e-14)[:, 0]
        coefficients = parameters[self.n_before :] ** 2
        if self.has_tail:
            tail = tail_terms(parameters[BEFORE : self.n_before], max(START, n_terms - 1))
            coefficients = np.concatenate([np.pad(coefficients, (0, START - len(coefficients))), tail])
        series = np.zeros(max(n_terms, len(coefficients) + 1))
        series[1 : len(coefficients) + 1] = coefficients
        return series[:n_terms]

    def rounding(self, x: Reals, y: Reals) -> Reals | None:
        """Next to a kink's cosine of 1, D is a function of the chord."""
        return np.zeros(1) if self.has_tail else None

    def _tail(self, m: Reals, x: Reals, y: Reals) -> Parts:
        """Return the parts of the tail alone, 0 where the cosine is small."""
        products = x * y
        shape = np.broadcast_shapes(np.shape(m), products.shape[1:])
        near = np.broadcast_to(0.5 * m < LARGEST_SQUARE, shape)
        sums = np.zeros((4, *shape))
        if near.any():
            some = np.broadcast_to(m, shape)[near]
            functions = tail_functions(np.sqrt(0.5 * some))
            products = np.broadcast_to(products, (2 * N_NODES, *shape))[:, near]
            even, even_slope = tail_sums(functions[: N_NODES + 1], products[:N_NODES])
            odd, odd_slope = tail_sums(functions[N_NODES + 1 :], products[N_NODES:])
            sums[:, near] = odd, even, odd_slope / (1 - some), even_slope / (1 - some)
        return Parts(*sums)

    def parts(self, m: Reals, x: Reals, y: Reals) -> Parts:
        cosine = 1 - m
        square = cosine * cosine
        # sums over odd and over even n of a_n a_n' cosine^n: as polynomials in cosine^2, and their derivatives by it
        sums = [np.zeros(np.broadcast_shapes(np.shape(m), x.shape[1:], y.shape[1:])) for _ in range(4)]
        n_terms = np.maximum(x[0], y[0])
        last = self.n_before - BEFORE  # the plane before that of a_1
        # what only one of the two has is multiplied by 0
        for n in range(min(int(n_terms.max(initial=0)), len(x) - 1 - last, len(y) - 1 - last), 0, -1):
            which = n % 2
            sums[which + 2] = sums[which + 2] * square + sums[which]
            sums[which] = sums[which] * square + np.where(n <= n_terms, x[last + n] * y[last + n], 0.0)
        even, odd, even_derivative, odd_derivative = sums
        parts = Parts(
            cosine * odd,
            square * even,
            odd + 2 * square * odd_derivative,
            2 * cosine * (even + square * even_derivative),
        )
        if not self.has_tail:
            return parts
        tail = self._tail(m, x[1 : last + 1], y[1 : last + 1])
        return Parts(*(part + rest for part, rest in zip(parts, tail, strict=True)))
