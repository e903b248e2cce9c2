"""Derivatives by parameters of activations, and of kernels of images: against formulas, mpmath and rows."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.derivatives import (
    LogParameters,
    activation_parameters,
    contracted_derivatives,
    contracted_diagonal_derivatives,
    gram_derivatives,
)
from ntk_fast.high_precision import exact_value

VARIANCES = ("weight_variance", "bias_variance")


def drawn(n, p, seed):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, p)) * 10 ** generator.uniform(-2, 1, (n, 1))


def largest_difference(one, other):
    return np.abs(one - other).max() / np.abs(other).max()


@pytest.mark.parametrize("kind", [ntk.NTK, ntk.NNGP])
def test_an_amplitude_multiplies_the_kernel_by_its_square(kind):
    kernel = kind(1, layers.Sin(amplitude=-0.7, frequency=0.5), bias_variance=(0.3, 0.0))
    parameters = LogParameters(kernel, False, ("activation__amplitude",))
    X = drawn(6, 3, 0)
    assert largest_difference(gram_derivatives(parameters, X)[0], 2 * kernel(X)) < 1e-10


def test_a_frequency_is_a_scale_of_the_first_layer():
    # sin(f z) of z with variance q is sin of z with variance f^2 q, and T is multiplied likewise
    kernel = ntk.NTK(2, layers.Sin(frequency=0.6), weight_variance=1.3, bias_variance=0.2)
    by_frequency = gram_derivatives(LogParameters(kernel, True, ("activation__frequency",)), X := drawn(5, 3, 1))[0]
    by_variance = gram_derivatives(LogParameters(kernel, True, VARIANCES), X)
    names = LogParameters(kernel, True, VARIANCES).names
    seen = [k for k, name in enumerate(names) if not name.endswith("[2]")]
    assert largest_difference(by_frequency, 2 * by_variance[seen].sum(axis=0)) < 1e-10


@pytest.mark.parametrize("slope", [-1.3, -0.01, 0.2, 0.999])
def test_a_slope_against_mpmath(slope):
    kernel = ntk.NTK(2, layers.LeakyRelu(slope), bias_variance=0.1)
    parameters = LogParameters(kernel, False, (*VARIANCES, "activation__slope"))
    X = drawn(3, 2, 2)
    got = gram_derivatives(parameters, X)[-1]
    # slopes that are float64 numbers, so that the exact values are those of just these
    low, high = slope * (1 - 1e-8), slope * (1 + 1e-8)
    for i, j in [(0, 0), (0, 1), (1, 2)]:
        with mpmath.workdps(40):
            below, above = (
                exact_value(ntk.NTK(2, layers.LeakyRelu(end), bias_variance=0.1), X[i], X[j]) for end in (low, high)
            )
            expected = float((above - below) / (mpmath.mpf(high) - mpmath.mpf(low)) * mpmath.mpf(slope))
        assert abs(got[i, j] - expected) < 1e-11 * np.abs(kernel(X)).max()


def test_sums_with_weights_and_diagonals_agree_with_the_whole():
    kernel = ntk.NTK(2, layers.LeakyRelu(0.3), bias_variance=0.1)
    parameters = LogParameters(kernel, False, ("activation__slope", *VARIANCES))
    X, Y = drawn(7, 3, 3), drawn(4, 3, 4)
    weights = np.random.default_rng(5).standard_normal((7, 4))
    whole = gram_derivatives(parameters, X, Y)
    np.testing.assert_allclose(contracted_derivatives(parameters, X, weights, Y), (whole * weights).sum((1, 2)), 1e-10)
    square = gram_derivatives(parameters, X)
    diagonal = contracted_diagonal_derivatives(parameters, X, weights[:, 0])
    np.testing.assert_allclose(diagonal, (np.einsum("kii->ki", square) * weights[:, 0]).sum(axis=1), rtol=1e-10)


def test_images_of_one_pixel_have_the_derivatives_of_rows():
    tail = [layers.Relu(), layers.Dense(1.2, 0.1), layers.Relu(), layers.Dense(0.9, 0.3)]
    rows = ntk.NTK(network=layers.Sequential(layers.Dense(1.4, 0.2), *tail))
    first = [layers.Input(1, 1, 3), layers.Conv((1, 1), weight_variance=1.4, bias_variance=0.2)]
    images = ntk.NTK(network=layers.Sequential(*first, *tail[:3], layers.Flatten(), tail[3]))
    X = drawn(5, 3, 6)
    for per_layer in (False, True):
        of_rows, of_images = (gram_derivatives(LogParameters(kernel, per_layer), X) for kernel in (rows, images))
        for one, other in zip(of_images, of_rows, strict=True):
            assert largest_difference(one, other) < 1e-10


def test_a_convolutional_kernel_without_bias_is_proportional_to_its_weights():
    kernel = ntk.NNGP(network=layers.cntk(3, (4, 5, 2)))
    weights = LogParameters(kernel, False)
    X = drawn(4, 40, 7)
    (got,) = gram_derivatives(weights, X)
    assert largest_difference(got, weights.degrees[0] * kernel(X)) < 1e-10


def test_only_real_numbers_of_activations_are_parameters():
    network = layers.Sequential(
        layers.Dense(), layers.RectifiedMonomial(2), layers.Dense(), layers.Elu(0.5), layers.Dense(trained=False)
    )
    assert activation_parameters(ntk.NTK(network=network)) == {"network__3__alpha": 0.5}
    assert activation_parameters(ntk.NTK(2)) == {}
    assert activation_parameters(ntk.ArcCosine(1)) == {}
    both = ntk.NNGP(1, layers.Sin(frequency=0.5)) + ntk.NTK(1, "leaky_relu")
    of_both = {name.rpartition("__")[2]: name for name in activation_parameters(both)}
    assert of_both.keys() == {"amplitude", "frequency", "phase", "slope"}
    moved = LogParameters(both, False, (of_both["slope"],)).kernel_at([np.log(0.3)])
    X = drawn(4, 2, 8)
    expected = ntk.NNGP(1, layers.Sin(frequency=0.5))(X) + ntk.NTK(1, layers.LeakyRelu(0.3))(X)
    np.testing.assert_allclose(moved(X), expected, rtol=1e-12)
    # what is zero stays zero
    zero = ntk.NTK(2, layers.Sin())
    assert LogParameters(zero, False, ("activation__phase", "activation__frequency")).names == ["activation__frequency"]
