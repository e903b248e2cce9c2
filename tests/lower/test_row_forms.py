"""What the layers make of a row: exact variances, and shares that lose no digits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import Scaled

EPSILON = 2.0**-52
NORMS = np.array([0.0, 1e-150, 1e-8, 0.5, 1.0, 3.0, 1e8, 1e150])
BIASED = {
    "scalar": ntk.NTK(4, bias_variance=0.1),
    "first layer only": ntk.NTK(3, bias_variance=(0.3, 0, 0, 0)),
    "last layer only": ntk.NTK(3, "abs", bias_variance=(0, 0, 0, 7.0)),
    "tiny": ntk.NTK(2, bias_variance=1e-200),
    "huge": ntk.NTK(2, layers.LeakyRelu(0.3), weight_variance=(1e-30, 1e20, 3.0), bias_variance=1e100),
    "a layer without weights": ntk.NTK(2, weight_variance=(1, 0, 1), bias_variance=0.5),
}


def exact_variances(kernel: ntk.NTK, square: Fraction) -> list[Fraction]:
    """q_0 = v_0 x.x + b_0 and q_l = v_l gain q_{l-1} + b_l."""
    (_, activation, *_), (weights, biases) = kernel.network.layers, kernel.variances
    q, result = square, []
    for layer, (v, b) in enumerate(zip(weights, biases, strict=True)):
        q = Fraction(v) * (activation.gain if layer else 1) * q + Fraction(b)
        result.append(q)
    return result


@pytest.mark.parametrize("kernel", BIASED.values(), ids=BIASED.keys())
def test_shares_of_weights_and_bias_are_those_of_the_variance(kernel):
    """r^2 = v gain q_{l-1} / q_l and tau^2 = b / q_l, to the last bits and so adding up to 1."""
    squares = NORMS**2
    rows = RowParameters(kernel.plan, Scaled.of(squares))
    planes = {part.node: rows.shares[part.first : part.first + part.count] for part in rows.instructions.planes}
    mixes = [node for node, step in enumerate(kernel.plan.steps, start=1) if hasattr(step, "bias")]
    for column, square in enumerate(map(Fraction, squares)):
        for layer, (node, q) in enumerate(zip(mixes, exact_variances(kernel, square), strict=True)):
            bias = Fraction(kernel.variances[1][layer])
            if q and bias:
                share, tau = planes[node][:, column]
                assert tau == pytest.approx(float(bias / q) ** 0.5, rel=4 * EPSILON, abs=1e-150)
                assert share == pytest.approx(float(1 - bias / q) ** 0.5, rel=4 * EPSILON, abs=1e-150)


@pytest.mark.parametrize("kernel", BIASED.values(), ids=BIASED.keys())
def test_the_variance_of_the_last_layer_is_exact(kernel):
    squares = NORMS[1:-1] ** 2
    variances = RowValues(kernel.plan, Scaled.of(squares)).output_variance.plain()
    expected = [float(exact_variances(kernel, Fraction(square))[-1]) for square in squares]
    assert variances == pytest.approx(expected, rel=EPSILON)


def test_a_thousand_layers_neither_overflow_nor_underflow():
    """ReLU halves the variance 1000 times, to 2^-1000; with smaller weights it falls out of the range of floats."""
    unit = Scaled.of(np.ones(1))
    assert RowValues(ntk.NNGP(1000).plan, unit).output_variance.plain()[0] == 2.0**-1000
    variance = RowValues(ntk.NNGP(1000, weight_variance=2.0**-20).plan, unit).output_variance
    assert (variance.high[0], variance.low[0], variance.exponent[0]) == (0.5, 0.0, 1 - 20 * 1001 - 1000)


def test_a_layer_without_weights_leaves_only_the_bias(backend):
    X = np.random.default_rng(0).standard_normal((6, 3))
    constant = ntk.NTK(2, weight_variance=(1, 1, 0), bias_variance=(0, 0, 0.5))(X, backend=backend)
    assert constant == pytest.approx(np.full((6, 6), 0.5), rel=4 * EPSILON)
    assert (ntk.NNGP(2, weight_variance=0)(X, backend=backend) == 0).all()


def test_a_second_moment_that_overflows_names_the_layer_and_the_variance():
    network = layers.Sequential(layers.Dense(), layers.Exp(), layers.Dense())
    with pytest.raises(ValueError, match=r"layer 2 of 3, Exp: .* variance before it is 1e\+04"):
        ntk.NTK(network=network)([[100.0]])
