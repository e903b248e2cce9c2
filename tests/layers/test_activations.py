"""Every activation: its moments, and its map on ordinary, near, opposite, scaled and tiny pairs."""

from __future__ import annotations

import pickle
import warnings

import dual_oracle as oracle
import mpmath
import numpy as np
import pytest
from adversarial import log_uniform
from dual_oracle import Pair, by_quadrature, exact, mapped
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.stats import multivariate_normal

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.layers import hermite_tails
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.hermite_pieces import MOST_TERMS
from ntk_fast.layers.names import ACTIVATIONS, activation_named, name_of

LIKE = mpf(1) / mpf(2.4020563531719796)

#: Where there is a closed form: the activation, its dual, and the largest variance for which it is tried.
CLOSED = {
    "relu": (layers.Relu(), oracle.leaky_relu(0.0), 1e16),
    "leaky_relu": (layers.LeakyRelu(0.3), oracle.leaky_relu(0.3), 1e16),
    "nearly linear": (layers.LeakyRelu(0.9999999), oracle.leaky_relu(0.9999999), 1e4),
    "abs": (layers.Abs(), oracle.leaky_relu(-1.0), 1e16),
    "sign": (layers.Sign(), oracle.sign, 1e16),
    "step": (layers.Step(), oracle.step, 1e16),
    "rectified square": (layers.RectifiedMonomial(2), oracle.rectified_square, 1e16),
    "erf": (layers.Erf(), oracle.erf(), 1e16),
    "sigmoid_like": (layers.SigmoidLike(), oracle.erf(LIKE, mpf(1) / 2, mpf(1) / 2), 1e16),
    "gelu": (layers.Gelu(), oracle.gelu, 1e4),
    "sin": (layers.Sin(), oracle.sine(), 1e4),
    "shifted sin": (layers.Sin(1.3, 0.7, 0.4), oracle.sine(1.3, 0.7, mpf(0.4)), 1e4),
    "nearly cos": (layers.Sin(1.0, 2.0, 1.57), oracle.sine(1.0, 2.0, mpf(1.57)), 1e4),
    "cos": (layers.Cos(), oracle.cosine, 1e4),
    "gaussian": (layers.Gaussian(), oracle.gaussian(-1.0), 1e16),
    "growing gaussian": (layers.Gaussian(0.7, 0.02), oracle.gaussian(0.02), 10.0),
    "exp": (layers.Exp(0.5, -0.3), oracle.exponential(-0.3), 1e4),
    "rbf": (layers.Rbf(0.7), oracle.rbf(0.7), 1e4),
    "monomial 1": (layers.Monomial(1), oracle.polynomial([0, 1]), 1e16),
    "monomial 2": (layers.Monomial(2), oracle.polynomial([0, 0, 1]), 1e16),
    "monomial 5": (layers.Monomial(5), oracle.polynomial([0] * 5 + [1]), 1e16),
    "polynomial": (layers.Polynomial([0.3, 0.5, -0.2, 0.1]), oracle.polynomial([0.3, 0.5, -0.2, 0.1]), 1e16),
    "odd polynomial": (layers.Polynomial([0, 1, 0, -0.2]), oracle.polynomial([0, 1, 0, -0.2]), 1e16),
    "even polynomial": (layers.Polynomial([0, 0, 1, 0, 0.1]), oracle.polynomial([0, 0, 1, 0, 0.1]), 1e16),
    "one power": (layers.Polynomial([0, 0, 0, -0.7]), oracle.polynomial([0, 0, 0, mpf(-0.7)]), 1e16),
    "a multiple": (layers.Polynomial([0, 1.3]), oracle.polynomial([0, mpf(1.3)]), 1e16),
    "hermite": (layers.Hermite(3), oracle.polynomial([0, -mp.sqrt(mpf(3) / 2), 0, 1 / mp.sqrt(6)]), 1e16),
}

#: Where there is none: the largest variance for which quadrature and series both converge.
EXPANDED = {
    "tanh": (layers.Tanh(), 4.0),
    "sigmoid": (layers.Sigmoid(), 4.0),
    "softplus": (layers.Softplus(), 4.0),
    "sharp softplus": (layers.Softplus(3.0), 1.0),
    "silu": (layers.Silu(), 4.0),
    "arctan": (layers.Activation(np.arctan, lambda z: 1 / (1 + z * z)), 0.5),
    "tanh by differences": (layers.Activation(np.tanh), 1.0),
    "a bump": (layers.Activation(lambda z: z * np.exp(-0.2 * z * z) + 0.3 * np.cos(z)), 4.0),
}

