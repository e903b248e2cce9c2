"""Derivatives of Gram matrices with respect to a network's variances and more: what fitting these to data needs.

A likelihood's gradient is one number's derivatives: where it is compiled, one pass back through the program gives them.
Elsewhere, and for whole matrices of derivatives, the program is differentiated in forward mode, tile by tile, in NumPy.
Either way rows know how what is taken of them moves (`lower.row_derivatives`). Kernels without bias whose activations
are homogeneous are proportional to each weight variance, and need none of this. By what else there is, parameters of
activations and all variances of networks on images, derivatives are differences of whole kernels.

The map:

    log_parameters  LogParameters: what is fitted, and what it does to a kernel and its plan
    of_gram         the derivatives themselves: whole matrices, sums with weights, diagonals
    forward         tiles of them in forward mode (`lower.differentiate`)
    reverse         sums with weights in reverse mode (`lower.reversible`, csrc/adjoint.h)
    differences     by parameters that the two do not know
"""

from ntk_fast.derivatives.log_parameters import VARIANCES, LogParameters, activation_parameters
from ntk_fast.derivatives.of_gram import contracted_derivatives, contracted_diagonal_derivatives, gram_derivatives

__all__ = [
    "VARIANCES",
    "LogParameters",
    "activation_parameters",
    "contracted_derivatives",
    "contracted_diagonal_derivatives",
    "gram_derivatives",
]
