"""Activations by name, as kernels and the command line take them."""

from __future__ import annotations

from typing import Any

from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.erf import Erf
from ntk_fast.layers.gelu import Gelu
from ntk_fast.layers.relu import Abs, LeakyRelu, Relu

ACTIVATIONS: dict[str, ActivationLayer] = {
    "relu": Relu(),
    "leaky_relu": LeakyRelu(),
    "abs": Abs(),
    "erf": Erf(),
    "gelu": Gelu(),
}


def activation_named(activation: Any) -> ActivationLayer:
    if isinstance(activation, ActivationLayer):
        return activation
    return ACTIVATIONS[activation]


def name_of(activation: ActivationLayer) -> str | ActivationLayer:
    for name, known in ACTIVATIONS.items():
        if known == activation:
            return name
    return activation