ALL: dict[str, ActivationLayer] = {name: case[0] for name, case in {**CLOSED, **EXPANDED}.items()}
ALL["elu"] = layers.Elu(0.7)

NEARER = [0.0, 1e-18, 1e-12, 1e-9, 1e-6, 9e-6, 1.1e-5, 1e-3, 0.1, 0.7, 1.0]


def pairs(rng: np.random.Generator, least: float, largest: float, number: int) -> list[Pair]:
    """Duplicates, scaled copies, near and opposite pairs, at any variance."""
    result = []
    for k in range(number):
        q = float(log_uniform(rng, least, largest))
        scaled = q * float(1 + rng.choice([1e-1, 1e-3, 1e-6, 1e-9]))
        other = [q, min(scaled, largest), float(log_uniform(rng, least, largest))][k % 3]
        result.append(Pair(q, other, float(rng.choice(NEARER)), int(rng.choice([1, -1]))))
    return result


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_keep_the_digits_of_every_pair(name):
    activation, dual, largest = CLOSED[name]
    rng = np.random.default_rng(len(name))
    for pair in pairs(rng, 1e-8, min(largest, 1e4), 45):
        assert exact(dual, pair).error(mapped(activation, pair)) < 1.5e-13, pair


@pytest.mark.parametrize("name", [name for name in CLOSED if CLOSED[name][2] == 1e16])
def test_closed_forms_of_tiny_and_huge_variances(name):
    activation, dual, _ = CLOSED[name]
    for pair in pairs(np.random.default_rng(2), 1e-16, 1e16, 21):
        # a chord is known to the digits of the variances' difference
        assert exact(dual, pair).error(mapped(activation, pair)) < 1e-12, pair


def test_where_a_relative_error_of_a_huge_variance_is_a_large_angle_nothing_else_is_lost():
    for pair in pairs(np.random.default_rng(3), 1e-16, 1e16, 30):
        angle = np.sqrt(max(pair.variance, pair.other))
        for name in ("sin", "cos", "rbf"):
            activation, dual, _ = CLOSED[name]
            assert exact(dual, pair).error(mapped(activation, pair)) < 2e-13 + 1e-15 * angle, (name, pair)


