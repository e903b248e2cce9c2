"""Power laws: the slope of a line through logarithms, with its standard error."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from ntk_fast.power_law import fit_power_law


def test_is_linear_regression_of_logarithms():
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 100, 20)
    y = 3 * x**-1.5 * np.exp(0.1 * rng.standard_normal(20))
    law, expected = fit_power_law(x, y), scipy.stats.linregress(np.log(x), np.log(y))
    assert law.exponent == pytest.approx(expected.slope, rel=1e-12)
    assert law.standard_error == pytest.approx(expected.stderr, rel=1e-10)
    assert law.amplitude == pytest.approx(np.exp(expected.intercept), rel=1e-12)


def test_two_points_leave_no_error():
    assert fit_power_law([1, 2], [1, 4]).standard_error == np.inf


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        ([1, 2], [1, 0], "y must be positive and finite"),
        ([-1, 2], [1, 1], "x must be positive and finite"),
        ([1, 1], [1, 2], "x must hold at least two different values"),
        (np.ma.masked_equal([1, 2], 2), [1, 2], "x must not have masked values"),
        ([1, 2, 3], [1, 2], "x and y must be vectors of one length"),
    ],
)
def test_bad_input(x, y, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_power_law(x, y)


def test_a_bent_line_is_an_uncertain_law():
    x = np.arange(1, 50)
    straight, bent = fit_power_law(x, x**-1.5), fit_power_law(x, x**-1.5 + 0.05 * x**-0.5)
    assert straight.uncertainty < 1e-12
    assert bent.drift > 0.1
    assert bent.uncertainty == bent.drift / 2 > 2 * bent.standard_error
    assert str(bent) == f"{bent.exponent:.3f} +- {bent.uncertainty:.3f}"
    assert fit_power_law([1, 2, 4], [1, 3, 5]).drift == 0
