"""Networks of papers are what the papers say."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers

RANDOM = np.random.default_rng(0)


def box_sums(pairs):
    """Sum [i, j, i', j'] over the same shift of both positions within 3 x 3, zeros around."""
    height, width = pairs.shape[:2]
    around = np.pad(pairs, 1)
    return sum(around[a : a + height, b : b + width, a : a + height, b : b + width] for a in range(3) for b in range(3))


def arora(x, y, depth):
    """The covariances and tangents at all pairs of positions before the last layer (Arora et al. 2019, section 4)."""
    (own_x, own_y), sigma = (np.einsum("ija,kla->ijkl", z, z) for z in (x, y)), np.einsum("ija,kla->ijkl", x, y)
    theta = np.zeros_like(sigma)
    factor = 1.0
    for _ in range(depth):
        own_x, own_y, sigma = (factor / 9 * box_sums(each) for each in (own_x, own_y, sigma))
        theta = factor / 9 * box_sums(theta) + sigma
        variances = np.einsum("ijij->ij", own_x)[:, :, None, None] * np.einsum("ijij->ij", own_y)
        halves = []
        for own in (own_x, own_y):
            diagonal = np.einsum("ijij->ij", own)
            halves.append(dual(own, diagonal[:, :, None, None] * diagonal)[0])
        sigma, slope = dual(sigma, variances)
        own_x, own_y = halves
        theta, factor = theta * slope, 2.0
    return sigma, theta + sigma


def dual(covariance, product):
    root = np.sqrt(product)
    cosine = np.clip(covariance / root, -1, 1)
    angle = np.arccos(cosine)
    slope = (np.pi - angle) / (2 * np.pi)
    return root * (np.sqrt(1 - cosine**2) / (2 * np.pi) + cosine * slope), slope


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("pooling", ["average", None])
def test_cntk(depth, pooling):
    images = RANDOM.standard_normal((3, 4, 5, 2))
    network = layers.cntk(depth, (4, 5, 2), pooling=pooling)
    expected = np.empty((2, 3, 3))
    for i, x in enumerate(images):
        for j, y in enumerate(images):
            for kind, pairs in enumerate(arora(x, y, depth)):
                expected[kind, i, j] = pairs.mean() if pooling else np.einsum("ijij->ij", pairs).mean()
    np.testing.assert_allclose(ntk.NNGP(network=network)(images), expected[0], rtol=1e-7)
    np.testing.assert_allclose(ntk.NTK(network=network)(images), expected[1], rtol=1e-7)


def kinds(network):
    return [type(layer).__name__ for layer in network.layers]


def test_myrtle():
    conv, pool = ["Conv", "Relu"], ["AveragePool"]
    for depth, blocks in ((5, (2, 1, 1)), (7, (2, 2, 2)), (10, (3, 3, 3))):
        expected = [kind for n in blocks for kind in conv * n + pool]
        network = layers.myrtle(depth)
        assert kinds(network) == ["Input", *expected, "GlobalAveragePool", "Dense"]
        assert sum(hasattr(layer, "weight_variance") for layer in network.layers) == depth
        assert ntk.NTK(network=network).plan.shape == (32, 32, 3)
    images = RANDOM.random((2, 8, 8, 1))
    pools = layers.Sequential(*layers.myrtle(5, (8, 8, 1)).layers[:-2], layers.Flatten(), layers.Dense("he"))
    gram = ntk.NTK(network=layers.myrtle(5, (8, 8, 1)))(images)
    np.testing.assert_allclose(gram, ntk.NTK(network=pools)(images), rtol=1e-12)  # one position is left


def test_residual_cnn():
    network = layers.residual_cnn(4)
    assert kinds(network) == ["Input", "Conv", *["Sum", *["Residual"] * 3] * 3, "GlobalAveragePool", "Dense"]
    plan = ntk.NTK(network=network).plan
    assert max(plan.grids) == (32, 32) and (16, 16) in plan.grids and (8, 8) in plan.grids
    one = layers.residual_cnn(1, (5, 3), n_groups=1, pooling=None, weight_variance=1.5, bias_variance=0.1)
    conv = layers.Conv(3, weight_variance=1.5, bias_variance=0.1)
    block = layers.Sum(conv, layers.Sequential(layers.Relu(), conv, layers.Relu(), conv))
    expected = layers.Sequential(
        layers.Input(5, 3), conv, block, layers.Relu(), layers.Flatten(), layers.Dense(1.5, 0.1)
    )
    assert one == expected


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: layers.cntk(0), "depth must be a whole number >= 1"),
        (lambda: layers.cntk(2, pooling="max"), "pooling must be 'average' or None; got 'max'."),
        (lambda: layers.cntk(2, 32), "shape must be (height, width, channels) or (length, channels); got 32."),
        (lambda: layers.cntk(2, (32,)), "Input takes height, width, channels of an image"),
        (lambda: layers.myrtle(6), "depth must be 5, 7 or 10; got 6."),
        (lambda: layers.myrtle(5, (8, 7, 1)), "shape must have at least 8 positions along each dimension; got 8 x 7."),
        (lambda: layers.residual_cnn(0), "block_size must be a whole number >= 1"),
        (lambda: layers.residual_cnn(1, pooling=False), "pooling must be 'average' or None; got False."),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert str(error.value).startswith(sentence)
