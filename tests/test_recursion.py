"""The layers: variances beyond the range of floats, and parameters of rows that lose no digits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ntk_fast.recursion import plain, scaled, scaled_fraction, square_root

import ntk_fast as ntk

EPSILON = 2.0**-52
positive = st.floats(1e-300, 1e300)
NORMS = np.array([0.0, 1e-150, 1e-8, 0.5, 1.0, 3.0, 1e8, 1e150])


@given(positive)
def test_scaled_numbers_are_the_numbers(value):
    assert plain(scaled(np.array([value]), np.zeros(1, dtype=np.int64)))[0] == value
    mantissa, _ = scaled_fraction(Fraction(value))
    assert 0.5 <= mantissa < 1
    assert plain(scaled_fraction(Fraction(value))) == value


@given(positive, st.integers(-3000, 3000))
def test_the_square_root_of_what_no_float_can_hold(value, exponent):
    number = scaled(np.array([value]), np.array([2 * exponent]))
    mantissa, power = square_root(number)
    expected = scaled(np.sqrt(np.array([value])), np.array([exponent]))
    assert plain((mantissa, power - expected[1]))[0] == pytest.approx(expected[0][0], rel=EPSILON)


def exact_variances(kernel: ntk.NTK, square: Fraction) -> list[Fraction]:
    """q_0 = v_0 x.x + b_0 and q_l = v_l gain q_{l-1} + b_l."""
    recursion = kernel.recursion
    q, result = square, []
    for layer, (v, b) in enumerate(zip(recursion.weight_variances, recursion.bias_variances, strict=True)):
        q = Fraction(v) * (recursion.dual.gain if layer else 1) * q + Fraction(b)
        result.append(q)
    return result


BIASED = {
    "scalar": ntk.NTK(4, bias_variance=0.1),
    "first layer only": ntk.NTK(3, bias_variance=(0.3, 0, 0, 0)),
    "last layer only": ntk.NTK(3, "abs", bias_variance=(0, 0, 0, 7.0)),
    "tiny": ntk.NTK(2, bias_variance=1e-200),
    "huge": ntk.NTK(2, ntk.leaky_relu(0.3), weight_variance=(1e-30, 1e20, 3.0), bias_variance=1e100),
    "a layer without weights": ntk.NTK(2, weight_variance=(1, 0, 1), bias_variance=0.5),
}


@pytest.mark.parametrize("kernel", BIASED.values(), ids=BIASED.keys())
def test_shares_of_weights_and_bias_are_those_of_the_variance(kernel):
    """rho_l^2 = v_l gain q_{l-1} / q_l, tau_l^2 = b_l / q_l, to the last bits and so adding up to 1."""
    squares = NORMS**2
    shares = kernel.recursion.row_parameters(scaled(squares, np.zeros(len(squares), dtype=np.int64)))
    for column, square in enumerate(map(Fraction, squares)):
        for layer, q in enumerate(exact_variances(kernel, square)):
            if q:
                tau = float(Fraction(kernel.recursion.bias_variances[layer]) / q) ** 0.5
                rho = float(1 - Fraction(kernel.recursion.bias_variances[layer]) / q) ** 0.5
                assert shares.tau[layer, column] == pytest.approx(tau, rel=4 * EPSILON, abs=1e-300)
                assert shares.rho[layer, column] == pytest.approx(rho, rel=4 * EPSILON, abs=1e-300)


@pytest.mark.parametrize("kernel", BIASED.values(), ids=BIASED.keys())
def test_the_variance_of_the_last_layer_is_exact(kernel):
    squares = NORMS[1:-1] ** 2
    variances = plain(kernel.recursion.variance(scaled(squares, np.zeros(len(squares), dtype=np.int64))))
    expected = [float(exact_variances(kernel, Fraction(square))[-1]) for square in squares]
    assert variances == pytest.approx(expected, rel=2 * EPSILON)


def test_a_thousand_layers_neither_overflow_nor_underflow():
    """ReLU halves the variance 1000 times, to 2^-1000; with doubled weights and unit rows nothing changes."""
    unit = scaled(np.ones(1), np.zeros(1, dtype=np.int64))
    assert plain(ntk.NNGP(1000).recursion.variance(unit))[0] == 2.0**-1000
    mantissa, exponent = ntk.NNGP(1000, weight_variance=2.0**-20).recursion.variance(unit)
    assert (mantissa[0], exponent[0]) == (0.5, 1 - 20 * 1001 - 1000)


def test_a_layer_without_weights_leaves_only_the_bias(backend):
    X = np.random.default_rng(0).standard_normal((6, 3))
    constant = ntk.NTK(2, weight_variance=(1, 1, 0), bias_variance=(0, 0, 0.5))(X, backend=backend)
    assert constant == pytest.approx(np.full((6, 6), 0.5), rel=4 * EPSILON)
    assert (ntk.NNGP(2, weight_variance=0)(X, backend=backend) == 0).all()
