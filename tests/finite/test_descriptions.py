"""Networks of any description: each rule's limit, by brute force, and derivatives that agree with each other."""

from __future__ import annotations

import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian
from finite_networks import ACTIVATIONS, NETWORKS

import ntk_fast as ntk
from ntk_fast import finite
from ntk_fast.layers import (
    Concatenate,
    Dense,
    Gelu,
    Identity,
    LayerNorm,
    Product,
    Relu,
    Residual,
    Sequential,
    Sum,
    Tanh,
)

N_FEATURES = 5
ROWS = np.random.default_rng(0).standard_normal((6, N_FEATURES)) * np.linspace(0.3, 0.6, 6)[:, None]
BY_ACTIVATION = {repr(each): Sequential(Dense(1.5, 0.2), each, Dense(1.2, 0.1)) for each in ACTIVATIONS}
#: Their slope is 0 where it exists, and differences see steps.
STEPS = ("Sign()", "Step()")
EVERY = {**BY_ACTIVATION, **NETWORKS}


def every_network():
    return pytest.mark.parametrize("network", EVERY.values(), ids=EVERY)


def draw(network, width=12, seed=0, **options):
    return finite.Network.initialize(N_FEATURES, width, rng=seed, network=network, **options)


@pytest.mark.filterwarnings("ignore::ntk_fast.layers.AccuracyWarning")
@pytest.mark.parametrize("limit", [ntk.NTK, ntk.NNGP])
@every_network()
def test_limit(network, limit):
    """The mean of empirical kernels is the limit, and they approach it like one over the root of the width."""
    kernel = limit(network=network)
    exact = kernel(ROWS)
    generator = np.random.default_rng(1)
    widths, n_networks = (32, 128, 512), 16
    if limit is ntk.NNGP:  # of a kernel with the same variances, less noisy: its slope is the other's test
        widths = (512,)
    deviations = []
    for width in widths:
        drawn = [draw(network, width, generator) for _ in range(n_networks)]
        grams = np.array(
            [each.empirical_ntk(ROWS) if kernel.has_tangent else each.empirical_nngp(ROWS) for each in drawn]
        )
        deviations.append(np.sqrt(((grams - exact) ** 2).mean(axis=0).sum()))
    size = np.linalg.norm(exact)
    assert np.linalg.norm(grams.mean(axis=0) - exact) < 0.1 * size
    if len(widths) > 1:
        slope = np.polyfit(np.log(widths), np.log(deviations), 1)[0]
        assert slope == pytest.approx(-0.5, abs=0.2)


@every_network()
def test_derivatives(network):
    drawn = draw(network)
    features = drawn.tangent_features(ROWS)
    size = np.abs(features).max()
    generator = np.random.default_rng(2)
    cotangent, direction = generator.standard_normal(len(ROWS)), generator.standard_normal(drawn.n_parameters)
    np.testing.assert_allclose(drawn.gradient(ROWS, cotangent), cotangent @ features, atol=1e-12 * size)
    value, by_readout, by_others = drawn.directional_derivatives(ROWS, direction)
    readout = drawn.graph.readout
    last = np.arange(drawn.n_parameters) >= (readout.start if readout.is_trained else drawn.n_parameters)
    np.testing.assert_allclose(value, drawn(ROWS), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(by_readout, features @ (last * direction), atol=1e-11 * size)
    np.testing.assert_allclose(by_others, features @ (~last * direction), atol=1e-11 * size)
    for rows in (None, ROWS[:2] - 1):
        others = features if rows is None else drawn.tangent_features(rows)
        gram = features @ others.T
        np.testing.assert_allclose(drawn.empirical_ntk(ROWS, rows), gram, atol=1e-12 * np.abs(gram).max())


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(STEPS)))
def test_finite_differences(name):
    """Along random directions, all parameters at once."""
    drawn = draw(EVERY[name])
    step, generator = 1e-6, np.random.default_rng(3)
    for _ in range(3):
        direction = generator.standard_normal(drawn.n_parameters)
        up, down = (drawn.with_parameters(drawn.parameters + sign * step * direction)(ROWS) for sign in (1, -1))
        rate = drawn.tangent_features(ROWS) @ direction
        np.testing.assert_allclose((up - down) / (2 * step), rate, atol=1e-7 * max(1, np.abs(rate).max()))


