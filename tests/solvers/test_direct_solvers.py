"""Cholesky factors and eigenvalues: what they promise besides."""

from __future__ import annotations

import re

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.solvers import Cholesky, Spectral
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix
from ntk_fast.solvers.spectral import SpectralDecomposition


def test_cholesky_overwrites_the_matrix_it_is_given(data):
    matrix = gram_matrix(ntk.NTK(2), data[0])
    original = matrix + 0.1 * np.eye(len(matrix))
    factor = CholeskyFactor.in_place(matrix, 0.1)
    assert factor.lower is matrix
    np.testing.assert_allclose(factor.lower @ factor.lower.T, original, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(factor.log_determinant, np.linalg.slogdet(original)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.lower @ factor.whiten(data[1]), data[1], atol=1e-12)
    np.testing.assert_allclose(factor.inverse_in_place() @ original, np.eye(300), atol=1e-9)
    assert factor.lower is matrix


@pytest.mark.parametrize("ridge", [0.0, 1e-15])
def test_a_singular_matrix_is_refused_with_a_ridge_that_works(ridge, data):
    rows, targets = np.vstack([data[0], data[0][:2]]), np.vstack([data[1], data[1][:2]])
    with pytest.raises(ValueError, match=r"singular to working precision .* such as") as caught:
        Cholesky().solve(ntk.NTK(2), rows, targets, ridge)
    suggested, share = (float(part) for part in re.findall(r"\d[\d.]*e-\d+", str(caught.value))[-2:])
    assert share == pytest.approx(suggested / ntk.NTK(2).diag(rows).mean(), rel=0.5)
    assert np.isfinite(Cholesky().solve(ntk.NTK(2), rows, targets, suggested).coefficients).all()


def test_leave_one_out_is_what_refitting_without_each_row_gives(data):
    rows, targets = data[0][:40], data[1][:40]
    prior, ridges = ntk.NTK(2), np.array([1e-3, 0.1, 10.0])
    decomposition = Spectral().decompose(prior, rows)
    residuals = decomposition.leave_one_out_residuals(targets, ridges)
    for ridge, residual in zip(ridges, residuals, strict=True):
        for row in range(40):
            others = np.arange(40) != row
            solution = Cholesky().solve(prior, rows[others], targets[others], ridge)
            prediction = prior(rows[row : row + 1], rows[others]) @ solution.coefficients
            np.testing.assert_allclose(residual[row], targets[row] - prediction[0], rtol=1e-7, atol=1e-9)
    path = decomposition.ridge_path(targets, ridges)
    np.testing.assert_allclose(path.errors, (residuals**2).mean(axis=(1, 2)))
    assert path.best == ridges[np.argmin(path.errors)]


def test_the_default_path_brackets_its_best_ridge(data):
    generator = np.random.default_rng(1)
    noisy = data[1] + 0.3 * generator.standard_normal(data[1].shape)
    path = Spectral().decompose(ntk.NTK(2), data[0]).ridge_path(noisy)
    assert (np.diff(path.ridges) > 0).all()
    best = int(np.argmin(path.errors))
    assert 0 < best < len(path.ridges) - 1
    assert path.ridges[best + 1] / path.ridges[best - 1] < 1.3


def test_spectral_decomposition_of_a_matrix_of_zeros():
    path = SpectralDecomposition.in_place(np.zeros((4, 4))).ridge_path(np.ones((4, 1)))
    np.testing.assert_allclose(path.errors, 1)
