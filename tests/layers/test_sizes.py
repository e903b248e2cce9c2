"""How deep layers may nest, and how many there may be: all of it in one sentence, and at once."""

from __future__ import annotations

import copy
import pickle

import pytest

import ntk_fast as ntk
from ntk_fast import layers


def nested(kind: type[layers.Layer], levels: int) -> layers.Layer:
    network = layers.Dense()
    for _ in range(levels - 1):
        network = kind(network)
    return network


@pytest.mark.parametrize("kind", [layers.Sequential, layers.Residual, layers.Sum, layers.Product, layers.Concatenate])
def test_layers_nest_so_deep_and_no_deeper(kind):
    """Whatever walks through them finds its way back."""
    deepest = nested(kind, 101)
    if kind is not layers.Residual:  # a residual connection around one is not of independent branches
        assert ntk.NTK(network=deepest)([3.0, 4.0], [4.0, 3.0]) == pytest.approx(24.0)
    assert layers.from_json(layers.to_json(deepest)) == deepest == pickle.loads(pickle.dumps(deepest))
    assert hash(copy.copy(deepest)) == hash(deepest)
    assert repr(deepest).count(kind.__name__) == 100
    with pytest.raises(ValueError, match=f"{kind.__name__}: .* 1 nests layers 101 deep: at most 100 are accepted"):
        nested(kind, 1000)


def test_more_layers_than_compile_within_seconds_are_refused():
    pairs = (layers.Dense(2.0), layers.Relu()) * 6000
    with pytest.raises(ValueError, match="network must not have more than 11000 layers"):
        ntk.NNGP(network=layers.Sequential(*pairs, layers.Dense()))
