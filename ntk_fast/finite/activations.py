"""Activations of finite networks: value, slope, and the two constants that a bound on the linearisation needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ntk_fast.layers.names import activation_named
from ntk_fast.layers.relu import PiecewiseLinear
from ntk_fast.validation import check_positive

Reals = NDArray[np.float64]

#: The least t of a softplus, and one over the largest.
SOFTEST = 1e-100


class Unit(Protocol):
    """A hidden unit's activation sigma, elementwise."""

    @property
    def lipschitz(self) -> float:
        """C with |sigma(z) - sigma(z')| <= C |z - z'|: section 2's second assumption."""

    @property
    def curvature(self) -> float | None:
        """The constant gamma with |sigma''| <= gamma, section 2's first assumption; None where there is none."""

    def value(self, z: Reals, out: Reals | None = None) -> Reals:
        """Return sigma(z)."""

    def slope(self, z: Reals) -> NDArray[Any]:
        """Return sigma'(z), in any dtype that multiplies reals."""


@dataclass(frozen=True)
class Hinge:
    """An activation of the infinite kernels: linear on either side of zero; its slope at zero is that for z < 0."""

    activation: PiecewiseLinear
    curvature: None = None

    @property
    def lipschitz(self) -> float:
        return max(1.0, abs(self.activation.negative_slope))

    def value(self, z: Reals, out: Reals | None = None) -> Reals:
        slope = self.activation.negative_slope
        if slope == 0:
            return np.maximum(z, 0.0, out=out)
        return (np.maximum if slope <= 1 else np.minimum)(z, slope * z, out=out)

    def slope(self, z: Reals) -> NDArray[Any]:
        positive = z > 0
        slope = self.activation.negative_slope
        return positive if slope == 0 else positive * (1.0 - slope) + slope

    def __repr__(self) -> str:
        return repr(self.activation)


@dataclass(frozen=True)
class Softplus:
    """log(1 + exp(t z)) / t: see :func:`softplus`."""

    t: float

    @property
    def lipschitz(self) -> float:
        return 1.0

    @property
    def curvature(self) -> float:
        return self.t / 4

    def value(self, z: Reals, out: Reals | None = None) -> Reals:
        return np.add(np.maximum(z, 0.0), np.log1p(np.exp(-self.t * np.abs(z))) / self.t, out=out)

    def slope(self, z: Reals) -> Reals:
        decay = np.exp(-self.t * np.abs(z))  # at most 1: nothing overflows
        return np.where(z > 0, 1.0, decay) / (1 + decay)

    def __repr__(self) -> str:
        return f"softplus({self.t:g})"


@dataclass(frozen=True)
class Step:
    """1 where z > 0, else 0: the units of the arc-cosine kernel of order 0. It has no slope to train by."""

    lipschitz: float = np.inf
    curvature: None = None

    def value(self, z: Reals, out: Reals | None = None) -> Reals:
        return np.greater(z, 0.0, out=np.empty_like(z) if out is None else out, casting="unsafe")

    def slope(self, z: Reals) -> Reals:
        raise NotImplementedError("the step has no slope")

    def __repr__(self) -> str:
        return "step"


def softplus(t: float) -> Softplus:
    """Return the softplus activation ``log(1 + exp(t z)) / t``, a smooth ReLU.

    It approaches ReLU as t grows: the gap is largest at zero, log(2) / t. Its second derivative is at most
    gamma = t / 4, its Lipschitz constant C is 1. (The lecture's footnote 2 has t go to 0, where softplus diverges;
    it is t to infinity that approaches ReLU, and gamma grows with t.)

    Parameters
    ----------
    t : float > 0
        From 1e-100 to 1e+100.

    Returns
    -------
    Softplus

    Raises
    ------
    TypeError, ValueError
        If `t` is not as above.

    Examples
    --------
    >>> from ntk_fast import finite
    >>> finite.softplus(8.0).curvature
    2.0
    """
    number = check_positive(t, "t")
    if not SOFTEST <= number <= 1 / SOFTEST:
        raise ValueError(f"t must be from {SOFTEST:g} to {1 / SOFTEST:g}; got {number!r}.")
    return Softplus(number)


def unit_of(activation: str | PiecewiseLinear | Unit) -> Unit:
    """Return the unit of an activation: a name or activation that the kernels take, or a unit as it is."""
    if isinstance(activation, (Hinge, Softplus, Step)):
        return activation
    named = activation_named(activation)
    if not isinstance(named, PiecewiseLinear):
        raise ValueError(f"activation must be of ReLU type, or ntk_fast.finite.softplus(t); got {activation!r}.")
    return Hinge(named)
