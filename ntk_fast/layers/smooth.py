"""The smooth activations that have no closed form: tanh, the logistic sigmoid, softplus, SiLU. See `expanded`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import special
from ntk_fast.layers.expanded import ExpandedActivation
from ntk_fast.validation import check_positive


@dataclass(frozen=True, repr=False)
class Tanh(ExpandedActivation):
    """The hyperbolic tangent.

    Examples
    --------
    >>> round(Tanh().gain, 12)
    0.394294490398
    """

    @property
    def parity(self) -> int:
        return -1

    def __call__(self, z: Reals) -> Reals:
        return np.tanh(z)

    def derivative(self, z: Reals) -> Reals:
        decay = np.exp(-2 * np.abs(z))
        return 4 * decay / (1 + decay) ** 2


@dataclass(frozen=True, repr=False)
class Sigmoid(ExpandedActivation):
    """The logistic sigmoid 1 / (1 + exp(-z)).

    Examples
    --------
    >>> round(float(Sigmoid().mean(1.0)), 12)
    0.5
    """

    def __call__(self, z: Reals) -> Reals:
        return special().expit(z)

    def rise(self, z: Reals) -> Reals:
        return 0.5 * np.tanh(0.5 * z)

    def derivative(self, z: Reals) -> Reals:
        decay = np.exp(-np.abs(z))
        return decay / (1 + decay) ** 2


@dataclass(frozen=True, repr=False)
class Softplus(ExpandedActivation):
    """``log(1 + exp(sharpness * z)) / sharpness``, which approaches ReLU as the sharpness grows.

    Parameters
    ----------
    sharpness : float > 0, default 1

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> Softplus(sharpness=2.0)
    Softplus(sharpness=2.0)
    """

    sharpness: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sharpness", check_positive(self.sharpness, "sharpness"))

    def __call__(self, z: Reals) -> Reals:
        return np.maximum(z, 0.0) + np.log1p(np.exp(-self.sharpness * np.abs(z))) / self.sharpness

    def rise(self, z: Reals) -> Reals:
        # log((1 + exp(-x)) / 2): with relative accuracy
        return np.maximum(z, 0.0) + np.log1p(0.5 * np.expm1(-self.sharpness * np.abs(z))) / self.sharpness

    def derivative(self, z: Reals) -> Reals:
        return special().expit(self.sharpness * z)

    @property
    def lipschitz(self) -> float:
        return 1.0

    @property
    def curvature(self) -> float:
        return self.sharpness / 4


@dataclass(frozen=True, repr=False)
class Silu(ExpandedActivation):
    """z / (1 + exp(-z)), the sigmoid linear unit, or swish.

    Examples
    --------
    >>> round(Silu().gain, 12)
    0.355775519817
    """

    def __call__(self, z: Reals) -> Reals:
        return z * special().expit(z)

    def derivative(self, z: Reals) -> Reals:
        rise = special().expit(z)
        return rise * (1 + z * (1 - rise))
