"""Eigenvalues of a kernel on the sphere, by degree: to nearly full relative accuracy, however small they are.

Under the uniform probability measure on the unit sphere of R^p, the integral operator of a kernel kappa(x.y) has the
spherical harmonics for eigenfunctions; those of degree k share one eigenvalue (Funk-Hecke),

    lambda_k = int_{-1}^{1} kappa(t) P_k(t) w(t) dt / int_{-1}^{1} w(t) dt,    w(t) = (1 - t^2)^((p - 3)/2),

with the Gegenbauer polynomials P_k, P_k(1) = 1. It falls like k^-p while the integrand stays of order one: on [-1, 1]
quadrature would lose every digit. So the path of integration is moved to where nothing cancels. The Gegenbauer function
of the second kind, Q_k(z) = int P_k w / (z - t) dt / int w, jumps by -2 pi i P_k w / int w across [-1, 1], so that

    lambda_k = -Im int Q_k(z) kappa(z) dz / pi     from -1 to 1, just above the real axis or by any path above it.

kappa is analytic but for cuts outside [-1, 1], and Q_k falls off like exp(-k tau) with z = cosh(tau). The path follows
the cuts: along the upper side of the left one, z = -cosh(tau), away from -1 to tau = T'; through the upper half-plane,
z = cosh(tau + i phi), tau from T' to T, where Q_k is tiny; and back along the right one to 1. On the cuts Q_k is real
and falls smoothly, and only Im kappa counts: the powers of t that P_k is orthogonal to, which caused the cancellation,
have gone. (Physics knows this as the Froissart-Gribov formula.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ntk_fast.caller import warns_once
from ntk_fast.gram import check_kernel
from ntk_fast.kernels import Kernel
from ntk_fast.lower.steps import Map, Mix, Multiply, Normalise, Plan, Promote
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.spectrum.continuation import continued
from ntk_fast.spectrum.path import path_for, straight_line
from ntk_fast.spectrum.power_series import Reals, series_eigenvalues
from ntk_fast.spectrum.unit_rows import UnitRows
from ntk_fast.validation import check_whole_number, refuse_overflow

LARGEST_DEGREE = 10_000
#: A sum this much smaller than its terms is rounding errors, and taken for zero.
ZERO = 1e-14


@dataclass(frozen=True, eq=False)
class SphereSpectrum:
    """Eigenvalues by degree, of a kernel on the unit sphere.

    Attributes
    ----------
    n_features : int
        The dimension p of the space; the sphere's is p - 1.
    eigenvalues : ndarray of shape (max_degree + 1,)
        Of degree 0, 1, ...; those that cannot be told from zero are 0.
    multiplicities : tuple of int
        Dimensions of the spaces of spherical harmonics, exactly.
    """

    n_features: int
    eigenvalues: Reals
    multiplicities: tuple[int, ...]

    def listed(self, count: int) -> Reals:
        """Return the `count` largest eigenvalues of the degrees computed, each as often as its multiplicity.

        Parameters
        ----------
        count : int >= 0

        Returns
        -------
        ndarray of float64 of shape (count,)
            Largest first.

        Raises
        ------
        TypeError, ValueError
            If there are not that many.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> spectrum = ntk.spectrum.sphere_eigenvalues(ntk.NTK(depth=1), n_features=3, max_degree=5)
        >>> spectrum.listed(5).round(4)  # one of degree 0, three of degree 1
        array([0.25  , 0.1667, 0.1667, 0.1667, 0.0391])
        """
        count = check_whole_number(count, "count", 0)
        if sum(self.multiplicities) < count:
            raise ValueError(
                f"count must be at most {sum(self.multiplicities)}, what degrees to {len(self.eigenvalues) - 1} "
                f"amount to; got {count}: raise max_degree."
            )
        repeats = np.minimum(np.array(self.multiplicities, dtype=object), count).astype(np.int64)
        return np.sort(np.repeat(self.eigenvalues, repeats))[::-1][:count]

    def decay(self, first: int, last: int | None = None) -> PowerLaw:
        """Fit a power law to eigenvalues against degrees `first` to `last`, leaving out zeros.

        The exponent is -p for an NTK (Geifman et al., 2020); for eigenvalues in order, i-th largest, that is
        -p / (p - 1), as about k^(p - 1) of them have a degree of at most k.

        Parameters
        ----------
        first : int >= 1
        last : int, optional
            By default the largest degree.

        Returns
        -------
        PowerLaw

        Raises
        ------
        TypeError, ValueError
            If the range does not lie within the degrees, from 1 on, or holds fewer than two eigenvalues above zero.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> spectrum = ntk.spectrum.sphere_eigenvalues(ntk.NTK(depth=1), n_features=3, max_degree=400)
        >>> round(spectrum.decay(100).exponent, 1)  # -p
        -3.0
        """
        first, largest = check_whole_number(first, "first", 1), len(self.eigenvalues) - 1
        last = largest if last is None else check_whole_number(last, "last", first)
        if last > largest:
            raise ValueError(f"last must be at most {largest}, the largest degree; got {last}: raise max_degree.")
        degrees = np.arange(len(self.eigenvalues))[first : last + 1]
        values = self.eigenvalues[degrees]
        return fit_power_law(degrees[values > 0], values[values > 0])


def sphere_multiplicities(n_features: int, max_degree: int) -> tuple[int, ...]:
    """Return the dimensions of the spaces of spherical harmonics of degrees 0 to `max_degree`.

    Parameters
    ----------
    n_features : int >= 2
    max_degree : int >= 0

    Returns
    -------
    tuple of int

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> from ntk_fast import spectrum
    >>> spectrum.sphere_multiplicities(3, 4)
    (1, 3, 5, 7, 9)
    """
    p = check_whole_number(n_features, "n_features", 2)
    last = check_whole_number(max_degree, "max_degree", 0)
    return tuple(math.comb(k + p - 1, p - 1) - (math.comb(k + p - 3, p - 1) if k >= 2 else 0) for k in range(last + 1))


@warns_once
def sphere_eigenvalues(kernel: Kernel, n_features: int, max_degree: int) -> SphereSpectrum:
    """Return a kernel's exact eigenvalues on the unit sphere, by degree.

    Of the integral operator under the uniform probability measure; the eigenvalues of K / n for n uniform random rows
    approach them. They are right to about 1e-13, relative to themselves or, where those of even or of odd degree nearly
    vanish (a bias of 1e-8 at depth 1, a leaky ReLU of slope 0.999), to the larger ones beside them.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
        Any of them, with and without bias.
    n_features : int >= 2
    max_degree : int from 0 to 10000

    Returns
    -------
    SphereSpectrum

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or the kernel has structure too fine to resolve: arc-cosine order 2, very deep;
        a leaky ReLU whose slope is nearer to 1 than 1e-5.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> from ntk_fast import spectrum
    >>> result = spectrum.sphere_eigenvalues(ntk.NTK(depth=1), n_features=3, max_degree=5)
    >>> result.eigenvalues.round(4)  # odd degrees above 1 vanish: the odd part of Eq. 6 is linear
    array([0.25  , 0.1667, 0.0391, 0.    , 0.0026, 0.    ])
    """
    check_kernel(kernel)
    max_degree = check_whole_number(max_degree, "max_degree", 0, LARGEST_DEGREE)
    multiplicities = sphere_multiplicities(n_features, max_degree)
    unit = UnitRows.of(kernel)
    refuse_overflow(math.sqrt(unit.output_variance), math.sqrt(unit.output_variance), np.dtype(np.float64))
    series = series_eigenvalues(unit, n_features, max_degree)
    if series is not None:
        return SphereSpectrum(n_features, unit.output_variance * series, multiplicities)
    path = path_for(unit)
    values, bent = continued(unit, path.beyond)
    bent = bent - straight_line(path.points, bent)
    terms = path.steps * path.second_kind(n_features, max_degree)
    noise = ZERO * np.abs(terms).sum(axis=1)
    noise[:2] *= np.abs(values).max()
    noise[2:] *= np.abs(bent).max()
    terms[:2] *= values
    terms[2:] *= bent
    sums = terms.imag.sum(axis=1)
    eigenvalues = np.where(sums > noise, unit.output_variance * sums / np.pi, 0.0)
    parity = _parity(kernel.plan)
    if parity:
        eigenvalues[(1 if parity == 1 else 0) :: 2] = 0.0
    return SphereSpectrum(n_features, eigenvalues, multiplicities)


def _parity(plan: Plan) -> int:
    """1 where rows x and -x are one to the kernel, -1 where they are opposite, 0 else."""
    parities = [-1]
    for step in plan.steps:
        match step:
            case Mix(sources, _, bias):
                found = {parities[source] for source in sources} | ({1} if bias else set())
                parities.append(found.pop() if len(found) == 1 else 0)
            case Map(source, activation):
                before = parities[source]
                # of an odd input: even activations make it even, odd ones leave it odd
                parities.append(activation.parity if before == -1 else before)
            case Multiply(sources):
                parities.append(math.prod(parities[source] for source in sources))
            case Normalise(source) | Promote(source):
                parities.append(parities[source])
    return parities[-1]
