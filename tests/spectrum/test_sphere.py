"""Eigenvalues on the sphere against the Funk-Hecke integrals at 60 digits, and against what theory says of them."""

from __future__ import annotations

import math
from functools import lru_cache

import mpmath
import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.layers.names import activation_named as activation_of
from ntk_fast.spectrum import sphere_eigenvalues, sphere_multiplicities

DIGITS, N_NODES, MAX_DEGREE = 60, 140, 40

KERNELS = (
    ntk.NTK(1),
    ntk.NTK(3),
    ntk.NNGP(1),
    ntk.NNGP(3),
    ntk.NTK(10),
    ntk.NTK(1, bias_variance=1e4),
    ntk.NTK(2, weight_variance=(1e-6, 2.0, 2.0), bias_variance=(1.0, 0.0, 0.0)),
    ntk.NTK(6, "abs"),
    ntk.NTK(1, bias_variance=0.1),
    ntk.NTK(2, bias_variance=0.1),
    ntk.NTK(3, bias_variance=(0.0, 0.1, 0.2, 0.0), weight_variance=(0.5, 2.0, 2.0, 2.0)),
    ntk.NTK(3, "abs"),
    ntk.NTK(2, "leaky_relu"),
    ntk.NTK(2, ntk.leaky_relu(0.5)),
    ntk.NTK(2, ntk.leaky_relu(0.9)),
    ntk.NTK(2, ntk.leaky_relu(-0.5)),
    ntk.ArcCosine(0),
    ntk.ArcCosine(2),
    ntk.ArcCosine(2, 3),
)


@lru_cache(maxsize=1)
def gauss_legendre():
    """Nodes and weights on [0, pi], by Newton's method."""
    with mpmath.workdps(DIGITS):
        result = []
        for i in range(1, N_NODES + 1):
            x = mpmath.mpf(math.cos(math.pi * (i - 0.25) / (N_NODES + 0.5)))
            for _ in range(6):
                previous, current = mpmath.mpf(1), x
                for k in range(2, N_NODES + 1):
                    previous, current = current, ((2 * k - 1) * x * current - (k - 1) * previous) / k
                slope = N_NODES * (x * current - previous) / (x * x - 1)
                x -= current / slope
            result.append(((x + 1) * mpmath.pi / 2, mpmath.pi / ((1 - x * x) * slope**2)))
        return result


def kappa(order, angle):
    sine, cosine, rest = mpmath.sin(angle), mpmath.cos(angle), mpmath.pi - angle
    return (
        rest / mpmath.pi,
        (sine + rest * cosine) / mpmath.pi,
        (3 * sine * cosine + rest * (1 + 2 * cosine**2)) / (3 * mpmath.pi),
    )[order]


def profile(kernel, angle):
    """The kernel of unit rows at an angle, straight from the definitions."""
    if isinstance(kernel, ntk.ArcCosine):
        gain, q, covariance = mpmath.mpf((1, 1, 3)[kernel.order]) / 2, mpmath.mpf(1), mpmath.cos(angle)
        for _ in range(kernel.depth):
            covariance = gain * q**kernel.order * kappa(kernel.order, mpmath.acos(covariance / q))
            q = gain * q**kernel.order
        return covariance
    slope = mpmath.mpf(activation_of(kernel.activation).negative_slope)
    weights, biases = (
        [mpmath.mpf(value) for value in (values if isinstance(values, tuple) else (values,) * (kernel.depth + 1))]
        for values in (kernel.weight_variance, kernel.bias_variance)
    )
    q, covariance = weights[0] + biases[0], weights[0] * mpmath.cos(angle) + biases[0]
    tangent = covariance
    for v, b in zip(weights[1:], biases[1:], strict=True):
        inner = mpmath.acos(covariance / q)
        values, slopes = (
            ((1 + slope**2) * kappa(order, inner) - sign * 2 * slope * kappa(order, mpmath.pi - inner)) / 2
            for order, sign in ((1, 1), (0, -1))
        )
        covariance, q = v * q * values + b, v * q * (1 + slope**2) / 2 + b
        tangent = covariance + v * slopes * tangent
    return tangent if isinstance(kernel, ntk.NTK) else covariance


