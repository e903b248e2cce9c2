"""Eigenvalues on data: dense, matrix-free, and those of the sphere as the number of rows grows."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import spectrum


def sphere_rows(n, p, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, p))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kernel", [ntk.NTK(1), ntk.NTK(2, bias_variance=0.1), ntk.ArcCosine(0)], ids=repr)
def test_leading_eigenvalues_are_those_of_the_matrix(kernel):
    rows = np.random.default_rng(0).standard_normal((300, 5))
    expected = np.linalg.eigvalsh(kernel(rows))[::-1] / 300
    dense, leading = spectrum.gram_eigenvalues(kernel, rows), spectrum.gram_eigenvalues(kernel, rows, n_leading=10)
    np.testing.assert_allclose(dense, expected, atol=1e-13 * expected[0])
    np.testing.assert_allclose(leading, expected[:10], rtol=1e-9)


def test_eigenvalues_on_data_approach_those_of_the_sphere():
    kernel, p = ntk.NTK(2), 4
    exact = spectrum.sphere_eigenvalues(kernel, p, 5).listed(30)
    errors = [
        np.abs(spectrum.gram_eigenvalues(kernel, sphere_rows(n, p), n_leading=30) / exact - 1).max()
        for n in (400, 3000)
    ]
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 0.2


def test_decay_on_data_is_that_of_the_sphere():
    """p / (p - 1) = 3/2 for p = 3."""
    law = spectrum.decay_exponent(spectrum.gram_eigenvalues(ntk.NTK(2), sphere_rows(1500, 3)), 20, 300)
    assert law.exponent == pytest.approx(-1.5, rel=0.1)
    assert law.standard_error < 0.02


def test_float32_rows_have_float64_eigenvalues():
    assert spectrum.gram_eigenvalues(ntk.NTK(1), np.eye(3, dtype=np.float32)).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: spectrum.gram_eigenvalues(ntk.NTK(1), np.eye(4), 0), "n_leading must be a whole number >= 1; got 0."),
        (lambda: spectrum.gram_eigenvalues(ntk.NTK(1), np.eye(4), 4), "n_leading must be from 1 to n - 1 = 3; got 4"),
        (
            lambda: spectrum.gram_eigenvalues(None, np.eye(4)),
            "kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got a NoneType.",
        ),
        (
            lambda: spectrum.decay_exponent([1.0, 0.5], 1, 3),
            "first and last must name at least two of the 2 eigenvalues",
        ),
        (lambda: spectrum.decay_exponent([1.0, 0.5, -1.0]), "y must be positive and finite for a power law; got -1.0."),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert str(error.value).startswith(sentence)


def test_reachable_after_a_light_import():
    import subprocess
    import sys

    code = (
        "import sys, ntk_fast; heavy = {'scipy', 'numba', 'sklearn', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "ntk_fast.finite.Network; ntk_fast.spectrum.sphere_eigenvalues; assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
