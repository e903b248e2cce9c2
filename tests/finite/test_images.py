"""Networks of finite width on images and sequences: each rule's limit, by brute force, and derivatives."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian

import ntk_fast as ntk
from ntk_fast import finite
from ntk_fast.layers import (
    Attention,
    AveragePool,
    Concatenate,
    Conv,
    Dense,
    Flatten,
    Gelu,
    GlobalAveragePool,
    GlobalSumPool,
    Input,
    LayerNorm,
    Product,
    Relu,
    Residual,
    Sequential,
    Sum,
    SumPool,
)

SHAPES = {"image": (4, 3, 2), "sequence": (5, 2)}
RANDOM = np.random.default_rng(0)
ROWS = {name: RANDOM.standard_normal((4, *shape)) for name, shape in SHAPES.items()}
for rows in ROWS.values():
    rows[1] = rows[0] + 0.3 * rows[1]
    rows[2, :2] = 0  # blank at one side


def image(*layers):
    return Sequential(Input(4, 3, 2), *layers)


def sequence(*layers):
    return Sequential(Input(5, 2), *layers)


NETWORKS = {
    "flatten": image(Conv((3, 3), bias_variance=0.1), Relu(), Conv((2, 3), weight_variance=1.5), Flatten(), Dense()),
    "strides and gaps": image(
        Conv((3, 2), strides=(2, 1)), Gelu(), Conv(2, padding="VALID"), GlobalAveragePool(), Dense(1.0, 0.2)
    ),
    "dilation": sequence(Conv(2, dilation=2, bias_variance=0.2), Relu(), Conv(3, dilation=2), Flatten(), Dense()),
    "circular": image(Conv((3, 3), strides=(2, 1), padding="CIRCULAR"), Relu(), Conv(2, padding="CIRCULAR"), Flatten()),
    "he": image(
        Conv((3, 3), weight_variance="he"), Relu(), Conv(3, weight_variance="he"), Relu(), Flatten(), Dense("he")
    ),
    "pools": image(
        Conv((3, 3)), AveragePool((2, 2), 1, "SAME"), Relu(), Conv(2), Relu(), SumPool(2), AveragePool((2, 1))
    ),
    "pool of pixels": image(AveragePool((2, 1)), Conv((2, 2), bias_variance=0.1), Relu(), GlobalSumPool()),
    "pool before an activation": sequence(Conv(3), SumPool(2, 1, "CIRCULAR"), Relu(), Flatten(), Dense(1.0, 0.1)),
    "flat pixels": image(Flatten(), Dense(1.5), Relu(), Dense()),
    "dense at every position": image(Dense(1.5, 0.1), Relu(), Dense(), Gelu(), GlobalAveragePool(), Dense()),
    "frozen": image(Conv(2, trained=False, bias_variance=0.1), Relu(), Conv(2), Relu(), Flatten(), Dense()),
    "layer norm": image(LayerNorm(), Conv((3, 3), bias_variance=0.1), LayerNorm(), Relu(), Conv(2), Flatten(), Dense()),
    "residual": image(
        Conv((3, 3)), Residual(Relu(), Conv((3, 3), bias_variance=0.1)), Relu(), GlobalAveragePool(), Dense()
    ),
    "residual of pixels": image(Residual(Conv(3), Relu(), Conv(3)), Conv(1), Relu(), Flatten(), Dense()),
    "branches": image(
        Sum(Conv((3, 1)), Sequential(Conv((1, 3)), Relu(), Dense())),
        Concatenate(Relu(), Sequential(Relu(), Conv(2)), shares=(0.25, 0.75)),
        Product(Conv(2), Sequential(Conv(1), Gelu())),
        Flatten(),
        Dense(),
    ),
    "flat branches": image(
        Conv(2),
        Relu(),
        Sum(Flatten(), Sequential(GlobalAveragePool(), Dense()), Sequential(Flatten(), Dense())),
        Dense(),
    ),
    "flat shares": image(Concatenate(Sequential(Conv(2), Flatten()), Sequential(Flatten(), Dense())), Dense()),
    "images and rows": Sum(image(Conv(2), Relu(), Flatten(), Dense()), Sequential(Dense(), Relu(), Dense())),
    "softmax": sequence(Dense(), Attention(query_key_scale=1.5, weight_variance=1.2, bias_variance=0.1), Flatten()),
    "softmax of pixels": image(Attention(), GlobalAveragePool(), Dense()),
    "identity": sequence(
        Dense(), LayerNorm(), Residual(Attention(zeta="identity", query_key_scale=-0.4)), GlobalAveragePool(), Dense()
    ),
    "relu": sequence(Conv(2), LayerNorm(), Attention(zeta="relu", trained=False), Relu(), Flatten(), Dense()),
    "random": sequence(Dense(), Attention("d^-0.5", "identity", 0.6, 0.9, 0.2), Flatten(), Dense()),
    "transformer": sequence(
        Dense(), Residual(LayerNorm(), Attention()), Residual(LayerNorm(), Dense(), Relu(), Dense()), Flatten()
    ),
}


def every_network():
    return pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def rows_of(network):
    return ROWS["sequence" if "Input(5, 2)" in repr(network) else "image"]


def draw(network, width=6, seed=0, **options):
    return finite.Network.initialize(rows_of(network)[0].size, width, rng=seed, network=network, **options)


@every_network()
def test_limit(network):
    """The empirical NTK approaches the limit like one over the root of the width; so does the NNGP kernel's mean."""
    rows = rows_of(network)
    attends = "Attention" in repr(network)
    widths = (32, 256) if attends else (32, 512)
    result = finite.kernel_convergence(ntk.NTK(network=network), rows, widths, n_networks=16, rng=0)
    # narrow heads are further off than the law has it
    expected = pytest.approx(-0.6, abs=0.25) if attends else pytest.approx(-0.5, abs=0.2)
    assert result.law.exponent == expected, result.root_mean_square
    average = finite.average_kernel(rows, kernel="nngp", n_networks=16, width=128, network=network, rng=1)
    limit = ntk.NNGP(network=network)(rows)
    close = 0.35 if attends else 0.15  # heads have 12 units
    assert np.linalg.norm(average.mean - limit) < close * np.linalg.norm(limit)


