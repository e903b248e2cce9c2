"""Training is gradient descent; the linear model alongside is gradient descent too, and the flow its limit."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import scipy.linalg

import ntk_fast as ntk
from ntk_fast import finite
from ntk_fast.finite.descent import largest_tangent_eigenvalue


def problem(n=15, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, n_features))
    return (
        rows / np.linalg.norm(rows, axis=1, keepdims=True),
        rng.standard_normal(n),
        rng.standard_normal((7, n_features)),
    )


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ["relu", finite.softplus(4.0)], ids=repr)
def test_steps_are_gradient_descent(depth, activation):
    rows, y, test = problem()
    network = finite.Network.initialize(4, 30, depth, activation, rng=0)
    training = finite.train(network, rows, y, n_steps=10, step_size=0.02, X_test=test, record_every=4)
    assert list(training.steps) == [0, 4, 8, 10]
    theta, linear = network.parameters.copy(), network.parameters.copy()
    features = network.tangent_features(rows)
    lin = network.linearize()
    for step in range(11):
        here = network.with_parameters(theta)
        if step in training.steps:
            record = list(training.steps).index(step)
            np.testing.assert_allclose(training.outputs[record], here(rows), rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(training.test_outputs[record], here(test), rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(training.linear_outputs[record], lin(rows, linear), rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(training.linear_test_outputs[record], lin(test, linear), rtol=1e-9, atol=1e-11)
            assert training.loss[record] == pytest.approx(((here(rows) - y) ** 2).sum() / 2)
            moved = theta - network.parameters
            assert training.distance[record] == pytest.approx(np.linalg.norm(moved), rel=1e-9)
            units = np.concatenate([np.linalg.norm(part, axis=1) for part in network.split(moved).hidden])
            assert training.unit_distance_max[record] == pytest.approx(units.max(), rel=1e-9)
            assert training.unit_distance_mean[record] == pytest.approx(units.mean(), rel=1e-9)
        if step < 10:
            theta = theta - 0.02 * here.gradient(rows, here(rows) - y)
            linear = linear - 0.02 * features.T @ (lin(rows, linear) - y)
    np.testing.assert_allclose(training.network.parameters, theta, rtol=1e-10, atol=1e-12)


def test_switched_counts_preactivations_on_the_other_side():
    rows, y, _ = problem()
    network = finite.Network.initialize(4, 50, rng=0)
    training = finite.train(network, rows, 10 * y, n_steps=20)
    before, after = (rows @ each.weights.hidden[0].T > 0 for each in (network, training.network))
    assert training.switched[-1] == pytest.approx((before != after).mean())
    assert training.switched[-1] > 0
    assert training.switched[0] == 0


@pytest.mark.parametrize("n", [1, 2, 15])
def test_default_step_is_one_over_the_largest_eigenvalue(n):
    rows, y, _ = problem(n)
    network = finite.Network.initialize(4, 50, 2, rng=0)
    largest = np.linalg.eigvalsh(network.empirical_ntk(rows))[-1]
    assert largest_tangent_eigenvalue(network, rows) == pytest.approx(largest, rel=1e-4)
    assert finite.train(network, rows, y, n_steps=1, linear=False).step_size == pytest.approx(1 / largest, rel=1e-4)


def test_bits_do_not_depend_on_threads():
    rows, y, test = problem(200)
    network = finite.Network.initialize(4, 700, 2, rng=0)
    results = [finite.train(network, rows, y, n_steps=3, X_test=test, n_threads=n) for n in (1, 3)]
    assert np.array_equal(results[0].network.parameters, results[1].network.parameters)
    assert np.array_equal(results[0].linear_test_outputs, results[1].linear_test_outputs)


def test_wide_networks_follow_the_kernel():
    rows, y, test = problem()
    kernel = ntk.NTK(1)
    errors = []
    for width in (64, 4096):
        network = finite.Network.initialize(4, width, rng=1, antisymmetric=True)
        training = finite.train(network, rows, y, n_steps=100, X_test=test)
        flow = finite.KernelFlow(kernel(rows), y, test_kernel=kernel(test, rows))
        difference = flow.test_outputs(training.times[-1], training.step_size) - training.test_outputs[-1]
        errors.append((training.linear_test_error[-1], np.sqrt((difference**2).mean())))
        assert training.linear_loss[-1] < 0.2 * training.linear_loss[0]
    assert all(wide < 0.5 * narrow for narrow, wide in zip(*errors, strict=True))


def named_step(error: finite.TrainingDiverged) -> float:
    found = re.search(r"step_size=([0-9.e+-]+) is safe, it was tried for [0-9]+ steps", str(error))
    assert found, error
    return float(found[1])


@pytest.mark.parametrize("step_size", [1.0, 100.0, 1e300])
@pytest.mark.parametrize("depth", [1, 3])
def test_divergence_stops_with_the_history_and_a_safe_step(step_size, depth):
    rows, y, _ = problem()
    network = finite.Network.initialize(4, 50, depth, rng=0)
    with pytest.raises(finite.TrainingDiverged, match="training diverged at step") as error:
        finite.train(network, 10 * rows, y, n_steps=1000, step_size=step_size)
    history = error.value.training
    assert history.steps[0] == 0
    assert np.isfinite(history.network.parameters).all()
    assert np.isfinite(history.loss).all()
    safe = named_step(error.value)
    training = finite.train(network, 10 * rows, y, n_steps=100, step_size=safe)
    assert training.loss[-1] < training.loss[0]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_where_the_kernel_grows_in_training_the_safe_step_is_smaller_than_the_linear_models(depth):
    """Targets that are large for the width: 1 over the largest eigenvalue, the default, diverges itself."""
    rows, y, _ = problem()
    network = finite.Network.initialize(4, 64, depth, rng=0)
    with pytest.raises(finite.TrainingDiverged) as error:
        finite.train(network, rows, 100 * y, n_steps=50)
    history, safe = error.value.training, named_step(error.value)
    assert safe < history.step_size
    assert history.loss[-1] > 100 * history.loss[0], "the step that went wrong is in the history"
    training = finite.train(network, rows, 100 * y, n_steps=50, step_size=safe)
    assert training.loss[-1] < training.loss[0]


def test_a_step_that_leaves_the_world_is_not_taken():
    """From tiny parameters the linear model's step is as long as it takes to fit: the network is not linear there."""
    rows, y, _ = problem()
    network = finite.Network.initialize(4, 50, rng=0)
    small = network.with_parameters(1e-3 * network.parameters)
    with pytest.raises(finite.TrainingDiverged, match="times as long as the vector of parameters") as error:
        finite.train(small, rows, y, n_steps=20)
    assert np.array_equal(error.value.training.network.parameters, small.parameters)
    assert finite.train(small, rows, y, n_steps=20, step_size=named_step(error.value)).loss[-1] <= 0.5 * (y @ y)