@pytest.mark.parametrize("name", EXPANDED)
def test_expansions_keep_the_digits_of_every_pair(name):
    activation, largest = EXPANDED[name]
    rng = np.random.default_rng(len(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pair in pairs(rng, 1e-8, largest, 24):
            error = by_quadrature(activation, pair).error(mapped(activation, pair))
            # sums of hundreds of terms; differences in place of a derivative know the curve's length to 1e-11 of it
            assert error < (3e-13 if activation.has_derivative else 1e-11), pair


@pytest.mark.filterwarnings("ignore::ntk_fast.layers.AccuracyWarning")
@pytest.mark.parametrize("activation", [layers.Tanh(), layers.Sigmoid(), layers.Silu(), layers.Softplus(3.0)], ids=str)
def test_steep_activations_reach_what_can_be_reached(activation):
    """Variances up to 16, where a pair takes as many terms as it needs for some 1e-10."""
    rng = np.random.default_rng(11)
    for k in range(6):
        q = float(rng.uniform(6, 16))
        other = [q, q * float(1 + 10 ** rng.uniform(-6, -1)), float(log_uniform(rng, 1e-4, 16.0))][k % 3]
        pair = Pair(q, min(other, 16.0), float(rng.choice(NEARER)), int(rng.choice([1, -1])))
        assert by_quadrature(activation, pair, 1 / 48).error(mapped(activation, pair)) < 1e-9, pair


def test_float32_takes_fewer_terms_and_keeps_its_promise():
    for name in ("tanh", "silu"):
        activation, largest = EXPANDED[name]
        few = activation.row_parameters(np.array([largest]), 3e-8)[2, 0]
        assert few < 0.5 * activation.row_parameters(np.array([largest]), 1e-13)[2, 0]
        for pair in pairs(np.random.default_rng(5), 1e-4, largest, 15):
            assert by_quadrature(activation, pair).error(mapped(activation, pair, 3e-8)) < 1e-6, pair


def _integrals(activation: ActivationLayer, q: float) -> tuple[float, ...]:
    """E[sigma^2], E[sigma'^2], E[sigma] and the variance, by Gauss-Legendre on many panels."""
    edges = np.concatenate([[0], np.geomspace(1e-6, 20, 60)])
    nodes, weights = np.polynomial.legendre.leggauss(30)
    z = (edges[1:] + edges[:-1])[:, None] / 2 + np.diff(edges)[:, None] / 2 * nodes
    weight = np.diff(edges)[:, None] / 2 * weights * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    u, weight = np.sqrt(q) * np.stack([-z, z]), np.stack([weight, weight])
    rise = activation.rise(u)
    centred = ((rise - (rise * weight).sum()) ** 2 * weight).sum()
    mean = float(activation(np.zeros(1))[0]) + (rise * weight).sum()
    return mean**2 + centred, (activation.derivative(u) ** 2 * weight).sum(), mean, centred


@pytest.mark.parametrize("name", ALL)
def test_moments(name):
    activation = ALL[name]
    largest = {"exp": 30.0, "growing gaussian": 5.0, "tanh by differences": 1.0, "a bump": 1.0}.get(name, 50.0)
    for q in log_uniform(np.random.default_rng(4), 1e-8, largest, 6):
        moment, slope, mean, centred = _integrals(activation, float(q))
        known = [
            (activation.second_moment(q), moment),
            (activation.derivative_second_moment(q), slope),
            *(
                [(activation.mean(q), mean), (activation.centred_moment(q), centred)]
                if activation.separates_mean
                else []
            ),
        ]
        scale = np.sqrt(moment)
        differences = name in ("tanh by differences", "a bump")
        for which, (got, expected) in enumerate(known):
            size = scale if which == 2 else expected
            assert abs(got - expected) <= (1e-9 if differences else 4e-14) * abs(size), (which, q)


@pytest.mark.parametrize("name", ALL)
def test_gains_are_moments_of_a_standard_normal(name):
    activation = ALL[name]
    assert float(activation.gain) == pytest.approx(float(activation.second_moment(1.0)), rel=1e-13)
    assert float(activation.derivative_gain) == pytest.approx(
        float(activation.derivative_second_moment(1.0)), rel=1e-13
    )
    if activation.homogeneity is not None:
        z = np.array([-1.7, 0.3, 2.0])
        np.testing.assert_allclose(activation(3 * z), 3**activation.homogeneity * activation(z), rtol=1e-13)
    if activation.parity:
        z = np.geomspace(1e-3, 5, 7)
        np.testing.assert_allclose(activation(-z), activation.parity * activation(z), rtol=1e-13)


def test_moments_in_many_digits():
    def quad(function, q):
        density = lambda z: mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)  # noqa: E731
        return mp.quad(lambda z: function(mp.sqrt(q) * z) ** 2 * density(z), [-30, -8, -2, 0, 2, 8, 30])

    with mpmath.workdps(25):
        for activation, function in [
            (layers.Tanh(), mp.tanh),
            (layers.Gelu(), lambda z: z * mp.ncdf(z)),
            (layers.Silu(), lambda z: z / (1 + mp.exp(-z))),
            (layers.Softplus(2.0), lambda z: mp.log1p(mp.exp(2 * z)) / 2),
            (layers.Elu(0.5), lambda z: z if z > 0 else mp.expm1(z) / 2),
        ]:
            for q in (1e-7, 5.0):
                exact = quad(function, mpf(q))
                assert abs(mpf(float(activation.second_moment(q))) / exact - 1) < 1e-14 * 4, (activation, q)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 7, 20])
def test_rectified_monomials_are_arc_cosine_kernels(order):
    activation = layers.RectifiedMonomial(order)
    with mpmath.workdps(40):
        for nearer in (1e-12, 1e-3, 0.4, 1.0):
            for sign in (1, -1):
                pair = Pair(1.0, 1.0, nearer, sign)
                angle = mp.acos(sign * (1 - mpf(nearer)))

                def kappa(n, angle=angle):
                    if n < 0:
                        return mpf(0)
                    whole = mp.quad(lambda t: (mp.cos(t) + mp.cos(angle)) ** n, [0, (mp.pi - angle) / 2, mp.pi - angle])
                    return mp.factorial(n) / mp.fac2(2 * n - 1) / mp.pi * whole

                ratio = mpf(order**2) / (2 * order - 1) if order else 0
                got = mapped(activation, pair)
                assert abs(mpf(got.chord) ** 2 - (1 - kappa(order))) < 1e-14 * (1 - kappa(order)) + mpf(10) ** -30
                assert abs(got.slope - ratio * kappa(order - 1)) < 1e-14 * max(ratio, 1)


