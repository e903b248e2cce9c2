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
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from ntk_fast.caller import warn_caller, warns_once
from ntk_fast.gram import check_kernel
from ntk_fast.kernels import Kernel
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import RectifiedMonomial, Sign, Step
from ntk_fast.layers.expanded import AccuracyWarning
from ntk_fast.layers.relu import PiecewiseLinear, sine_minus_angle_cosine
from ntk_fast.lower.compile import RowParameters
from ntk_fast.lower.instructions import Instructions
from ntk_fast.lower.program import ABSENT, WHOLE
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.steps import Map, Mix, Multiply, Normalise, Plan, Promote
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.sphere_series import TERMS, series_eigenvalues
from ntk_fast.validation import check_whole_number, refuse_overflow

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

LARGEST_DEGREE = 10_000
#: The squared norm of a unit row.
UNIT = Scaled.of(np.ones(1))
#: Heights (T, T') to try, in this order. Activations of nearly equal or opposite slopes need a low T'.
HEIGHTS = [
    (right, left)
    for right in (1.2, 0.9, 0.5, 0.1)
    for left in (1.2, 0.9, 0.6, 0.4, 0.25, 0.15, 0.1, 0.05, 0.02, 0.01, 0.004, 0.002, 0.001, 4e-4, 1e-4)
    if left <= right
]
#: Error of the path's integral of kappa, relative to the size of its terms, that rounding explains: this a layer.
CAUCHY = 1e-15
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

        Raises
        ------
        TypeError, ValueError
            If there are not that many.
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

        Raises
        ------
        TypeError, ValueError
            If the range does not lie within the degrees, from 1 on, or holds fewer than two eigenvalues above zero.
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
    unit = _Unit.of(kernel)
    size = float(RowParameters(kernel.plan, UNIT).values.output_variance.plain()[0])
    refuse_overflow(math.sqrt(size), math.sqrt(size), np.dtype(np.float64))
    series = series_eigenvalues(kernel, n_features, max_degree)
    if series is not None:
        return SphereSpectrum(n_features, size * series, multiplicities)
    path = _path_for(unit)
    values, bent = _continued(unit, path.beyond)
    bent = bent - _line(path.points, bent)
    terms = path.steps * _second_kind(path, n_features, max_degree)
    noise = ZERO * np.abs(terms).sum(axis=1)
    noise[:2] *= np.abs(values).max()
    noise[2:] *= np.abs(bent).max()
    terms[:2] *= values
    terms[2:] *= bent
    sums = terms.imag.sum(axis=1)
    eigenvalues = np.where(sums > noise, size * sums / np.pi, 0.0)
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


@dataclass(frozen=True, eq=False)
class _Path:
    """Quadrature points and steps from 1 to -1, the other way round than above, and tau + i phi, z = cosh(tau + i phi).

    On the left cut `angle` is that of the point opposite, -z, and `opposite` is true.
    """

    points: Complexes
    steps: Complexes
    angle: Complexes
    opposite: NDArray[np.bool_]

    @property
    def beyond(self) -> Complexes:
        """The points less 1; on a cut their imaginary part is +0."""
        return np.where(self.opposite, self.points - 1, 2 * np.sinh(self.angle / 2) ** 2)


def _path_for(unit: _Unit) -> _Path:
    """Return a path below which kappa is analytic, and along which the quadrature resolves it.

    By Cauchy's theorem it is one along which the integral of kappa is that along [-1, 1].
    """
    halves = [_double_exponential(*ends) for ends in ((0.0, np.pi / 2), (np.pi / 2, np.pi))]
    angle, width = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    expected = -(_continued(unit, -2 * np.sin(angle / 2) ** 2 + 0j)[1] * np.sin(angle) * width).sum()
    starts = _cut_starts(unit)
    for right, left in HEIGHTS:
        path = _path(right, left, [start for start in starts if start < left])
        with np.errstate(over="ignore", invalid="ignore"):  # far outside of where kappa is analytic
            terms = _continued(unit, path.beyond)[1] * path.steps
        if abs(terms.sum() - expected) <= CAUCHY * (2 + len(unit.instructions.maps)) * np.abs(terms).sum():
            return path
    raise ValueError(
        "kernel has structure at too many scales for sphere_eigenvalues (its profile is not analytic near [-1, 1])."
    )


def _cut_starts(unit: _Unit) -> list[float]:
    """Where left cuts start: with a bias in a layer that sees the rows, further out. Pieces of the path end there."""
    starts, of_rows = set(), True
    for step in unit.instructions.instructions:
        if of_rows and not step.is_product and 0 in step.sources and step.bias != ABSENT:
            weight = unit.share(step.shares[step.sources.index(0)])
            if weight > 0:
                starts.add(math.acosh(1 + 2 * unit.share(step.bias) / weight))
        of_rows = of_rows and step.destination != 0
    return sorted(starts)


