"""Sums, products and multiples of kernels: networks whose S or T they are.

T of a sum of independent branches is the sum of theirs, and a Dense that is not trained multiplies S and T by its
variance. An S is the T of its network with nothing trained but one more Dense: a sum in which one term is a T is a T.
S of a product is the product of its factors' S; a factor T comes in as the S of a network that ends in Tangent, and
what is multiplied becomes a T by one more Dense.

The last layer of what is returned is a Dense without bias, whose weight variance multiplies the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ntk_fast.layers.branches import Product, Sum
from ntk_fast.layers.dense import Dense, frozen
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.sequential import Sequential
from ntk_fast.layers.tangent import Tangent
from ntk_fast.lower.plan import ROWS, Builder

PASSES_ON = Dense(trained=False)


class NetworkKernel(NamedTuple):
    """S, or T, of a network."""

    network: Layer
    has_tangent: bool


def constant(value: float) -> NetworkKernel:
    """Return the kernel that is one number: that of a bias."""
    return NetworkKernel(Dense(0.0, value), False)


def multiple(factor: float, kernel: NetworkKernel) -> NetworkKernel:
    """Return factor times a kernel."""
    return NetworkKernel(_then(kernel.network, Dense(factor, trained=False)), kernel.has_tangent)


def sum_of(kernels: Sequence[NetworkKernel]) -> NetworkKernel:
    """Return the sum of kernels; sums among them are taken apart."""
    has_tangent = any(kernel.has_tangent for kernel in kernels)
    terms = [term for kernel in kernels for term in _terms(_as_tangent(kernel) if has_tangent else kernel)]
    return NetworkKernel(Sequential(Sum(*map(_independent, terms)), PASSES_ON), has_tangent)


def product_of(kernels: Sequence[NetworkKernel]) -> NetworkKernel:
    """Return the product of kernels; products of covariances among them are taken apart."""
    has_tangent = any(kernel.has_tangent for kernel in kernels)
    factors = [factor for kernel in kernels for factor in _factors(kernel)]
    return NetworkKernel(Sequential(Product(*factors), Dense(trained=has_tangent)), has_tangent)


def _factors(kernel: NetworkKernel) -> tuple[Layer, ...]:
    match kernel.network:
        case network if kernel.has_tangent:
            return (_then(network, Tangent()),)
        case Sequential((Product(branches), last)) if last == PASSES_ON:
            return branches
    return (_independent(frozen(kernel.network)),)


def _terms(kernel: NetworkKernel) -> tuple[Layer, ...]:
    match kernel.network:
        case Sequential((Sum(branches), last)) if last == PASSES_ON:
            return branches
    return (kernel.network,)


def _as_tangent(kernel: NetworkKernel) -> NetworkKernel:
    """Return the same kernel as a T."""
    return kernel if kernel.has_tangent else NetworkKernel(_then(frozen(kernel.network), Dense()), True)


def _independent(network: Layer) -> Layer:
    """Return a network that has the same S and T, no mean, and no unit that is one of the rows' numbers."""
    output = network.lower(Builder(), ROWS)
    return network if output.is_centred and not output.origins & ROWS.origins else _then(network, PASSES_ON)


def _then(network: Layer, layer: Layer) -> Layer:
    return Sequential(*(network.layers if isinstance(network, Sequential) else (network,)), layer)
