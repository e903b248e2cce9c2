"""The definitions of activations in many digits: against integrals by other means, and networks against kernels."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import integrate, special

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.high_precision import exact_value
from ntk_fast.high_precision.expectations import expectations


def _bump(z):
    return z * np.exp(-0.2 * z * z) + 0.3 * np.abs(z)


#: Each with the function that it is, and its derivative, in double precision.
FUNCTIONS = {
    layers.SigmoidLike(): (
        lambda z: 0.5 * special.erf(z / 2.4020563531719796) + 0.5,
        lambda z: np.exp(-((z / 2.4020563531719796) ** 2)) / (np.sqrt(np.pi) * 2.4020563531719796),
    ),
    layers.Sin(1.3, 0.7, 0.4): (lambda z: 1.3 * np.sin(0.7 * z + 0.4), lambda z: 0.91 * np.cos(0.7 * z + 0.4)),
    layers.Cos(1.3, 0.7, 0.4): (lambda z: 1.3 * np.cos(0.7 * z + 0.4), lambda z: -0.91 * np.sin(0.7 * z + 0.4)),
    layers.Gaussian(0.8, -0.3): (lambda z: 0.8 * np.exp(-0.3 * z * z), lambda z: -0.48 * z * np.exp(-0.3 * z * z)),
    layers.Monomial(3): (lambda z: z**3, lambda z: 3 * z**2),
    layers.Polynomial([0.3, 1.0, 0.0, -0.2]): (lambda z: 0.3 + z - 0.2 * z**3, lambda z: 1 - 0.6 * z**2),
    layers.Hermite(4): (
        lambda z: (z**4 - 6 * z**2 + 3) / np.sqrt(24),
        lambda z: (4 * z**3 - 12 * z) / np.sqrt(24),
    ),
    layers.RectifiedMonomial(5): (lambda z: np.maximum(z, 0) ** 5, lambda z: 5 * np.maximum(z, 0) ** 4),
    layers.Tanh(): (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    layers.Sigmoid(): (special.expit, lambda z: special.expit(z) * special.expit(-z)),
    layers.Softplus(1.5): (lambda z: np.logaddexp(0, 1.5 * z) / 1.5, lambda z: special.expit(1.5 * z)),
    layers.Silu(): (
        lambda z: z * special.expit(z),
        lambda z: special.expit(z) * (1 + z * special.expit(-z)),
    ),
    layers.Elu(0.4): (
        lambda z: np.where(z > 0, z, 0.4 * np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, 0.4 * np.exp(np.minimum(z, 0))),
    ),
    layers.Activation(_bump): (_bump, lambda z: (1 - 0.4 * z * z) * np.exp(-0.2 * z * z) + 0.3 * np.sign(z)),
}


def by_regression(function, a: float, b: float, c: float) -> float:
    """E[f(u) f(v)] by SciPy: of v given u, then of u; corners at 0 are ends of integrals."""
    deviation = np.sqrt(b - c * c / a)
    ends = 9.0

    def given(u):
        mean = c / a * u

        def density(t):
            return function(mean + deviation * t) * np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi)

        corner = float(np.clip(-mean / deviation, -ends, ends))
        return sum(integrate.fixed_quad(density, *part, n=60)[0] for part in ((-ends, corner), (corner, ends)))

    def outer(z):
        return function(np.sqrt(a) * z) * given(np.sqrt(a) * z) * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)

    return sum(integrate.quad(outer, *part, epsabs=1e-12, epsrel=1e-12)[0] for part in ((-ends, 0), (0, ends)))


@pytest.mark.parametrize("activation", FUNCTIONS, ids=repr)
def test_expectations_are_integrals(activation):
    a, b, c = 1.3, 0.6, -0.5
    with mpmath.workdps(40):
        got = expectations(activation, mpf(a), mpf(b), mpf(c))
    for value, function in zip(got, FUNCTIONS[activation], strict=True):
        expected = by_regression(function, a, b, c)
        assert float(value) == pytest.approx(expected, rel=3e-9, abs=3e-9)


@pytest.mark.parametrize("activation", [layers.Tanh(), layers.Softplus(1.5), layers.Elu(0.4)], ids=repr)
def test_equal_rows_are_moments(activation):
    """Where a covariance is the variance, to rounding or nearly, one integral is left: here by another rule."""
    functions = {
        layers.Tanh: mp.tanh,
        layers.Softplus: lambda z: mp.log1p(mp.exp(1.5 * z)) / 1.5,
        layers.Elu: lambda z: z if z > 0 else mpf(0.4) * mp.expm1(z),
    }
    with mpmath.workdps(45):
        q = mpf("2.5")
        ends = [-14, -4, -1, 0, 1, 4, 14]
        moment = mp.quad(lambda z: functions[type(activation)](mp.sqrt(q) * z) ** 2 * mp.npdf(z), ends)
        assert mp.almosteq(expectations(activation, q, q, q)[0], moment, 1e-19)
        near = expectations(activation, q, q, q * (1 - mpf(10) ** -12))
        slope = (moment - near[0]) / (q * mpf(10) ** -12)
        assert mp.almosteq(slope, near[1], 1e-5)


def relu_like(n):
    return layers.RectifiedMonomial(n)


def test_rectified_powers_of_any_order_meet_their_closed_forms():
    """E[s' s'] is the derivative of E[s s'] by the covariance, whichever of the two has a closed form (Cho & Saul)."""
    with mpmath.workdps(40):
        for order in (1, 2, 3, 4, 7):
            value = lambda c, n=order: expectations(relu_like(n), mpf(2), mpf(3), c)[0]  # noqa: E731
            slope = expectations(relu_like(order), mpf(2), mpf(3), mpf(1))[1]
            assert mp.almosteq(mp.diff(value, mpf(1)), slope, 1e-12)


def a_network(activation):
    """Every kind of layer of rows."""
    branch = layers.Sequential(layers.Dense("he", 0.1), activation, layers.Dense(0.7, trained=False))
    product = layers.Product(layers.Dense(0.5, 0.3), layers.Sequential(layers.Dense(), activation, layers.Dense("he")))
    return layers.Sequential(
        layers.Dense(0.8, 0.2),
        activation,
        layers.Residual(branch),
        layers.LayerNorm(),
        layers.Sum(layers.Identity(), layers.Sequential(product, layers.Identity())),
        layers.Dense(0.9, 0.1),
        layers.Concatenate(activation, layers.Relu(), shares=(0.6, 0.4)),
        layers.Dense("he", 0.05),
    )


@pytest.mark.parametrize(
    "activation",
    [layers.Sin(phase=0.3), layers.SigmoidLike(), layers.Gaussian(), layers.Hermite(3), layers.Elu(0.5), layers.Silu()],
    ids=repr,
)
def test_networks_are_what_kernels_compute(activation):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((2, 4)) / 2
    network = a_network(activation)
    kernel = ntk.NTK(network=network)
    exact = float(exact_value(kernel, X[0], X[1], 15))
    assert kernel(X[:1], X[1:], backend="numpy")[0, 0] == pytest.approx(exact, rel=2e-12)


def test_fewer_digits_are_the_first_of_more():
    kernel = ntk.NNGP(1, "silu", bias_variance=0.1)
    few, many = (exact_value(kernel, [0.4, -0.2], [0.1, 0.3], digits) for digits in (10, 30))
    assert mp.almosteq(few, many, 1e-15)


def test_images_are_refused():
    net = layers.Sequential(layers.Input(2, 2, 1), layers.Conv(1), layers.Flatten())
    with pytest.raises(TypeError, match="kernel must be one of rows; its network has a layer of images"):
        exact_value(ntk.NNGP(network=net), np.ones(4), np.ones(4))