def _path(right: float, left: float, cut_starts: list[float]) -> _Path:
    tau_right, step_right = _double_exponential(0.0, right)
    ends = [0.0, *cut_starts, left]
    pieces = [_double_exponential(low, high) for low, high in pairwise(ends)]
    tau_left, step_left = (np.concatenate(parts)[::-1] for parts in zip(*pieces, strict=True))
    phi, step_across = _double_exponential(0.0, np.pi)
    # tau + i phi; the fourth power: a low left end rises at once, out of where Q_k is not tiny yet
    across = right + (left - right) * (phi / np.pi) ** 4 + 1j * phi
    slope = (left - right) * 4 / np.pi * (phi / np.pi) ** 3
    points = [np.cosh(tau_right) + 0j, np.cosh(across), -np.cosh(tau_left) + 0j]
    steps = [
        np.sinh(tau_right) * step_right + 0j,
        np.sinh(across) * (slope + 1j) * step_across,
        np.sinh(tau_left) * step_left + 0j,
    ]
    opposite = np.repeat([False, False, True], [len(part) for part in points])
    return _Path(
        np.concatenate(points),
        np.concatenate(steps),
        np.concatenate([tau_right + 0j, across, tau_left + 0j]),
        opposite,
    )


def _line(points: Complexes, values: Complexes) -> Complexes:
    """The line through a function at -1 and at the left cut's other end; P_k is orthogonal to it for k >= 2.

    Taken off, little is left to cancel on a path that is low there.
    """
    ends = np.array([np.argmin(points.real), len(points) - 1])
    (x0, x1), (y0, y1) = points.real[ends], values.real[ends]
    return y1 + (y1 - y0) / (x1 - x0) * (points - x1)


def _double_exponential(low: float, high: float) -> tuple[Reals, Reals]:
    """Nodes and weights of tanh-sinh quadrature: indifferent to what happens at the ends of the interval."""
    step = 1 / 32
    position = np.arange(-104, 105) * step
    stretched = np.pi * np.sinh(position)
    share = 1 / (1 + np.exp(-stretched))
    weight = step * np.pi * np.cosh(position) * share / (1 + np.exp(stretched))
    return low + (high - low) * share, (high - low) * weight


def _second_kind(path: _Path, p: int, max_degree: int) -> Complexes:
    """Q_k at the path's points, shape (max_degree + 1, n_points).

    Q_k is the solution of P_k's recurrence that falls with k, so its ratios come from the recurrence run downwards
    from a degree so high that Q is a Bessel function there; z Q_0 - Q_1 = 1 gives Q_0.
    """
    z = np.where(path.opposite, -path.points, path.points)
    order, shift = (p - 3) / 2, (p - 2) / 2
    top = 4 * max_degree + 2000
    start, growth = top + shift, (1 + 1 / (top + shift)) ** order
    near, far = (scipy.special.kve(order, degree * path.angle) for degree in (start, start + 1))
    with np.errstate(invalid="ignore"):  # overflow, near z = 1 in many dimensions: the recurrence forgets its start
        ratio = np.where(np.isfinite(near), far / near * np.exp(-path.angle) * growth, 1.0)
    ratio *= (top + 1) / (top + p - 2)
    ratios = np.empty((max_degree + 1, len(z)), dtype=np.complex128)
    for k in range(top, 0, -1):
        ratio = k / ((2 * k + p - 2) * z - (k + p - 2) * ratio)
        if k <= max_degree:
            ratios[k] = ratio
    ratios[0] = 1 / (z - ratio)
    values = np.cumprod(ratios, axis=0)
    sign = -((-1.0) ** np.arange(max_degree + 1))  # Q_k(-z) = (-1)^(k + 1) Q_k(z)
    return np.where(path.opposite, sign[:, None], 1.0) * values


@dataclass(frozen=True, eq=False)
class _State:
    """S and T over q at complex cosines, and what of them is not linear in the rows' cosine."""

    beyond: Complexes  # S / q - 1
    bent: Complexes
    theta: Complexes
    bent_theta: Complexes


@dataclass(frozen=True, eq=False)
class _Unit:
    """A kernel on unit rows: its instructions, the squared shares of their mixes, and the variances before its maps."""

    instructions: Instructions
    shares: NDArray[np.floating]
    variances: list[float]
    has_tangent: bool

    @classmethod
    def of(cls, kernel: Kernel) -> _Unit:
        rows = RowParameters(kernel.plan, UNIT)
        variances = [float(rows.variance(index)[0]) for index in range(len(rows.instructions.maps))]
        return cls(rows.instructions, rows.shares[:, 0] ** 2, variances, kernel.has_tangent)

    def share(self, plane: int) -> float:
        return 1.0 if plane == WHOLE else float(self.shares[plane])


