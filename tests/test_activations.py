"""Activations as shares of the identity and of the absolute value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ntk_fast.activations import ACTIVATIONS, activation_of, leaky_relu

slopes = st.floats(-1e6, 1e6, allow_nan=False)


@given(slopes)
def test_gain_and_shares_are_those_of_the_decomposition(slope):
    """z -> z where z > 0, else slope * z, is alpha z + beta |z|; E[z^2] of it is alpha^2 + beta^2."""
    activation = leaky_relu(slope)
    alpha, beta = (1 + Fraction(slope)) / 2, (1 - Fraction(slope)) / 2
    assert activation.gain == alpha**2 + beta**2
    assert activation.fold == float(beta**2 / (alpha**2 + beta**2))
    assert activation.linear == float(alpha**2 / (alpha**2 + beta**2))


@pytest.mark.parametrize(("name", "gain", "fold"), [("relu", Fraction(1, 2), 0.5), ("abs", Fraction(1), 1.0)])
def test_relu_is_half_a_fold_and_the_absolute_value_a_whole_one(name, gain, fold):
    assert (activation_of(name).gain, activation_of(name).fold) == (gain, fold)


def test_the_registry_goes_by_the_activations_names():
    assert all(activation.name == name for name, activation in ACTIVATIONS.items())
    assert ACTIVATIONS["leaky_relu"].slope == 0.01
