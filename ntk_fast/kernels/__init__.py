"""The kernels: what each one is, as a network of layers. Computing with them is the business of `gram`.

The map:

    limits        ArcCosine, NNGP, NTK
    kernel        what they share: a call, a diagonal, a profile, sums and products, parameters
    algebra       the networks whose kernels are sums, products and multiples of kernels
    combination   how a sum or a product was written
    describe      a kernel's network as a table
"""

from ntk_fast.kernels.kernel import Kernel
from ntk_fast.kernels.limits import HE, LARGEST_DEPTH, NNGP, NTK, ArcCosine

__all__ = ["HE", "LARGEST_DEPTH", "NNGP", "NTK", "ArcCosine", "Kernel"]