@lru_cache(maxsize=32)
def profile_at_nodes(kernel):
    with mpmath.workdps(DIGITS):
        return [profile(kernel, angle) for angle, _ in gauss_legendre()]


def funk_hecke(kernel, p):
    """The integrals for degrees 0 to MAX_DEGREE, with the Gegenbauer recurrence."""
    with mpmath.workdps(DIGITS):
        cosines = [mpmath.cos(angle) for angle, _ in gauss_legendre()]
        terms = [
            value * weight * mpmath.sin(angle) ** (p - 2)
            for value, (angle, weight) in zip(profile_at_nodes(kernel), gauss_legendre(), strict=True)
        ]
        total = mpmath.beta(mpmath.mpf(1) / 2, mpmath.mpf(p - 1) / 2)
        previous, current = [mpmath.mpf(1)] * len(cosines), cosines
        result = [mpmath.fsum(terms) / total]
        for k in range(1, MAX_DEGREE + 1):
            result.append(mpmath.fsum(a * b for a, b in zip(terms, current, strict=True)) / total)
            previous, current = (
                current,
                [
                    ((2 * k + p - 2) * t * b - k * a) / (k + p - 2)
                    for t, a, b in zip(cosines, previous, current, strict=True)
                ],
            )
        return result


@pytest.mark.parametrize("p", [3, 5, 10])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_against_integrals_of_many_digits(kernel, p):
    computed = sphere_eigenvalues(kernel, p, MAX_DEGREE).eigenvalues
    for degree, (value, exact) in enumerate(zip(computed, funk_hecke(kernel, p), strict=True)):
        if abs(exact) < mpmath.mpf(10) ** -40:
            assert value == 0, degree
        else:
            assert abs(value / exact - 1) < 1e-10, (degree, value, exact)


@pytest.mark.parametrize("p", [2, 3, 7, 50])
@pytest.mark.parametrize("kernel", [ntk.NNGP(1), ntk.NNGP(2, bias_variance=0.3), ntk.ArcCosine(2)], ids=repr)
def test_trace(kernel, p):
    """The eigenvalues, each as often as it occurs, add up to the kernel of a point with itself."""
    spectrum = sphere_eigenvalues(kernel, p, 300)
    total = math.fsum(float(m) * value for m, value in zip(spectrum.multiplicities, spectrum.eigenvalues, strict=True))
    assert total == pytest.approx(float(kernel.profile(1.0)), rel=1e-3)
    assert total <= float(kernel.profile(1.0))


@pytest.mark.parametrize(
    ("p", "expected"), [(2, (1, 2, 2, 2)), (3, (1, 3, 5, 7)), (4, (1, 4, 9, 16)), (10, (1, 10, 54))]
)
def test_multiplicities(p, expected):
    assert sphere_multiplicities(p, len(expected) - 1) == expected


def test_multiplicities_are_exact_where_floats_would_not_be():
    k, p = 200, 60
    expected = (2 * k + p - 2) * math.factorial(k + p - 3) // (math.factorial(k) * math.factorial(p - 2))
    assert sphere_multiplicities(p, k)[k] == expected


@pytest.mark.parametrize("p", [3, 5, 10])
@pytest.mark.parametrize("depth", [1, 3])
def test_ntk_decays_like_degree_to_minus_p(p, depth):
    law = sphere_eigenvalues(ntk.NTK(depth), p, 400).decay(100, 400)
    assert law.exponent == pytest.approx(-p, rel=0.05)


