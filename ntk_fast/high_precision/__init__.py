"""The kernels to many digits, with mpmath: what every faster computation is compared with.

The definitions themselves, one pair of rows at a time, on the very floats given. No mathematics is shared with `lower`
or with the maps of `layers`: networks are walked as trees on plain covariances, expectations are textbook forms or
quadrature (`expectations`), and digits that a subtraction loses are made up for by carrying more of them. Needs
mpmath, which the package itself does not.

The map:

    networks       exact_value: a kernel's value, a layer at a time
    expectations   what activations do to a pair of Gaussians: `closed_forms`, else `quadrature`
    corners        functions of one's own that are straight between corners
"""

from ntk_fast.high_precision.networks import exact_value

__all__ = ["exact_value"]
