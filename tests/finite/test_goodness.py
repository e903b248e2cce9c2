"""Section 2: the error is term (a) plus term (b), the corrected bounds hold, and the printed ones need not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntk_fast as ntk
from ntk_fast import finite


def pair(rng, activation, n_features, width, hidden_step, readout_step):
    before = finite.Network.initialize(n_features, width, activation=activation, rng=rng)
    step = rng.standard_normal(before.n_parameters)
    step[:-width] *= hidden_step
    step[-width:] *= readout_step
    return before, before.with_parameters(before.parameters + step)


steps = st.floats(-4, 1).map(lambda power: 10**power)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 100), steps, steps, st.floats(-1, 2))
def test_corrected_bounds_hold(seed, n_features, width, hidden_step, readout_step, log_t):
    rng = np.random.default_rng(seed)
    before, after = pair(rng, finite.softplus(10**log_t), n_features, width, hidden_step, readout_step)
    error = finite.linearization_error(before, after, rng.standard_normal((5, n_features)) * 10 ** rng.uniform(-2, 2))
    room = 1e-9 * (np.abs(error.term_a) + np.abs(error.term_b)) + 1e-13
    assert np.all(np.abs(error.exact) <= error.bound_corrected + room)
    assert np.all(np.abs(error.exact) <= error.bound_corrected_of_distance + room)


def test_printed_bound_fails():
    """One unit with beta(0) = 3 at the bend, and one step of the hidden weight: Eq. 7 lacks |beta(0)| = 3."""
    before = finite.Network([0.0, 3.0], n_features=1, width=1, activation=finite.softplus(100.0))
    after = before.with_parameters([1e-3, 3.0])
    error = finite.linearization_error(before, after, [[100.0]])
    assert np.all(np.abs(error.exact) > error.bound_printed)
    assert np.all(np.abs(error.exact) > error.bound_printed_of_distance)
    assert np.all(np.abs(error.exact) <= error.bound_corrected)


@pytest.mark.parametrize("activation", ["relu", "abs", ntk.leaky_relu(0.3), finite.softplus(3.0)], ids=repr)
def test_terms_add_up_to_the_error(activation):
    rng = np.random.default_rng(0)
    before, after = pair(rng, activation, 6, 50, 0.5, 0.5)
    rows = rng.standard_normal((10, 6))
    error = finite.linearization_error(before, after, rows)
    direct = after(rows) - before.linearize()(rows, after.parameters)
    np.testing.assert_allclose(error.exact, direct, rtol=1e-10, atol=1e-12)


def test_sign_switches():
    before = finite.Network([1.0, -1.0, 2.0, 1.0, 1.0, 1.0], n_features=1, width=3)
    after = before.with_parameters([-1.0, 1.0, 3.0, 1.0, 1.0, 2.0])
    error = finite.linearization_error(before, after, [[1.0]])
    assert error.switched == pytest.approx(2 / 3)
    assert error.eq_8_printed_failures == pytest.approx(2 / 3)  # one switched on, one off: each fails as printed
    assert error.eq_8_corrected_failures == 0
    # switched: 0 - 1 + 2 and 1 - 0 - 0; not switched: only (beta - beta0) (3 - 2)
    assert error.error_switched * np.sqrt(3) == pytest.approx(1 + 1)
    assert error.error_unswitched * np.sqrt(3) == pytest.approx(1)


@pytest.mark.parametrize("activation", ["relu", "abs", ntk.leaky_relu(0.3), ntk.leaky_relu(2.0)], ids=repr)
def test_corrected_equations_8_and_9_hold_and_the_printed_ones_fail_for_what_switched(activation):
    rng = np.random.default_rng(0)
    before, after = pair(rng, activation, 6, 200, 0.3, 0.3)
    rows = rng.standard_normal((30, 6))
    error = finite.linearization_error(before, after, rows)
    assert np.all(error.eq_8_corrected_failures == 0)
    np.testing.assert_array_equal(error.eq_8_printed_failures, error.switched)
    np.testing.assert_allclose(error.error_switched + error.error_unswitched, error.exact, rtol=1e-10, atol=1e-13)


def test_softplus_approaches_relu_as_t_grows():
    """The lecture's footnote 2 has it the other way round."""
    z = np.linspace(-3, 3, 1001)
    gaps = [np.abs(finite.softplus(t).value(z) - np.maximum(z, 0)).max() for t in (1.0, 10.0, 100.0)]
    np.testing.assert_allclose(gaps, np.log(2) / np.array([1.0, 10.0, 100.0]), rtol=1e-12)


@pytest.mark.parametrize("t", [0.1, 1.0, 30.0])
def test_constants_of_softplus(t):
    unit = finite.softplus(t)
    z = np.linspace(-20, 20, 4001) / t
    slope = unit.slope(z)
    assert np.all(np.abs(np.diff(unit.value(z))) <= unit.lipschitz * np.diff(z) * (1 + 1e-9))
    curvature = np.abs(np.diff(slope) / np.diff(z)).max()
    assert 0.999 * unit.curvature < curvature <= unit.curvature * (1 + 1e-9)


def test_extreme_arguments_of_softplus():
    unit = finite.softplus(5.0)
    z = np.array([-1e300, -200.0, 200.0, 1e300])
    np.testing.assert_array_equal(unit.value(z)[2:], z[2:])
    np.testing.assert_array_equal(unit.slope(z), [0, np.exp(-1000.0), 1, 1])
    assert unit.value(np.array([-10.0]))[0] == pytest.approx(np.exp(-50) / 5, rel=1e-12)


def test_bad_input():
    rng = np.random.default_rng(0)
    relu, soft = (pair(rng, activation, 3, 4, 1, 1) for activation in ("relu", finite.softplus(1.0)))
    rows = np.eye(3)
    with pytest.raises(ValueError, match=r"bounded second derivative.*softplus\(t\).*got 'relu'"):
        _ = finite.linearization_error(*relu, rows).bound_corrected
    with pytest.raises(ValueError, match=r"linear on either side of zero: 'relu'.*got softplus\(1\)"):
        _ = finite.linearization_error(*soft, rows).switched
    with pytest.raises(ValueError, match="network must be network0 with other parameters"):
        finite.linearization_error(relu[0], soft[0], rows)
    deep = finite.Network.initialize(3, 4, 2, rng=rng)
    with pytest.raises(ValueError, match="network0 must have depth 1"):
        finite.linearization_error(deep, deep, rows)