def test_odd_degrees_vanish_at_depth_one_and_return_with_a_bias_or_a_second_layer():
    odd = slice(3, None, 2)
    assert np.all(sphere_eigenvalues(ntk.NTK(1), 4, 41).eigenvalues[odd] == 0)
    for kernel in (ntk.NTK(1, bias_variance=0.01), ntk.NTK(2), ntk.NTK(1, bias_variance=(0.01, 0.0))):
        assert np.all(sphere_eigenvalues(kernel, 4, 41).eigenvalues[odd] > 0)
    # a bias of the output alone adds a constant
    assert np.all(sphere_eigenvalues(ntk.NTK(1, bias_variance=(0.0, 0.01)), 4, 41).eigenvalues[odd] == 0)


@pytest.mark.parametrize("depth", [100, 1000])
def test_deep(depth):
    kernel = ntk.NTK(depth, weight_variance=(1.0, *(2.0,) * depth))
    spectrum = sphere_eigenvalues(kernel, 5, 30)
    assert np.all(spectrum.eigenvalues > 0)
    assert np.all(np.diff(spectrum.eigenvalues) < 0)


def test_linear_activations_have_one_degree():
    eigenvalues = sphere_eigenvalues(ntk.NTK(2, ntk.leaky_relu(1.0)), 3, 4).eigenvalues
    np.testing.assert_allclose(eigenvalues, [0, 1, 0, 0, 0], rtol=1e-15, atol=0)


def test_where_one_parity_nearly_vanishes_it_is_right_to_the_digits_of_the_other():
    """At depth 1 a bias of 1e-8 brings the odd degrees back, 1e8 times smaller than the even ones."""
    computed = sphere_eigenvalues(ntk.NTK(1, bias_variance=1e-8), 3, 11).eigenvalues
    with mpmath.workdps(30):
        kernel, ends = ntk.NTK(1, bias_variance=1e-8), [0, 1, 2, 3, mpmath.pi - 1e-3, mpmath.pi - 1e-5, mpmath.pi]
        for degree in (3, 11):
            exact = mpmath.quad(
                lambda a, k=degree: profile(kernel, a) * mpmath.legendre(k, mpmath.cos(a)) * mpmath.sin(a) / 2, ends
            )
            assert 0 < computed[degree] < 1e-6 * computed[degree - 1]
            assert abs(computed[degree] - exact) < 1e-13 * computed[degree - 1]


@pytest.mark.parametrize("depth", [1, 8, 20])
@pytest.mark.parametrize("p", [2, 3, 10])
def test_even_kernels_have_even_degrees_only(depth, p):
    eigenvalues = sphere_eigenvalues(ntk.NTK(depth, "abs"), p, 40).eigenvalues
    assert np.all(eigenvalues[1::2] == 0)
    assert np.all(eigenvalues[::2] > 0)


def test_structure_too_fine_is_refused():
    with pytest.raises(ValueError, match="kernel has structure at too many scales"):
        sphere_eigenvalues(ntk.NTK(3, ntk.leaky_relu(1 - 1e-7)), 3, 10)


@pytest.mark.parametrize(
    ("range_", "sentence"),
    [
        ((-5,), "first must be a whole number >= 1; got -5"),
        ((0,), "first must be a whole number >= 1; got 0"),
        ((10, 4000), "last must be at most 40, the largest degree; got 4000: raise max_degree"),
        ((10, 5), "last must be a whole number >= 10; got 5"),
    ],
)
def test_bad_ranges_of_degrees(range_, sentence):
    with pytest.raises(ValueError, match=sentence):
        sphere_eigenvalues(ntk.NTK(2), 3, 40).decay(*range_)


