"""Products with a Gram matrix that need not be formed: its tiles are multiplied in the cache, and forgotten.

The map:

    kernel_operator   KernelOperator: the matrix as SciPy's linear operator
    factor            the matrix as a factor of products, which are summed in an order that depends on nobody's speed
    kept              a factor whose entries are computed once and kept
"""

from ntk_fast.operator.kernel_operator import KernelOperator

__all__ = ["KernelOperator"]
