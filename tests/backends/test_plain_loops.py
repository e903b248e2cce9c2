"""Polynomials of the plain loops, against mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

pytest.importorskip("numba")

from ntk_fast.backends.plain_loops.series import ARCSINE, MIDDLE, fold_coefficients

CHORDS = np.sqrt(np.concatenate([[1e-30, 1e-6, 1e-3], np.linspace(0.01, 0.5, 60)]))


def bend(chord):
    """1 - kappa of |z| is 2 chord^2 - chord^3 of this: Eq. 1 in terms of the angle."""
    angle = 2 * mpmath.asin(chord)
    return 2 / mpmath.pi * (mpmath.sin(angle) - angle * mpmath.cos(angle)) / chord**3


def arc(chord):
    return mpmath.asin(chord) / chord


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 3e-16), (np.float32, 2e-8)])
def test_relus_polynomials_have_the_digits_of_the_dtype(dtype, bound):
    for coefficients, function in zip(fold_coefficients(np.dtype(dtype)), (bend, arc), strict=True):
        with mpmath.workdps(60):
            exact = np.array([float(function(mpmath.mpf(chord))) for chord in CHORDS])
        got = np.polynomial.polynomial.polyval(CHORDS**2 - MIDDLE, coefficients)
        assert np.abs(got / exact - 1).max() < bound


def test_the_arc_sine_has_the_digits_of_float64():
    chords = CHORDS[CHORDS <= 0.5]
    with mpmath.workdps(60):
        exact = np.array([float(mpmath.asin(mpmath.mpf(chord))) for chord in chords])
    got = chords + chords * chords**2 * np.polynomial.polynomial.polyval(chords**2, ARCSINE)
    assert np.abs(got / exact - 1).max() < 3e-16
