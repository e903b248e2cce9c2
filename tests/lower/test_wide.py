"""Cosines in twice the digits: all of their first 16 digits, and of their differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from ntk_fast import layers as L
from ntk_fast.high_precision.expectations import expectations
from ntk_fast.lower.program import PairMap
from ntk_fast.lower.wide import Wide
from ntk_fast.lower.wide_angle import of_angle
from ntk_fast.lower.wide_series import summed

HOMOGENEOUS = (
    L.Relu(),
    L.LeakyRelu(0.2),
    L.Abs(),
    L.Sign(),
    L.Step(),
    L.Monomial(2),
    L.Monomial(7),
    *map(L.RectifiedMonomial, (2, 3, 20, 60)),
)
SUMMED = (L.Elu(), L.Elu(0.3), L.Erf(), L.Gelu(), L.Tanh(), L.Polynomial((0.5, 1.0, 0.3)))


def drawn_cosines(rng: np.random.Generator) -> np.ndarray:
    near = 1 - 10 ** rng.uniform(-12, 0, 10)
    return np.concatenate([rng.uniform(-1, 1, 8), near, -near, [0.0, 1.0, -1.0]])


@pytest.mark.parametrize("activation", HOMOGENEOUS, ids=str)
def test_homogeneous_activations_have_their_distances_to_all_digits(activation):
    cosines = drawn_cosines(np.random.default_rng(30))
    got = of_angle(Wide.of(cosines), activation)
    with mpmath.workdps(50):
        gain = mpf(activation.gain.numerator) / activation.gain.denominator
        for cosine, high, low in zip(cosines, got.high, got.low, strict=True):
            exact = expectations(activation, mpf(1), mpf(1), mpf(cosine))[0] / gain
            assert abs(mpf(high) + mpf(low) - exact) <= 2e-14 * (1 - exact) + 1e-31, cosine


@pytest.mark.parametrize("activation", [L.Sign(), L.Step(), L.RectifiedMonomial(2)], ids=str)
def test_an_odd_part_has_no_step_at_0(activation):
    ends = of_angle(Wide.of(np.array([-1e-25, 1e-25])), activation)
    assert abs((ends[1:] - ends[:1]).high[0]) < 1e-24


@pytest.mark.parametrize("activation", SUMMED, ids=str)
def test_differences_are_those_of_the_derivative(activation):
    """At distances of which a float64 cosine has no digits; where tails begin and end, too."""
    rng = np.random.default_rng(31)
    cosine = np.concatenate([rng.uniform(-0.99, 0.99, 20), [0.5899, -0.5899, 0.5901, -0.5901, 0.999, -0.999]])
    variances = np.array([0.7, 1.9])
    rows = activation.row_parameters(variances, 1e-14)
    pair_map = PairMap(activation, activation.map_kind, 0, len(rows))
    here, step = Wide.of(cosine[:, None]), 1e-20
    parameters, at = (rows[:, :1, None], rows[:, 1:, None]), (np.zeros(len(cosine), int),) * 2
    ends = [summed(pair_map, here.plus(k * step), parameters, at, None) for k in (-0.5, 0.5)]
    m, p = 1 - cosine, 1 + cosine
    _, _, derivative = activation.map_pairs(m, p, rows[:, :1], rows[:, 1:])
    tolerance = 1e-9 if activation.has_tail else 1e-11
    assert (ends[1] - ends[0]).high[:, 0] / step == pytest.approx(derivative, rel=tolerance, abs=1e-12)