def test_listed():
    spectrum = sphere_eigenvalues(ntk.NTK(2), 3, 2)
    zero, one, two = spectrum.eigenvalues
    assert list(spectrum.listed(6)) == [zero, one, one, one, two, two]
    with pytest.raises(ValueError, match="count must be at most 9"):
        spectrum.listed(10)
    with pytest.raises(ValueError, match="count must be a whole number >= 0; got -1"):
        spectrum.listed(-1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((ntk.NTK(1), 1, 3), "n_features must be a whole number >= 2; got 1."),
        ((ntk.NTK(1), 3.5, 3), "n_features must be a whole number >= 2; got 3.5 of type float."),
        ((ntk.NTK(1), 3, -1), "max_degree must be a whole number from 0 to 10000; got -1."),
        ((ntk.NTK(1), 3, 10_001), "max_degree must be a whole number from 0 to 10000; got 10001."),
        (("ntk", 3, 3), "kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got a str."),
        ((ntk.ArcCosine(2, 50), 3, 3), "The result would overflow float64"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises((TypeError, ValueError)) as error:
        sphere_eigenvalues(*arguments)
    assert str(error.value).startswith(sentence)


ANY_NETWORK = {
    "erf": ntk.NTK(2, "erf", bias_variance=0.1),
    "gelu": ntk.NTK(3, "gelu", "he", 0.1),
    "silu": ntk.NTK(2, "silu"),
    "sine with a mean": ntk.NTK(2, layers.Sin(1, 1, 0.3)),
    "smooth and not": ntk.NTK(
        network=layers.Sequential(
            layers.Dense(1, 0.1), layers.Gelu(), layers.Dense(1, 0.1), layers.Relu(), layers.Dense()
        )
    ),
    "residual": ntk.NTK(
        network=layers.Sequential(
            layers.Dense(1, 0.1), layers.Residual(layers.Relu(), layers.Dense(1, 0.1)), layers.Erf(), layers.Dense()
        )
    ),
    "product": ntk.NTK(
        network=layers.Product(layers.Dense(1, 0.1), layers.Sequential(layers.Dense(), layers.Relu(), layers.Dense()))
    ),
}


@pytest.mark.parametrize("kernel", ANY_NETWORK.values(), ids=ANY_NETWORK.keys())
def test_of_any_network_against_quadrature(kernel):
    """In the angle the integrand is analytic: Gauss-Legendre is exact, as far as its sum does not cancel."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    angle = (nodes + 1) * np.pi / 2
    cosine, measure = np.cos(angle), np.sin(angle) ** 2 * weights
    values = kernel.profile(cosine)
    harmonics = np.stack([np.sin((k + 1) * angle) / ((k + 1) * np.sin(angle)) for k in range(13)])
    expected = (harmonics * values * measure).sum(axis=1) / measure.sum()
    found = sphere_eigenvalues(kernel, 4, 12).eigenvalues
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-14 * found.max())
    assert (found > 0).all()


@pytest.mark.parametrize("activation", ["rbf", layers.Rbf(3.0)])
def test_of_the_rbf_kernel_to_the_last_of_its_tiny_eigenvalues(activation):
    """exp(-g |x - y|^2) = exp(-2 g) exp(2 g t), whose eigenvalues are Bessel functions (Minh et al., 2006)."""
    kernel = ntk.NNGP(network=layers.Sequential(layers.Dense(), ntk.NTK(1, activation).network.layers[1]))
    rate = 2 * kernel.network.layers[1].gamma
    found = sphere_eigenvalues(kernel, 5, 30).eigenvalues
    for degree, value in enumerate(found):
        with mpmath.workdps(40):
            order = degree + mpmath.mpf(3) / 2
            exact = mpmath.exp(-rate) * mpmath.gamma(2.5) * mpmath.besseli(order, rate) / (mpmath.mpf(rate) / 2) ** 1.5
        assert value == pytest.approx(float(exact), rel=1e-11)


def test_a_series_that_stops_short_is_said_once():
    with pytest.warns(layers.AccuracyWarning, match=r"Elu\(\) has kinks") as caught:
        sphere_eigenvalues(ntk.NTK(2, "elu"), 4, max_degree=8)
    assert len(caught) == 1