def test_the_error_goes_through_pickle():
    rows, y, _ = problem()
    with pytest.raises(finite.TrainingDiverged) as error:
        finite.train(finite.Network.initialize(4, 50, rng=0), rows, y, step_size=1e300)
    copied = pickle.loads(pickle.dumps(error.value))
    assert str(copied) == str(error.value)
    assert np.array_equal(copied.training.outputs, error.value.training.outputs)


@pytest.mark.parametrize("scale", [0.0, 1e-200])
def test_a_kernel_of_zeros_trains_nothing(scale):
    rows, y, _ = problem()
    network = finite.Network.initialize(4, 8, rng=0)
    assert largest_tangent_eigenvalue(network, scale * rows) == 0
    training = finite.train(network, scale * rows, y, n_steps=3)
    assert np.array_equal(training.network.parameters, network.parameters)
    dead = finite.Network(np.r_[-np.ones(8), np.ones(8)], 1, 8)
    assert finite.train(dead, [[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0], n_steps=3).distance[-1] == 0


def test_history_without_a_linear_model():
    rows, y, _ = problem()
    training = finite.train(finite.Network.initialize(4, 10, rng=0), rows, y, n_steps=2, linear=False)
    assert training.linear_outputs is None
    assert training.test_outputs.shape == (3, 0)
    with pytest.raises(ValueError, match="pass linear=True"):
        _ = training.linear_error
    with pytest.raises(ValueError, match="there are no test rows: pass X_test"):
        _ = finite.train(finite.Network.initialize(4, 10, rng=0), rows, y, n_steps=2).linear_test_error


def test_no_steps():
    rows, y, _ = problem()
    network = finite.Network.initialize(4, 10, rng=0)
    training = finite.train(network, rows, y, n_steps=0)
    assert np.array_equal(training.network.parameters, network.parameters)
    assert training.distance == [0]


def test_progress():
    rows, y, _ = problem()
    seen = []
    finite.train(
        finite.Network.initialize(4, 8, rng=0), rows, y, n_steps=3, progress=lambda *now: seen.append(now), linear=False
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"step_size": 0.0}, "step_size must be > 0; got 0.0"),
        ({"step_size": np.nan}, "step_size must be finite"),
        ({"n_steps": -1}, "n_steps must be a whole number >= 0; got -1"),
        ({"linear": "no"}, "linear must be True or False; got 'no'"),
        ({"record_every": 0}, "record_every must be a whole number >= 1; got 0"),
        ({"X_test": np.eye(3)}, "X_test must have n_features = 4 columns; got 3"),
        ({"network": None}, "network must be a finite.Network; got a NoneType"),
        ({"y": np.zeros(3)}, "y must be a vector of 15 real numbers"),
    ],
)
def test_bad_input(changed, sentence):
    rows, y, _ = problem()
    arguments = {"network": finite.Network.initialize(4, 8, rng=0), "X": rows, "y": y, **changed}
    with pytest.raises((TypeError, ValueError), match=sentence):
        finite.train(**arguments)


