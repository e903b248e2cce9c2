"""Derivatives of Gram matrices with respect to a network's variances: what fitting these to data needs.

A likelihood's gradient is one number's derivatives: where it is compiled, one pass back through the program gives them.
Elsewhere, and for whole matrices of derivatives, the program is differentiated in forward mode, tile by tile, in NumPy.
Either way rows know how what is taken of them moves (`lower.row_derivatives`). Kernels without bias whose activations
are homogeneous are proportional to each weight variance, and need none of this.

The map:

    variances   VarianceParameters: the parameters, and what they do to a plan
    of_gram     the derivatives themselves: whole matrices, sums with weights, diagonals
    forward     tiles of them in forward mode (`lower.differentiate`)
    reverse     sums with weights in reverse mode (`lower.reversible`, csrc/adjoint.h)
"""

from ntk_fast.derivatives.of_gram import contracted_derivatives, contracted_diagonal_derivatives, gram_derivatives
from ntk_fast.derivatives.variances import VARIANCES, VarianceParameters

__all__ = [
    "VARIANCES",
    "VarianceParameters",
    "contracted_derivatives",
    "contracted_diagonal_derivatives",
    "gram_derivatives",
]
