"""The oracle itself: against the integrals that define the kernels, and against the closed forms of depth 1."""

from __future__ import annotations

import mpmath
import pytest
from mpmath import mp, mpf

import ntk_fast as ntk
from ntk_fast.high_precision import exact_value
from ntk_fast.layers.names import activation_named as activation_of

ANGLES = ["0.3", "1.2", "2.9"]


def expectation(function, angle: mpf, order: int) -> mpf:
    """E[f(u) f(v)] of standard normal u, v at this angle, for f homogeneous of this order: an integral over directions.

    u = r cos t, v = r cos(t - angle), and r^2/2 is exponential: E[r^(2 order)] = 2^order order!.
    """
    turn, quarter = 2 * mp.pi, mp.pi / 2
    kinks = sorted([mpf(0), quarter, 3 * quarter, quarter + angle, (3 * quarter + angle) % turn, turn])
    integral = mp.quad(lambda t: function(mp.cos(t)) * function(mp.cos(t - angle)), kinks)
    return 2**order * mp.factorial(order) * integral / turn


def rows_at(angle: mpf) -> tuple[list[float], list[float], mpf]:
    """Two rows about so far apart, and the exact angle between the floats."""
    x, y = [2.0, 0.0], [float(3 * mp.cos(angle)), float(3 * mp.sin(angle))]
    return x, y, mp.atan2(mpf(y[1]), mpf(y[0]))


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_arc_cosine_kernel_is_its_expectation(order, angle):
    with mpmath.workdps(30):
        x, y, angle = rows_at(mpf(angle))
        norms = mp.sqrt(4 * (mpf(y[0]) ** 2 + mpf(y[1]) ** 2))
        expected = norms**order * expectation(lambda z: z**order if z > 0 else mpf(0), angle, order)
        assert mp.almosteq(exact_value(ntk.ArcCosine(order), x, y), expected, 1e-20)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("activation", ["relu", "abs", ntk.leaky_relu(0.25), ntk.leaky_relu(-3.0)], ids=str)
def test_one_layer_of_a_network_is_its_expectation(activation, angle):
    slope = activation_of(activation).negative_slope
    with mpmath.workdps(30):
        x, y, angle = rows_at(mpf(angle))
        product = 2 * mpf(y[0])
        norms = mp.sqrt(4 * (mpf(y[0]) ** 2 + mpf(y[1]) ** 2))
        nngp = norms * expectation(lambda z: z if z > 0 else slope * z, angle, 1)
        derivative = expectation(lambda z: mpf(1) if z > 0 else mpf(slope), angle, 0)
        assert mp.almosteq(exact_value(ntk.NNGP(1, activation), x, y), nngp, 1e-20)
        assert mp.almosteq(exact_value(ntk.NTK(1, activation), x, y), nngp + product * derivative, 1e-20)


def test_the_ntk_of_depth_1_is_equation_6():
    with mpmath.workdps(50):
        x, y, phi = rows_at(mpf("0.7"))
        norms = mp.sqrt(4 * (mpf(y[0]) ** 2 + mpf(y[1]) ** 2))
        expected = norms / (2 * mp.pi) * (mp.sin(phi) + 2 * (mp.pi - phi) * mp.cos(phi))
        assert mp.almosteq(exact_value(ntk.NTK(1), x, y), expected, 1e-45)


def test_first_order_kernels_of_any_depth_are_gaussian_process_kernels():
    x, y = [1.0, 2.0, -0.5], [0.25, -1.0, 3.0]
    assert exact_value(ntk.ArcCosine(1, depth=4), x, y) == exact_value(ntk.NNGP(depth=4), x, y)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_row_of_zeros_has_value_0(order):
    assert exact_value(ntk.ArcCosine(order, depth=2), [0.0, 0.0], [1.0, 2.0]) == 0
    assert exact_value(ntk.NTK(2), [0.0, 0.0], [0.0, 0.0]) == 0


def test_equal_rows_lose_no_digits():
    """With a bias the angle of equal rows comes from rounded numbers: half of the digits must still be there."""
    x = [0.1, 0.7, -0.3]
    kernel = ntk.NTK(30, weight_variance=(1.0, *(2.0,) * 30), bias_variance=0.1)
    assert mp.almosteq(exact_value(kernel, x, x, 50), exact_value(kernel, x, x, 80), 1e-30)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("NTK", [1.0], [1.0]), TypeError, "kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got a str"),
        ((ntk.NTK(1), [1.0], [1.0, 2.0]), ValueError, "x and y must have the same number of features; got 1 and 2"),
        ((ntk.NTK(1), [[1.0, 2.0]], [1.0]), TypeError, "x must be a sequence of n_features real numbers"),
        ((ntk.NTK(1), [1.0], [float("nan")]), ValueError, r"y\[0\] must be finite"),
        ((ntk.NTK(1), [1.0], [1.0], 0), ValueError, "digits must be a whole number >= 1; got 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        exact_value(*arguments)
