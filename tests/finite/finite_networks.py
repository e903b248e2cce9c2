"""Networks of every kind of layer, for tests of what is said of any description."""

from __future__ import annotations

import numpy as np

from ntk_fast.layers import (
    Abs,
    Activation,
    Concatenate,
    Cos,
    Dense,
    Elu,
    Erf,
    Exp,
    Gaussian,
    Gelu,
    Hermite,
    Identity,
    LayerNorm,
    LeakyRelu,
    Monomial,
    Polynomial,
    Product,
    Rbf,
    RectifiedMonomial,
    Relu,
    Residual,
    Sequential,
    Sigmoid,
    SigmoidLike,
    Sign,
    Silu,
    Sin,
    Softplus,
    Step,
    Sum,
    Tanh,
)

ACTIVATIONS = (
    Relu(),
    LeakyRelu(0.3),
    Abs(),
    Erf(),
    Gelu(),
    Sin(1.2, 0.8, 0.4),
    Cos(),
    Gaussian(1.0, -0.5),
    Exp(1.0, 0.3),
    Sign(),
    Step(),
    Rbf(0.4),
    Monomial(2),
    RectifiedMonomial(2),
    Polynomial((0.3, 1.0, 0.2)),
    Hermite(2),
    SigmoidLike(),
    Tanh(),
    Sigmoid(),
    Softplus(2.0),
    Silu(),
    Elu(),
    Activation(np.arctan),
)


def _branching(*layers):
    """Layers between a Dense with biases and a readout."""
    return Sequential(Dense(1.2, 0.1), *layers, Dense(1.1, 0.2))


NETWORKS = {
    "biases": _branching(Gelu(), Dense(1.5, 0.3), Relu()),
    "linear": _branching(Dense(0.7, 0.2)),
    "he": Sequential(Dense(), Relu(), Dense("he"), Gelu(), Dense("he")),
    "frozen": Sequential(Dense(1.0, 0.1, trained=False), Relu(), Dense(2.0, 0.3), Erf(), Dense(2, 0.1, trained=False)),
    "frozen in the middle": Sequential(Dense(1.0, 0.1), Relu(), Dense(2.0, 0.3, trained=False), Relu(), Dense()),
    "residual": _branching(
        Residual(Relu(), Dense(1.0, 0.1)), Residual(Gelu(), Dense(), Relu(), Dense(0.5, 0.1)), Relu()
    ),
    "residual of rows": Sequential(
        Residual(Dense(1.2, 0.1), Relu(), Dense(1.5, 0.1)), Dense(1.0, 0.2), Relu(), Dense()
    ),
    "sum": _branching(Sum(Identity(), Sequential(Relu(), Dense()), Dense(0.5, 0.1)), Gelu()),
    "sum with rows": Sequential(
        Sum(Identity(), Dense(), Sequential(Dense(), Relu(), Dense())), Dense(), Relu(), Dense()
    ),
    "product": Sequential(
        Product(Dense(1.0, 0.2), Sequential(Dense(), Relu(), Dense(1.5, 0.1))), Dense(), Relu(), Dense()
    ),
    "gated": _branching(Product(Identity(), Sequential(Dense(1.0, 0.5), Sigmoid())), Dense(), Gelu()),
    "product of three": Sequential(
        Product(Dense(), Sequential(Dense(1.0, 0.5), Sigmoid()), Sequential(Dense(0.3, 0.2), Tanh())), Dense(1.0, 0.1)
    ),
    "product with rows": Sequential(Product(Identity(), Dense(1.0, 0.3)), Dense(), Relu(), Dense()),
    "concatenation": _branching(
        Concatenate(Relu(), Sequential(Gelu(), Dense(1.3, 0.1)), Identity(), shares=(0.5, 0.25, 0.25)), Dense(), Relu()
    ),
    "concatenation with rows": Sequential(
        Concatenate(Identity(), Sequential(Dense(), Gelu())), Dense(), Relu(), Dense()
    ),
    "concatenation in concatenation": _branching(Concatenate(Concatenate(Relu(), Abs()), Sequential(Relu(), Dense()))),
    "layer norm": _branching(LayerNorm(), Relu(), Dense(1.0, 0.1), LayerNorm(), Gelu(), LayerNorm()),
    "layer norm of rows": Sequential(LayerNorm(), Dense(1.5, 0.1), Relu(), Dense()),
    "ends in an activation": Sequential(Dense(1.0, 0.2), Relu()),
    "ends in a residual": Sequential(Dense(1.0, 0.2), Residual(Relu(), Dense(1.0, 0.1))),
    "ends in a norm": Sequential(Dense(1.0, 0.2), Relu(), Dense(1.0, 0.1), LayerNorm()),
    "ends in a sum": Sum(Sequential(Dense(), Relu(), Dense()), Sequential(Dense(), Gelu(), Dense(0.3, 0.1))),
    "ends in a concatenation": Sequential(Dense(), Concatenate(Relu(), Gelu())),
}