@pytest.mark.parametrize("activation", [layers.RectifiedMonomial(n) for n in (0, 1, 2, 5)] + [layers.Sign()])
def test_second_derivatives_are_those_of_the_map(activation):
    m, step = np.array([1e-3, 0.3, 1.0, 1.7, 1.999]), 1e-6
    none = np.empty((0, 1))
    above, below = (activation.map_pairs(m + s, 2 - m - s, none, none)[2] for s in (-step, step))
    got = activation.second_derivative(m, 2 - m)
    np.testing.assert_allclose(got, (above - below) / (2 * step), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_row_does_not_depend_on_its_company(name):
    activation = ALL[name]
    q = log_uniform(np.random.default_rng(6), 1e-6, 3.0, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", layers.AccuracyWarning)
        together = activation.row_parameters(q, 1e-13)
        for row in range(len(q)):
            alone = activation.row_parameters(q[row : row + 1], 1e-13)
            assert np.array_equal(together[: len(alone), row], alone[:, 0])
            assert not together[len(alone) :, row].any()
            most = activation.n_row_parameters(3.0, 1e-13)
            assert np.array_equal(activation.row_parameters(q, 1e-13, most), together[:most])


@pytest.mark.parametrize("name", ALL)
def test_zero_rows_and_huge_ones_stay_finite(name):
    activation = ALL[name]
    variances = np.array([0.0, 5e-324, 1e-40, 1e-16, 1.0])
    if name not in ("growing gaussian",):
        variances = np.append(variances, 1e16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", layers.AccuracyWarning)
        parameters = activation.row_parameters(variances, 1e-7)
    for nearer in (0.0, 1e-9, 1.0):
        m, p = np.full((6, 6), nearer)[: len(variances), : len(variances)], np.full((6, 6), 2 - nearer)
        p = p[: len(variances), : len(variances)]
        for state in (
            activation.map_pairs(m, p, parameters[:, :, None], parameters[:, None, :]),
            activation.map_pairs(p, m, parameters[:, :, None], parameters[:, None, :]),
        ):
            assert all(np.isfinite(part).all() for part in state)
            assert state[0].min() >= 0 and state[1].min() >= 0
    assert activation.second_moment(0.0) == pytest.approx(float(activation(np.zeros(1))[0]) ** 2, rel=1e-14, abs=1e-300)


@pytest.mark.parametrize(
    ("activation", "variance", "terms"),
    [(layers.Silu(), v, n) for v, n in ((0.25, 17), (1.0, 37), (4.0, 103))]
    + [(layers.Softplus(), v, n) for v, n in ((0.25, 11), (1.0, 25), (4.0, 73))]
    + [(layers.Tanh(), v, n) for v, n in ((0.25, 36), (1.0, 108), (4.0, 376))],
)
def test_terms_that_the_moment_needs(activation, variance, terms):
    own = activation.row_parameters(np.array([variance]), 1e-14)[3:, 0]
    centred, moment = activation.centred_moment(variance), activation.second_moment(variance)
    left = np.cumsum(own[::-1] ** 2)[::-1] * centred / moment  # from a_1 on, and so on
    needed = 1 + int(np.argmax(left < 1e-13))  # of a_0, a_1, ...
    assert abs(needed - terms) <= 2


def elu_of_numbers(z):
    return np.where(z > 0, z, 0.5 * np.expm1(np.minimum(z, 0)))


def test_kinks_at_0_cost_no_digits():
    rng = np.random.default_rng(8)
    for alpha in (0.1, 1.0, 3.0):
        for pair in pairs(rng, 1e-4, 16.0, 5):
            error = exact(oracle.elu(alpha), pair, 34).error(mapped(layers.Elu(alpha), pair))
            assert error < 1e-11, (alpha, pair)


def test_kinks_at_0_are_found_in_functions():
    """With a derivative or without, of either parity or none: no warning, and what closed forms give."""
    square, none = layers.RectifiedMonomial(2), np.empty((0, 1))
    relu = layers.Activation(lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0))
    known = {
        layers.Activation(np.abs, np.sign): layers.Abs(),
        layers.Activation(np.abs): layers.Abs(),
        relu: layers.Relu(),
        layers.Activation(lambda z: np.maximum(z, 0) ** 2): square,
        layers.Activation(elu_of_numbers): layers.Elu(0.5),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for activation, exact_one in known.items():
            assert activation.has_tail
            for pair in pairs(np.random.default_rng(9), 1e-4, 16.0, 12):
                if exact_one.homogeneity is None:
                    expected = mapped(exact_one, pair)
                else:
                    m, p = (np.array([part]) for part in pair.m_and_p)
                    m, p, slope = (float(part[0]) for part in exact_one.map_pairs(m, p, none, none))
                    expected = oracle.Answer(m**0.5, p**0.5, slope)
                assert expected.error(mapped(activation, pair)) < 2e-11, (activation, pair)
    assert not any(EXPANDED[name][0].has_tail for name in EXPANDED)
    for other in (layers.Activation(np.sign), layers.Softplus(10.0), layers.Activation(lambda z: np.clip(z, -1, 1))):
        assert not other.has_tail  # a jump, a steep place, corners elsewhere


def test_the_functions_of_tails_are_their_sums():
    with mpmath.workdps(30):
        for parity, m in ((0, 0.35), (1, 1e-4), (1, 0.0)):
            first = hermite_tails.START + 1 + (hermite_tails.START + 1 - parity) % 2
            got = hermite_tails.tail_functions(np.sqrt([m / 2]))[parity * (hermite_tails.N_NODES + 1) :, 0]

            def moment(power, first=first, parity=parity, m=m):
                """sum_n (reach / (n + shift))^power cosine^n, by Lerch's transcendent."""
                start, square = mpf(first + hermite_tails.SHIFT) / 2, (1 - mpf(m)) ** 2
                sums = mp.lerchphi(square, power, start) if m else mp.zeta(power, start)
                return (mpf(hermite_tails.REACH) / 2) ** power * (1 - mpf(m)) ** first * sums

            order = mpf(5) / 2 + parity
            assert abs(got[0] - moment(order - 1) / hermite_tails.REACH) < 1e-13
            nodes = [mpf(float(node)) for node in hermite_tails.NODES]
            powers = mp.matrix([[x**k for k in range(len(nodes))] for x in nodes]) ** -1  # Lagrange's polynomials
            for i, node in enumerate(nodes):
                assert abs(got[1 + i] - sum(powers[k, i] * moment(order + k) for k in range(len(nodes)))) < 1e-12, node


def test_kinks_elsewhere_are_said_and_the_error_is_what_is_said():
    kinked = layers.Activation(lambda z: np.clip(z, -1, 1), lambda z: 1.0 * (np.abs(z) < 1))
    with pytest.warns(layers.AccuracyWarning, match=f"{MOST_TERMS} terms .* to .* only") as caught:
        parameters = kinked.row_parameters(np.array([1.0]), 1e-13)
    said = float(str(caught[0].message).split(" to ")[-1].split()[0])
    for nearer in (0.0, 1e-3, 0.1, 0.9):
        m = np.array([nearer])
        slope = float(kinked.map_pairs(m, 2 - m, parameters, parameters)[2][0] * kinked.centred_moment(1.0))
        covariance = [[1, 1 - nearer], [1 - nearer, 1]]
        inside = multivariate_normal.cdf([1, 1], cov=covariance, lower_limit=[-1, -1], allow_singular=True)
        assert abs(slope - inside) <= 1.1 * said
    assert 1e-3 < said < 0.1


def test_names():
    for name, activation in ACTIVATIONS.items():
        assert activation_named(name) is activation and name_of(activation) == name
        assert activation_named(activation) is activation
    assert name_of(layers.LeakyRelu(0.2)) == layers.LeakyRelu(0.2)
    with pytest.raises(ValueError, match=r"must be one of 'relu', .*; got 'swich'"):
        activation_named("swich")
    with pytest.raises(TypeError, match="got the class Gelu: add its parentheses"):
        activation_named(layers.Gelu)
    with pytest.raises(TypeError, match="got a int"):
        activation_named(3)


@pytest.mark.parametrize("name", ALL)
def test_activations_are_data(name):
    activation = ALL[name]
    assert activation == activation and hash(activation) == hash(activation)
    assert activation.name in repr(activation) and activation.formula
    if not isinstance(activation, layers.Activation):
        assert pickle.loads(pickle.dumps(activation)) == activation
        assert layers.from_json(layers.to_json(activation)) == activation


def test_functions_are_stored_by_name_and_nothing_is_imported():
    activation = layers.Activation(np.tanh)
    assert pickle.loads(pickle.dumps(activation)) == activation == layers.from_json(layers.to_json(activation))
    with pytest.raises(TypeError, match="cannot be stored: it must be a function that can be imported"):
        layers.to_json(layers.Activation(lambda z: np.tanh(z)))
    with pytest.raises(TypeError, match="cannot be stored"):
        pickle.dumps(layers.Activation(lambda z: np.tanh(z)))
    for path in ("os:system", "builtins:eval", "antigravity:fly", "numpy:ndarray", "numpy", 3):
        text = layers.to_json(activation).replace('"numpy:tanh"', repr(path).replace("'", '"'))
        with pytest.raises(ValueError, match="not a function of a module that has been imported"):
            layers.from_json(text)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: layers.Activation(lambda z: [1.0, 2.0]),
            r"function must return an array of the same shape .* got \(2,\)",
        ),
        (lambda: layers.Activation(lambda z: z * 1j), "function must return real numbers; got dtype complex128"),
        (lambda: layers.Activation(np.log), "function must return finite numbers; got -inf at -0"),
        (lambda: layers.Activation(lambda z: 1 + 0 * z), "function must not be constant"),
        (lambda: layers.Activation(float), "function must take an array .* it raised TypeError"),
        (lambda: layers.Activation("tanh"), "function must be a function of arrays; got 'tanh'"),
        (lambda: layers.Activation(np.tanh, lambda z: 1 / z), "derivative must return finite numbers"),
        (lambda: layers.LeakyRelu(np.nan), "slope must be finite"),
        (lambda: layers.LeakyRelu("a"), "slope must be a real number"),
        (lambda: layers.Sin(frequency=0), "frequency must not be 0"),
        (lambda: layers.Exp(rate=0), "rate must not be 0"),
        (lambda: layers.Gaussian(amplitude=0.0), "amplitude must not be 0"),
        (lambda: layers.Rbf(-1), "gamma must be > 0"),
        (lambda: layers.Softplus(0), "sharpness must be > 0"),
        (lambda: layers.Elu(0), "alpha must not be 0"),
        (lambda: layers.Monomial(0), "degree must be a whole number >= 1; got 0"),
        (lambda: layers.Monomial(61), "degree must be a whole number from 1 to 60; got 61"),
        (lambda: layers.Hermite(2.5), "degree must be a whole number"),
        (lambda: layers.RectifiedMonomial(-1), "degree must be a whole number >= 0"),
        (lambda: layers.Polynomial([1.0, 0.0]), "coefficients must have a power of z"),
        (lambda: layers.Polynomial([]), "coefficients must have a power of z"),
        (lambda: layers.Polynomial(3), "coefficients must be a sequence of numbers"),
        (lambda: layers.Polynomial([0, "x"]), "coefficients must be a real number"),
    ],
)
def test_bad_parameters_get_one_sentence(make, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        make()


def test_infinite_moments_are_not_finite_numbers():
    assert not np.isfinite(layers.Gaussian(exponent=0.5).second_moment(1.0))
    assert not np.isfinite(layers.Exp(rate=3.0).second_moment(1e3))
    assert not np.isfinite(layers.Activation(lambda z: np.exp(0.3 * z * z)).second_moment(1.0))
    assert not np.isfinite(layers.Polynomial([0, 1, 0, 1]).second_moment(1e120))


@pytest.mark.parametrize("kernel", [ntk.NTK, ntk.NNGP])
def test_activations_that_are_one_function_are_equal(kernel):
    for slope, name, same in ((0.0, "relu", layers.Relu()), (-0.0, "relu", layers.Relu()), (-1, "abs", layers.Abs())):
        assert layers.LeakyRelu(slope) == same
        assert hash(layers.LeakyRelu(slope)) == hash(same)
        assert kernel(1, ntk.leaky_relu(slope)) == kernel(1, name)
        assert repr(kernel(1, ntk.leaky_relu(slope))) == repr(kernel(1, name))
    assert kernel(1, ntk.leaky_relu(0.01)) == kernel(1, "leaky_relu")
    assert layers.Relu() != layers.Gelu()


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_leaky_relus_of_different_slopes_have_different_names(first, second):
    """A journal knows a kernel by its repr."""
    leaky = [layers.LeakyRelu(slope) for slope in (first, second)]
    assert (repr(leaky[0]) == repr(leaky[1])) == (first == second) == (leaky[0] == leaky[1])
