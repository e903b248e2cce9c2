"""One layer's 1 - kappa and 1 - kappa', to full relative accuracy however small the angle."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from ntk_fast.activations import activation_of, leaky_relu
from ntk_fast.duals import Dual, PiecewiseLinear, RectifiedSquare, Step, complement, slope_complement

ACTIVATIONS = {
    "relu": activation_of("relu"),
    "abs": activation_of("abs"),
    "leaky": leaky_relu(0.3),
    "nearly abs": leaky_relu(-0.99999),
    "nearly linear": leaky_relu(0.99999),
}
NETWORKS = {name: PiecewiseLinear(each.gain, each.fold, each.linear) for name, each in ACTIVATIONS.items()}
DUALS: dict[str, Dual] = {**NETWORKS, "step": Step(), "square": RectifiedSquare()}
CHORDS = np.concatenate([np.geomspace(1e-60, 1e-3, 40), np.linspace(1e-3, np.sqrt(0.5), 60)])

EPSILON = 2.0**-53


def fold_of(name: str) -> mpf:
    """The share of the absolute value, from the slope itself."""
    slope = mpf(ACTIVATIONS[name].slope)
    return (1 - slope) ** 2 / (2 * (1 + slope**2))


def kappa(name: str, angle: mpf) -> mpf:
    """The arc-cosine functions of Cho & Saul (2009), Eqs. 4 to 6, over their values at angle 0."""
    order0 = 1 - angle / mp.pi
    order1 = (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / mp.pi
    if name == "step":
        return order0
    if name == "square":
        cosine = mp.cos(angle)
        return (3 * mp.sin(angle) * cosine + (mp.pi - angle) * (1 + 2 * cosine**2)) / (3 * mp.pi)
    fold = fold_of(name)
    return (1 - 2 * fold) * mp.cos(angle) + 2 * fold * order1


@pytest.mark.parametrize("opposite", [False, True], ids=["cosine >= 0", "cosine < 0"])
@pytest.mark.parametrize("name", DUALS)
def test_the_complement_keeps_its_relative_accuracy(name, opposite):
    values = complement(DUALS[name], CHORDS, np.full(CHORDS.shape, opposite))
    with mpmath.workdps(150):
        for chord, value in zip(CHORDS, values, strict=True):
            angle = 2 * mp.asin(mpf(float(chord)))
            exact = 1 - kappa(name, mp.pi - angle if opposite else angle)
            assert abs(mpf(float(value)) - exact) <= 16 * EPSILON * exact, (chord, value)


@pytest.mark.parametrize("opposite", [False, True], ids=["cosine >= 0", "cosine < 0"])
@pytest.mark.parametrize("name", NETWORKS)
def test_so_does_the_complement_of_the_slope(name, opposite):
    values = slope_complement(NETWORKS[name], CHORDS, np.full(CHORDS.shape, opposite))
    with mpmath.workdps(150):
        for chord, value in zip(CHORDS, values, strict=True):
            angle = 2 * mp.asin(mpf(float(chord)))
            exact = 2 * fold_of(name) * (mp.pi - angle if opposite else angle) / mp.pi
            assert abs(mpf(float(value)) - exact) <= 8 * EPSILON * exact, (chord, value)


@pytest.mark.parametrize("name", DUALS)
def test_both_halves_meet_at_a_right_angle(name):
    right = np.sqrt(np.array([0.5, 0.5]))
    near, far = complement(DUALS[name], right, np.array([False, True]))
    assert near == pytest.approx(far, rel=4 * EPSILON)
