"""Softplus by the lecture's name for its sharpness, t."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers import smooth
from ntk_fast.validation import check_positive

#: The least t of a softplus, and one over the largest.
SOFTEST = 1e-100


@dataclass(frozen=True, repr=False)
class Softplus(smooth.Softplus, abstract=True):
    """log(1 + exp(t z)) / t: see :func:`softplus`."""

    @property
    def t(self) -> float:
        return self.sharpness

    def derivative(self, z: Reals) -> Reals:
        decay = np.exp(-self.t * np.abs(z))  # the logistic function to the same last bits as ever
        return np.where(z > 0, 1.0, decay) / (1 + decay)

    def slope(self, z: Reals) -> Reals:
        """Return sigma'(z)."""
        return self.derivative(z)

    def __repr__(self) -> str:
        return f"softplus({self.t:g})"


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
        ``ntk_fast.layers.Softplus(sharpness=t)``.

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