class TestFlow:
    def test_is_the_matrix_exponential(self):
        rows, y, test = problem()
        kernel, start = ntk.NTK(2)(rows), np.linspace(-1, 1, len(y))
        test_kernel = ntk.NTK(2)(test, rows)
        flow = finite.KernelFlow(kernel, y, start, test_kernel=test_kernel, initial_test=np.ones(7))
        for time in (0.0, 0.3, 5.0):
            remaining = scipy.linalg.expm(-kernel * time) @ (start - y)
            np.testing.assert_allclose(flow.outputs(time), y + remaining, rtol=1e-9, atol=1e-11)
            expected = 1 + test_kernel @ np.linalg.solve(kernel, (y - start) + remaining)
            np.testing.assert_allclose(flow.test_outputs(time), expected, rtol=1e-7, atol=1e-8)

    def test_steps_are_gradient_descent(self):
        rows, y, test = problem()
        kernel, test_kernel = ntk.NTK(2)(rows), ntk.NTK(2)(test, rows)
        flow = finite.KernelFlow(kernel, y, test_kernel=test_kernel)
        outputs, test_outputs = np.zeros(len(y)), np.zeros(7)
        for _ in range(20):
            pull = 0.3 * (y - outputs)
            outputs, test_outputs = outputs + kernel @ pull, test_outputs + test_kernel @ pull
        np.testing.assert_allclose(flow.outputs(20 * 0.3, 0.3), outputs, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(flow.test_outputs(20 * 0.3, 0.3), test_outputs, rtol=1e-10, atol=1e-12)

    def test_end_of_training(self):
        flow = finite.KernelFlow(np.diag([1.0, 2.0, 0.0]), [1.0, 2.0, 3.0])
        np.testing.assert_allclose(flow.outputs(np.inf), [1.0, 2.0, 0.0])
        np.testing.assert_allclose(flow.outputs(1e9), [1.0, 2.0, 0.0])

    def test_bad_input(self):
        with pytest.raises(ValueError, match="kernel must be a square matrix"):
            finite.KernelFlow(np.zeros((2, 3)), [0, 0])
        with pytest.raises(ValueError, match="test_kernel must have 2 columns"):
            finite.KernelFlow(np.eye(2), [0, 0], test_kernel=np.eye(3))
        flow = finite.KernelFlow(np.eye(2), [0, 0])
        for time in (-1.0, np.nan, "a", np.ones(2)):
            with pytest.raises(ValueError, match="time must be a number >= 0"):
                flow.outputs(time)
        with pytest.raises(ValueError, match="test_outputs needs a test_kernel"):
            flow.test_outputs(1.0)
        with pytest.raises(ValueError, match="step_size must be > 0"):
            flow.outputs(1.0, 0.0)
        with pytest.raises(ValueError, match=r"time must be a whole number of steps of 0.1; got 0.25"):
            flow.outputs(0.25, 0.1)
        with pytest.raises(ValueError, match="step_size must be below 2 / 1, or descent has no end; got 10"):
            flow.outputs(np.inf, 10)
        with pytest.raises(ValueError, match="kernel must be symmetric"):
            finite.KernelFlow([[2.0, 5.0], [0.0, 2.0]], [1.0, 2.0])
        with pytest.raises(ValueError, match="kernel must be positive semi-definite; it has an eigenvalue of -1"):
            finite.KernelFlow([[-1.0]], [1.0])
        with pytest.raises(ValueError, match="initial_test is for test rows, and needs a test_kernel"):
            finite.KernelFlow([[1.0]], [1.0], initial_test=[0.0])
