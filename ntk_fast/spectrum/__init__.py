"""Spectra of kernels: eigenvalues of K / n on data, exact eigenvalues on the sphere, and how fast they fall.

Property 2 of the lecture (Geifman et al., 2020): lambda_i falls like i^-alpha, alpha > 1. On the sphere of R^p the
NTK's eigenvalue of degree k falls like k^-p, so alpha = p / (p - 1). Property 4, universality, is whether all are
positive: `sphere` has them exactly.

The map:

    on_data         eigenvalues of a Gram matrix over n, and the power law that they follow
    sphere          eigenvalues by degree on the unit sphere, an integral in the complex plane
    path            where that integral runs, and the functions it is taken against
    continuation    a kernel's profile at complex cosines
    power_series    the same eigenvalues where all activations are smooth
    unit_rows       what both take of a kernel
"""

from ntk_fast.power_law import PowerLaw
from ntk_fast.spectrum.on_data import decay_exponent, gram_eigenvalues
from ntk_fast.spectrum.sphere import SphereSpectrum, sphere_eigenvalues, sphere_multiplicities

__all__ = [
    "PowerLaw",
    "SphereSpectrum",
    "decay_exponent",
    "gram_eigenvalues",
    "sphere_eigenvalues",
    "sphere_multiplicities",
]
