"""Activations: the registry, and what each one is to the mathematics.

All activations here belong to one family, sigma(z) = alpha z + beta |z|. For (u, v) Gaussian with variances q, q' and
correlation `cosine`,

    E[sigma(u) sigma(v)]   = gain sqrt(q q') kappa(cosine),   kappa  = (1 - 2 fold) cosine + 2 fold kappa1(cosine)
    E[sigma'(u) sigma'(v)] = gain kappa'(cosine),             kappa' = (1 - 2 fold) + 2 fold kappa0(cosine)

with gain = alpha^2 + beta^2, fold = beta^2 / gain, and the arc-cosine functions kappa0, kappa1 of Cho & Saul (2009).
The identity is fold 0, ReLU is 1/2, the absolute value is 1.

To add an activation of the family: a row of `ACTIVATIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ntk_fast.validation import check_finite_number


@dataclass(frozen=True)
class Activation:
    """An activation function that is linear on each side of zero: z where z > 0, slope * z elsewhere.

    Parameters
    ----------
    name : str
        As in :data:`ACTIVATIONS`.
    slope : float
        The slope for negative arguments: 0 for ReLU, -1 for the absolute value.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> ntk.NTK(depth=2, activation=ntk.leaky_relu(0.1))
    NTK(depth=2, activation=leaky_relu(0.1))
    """

    name: str
    slope: float

    @property
    def gain(self) -> Fraction:
        """E[sigma(z)^2] for a standard normal z, exactly."""
        return (1 + Fraction(self.slope) ** 2) / 2

    @property
    def fold(self) -> float:
        """The share beta^2 / (alpha^2 + beta^2) of the absolute value, 0 to 1."""
        return float((1 - Fraction(self.slope)) ** 2 / (4 * self.gain))

    @property
    def linear(self) -> float:
        """The share alpha^2 / (alpha^2 + beta^2) of the identity: 1 - fold, with its own digits."""
        return float((1 + Fraction(self.slope)) ** 2 / (4 * self.gain))

    def __repr__(self) -> str:
        return f"leaky_relu({self.slope!r})" if self.name == "leaky_relu" else f"'{self.name}'"


def leaky_relu(slope: float = 0.01) -> Activation:
    """Return the leaky ReLU, z where z > 0 and ``slope * z`` elsewhere.

    Parameters
    ----------
    slope : float, default 0.01
        Any finite number.

    Raises
    ------
    TypeError, ValueError
        If `slope` is not a finite real number.

    Examples
    --------
    >>> leaky_relu(0.2).slope
    0.2
    """
    return Activation("leaky_relu", check_finite_number(slope, "slope"))


#: The activations that a kernel takes by name.
ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("relu", 0.0),
    "leaky_relu": leaky_relu(),
    "abs": Activation("abs", -1.0),
}


def activation_of(activation: str | Activation) -> Activation:
    """Look an activation up by name; an :class:`Activation` passes as it is."""
    if isinstance(activation, Activation):
        return activation
    known = ", ".join(repr(name) for name in ACTIVATIONS)
    if not isinstance(activation, str):
        raise TypeError(
            f"activation must be one of {known} or ntk_fast.leaky_relu(slope); got a {type(activation).__name__}."
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {known} or ntk_fast.leaky_relu(slope); got {activation!r}.")
    return ACTIVATIONS[activation]


__all__ = ["ACTIVATIONS", "Activation", "activation_of", "leaky_relu"]
