"""The exponential linear unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.layers.expanded import ExpandedActivation
from ntk_fast.layers.exponential import check_nonzero


@dataclass(frozen=True, repr=False)
class Elu(ExpandedActivation):
    """z where z > 0, ``alpha * (exp(z) - 1)`` elsewhere.

    Parameters
    ----------
    alpha : float, default 1
        Not 0: that would be :class:`Relu`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> round(Elu().gain, 9)
    0.644945417
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", check_nonzero(self.alpha, "alpha"))

    @property
    def has_tail(self) -> bool:
        return True

    def __call__(self, z: Reals) -> Reals:
        return np.where(z > 0, z, self.alpha * np.expm1(np.minimum(z, 0.0)))

    def derivative(self, z: Reals) -> Reals:
        return np.where(z > 0, 1.0, self.alpha * np.exp(np.minimum(z, 0.0)))
