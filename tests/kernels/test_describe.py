"""What `describe` says of accuracy is what is reached."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers


def accuracies(kernel, capsys) -> list[str]:
    """Those of rows of equal norm, and of squared norms from 1/4 to 4."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", layers.AccuracyWarning)
        kernel.describe()
    lines = capsys.readouterr().out.splitlines()
    return [line.split("errors up to ")[1].split()[0] for line in lines if "errors up to" in line]


@pytest.mark.parametrize(
    ("activation", "accuracy"),
    [
        ("relu", "2e-15"),
        ("gelu", "1e-13"),
        ("elu", "1e-09"),
        (layers.Activation(lambda z: np.clip(z, -1, 1)), "1e-12"),
    ],
    ids=str,
)
def test_accuracies_are_those_that_are_promised(activation, accuracy, capsys):
    assert accuracies(ntk.NTK(1, activation, bias_variance=0.1), capsys) == [accuracy] * 2


@pytest.mark.parametrize("function", [lambda z: z * np.clip(z + 3, 0, 6), lambda z: np.cos(z) * (np.abs(z) < 2)])
def test_where_a_warning_says_more_so_does_the_table(function, capsys):
    kernel = ntk.NTK(1, layers.Activation(function), bias_variance=0.1)
    with pytest.warns(layers.AccuracyWarning) as caught:
        kernel(np.array([[0.5], [2.0]]))
    warned = float(str(caught[0].message).split(" to ")[-1].split()[0])  # of norms up to the next power of two
    assert warned / 10 <= float(accuracies(kernel, capsys)[1]) <= warned
