"""Activations by name, as kernels and the command line take them."""

from __future__ import annotations

from typing import Any

from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import Sign, Step
from ntk_fast.layers.elu import Elu
from ntk_fast.layers.erf import Erf, SigmoidLike
from ntk_fast.layers.exponential import Exp, Rbf
from ntk_fast.layers.gaussian import Gaussian
from ntk_fast.layers.gelu import Gelu
from ntk_fast.layers.relu import Abs, LeakyRelu, Relu
from ntk_fast.layers.sine import Cos, Sin
from ntk_fast.layers.smooth import Sigmoid, Silu, Softplus, Tanh

#: Each with the parameters that it has by default.
ACTIVATIONS: dict[str, ActivationLayer] = {
    "relu": Relu(),
    "leaky_relu": LeakyRelu(),
    "abs": Abs(),
    "erf": Erf(),
    "gelu": Gelu(),
    "silu": Silu(),
    "elu": Elu(),
    "softplus": Softplus(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "sigmoid_like": SigmoidLike(),
    "sin": Sin(),
    "cos": Cos(),
    "gaussian": Gaussian(),
    "exp": Exp(),
    "rbf": Rbf(),
    "sign": Sign(),
    "step": Step(),
}


def activation_named(activation: Any) -> ActivationLayer:
    """Return the activation with a name; an activation passes as it is.

    Examples
    --------
    >>> activation_named("gelu")
    Gelu()
    """
    if isinstance(activation, ActivationLayer):
        return activation
    known = ", ".join(repr(name) for name in ACTIVATIONS)
    accepted = f"activation must be one of {known}, or an activation of ntk_fast.layers such as LeakyRelu(0.1)"
    if isinstance(activation, type):
        raise TypeError(f"{accepted}; got the class {activation.__name__}: add its parentheses.")
    if not isinstance(activation, str):
        raise TypeError(f"{accepted}; got a {type(activation).__name__}.")
    if activation not in ACTIVATIONS:
        raise ValueError(f"{accepted}; got {activation!r}.")
    return ACTIVATIONS[activation]


def name_of(activation: ActivationLayer) -> str | ActivationLayer:
    """Return the name of an activation that has one, else the activation."""
    for name, known in ACTIVATIONS.items():
        if known == activation:
            return name
    return activation
