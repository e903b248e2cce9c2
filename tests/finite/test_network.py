"""A finite network is the lecture's formula, and its derivatives are what automatic differentiation says."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian

import ntk_fast as ntk
from ntk_fast import finite, layers
from ntk_fast.finite import network_function
from ntk_fast.schedule import memory

ACTIVATIONS = ("relu", "leaky_relu", "abs", ntk.leaky_relu(0.5), ntk.leaky_relu(1.5), finite.softplus(3.0))
DEPTHS = (1, 2, 4)


def sigma(z, activation):
    if isinstance(activation, str):
        slope = {"relu": 0.0, "leaky_relu": 0.01, "abs": -1.0}[activation]
    elif isinstance(activation, layers.LeakyRelu):
        slope = activation.slope
    else:
        return anp.logaddexp(activation.t * z, 0.0) / activation.t
    return anp.where(z > 0, z, slope * z)


def formula(parameters, rows, network):
    """Eq. 2 and its deeper kin, written for automatic differentiation."""
    width, start, inputs = network.width, 0, rows
    for layer in range(network.depth):
        n_columns = width if layer else network.n_features
        matrix = parameters[start : start + width * n_columns].reshape(width, n_columns)
        inputs = sigma(anp.dot(inputs, matrix.T), network.activation) / anp.sqrt(width)
        start += width * n_columns
    return anp.dot(inputs, parameters[start:])


def make(depth, activation, width=12, n_features=5, n=9, seed=0):
    rng = np.random.default_rng(seed)
    return finite.Network.initialize(n_features, width, depth, activation, rng), rng.standard_normal((n, n_features))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
class TestDerivatives:
    def test_values(self, depth, activation):
        network, rows = make(depth, activation)
        expected = formula(network.parameters, rows, network)
        np.testing.assert_allclose(network(rows), expected, rtol=1e-12, atol=1e-14)
        features = network.hidden_features(rows)
        np.testing.assert_allclose(features @ network.weights.readout, expected, rtol=1e-12, atol=1e-14)

    def test_automatic_differentiation(self, depth, activation):
        network, rows = make(depth, activation)
        expected = jacobian(formula)(network.parameters, rows, network)
        size = np.abs(expected).max()
        assert np.abs(network.tangent_features(rows) - expected).max() <= 1e-12 * size
        cotangent = np.random.default_rng(1).standard_normal(len(rows))
        assert np.abs(network.gradient(rows, cotangent) - cotangent @ expected).max() <= 1e-12 * size
        direction = np.random.default_rng(2).standard_normal(network.n_parameters)
        value, by_readout, by_hidden = network.directional_derivatives(rows, direction)
        rate = expected @ direction
        assert np.abs(by_readout + by_hidden - rate).max() <= 1e-12 * np.abs(rate).max()
        np.testing.assert_allclose(value, network(rows), rtol=1e-13, atol=1e-15)

    def test_finite_differences(self, depth, activation):
        network, rows = make(depth, activation)
        gradient = network.gradient(rows)
        step = 1e-6
        for place in np.random.default_rng(3).choice(network.n_parameters, 20):
            moved = [network.parameters.copy() for _ in range(2)]
            moved[0][place] += step
            moved[1][place] -= step
            up, down = (network.with_parameters(parameters)(rows).sum() for parameters in moved)
            assert (up - down) / (2 * step) == pytest.approx(gradient[place], rel=1e-6, abs=1e-6 * abs(gradient).max())


@pytest.mark.parametrize("depth", DEPTHS)
def test_number_of_parameters(depth):
    p, d = 5, 12
    network, _ = make(depth, "relu")
    assert network.n_parameters == len(network.parameters) == d + d * p + (depth - 1) * d**2


def test_parameters_are_standard_normal_and_come_from_the_seed():
    first, second = (finite.Network.initialize(30, 200, 2, rng=5) for _ in range(2))
    assert np.array_equal(first.parameters, second.parameters)
    assert abs(first.parameters.mean()) < 5 / np.sqrt(first.n_parameters)
    assert first.parameters.std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_antisymmetric_networks_start_at_zero(depth, activation):
    rng = np.random.default_rng(0)
    network = finite.Network.initialize(4, 20, depth, activation, rng, antisymmetric=True)
    rows = rng.standard_normal((10, 4))
    assert np.abs(network(rows)).max() < 1e-14 * 20
    assert np.abs(network.linearize().term_zero(rows)).max() < 1e-14 * 20
    assert np.abs(network.tangent_features(rows)).max() > 0.1


def test_hidden_units_of_zero_preactivation_have_the_slope_of_the_negative_side():
    network = finite.Network([0.0, 1.0], n_features=1, width=1)  # w = 0
    assert network.gradient([[1.0]])[0] == 0.0


@pytest.mark.parametrize("depth", DEPTHS)
def test_bits_do_not_depend_on_threads(depth):
    network, rows = make(depth, finite.softplus(2.0), width=600, n=300)
    cotangent = np.linspace(-1, 1, len(rows))
    for function in (
        lambda n: network(rows, n_threads=n),
        lambda n: network.gradient(rows, cotangent, n_threads=n),
        lambda n: network.empirical_ntk(rows, n_threads=n),
        lambda n: network.empirical_nngp(rows, rows[:100], n_threads=n),
    ):
        results = [function(n_threads) for n_threads in (1, 2, 5)]
        assert all(np.array_equal(result, results[0]) for result in results)


def test_many_rows_take_several_passes(monkeypatch):
    network, rows = make(2, "relu", n=50)
    whole = network(rows), network.gradient(rows), network.hidden_features(rows)
    derivatives = network.directional_derivatives(rows, network.parameters)
    monkeypatch.setattr(network_function, "PASS_ENTRIES", 7 * network.width)
    for part, expected in zip(
        (network(rows), network.gradient(rows), network.hidden_features(rows)), whole, strict=True
    ):
        np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(network.directional_derivatives(rows, network.parameters), derivatives, rtol=1e-12)


def test_no_rows():
    network, rows = make(2, "relu")
    assert network(rows[:0]).shape == (0,)
    assert network.gradient(rows[:0]).shape == (network.n_parameters,)
    assert network.empirical_ntk(rows[:0], rows).shape == (0, len(rows))
    assert network.tangent_features(rows[:0]).shape == (0, network.n_parameters)


@pytest.mark.filterwarnings("error")
def test_what_overflows_is_refused():
    network, rows = make(2, "relu")
    for function in (network.empirical_ntk, network.empirical_nngp):
        with pytest.raises(ValueError, match="The kernel would overflow float64: scale the rows or the parameters"):
            function(1e200 * rows)
    huge = network.with_parameters(1e200 * network.parameters)
    for call, name in (
        (huge, "The network's output"),
        (huge.gradient, "The gradient"),
        (huge.hidden_features, "A hidden feature"),
        (huge.tangent_features, "A tangent feature"),
        (lambda X: huge.directional_derivatives(X, huge.parameters), "The derivative"),
    ):
        with pytest.raises(ValueError, match=f"{name} would overflow float64"):
            call(rows)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_begun(monkeypatch):
    network, rows = make(2, "relu", width=500, n=100)
    monkeypatch.setattr(memory, "SMALL_RESULT", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e6)
    for call, message in (
        (lambda: network.empirical_ntk(rows), "The 100 x 1500 activations, of all layers, in float64 needs 0.0 GB"),
        (lambda: network.tangent_features(rows), "tangent features .* or empirical_ntk, which needs none of them"),
        (lambda: finite.Network.initialize(5, 1000, 2), "The 1006000 vector of parameters in float64 needs"),
        (lambda: finite.Network.initialize(5, 10**30, 2), "vector of parameters in float64 needs"),
    ):
        with pytest.raises(MemoryError, match=message):
            call()


def test_networks_are_immutable():
    network, _ = make(1, "relu")
    with pytest.raises(ValueError):
        network.parameters[0] = 1.0
    with pytest.raises(AttributeError):
        network.width = 3


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: finite.Network.initialize(4, 0), "width must be a whole number >= 1; got 0."),
        (lambda: finite.Network.initialize(4, 4, 0), "depth must be a whole number from 1 to 5000; got 0."),
        (lambda: finite.Network.initialize(0, 4), "n_features must be a whole number >= 1; got 0."),
        (lambda: finite.Network.initialize(4, 5, antisymmetric=True), "width must be even if antisymmetric; got 5."),
        (lambda: finite.Network(np.zeros(7), 2, 2), "parameters must be a vector of 6 real numbers; got shape (7,)."),
        (lambda: finite.Network([0, 0, 0, 0, 0, np.nan], 2, 2), "parameters must be finite; entry 5 is nan."),
        (lambda: finite.softplus(0.0), "t must be > 0; got 0.0."),
        (lambda: finite.softplus(-1.0), "t must be > 0; got -1.0."),
        (lambda: finite.softplus(5e-324), "t must be from 1e-100 to 1e+100; got 5e-324."),
        (lambda: finite.Network.initialize(4, 4, rng="a"), "rng must be a numpy.random.Generator, a whole number >= 0"),
        (lambda: finite.Network.initialize(4, 4, rng=-1), "rng must be a numpy.random.Generator, a whole number >= 0"),
        (lambda: finite.Network.initialize(4, 4, antisymmetric="no"), "antisymmetric must be True or False; got 'no'."),
        (lambda: finite.Network.initialize(4, 4, activation="swish"), "activation must be one of 'relu', 'leaky_relu'"),
        (lambda: make(1, "relu")[0](np.zeros((2, 3))), "X must have n_features = 5 columns; got 3."),
        (lambda: make(1, "relu")[0]([[np.nan] * 5]), "X must be finite; row 0 holds nan in column 0"),
        (lambda: make(1, "relu")[0].gradient(np.ones((2, 5)), [1.0]), "cotangent must be a vector of 2 real numbers"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
