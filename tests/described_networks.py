"""Networks from the layer lists of `data/neural_tangents_*.npz`: see data/README.md for their vocabulary."""

from __future__ import annotations

from typing import Any

from ntk_fast import layers
from ntk_fast.layers.layer import Layer

ACTIVATIONS = {
    "relu": layers.Relu,
    "leaky_relu": layers.LeakyRelu,
    "abs": layers.Abs,
    "erf": layers.Erf,
    "gelu": layers.Gelu,
    "sin": layers.Sin,
    "cos": layers.Cos,
    "gaussian": layers.Gaussian,
    "exp": layers.Exp,
    "sign": layers.Sign,
    "rbf": layers.Rbf,
    "monomial": layers.Monomial,
    "rectified_monomial": layers.RectifiedMonomial,
    "hermite": layers.Hermite,
    "sigmoid_like": layers.SigmoidLike,
    "identity": layers.Identity,
    "polynomial": lambda *coefficients: layers.Polynomial(coefficients),
}
POOLS = {"avgpool": layers.AveragePool, "sumpool": layers.SumPool}
BRANCHES = {"sum": layers.Sum, "product": layers.Product, "concat": layers.Concatenate}


def network_of(described: list[Any], n_features: int) -> layers.Sequential:
    """Return the network of a list of layers, on rows: the first Dense that sees them divides by their length."""
    return _sequence(described, n_features)[0]


def image_network_of(described: list[Any], shape: tuple[int, ...]) -> layers.Sequential:
    """Return the network of a list of layers, on images or sequences of a shape."""
    return layers.Sequential(layers.Input(*shape), *_sequence(described, shape[-1])[0].layers)


def _sequence(described: list[Any], fan_in: int) -> tuple[layers.Sequential, int]:
    parts: list[Layer] = []
    for kind, *arguments in described:
        if kind == "dense":
            weight, bias = arguments
            parts.append(layers.Dense(weight**2 / fan_in, bias**2))
            fan_in = 1
        elif kind == "act":
            name, *given = arguments
            parts.append(ACTIVATIONS[name](*(given[0] if given else ())))
        elif kind == "layernorm":
            parts.append(layers.LayerNorm())
        elif kind == "conv":
            filter_shape, strides, padding, weight, bias = arguments
            variances = {"weight_variance": weight**2 / fan_in, "bias_variance": bias**2}
            parts.append(layers.Conv(tuple(filter_shape), tuple(strides), padding, **variances))
            fan_in = 1
        elif kind == "attention":
            scaling, zeta, query, key, value, out, bias = arguments
            variances = {"weight_variance": (value * out) ** 2 / fan_in, "bias_variance": bias**2}
            parts.append(layers.Attention(scaling, zeta, query * key / fan_in, **variances))
            fan_in = 1
        elif kind in POOLS:
            window, strides, padding = arguments
            parts.append(POOLS[kind](tuple(window), tuple(strides), padding))
        elif kind == "global_avgpool":
            parts.append(layers.GlobalAveragePool())
        elif kind == "flatten":
            parts.append(layers.Flatten())
        else:
            branches = [_sequence(branch, fan_in) for branch in arguments[0]]
            parts.append(BRANCHES[kind](*(branch if branch.layers else layers.Identity() for branch, _ in branches)))
            fan_in = max(left for _, left in branches)  # 1 if all have seen a Dense
    return layers.Sequential(*parts), fan_in
