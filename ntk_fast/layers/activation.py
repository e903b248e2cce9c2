"""What an activation is: a function of numbers, its moments, and what it does to a pair of Gaussians (its dual)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.layer import Layer

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class ActivationLayer(Layer, abstract=True):
    """An activation sigma, applied to every unit: S = E[sigma(u) sigma(v)], T = T E[sigma'(u) sigma'(v)].

    u and v are Gaussian with variances q, q' and covariance S = sqrt(q q') cosine. Tiles keep a pair's state
    normalised, as m = 1 - cosine and p = 1 + cosine, both with relative accuracy. A *map* takes them, and row
    parameters of the two rows, to m, p of the output and to D, the derivative of the output's cosine by the input's: T
    over sqrt(q q') is multiplied with D, whatever the activation.

    Where `separates_mean`, the map is that of sigma - E[sigma], and what the mean adds is a mix with row shares, as a
    bias is one: with r = sqrt(centred_moment / second_moment), tau = mean / sqrt(second_moment) of a row,

        m' = r r' m + gap,   p' = r r' p + 2 tau tau' + gap,   D' = r r' D,   gap = ((r - r')^2 + (tau - tau')^2) / 2.

    So an activation that is nearly constant, as a sigmoid of small numbers, loses no digits.
    """

    #: The tiles' code for this map: "fold", "table", "exponential", "erf", "gelu", "sine", "gaussian", "polynomial".
    map_kind: ClassVar[str]
    #: The rule for S, in one line.
    formula: ClassVar[str]

    @property
    def parity(self) -> int:
        """1: even, -1: odd, 0: neither."""
        return 0

    @property
    def homogeneity(self) -> int | None:
        """The d with sigma(a z) = a^d sigma(z) for a > 0, so that q becomes gain * q**d; None if there is none."""
        return None

    @property
    def fold(self) -> float:
        """The share b^2 / (a^2 + b^2) of sign(z) z^d in a homogeneous activation, a z^d + b sign(z) z^d."""
        raise NotImplementedError

    @property
    def gain(self) -> Fraction | float:
        """E[sigma(z)^2] for a standard normal z, exactly where the activation is homogeneous."""
        return float(self.second_moment(1.0))

    @property
    def derivative_gain(self) -> Fraction | float:
        """E[sigma'(z)^2] for a standard normal z."""
        return float(self.derivative_second_moment(1.0))

    @property
    def separates_mean(self) -> bool:
        """Whether the map leaves the mean to a mix: see the class."""
        return False

    @property
    def has_derivative(self) -> bool:
        """Whether `derivative` has all its digits; if not, what needs it takes differences of the function."""
        return True

    @property
    def has_tail(self) -> bool:
        """Whether the map is a Hermite expansion of which a kink at 0 leaves a tail: see `hermite_tails`."""
        return False

    @property
    def has_kink(self) -> bool:
        """Whether D, of two equal rows, is a function of the angle's absolute value, as after a kink."""
        return self.has_tail

    @abstractmethod
    def __call__(self, z: Reals) -> Reals:
        """Return sigma(z)."""

    @abstractmethod
    def derivative(self, z: Reals) -> Reals:
        """Return sigma'(z), at a kink that of the left side."""

    @abstractmethod
    def second_moment(self, variance: Reals | float) -> Reals:
        """Return E[sigma(z)^2] for z of these variances, to relative accuracy; infinite where it overflows."""

    @abstractmethod
    def derivative_second_moment(self, variance: Reals | float) -> Reals:
        """Return E[sigma'(z)^2] for z of these variances, to relative accuracy."""

    def rise(self, z: Reals) -> Reals:
        """Return sigma(z) - sigma(0), with relative accuracy where that can be had."""
        return self(z) - self(np.zeros(1))

    @property
    def map_constants(self) -> tuple[float, ...]:
        """What tiles of this kind of map need to know besides row parameters."""
        return ()

    def mean(self, variance: Reals | float) -> Reals:
        """Return E[sigma(z)]; asked for only where `separates_mean`."""
        raise NotImplementedError

    def centred_moment(self, variance: Reals | float) -> Reals:
        """Return the variance of sigma(z), to relative accuracy; asked for only where `separates_mean`."""
        raise NotImplementedError

    def accuracy(self, variance: Reals) -> float:
        """Return what D may be off by, over its value at cosine 1, of rows of these variances: if more than 1e-13."""
        return 0.0

    def row_parameters(self, variance: Reals, tolerance: float, most: int | None = None) -> Reals:
        """Return what the map needs of rows of these variances, (n_parameters, n), to a tolerance of the cosine.

        A row's numbers depend on its own variance alone; where rows need different numbers of them, zeros follow. No
        more than `most` of them are returned.
        """
        return np.zeros((0, len(variance)))

    def n_row_parameters(self, largest: float, tolerance: float) -> int:
        """Return how many of their parameters pairs of rows take whose variances are up to the largest."""
        return len(self.row_parameters(np.array([largest]), tolerance))

    @abstractmethod
    def map_pairs(self, m: Reals, p: Reals, x: Reals, y: Reals) -> tuple[Reals, Reals, Reals]:
        """Return m, p and D of pairs: the reference. Arrays broadcast: ``x[k]``, ``y[k]`` are row parameters."""

    @property
    def second_derivative(self) -> Callable[[Reals, Reals], Reals] | None:
        """dD / d cosine as a function of m and p, where D has a singularity at cosine 1 or -1; else None."""
        return None

    def cosine_series(self, variance: float, n_terms: int) -> Reals | None:
        """Return the map's cosine as a power series in the input's, both rows of this variance; None: no such series.

        Of the map: where `separates_mean`, without the mean. All coefficients are >= 0 (Schoenberg 1942), and right to
        relative accuracy. Activations with a kink have none that converges fast.
        """
        return None

    def variance_of(self, parameters: Reals) -> Reals | None:
        """Return the variances of rows with these row parameters, (n_parameters, ...), where they have it.

        Only of an activation with a `cosine_series` whose Hermite coefficients keep their signs at every variance.
        """
        return None

    def map_with_rests(
        self, m: Reals, p: Reals, m_rest: Reals | float, x: Reals, y: Reals
    ) -> tuple[Reals, Reals, Reals | float, Reals, Reals | None]:
        """Return m, p, what rounding took from m, and from p with the other sign, D, and 1 - D with digits of its own.

        0 and None where there is no more than `map_pairs` returns; `m_rest`: the same of what is given.
        """
        m, p, derivative = self.map_pairs(m, p, x, y)
        return m, p, 0.0, derivative, None

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.map(node, self)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return graph.then(units, self)

    @property
    def lipschitz(self) -> float | None:
        """C with |sigma(z) - sigma(z')| <= C |z - z'|: section 2's second assumption; None where it is not known."""
        return None

    @property
    def curvature(self) -> float | None:
        """gamma with |sigma''| <= gamma, section 2's first assumption; None where it is not known, or there is none."""
        return None

    def value(self, *units: Reals) -> Reals:
        """Return sigma of the units of a layer."""
        return self(units[0])

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        """Return how the units change when the layer's move along tangents: see `rowwise.Rowwise`."""
        return self.derivative(units[0]) * tangents[0]

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        """Return the gradient by the layer's units, of what has the cotangent for gradient by sigma of them."""
        return (self.pushed(units, (cotangent,)),)


def reals(values: Any) -> Reals:
    """Return float64 numbers, of any shape."""
    return np.asarray(values, dtype=np.float64)


def special() -> Any:
    """Return SciPy's special functions, imported when they are first needed: importing the package stays light."""
    return import_module("scipy.special")
