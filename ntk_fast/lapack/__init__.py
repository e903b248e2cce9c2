"""LAPACK's long routines on symmetric matrices, in place, in pieces between which Ctrl-C is heard.

The map:

    products            matrix products in pieces: why there are pieces, and what most of the work is
    triangular          systems with a triangular matrix
    cholesky            factors, inverses, condition numbers, and factors with pivots
    eigenvalues         eigenvalues and eigenvectors, by way of `tridiagonal` and `divide_and_conquer`
    orthogonal          orthonormal bases and singular values
    routines            LAPACK and BLAS themselves, without the interpreter's lock

All is done on the calling thread; `tick` is called between pieces, far more often than anybody looks.
"""

from ntk_fast.lapack.cholesky import (
    cholesky_in_place,
    invert_cholesky_in_place,
    pivoted_cholesky_in_place,
    reciprocal_condition,
)
from ntk_fast.lapack.eigenvalues import eigh_in_place
from ntk_fast.lapack.orthogonal import qr_in_place, svd
from ntk_fast.lapack.products import Tick, add_product, no_tick, product
from ntk_fast.lapack.triangular import divide_by_lower_transpose_in_place, solve_lower_in_place

__all__ = [
    "Tick",
    "add_product",
    "cholesky_in_place",
    "divide_by_lower_transpose_in_place",
    "eigh_in_place",
    "invert_cholesky_in_place",
    "no_tick",
    "pivoted_cholesky_in_place",
    "product",
    "qr_in_place",
    "reciprocal_condition",
    "solve_lower_in_place",
    "svd",
]
