"""Empirical kernels approach their limit like one over the square root of the width."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import finite

ROWS = np.random.default_rng(0).standard_normal((12, 6)) / np.sqrt(6)


@pytest.mark.parametrize("kernel", [ntk.NTK(1), ntk.NTK(3), ntk.NNGP(1), ntk.NNGP(3)], ids=repr)
def test_slope(kernel):
    result = finite.kernel_convergence(kernel, ROWS, [64, 128, 256, 512], n_networks=60, rng=0)
    assert result.deviations.shape == (4, 60)
    assert result.law.exponent == pytest.approx(-0.5, abs=0.1)


def test_antisymmetric_networks_have_the_same_limit():
    result = finite.kernel_convergence(ntk.NTK(2), ROWS, [64, 1024], n_networks=10, rng=0, antisymmetric=True)
    assert result.root_mean_square[1] < 0.4 * result.root_mean_square[0]


def test_progress():
    seen = []
    finite.kernel_convergence(
        ntk.NTK(1), ROWS, [4, 8], n_networks=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_variances_and_orders():
    for kernel in (ntk.NTK(2, weight_variance="he", bias_variance=0.1), ntk.ArcCosine(0, 2)):
        result = finite.kernel_convergence(kernel, ROWS, [32, 512], n_networks=10, rng=0)
        assert result.root_mean_square[1] < 0.4 * result.root_mean_square[0]


@pytest.mark.parametrize("kernel", ["NTK", ntk.NTK, None])
def test_bad_kernels(kernel):
    with pytest.raises(TypeError, match="kernel must be an NTK, an NNGP or an ArcCosine; got a"):
        finite.kernel_convergence(kernel, ROWS, [4])


@pytest.mark.parametrize("widths", [64, "64", None])
def test_bad_widths(widths):
    with pytest.raises(TypeError, match="widths must be a sequence of whole numbers >= 1; got"):
        finite.kernel_convergence(ntk.NTK(1), ROWS, widths)


def test_rows_of_zeros_have_no_relative_deviation():
    with pytest.raises(ValueError, match="X must hold a row that is not zero"):
        finite.kernel_convergence(ntk.NTK(1), np.zeros((2, 3)), [4])