@every_network()
def test_derivatives(network):
    rows = rows_of(network)
    drawn = draw(network)
    features = drawn.tangent_features(rows)
    size = np.abs(features).max()
    generator = np.random.default_rng(2)
    cotangent, direction = generator.standard_normal(len(rows)), generator.standard_normal(drawn.n_parameters)
    np.testing.assert_allclose(drawn.gradient(rows, cotangent), cotangent @ features, atol=1e-12 * size)
    value, by_readout, by_others = drawn.directional_derivatives(rows, direction)
    np.testing.assert_allclose(value, drawn(rows), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(by_readout + by_others, features @ direction, atol=1e-11 * size)
    for others in (None, rows[:2] - 1):
        gram = features @ (features if others is None else drawn.tangent_features(others)).T
        np.testing.assert_allclose(drawn.empirical_ntk(rows, others), gram, atol=1e-12 * np.abs(gram).max())
    step = 1e-6 * direction
    up, down = (drawn.with_parameters(drawn.parameters + sign * step)(rows) for sign in (1, -1))
    rate = features @ direction
    np.testing.assert_allclose((up - down) / 2e-6, rate, atol=1e-7 * max(1, np.abs(rate).max()))
    for empty in (drawn(rows[:0]), drawn.gradient(rows[:0]), drawn.tangent_features(rows[:0])):
        assert not empty.any()


@every_network()
def test_antisymmetric(network):
    rows = rows_of(network)
    drawn = draw(network, 8, antisymmetric=True)
    assert np.abs(drawn(rows)).max() <= 1e-13
    assert np.abs(draw(network, 8)(rows)).max() > 1e-3


def test_automatic_differentiation():
    """A convolution, attention with random weights and a pool, written out."""
    network = sequence(
        Conv(3, bias_variance=0.2), Attention("d^-0.5", "identity", 0.7, 1.3, 0.1), SumPool(5), Dense(0.9)
    )
    d, size = 4, 2
    drawn, rows = draw(network, d), ROWS["sequence"]

    def formula(parameters):
        taken = [0]

        def take(*shape):
            start = taken[0]
            taken[0] += int(np.prod(shape))
            return parameters[start : taken[0]].reshape(shape)

        around = np.pad(rows, ((0, 0), (1, 1), (0, 0)))
        seen = np.concatenate([around[:, :-2], around[:, 1:-1], around[:, 2:]], axis=2)
        u = anp.dot(seen, take(d, 6).T) / np.sqrt(3) + np.sqrt(0.2) * take(d)
        queries, keys, values = (anp.dot(u, take(d * size, d).T) / np.sqrt(d) for _ in range(3))
        heads = []
        for head in range(d):
            q, k, v = (each[:, :, head * size : (head + 1) * size] for each in (queries, keys, values))
            products = anp.einsum("nia,nja->nij", q, k) * 0.7 / np.sqrt(size)
            heads.append(anp.einsum("nij,nja->nia", products, v))
        u = np.sqrt(1.3 / (d * size)) * anp.dot(anp.concatenate(heads, axis=2), take(d, d * size).T)
        u = u + np.sqrt(0.1) * take(d)
        return np.sqrt(0.9 / d) * anp.dot(u.sum(axis=1), take(1, d)[0])

    np.testing.assert_allclose(drawn(rows), formula(drawn.parameters), rtol=1e-12, atol=1e-14)
    expected = jacobian(formula)(drawn.parameters)
    assert np.abs(drawn.tangent_features(rows) - expected).max() <= 1e-12 * np.abs(expected).max()


def test_bits_do_not_depend_on_threads():
    drawn = draw(NETWORKS["residual"], 100)
    rows = np.random.default_rng(0).standard_normal((150, 24))
    for function in (drawn, drawn.gradient, drawn.empirical_ntk, drawn.empirical_nngp):
        results = [function(rows, n_threads=n) for n in (1, 2, 5)]
        assert all(np.array_equal(result, results[0]) for result in results)


def test_training():
    network = NETWORKS["strides and gaps"]
    drawn, rows = draw(network, 32), ROWS["image"]
    target = np.linspace(-1, 1, len(rows))
    training = finite.train(drawn, rows, target, n_steps=20)
    assert training.loss[-1] < training.loss[0]
    np.testing.assert_allclose(drawn.linearize()(rows, drawn.linearize().fit(rows, target)), target, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: finite.Network.initialize(25, 4, network=NETWORKS["flatten"]),
            "n_features must be 24, of the network's Input 4 x 3 x 2; got 25.",
        ),
        (lambda: draw(NETWORKS["flatten"])(np.zeros((2, 4, 3))), "X must hold images of shape (n, 4, 3, 2)"),
        (lambda: draw(NETWORKS["softmax"], 7, antisymmetric=True), "width must be even if antisymmetric"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(sentence)