def _continued(unit: _Unit, beyond: Complexes) -> tuple[Complexes, Complexes]:
    """Return S or T over q of unit rows at complex cosines z; above a cut, their imaginary part is +0.

    `beyond` is z - 1, which has the digits that z has lost near 1. Returned too is what of the value is not linear in
    z, which an activation that is nearly linear, or a large bias, makes much smaller: it is carried from node to node
    on its own, so that no digit of it is lost.
    """
    zero = np.zeros_like(beyond)
    state = _State(beyond, zero, zero, zero)
    registers = {0: state}
    for step in unit.instructions.instructions:
        sources = [registers[k] for k in step.sources]
        if step.promotes:
            share = unit.share(step.shares[0])
            state = _State(share * sources[0].theta - 1, share * sources[0].bent_theta, zero, zero)
        elif step.is_product:
            state = _product(sources)
        elif step.promotes:
            share = unit.share(step.shares[0])
            state = _State(share * sources[0].theta - 1, share * sources[0].bent_theta, zero, zero)
        else:
            if step.map != ABSENT:
                slot = unit.instructions.maps[step.map]
                sources = [_mapped(slot.step.activation, unit.variances[step.map], sources[0])]
            shares = [unit.share(plane) for plane in step.shares]
            parts = [
                sum((share * getattr(source, name) for share, source in zip(shares, sources, strict=True)), zero)
                for name in ("beyond", "bent", "theta", "bent_theta")
            ]
            if step.adds_own:
                parts[2] = parts[2] + (1 + parts[0])
                parts[3] = parts[3] + parts[1]
            state = _State(*parts)
        registers[step.destination] = state
    return (state.theta, state.bent_theta) if unit.has_tangent else (1 + state.beyond, state.bent)


def _mapped(activation: ActivationLayer, variance: float, state: _State) -> _State:
    excess, slope_excess = _continued_map(activation, variance)(state.beyond)
    return _State(
        state.beyond + excess,
        state.bent + excess,
        (1 + slope_excess) * state.theta,
        state.bent_theta + slope_excess * state.theta,
    )


def _product(sources: list[_State]) -> _State:
    state = sources[0]
    for other in sources[1:]:
        beyond = state.beyond + other.beyond + state.beyond * other.beyond
        theta = state.theta * (1 + other.beyond) + other.theta * (1 + state.beyond)
        state = _State(beyond, beyond, theta, theta)  # a product is not linear
    return state


def _continued_map(activation: ActivationLayer, variance: float) -> Callable[[Complexes], tuple[Complexes, Complexes]]:
    """A map's cosine less its argument, and its slope less 1, as functions of a complex cosine less 1."""

    def piecewise_linear(beyond: Complexes) -> tuple[Complexes, Complexes]:
        assert isinstance(activation, PiecewiseLinear)
        angle = _angle(beyond)
        excess: Any = 2 * activation.fold * sine_minus_angle_cosine(angle)
        return excess, -2 * activation.fold * angle / np.pi

    def step(beyond: Complexes) -> tuple[Complexes, Complexes]:
        return -_angle(beyond) / np.pi - beyond, np.full_like(beyond, -1)

    def sign(beyond: Complexes) -> tuple[Complexes, Complexes]:
        return -2 * _angle(beyond) / np.pi - beyond, np.full_like(beyond, -1)

    def rectified_square(beyond: Complexes) -> tuple[Complexes, Complexes]:
        angle, cosine = _angle(beyond), 1 + beyond
        total = 3 * np.sin(angle) * cosine + (np.pi - angle) * (1 + 2 * cosine**2)
        slope = 4 / (3 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine)
        return total / (3 * np.pi) - cosine, slope - 1

    def smooth(beyond: Complexes) -> tuple[Complexes, Complexes]:
        assert series is not None
        cosine = 1 + beyond
        value = slope = np.zeros_like(cosine)
        for coefficient in series[::-1]:
            slope = slope * cosine + value
            value = value * cosine + coefficient
        return value - cosine, slope - 1

    if isinstance(activation, PiecewiseLinear):
        return piecewise_linear
    known = {Step(): step, Sign(): sign, RectifiedMonomial(2): rectified_square}
    if activation in known:
        return known[activation]
    series = activation.cosine_series(variance, TERMS[-1])
    if series is None:
        raise ValueError(f"kernel has an activation that sphere_eigenvalues does not know: {activation!r}.")
    terms = np.arange(len(series)) * series
    cut = float(terms[-len(terms) // 2 :].sum() / max(terms.sum(), 1e-300))
    if cut > 1e-12:
        warn_caller(
            f"{activation!r} has kinks, or is steep at variance {variance:.3g}: of its derivative's dual a share of "
            f"{cut:.1g} lies beyond {len(series)} terms, and eigenvalues are right to about that only.",
            AccuracyWarning,
            severity=cut,
        )
    return smooth


def _angle(beyond: Complexes) -> Any:
    """The arc cosine of 1 + `beyond`."""
    chord = np.sqrt(np.negative(beyond) * 0.5)  # in this order: above the right cut the imaginary part has to be -0
    return np.where(np.abs(beyond) < 1, 2 * np.arcsin(chord), np.arccos(1 + beyond))
