"""Networks, described as data: layers as frozen dataclasses in a tree, comparable, hashable, picklable, and JSON.

The map:

    layer, activation     what a layer is, and what an activation is
    dense, sequential     Dense; Sequential, Identity
    branches              Sum, Residual, Product, Concatenate; `meeting`: of finite width
    layer_norm, tangent   LayerNorm; Tangent
    input, conv, pool,    images and sequences: Input, Conv, AveragePool, SumPool, GlobalAveragePool, GlobalSumPool,
    flatten, attention    Flatten, Attention; `window`: what they see of a grid; `positions`: checks that they share;
                          `patches`: windows at finite width
    relu, erf, gelu, ...  activations, a family a file; `names`: those that kernels take by name
    pair_state            what the maps of activations take and make: a pair's 1 - cosine and 1 + cosine
    curved, hermite_map,  what the maps of activations have in common that depend on variances: near and opposite pairs,
    expanded              Hermite series, and Hermite coefficients by quadrature where there is no closed form
    architectures         cntk, myrtle, residual_cnn: networks on images that papers use
    json_text             to_json, from_json

One file says all of a layer: what it is, its rule for S and T (`lower`, in terms of the few steps of
`ntk_fast.lower.plan`), and its counterpart of finite width.
"""

from ntk_fast.layers.arc_cosine import RectifiedMonomial, Sign, Step
from ntk_fast.layers.architectures import cntk, myrtle, residual_cnn
from ntk_fast.layers.attention import Attention
from ntk_fast.layers.branches import Concatenate, Product, Residual, Sum
from ntk_fast.layers.conv import Conv
from ntk_fast.layers.dense import Dense
from ntk_fast.layers.elu import Elu
from ntk_fast.layers.erf import Erf, SigmoidLike
from ntk_fast.layers.expanded import AccuracyWarning
from ntk_fast.layers.exponential import Exp, Rbf
from ntk_fast.layers.flatten import Flatten
from ntk_fast.layers.function import Activation
from ntk_fast.layers.gaussian import Gaussian
from ntk_fast.layers.gelu import Gelu
from ntk_fast.layers.input import Input
from ntk_fast.layers.json_text import from_json, to_json
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.layer_norm import LayerNorm
from ntk_fast.layers.polynomial import Hermite, Monomial, Polynomial
from ntk_fast.layers.pool import AveragePool, GlobalAveragePool, GlobalSumPool, SumPool
from ntk_fast.layers.relu import Abs, LeakyRelu, Relu
from ntk_fast.layers.sequential import Identity, Sequential
from ntk_fast.layers.sine import Cos, Sin
from ntk_fast.layers.smooth import Sigmoid, Silu, Softplus, Tanh
from ntk_fast.layers.tangent import Tangent

__all__ = [
    "Abs",
    "AccuracyWarning",
    "Activation",
    "Attention",
    "AveragePool",
    "Concatenate",
    "Conv",
    "Cos",
    "Dense",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gaussian",
    "Gelu",
    "GlobalAveragePool",
    "GlobalSumPool",
    "Hermite",
    "Identity",
    "Input",
    "Layer",
    "LayerNorm",
    "LeakyRelu",
    "Monomial",
    "Polynomial",
    "Product",
    "Rbf",
    "RectifiedMonomial",
    "Relu",
    "Residual",
    "Sequential",
    "Sigmoid",
    "SigmoidLike",
    "Sign",
    "Silu",
    "Sin",
    "Softplus",
    "Step",
    "Sum",
    "SumPool",
    "Tangent",
    "Tanh",
    "cntk",
    "from_json",
    "myrtle",
    "residual_cnn",
    "to_json",
]