def test_automatic_differentiation():
    """All kinds of layers in one network, written out."""
    network = Sequential(
        Sum(Dense(1.5, 0.3), Sequential(Dense(2.0), Tanh(), Dense(0.5, 0.2, trained=False))),
        LayerNorm(),
        Residual(Relu(), Dense(0.8, 0.1)),
        Concatenate(Tanh(), Sequential(Dense(1.1), Relu()), shares=(0.25, 0.75)),
        Product(Dense(1.0, 0.4), Sequential(Dense(), Tanh())),
        Dense(0.9, 0.5),
    )
    d = 8
    drawn = draw(network, d)
    fixed = drawn.fixed

    def formula(parameters):
        taken = [0]

        def take(*shape, vector=parameters, place=taken):
            start = place[0]
            place[0] += int(np.prod(shape))
            return vector[start : place[0]].reshape(shape)

        def dense(u, n, weight, bias=0.0, count=None, **options):
            scale = np.sqrt(weight / (count or u.shape[1]))
            u = scale * anp.dot(u, take(n, u.shape[1], **options).T)
            return u + np.sqrt(bias) * take(n, **options) if bias else u

        one = dense(ROWS, d, 1.5, 0.3, count=1)
        other = anp.tanh(dense(ROWS, d, 2.0, count=1))
        u = one + dense(other, d, 0.5, 0.2, vector=fixed, place=[0])
        u = u / anp.sqrt((u**2).mean(axis=1))[:, None]
        u = u + dense(anp.maximum(u, 0), d, 0.8, 0.1)
        u = anp.concatenate([anp.tanh(u)[:, [1, 5]], anp.maximum(dense(u, 6, 1.1), 0)], axis=1)
        u = dense(u, d, 1.0, 0.4) * anp.tanh(dense(u, d, 1.0))
        return dense(u, 1, 0.9, 0.5)[:, 0]

    np.testing.assert_allclose(drawn(ROWS), formula(drawn.parameters), rtol=1e-12, atol=1e-14)
    expected = jacobian(formula)(drawn.parameters)
    assert np.abs(drawn.tangent_features(ROWS) - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_short_form_is_a_description(activation):
    short = finite.Network.initialize(N_FEATURES, 20, 2, activation, rng=0)
    long = draw(short.network, 20)
    for one, other in (
        (short.parameters, long.parameters),
        (short(ROWS), long(ROWS)),
        (short.empirical_ntk(ROWS), long.empirical_ntk(ROWS)),
    ):
        np.testing.assert_array_equal(one, other)
    assert short.network == ntk.NTK(2, activation).network
    assert repr(long).startswith("Network(n_features=5, width=20, network=Sequential(Dense(), ")


def test_parameters_of_layers_that_are_not_trained():
    drawn = draw(NETWORKS["frozen"])
    assert (drawn.n_parameters, drawn.n_fixed) == (12 * 13, 12 * 6 + 13)
    again = finite.Network(drawn.parameters, N_FEATURES, 12, network=NETWORKS["frozen"], fixed=drawn.fixed)
    np.testing.assert_array_equal(again(ROWS), drawn(ROWS))
    moved = drawn.with_parameters(2 * drawn.parameters)
    np.testing.assert_array_equal(moved.fixed, drawn.fixed)
    with pytest.raises(ValueError, match=r"fixed must be a vector of 85 real numbers"):
        finite.Network(drawn.parameters, N_FEATURES, 12, network=NETWORKS["frozen"], fixed=drawn.fixed[1:])
    with pytest.raises(TypeError, match=r"fixed must be a vector of 85 real numbers; got a NoneType"):
        finite.Network(drawn.parameters, N_FEATURES, 12, network=NETWORKS["frozen"])


@every_network()
def test_a_step_of_training(network):
    drawn = draw(network)
    target = np.linspace(-1, 1, len(ROWS))
    training = finite.train(drawn, ROWS, target, n_steps=1, step_size=1e-3)
    step = training.network.parameters - drawn.parameters
    gradient = drawn.gradient(ROWS, drawn(ROWS) - target)
    np.testing.assert_allclose(step, -1e-3 * gradient, rtol=1e-10, atol=1e-15 + 1e-13 * np.abs(gradient).max())
    assert training.distance[-1] == pytest.approx(np.linalg.norm(step), rel=1e-9)
    assert training.linear_error[-1] < 0.1 * np.abs(training.outputs[1] - training.outputs[0]).max() + 1e-12


@pytest.mark.parametrize("name", ["biases", "residual", "layer norm", "concatenation with rows", "gated", "frozen"])
def test_linear_model(name):
    drawn = draw(NETWORKS[name], 64)
    linear = drawn.linearize()
    target = np.linspace(-1, 1, len(ROWS))
    np.testing.assert_allclose(linear(ROWS, linear.fit(ROWS, target)), target, atol=1e-7)
    training = finite.train(drawn, ROWS, target, n_steps=20)
    flow = finite.KernelFlow(drawn.empirical_ntk(ROWS), target, drawn(ROWS))
    expected = flow.outputs(training.times[-1], training.step_size)
    np.testing.assert_allclose(training.linear_outputs[-1], expected, atol=1e-9)
    assert training.loss[-1] < training.loss[0]


@every_network()
def test_antisymmetric(network):
    drawn = draw(network, 16, antisymmetric=True)
    assert np.abs(drawn(ROWS)).max() <= 1e-13
    assert np.abs(drawn.linearize().term_zero(ROWS)).max() <= 1e-11
    assert np.abs(draw(network, 16)(ROWS)).max() > 1e-3
    zeros = sum((part == 0).sum() for part in (drawn.parameters, drawn.fixed))
    assert zeros == (drawn.graph.readout.bias_variance > 0)


def test_antisymmetric_networks_have_the_same_limit():
    kernel = ntk.NTK(network=NETWORKS["residual"])
    result = finite.kernel_convergence(kernel, ROWS, [32, 512], n_networks=8, rng=0, antisymmetric=True)
    assert result.root_mean_square[1] < 0.4 * result.root_mean_square[0]


def test_bits_do_not_depend_on_threads():
    drawn = draw(NETWORKS["concatenation"], 300)
    rows = np.random.default_rng(0).standard_normal((400, N_FEATURES))
    for function in (drawn, drawn.gradient, drawn.empirical_ntk, drawn.empirical_nngp):
        results = [function(rows, n_threads=n) for n in (1, 2, 5)]
        assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("name", ["residual", "layer norm", "product", "concatenation"])
def test_zero_rows_and_no_rows(name):
    drawn = draw(NETWORKS[name])
    zeros = np.zeros((2, N_FEATURES))
    assert np.isfinite(drawn.tangent_features(zeros)).all()
    assert drawn(zeros[:0]).shape == (0,)
    assert drawn.empirical_ntk(zeros[:0], zeros).shape == (0, 2)
    assert drawn.gradient(zeros[:0]).shape == (drawn.n_parameters,)


def test_layer_norm_takes_rows_of_any_size():
    network = Sequential(LayerNorm(), Dense(), LayerNorm(), Relu(), Dense())
    drawn = draw(network)
    np.testing.assert_allclose(drawn(1e200 * ROWS), drawn(ROWS), rtol=1e-12)
    np.testing.assert_allclose(drawn(1e-200 * ROWS), drawn(ROWS), rtol=1e-12)
    assert np.abs(drawn(0 * ROWS)).max() == 0


def test_pickle():
    drawn = draw(NETWORKS["frozen"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(drawn))(ROWS), drawn(ROWS))


def sequential(*layers):
    return Sequential(Dense(), *layers, Dense())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: draw(NETWORKS["he"], depth=2), "network says it all: depth must not be given beside it."),
        (lambda: draw(Relu), "network must be a layer of ntk_fast.layers; got a type."),
        (
            lambda: draw(Sequential(Relu(), Dense())),
            "network: layer 1 of 2, Relu: an activation needs a Dense, a Conv or an Attention before it",
        ),
        (lambda: draw(Relu()), "network: an activation needs a Dense, a Conv or an Attention before it"),
        (lambda: draw(Identity()), "network must have a Dense"),
        (
            lambda: draw(sequential(Product(Identity(), Relu()))),
            "network: layer 2 of 3, Product: the branches of a product must be independent",
        ),
        (
            lambda: draw(sequential(Concatenate(Relu(), Gelu(), Tanh())), 2),
            "network: layer 2 of 3, Concatenate: 2 units leave none for a branch: the width must be larger.",
        ),
        (lambda: draw(Dense(), antisymmetric=True), "antisymmetric needs hidden units: in this network the last Dense"),
        (lambda: draw(NETWORKS["biases"], 7, antisymmetric=True), "width must be even if antisymmetric; got 7."),
        (
            lambda: draw(NETWORKS["concatenation"], 6, antisymmetric=True),
            "width must be even if antisymmetric, and so must the ",
        ),
        (
            lambda: draw(sequential(Concatenate(Relu(), Gelu())), 6, antisymmetric=True),
            "antisymmetric needs another width, or a Dense in each branch of a Concatenate",
        ),
        (
            lambda: draw(Sequential(Sum(Dense(), Concatenate(Dense(), Dense())), Dense()), antisymmetric=True),
            "antisymmetric needs branches of one sum or product to pair their units alike; these do not.",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
