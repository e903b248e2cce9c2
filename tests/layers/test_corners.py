"""Functions that are straight between corners: which they are, and that corners away from 0 cost no digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from adversarial import log_uniform
from dual_oracle import Answer, Pair, mapped
from mpmath import mp, mpf
from oracle import worst_entry
from scipy.stats import multivariate_normal

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.derivatives import LogParameters, gram_derivatives
from ntk_fast.high_precision.expectations import expectations
from ntk_fast.layers import orthants
from ntk_fast.layers.cornered import Cornered
from ntk_fast.layers.corners import corners_of

#: Of each kind, with its corners and slopes.
STRAIGHT = {
    "hard tanh": (lambda z: np.clip(z, -1, 1), (-1.0, 1.0), (0.0, 1.0, 0.0)),
    "relu6": (lambda z: np.clip(z, 0, 6), (0.0, 6.0), (0.0, 1.0, 0.0)),
    "shifted relu": (lambda z: np.maximum(z - 0.3, 0), (0.3,), (0.0, 1.0)),
    "soft shrink": (lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0), (-0.5, 0.5), (1.0, 0.0, 1.0)),
    "tent": (lambda z: np.maximum(1 - np.abs(z), 0), (-1.0, 0.0, 1.0), (0.0, 1.0, -1.0, 0.0)),
    "zigzag": (lambda z: np.abs(np.abs(z - 0.5) - 1.25), (-0.75, 0.5, 1.75), (-1.0, 1.0, -1.0, 1.0)),
}
MAPS = {name: Cornered(corners_of(case[0]), name) for name, case in STRAIGHT.items()}


@pytest.mark.parametrize("name", STRAIGHT)
def test_corners_are_found(name):
    function, positions, slopes = STRAIGHT[name]
    assert corners_of(function) == (positions, slopes, function(0.0))


@pytest.mark.parametrize("seed", range(8))
def test_corners_anywhere_are_found(seed):
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.uniform(-5, 5, rng.integers(1, 6)))
    positions = positions[np.diff(positions, prepend=-9) > 0.3]
    bends = rng.normal(size=len(positions)) + 0.1
    found = corners_of(lambda z: 0.3 * z + sum(d * np.maximum(z - a, 0) for a, d in zip(positions, bends, strict=True)))
    np.testing.assert_allclose(found.positions, positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.diff(found.slopes), bends, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        np.tanh,
        np.sign,
        np.exp,
        np.round,
        np.abs,
        lambda z: np.maximum(z, 0.1 * z),  # a corner at 0 alone is another's
        lambda z: 3 * z,
        lambda z: z * np.clip(z + 3, 0, 6) / 6,
        lambda z: np.where(np.abs(z) < 1, 0.0, z),
        lambda z: np.clip(z, -1, 1) + 1e-6 * np.sin(z),
        lambda z: np.clip(z, -1, 1e6),
        lambda z: np.clip(z, -1, 1) * (np.abs(z) < 70),
    ],
)
def test_what_is_not_straight_or_has_no_such_corners_is_not_taken_for_it(function):
    assert corners_of(function) is None


@pytest.mark.parametrize("seed", range(30))
def test_indicators_and_ramps_are_their_integrals(seed):
    """Plackett's integrals in mpmath: over an angle, or over x where the correlation is near 1."""
    rng = np.random.default_rng(seed)
    h = float(rng.choice([-1, 1]) * log_uniform(rng, 1e-6, 8.0))
    k = float(rng.choice([h, h * (1 + log_uniform(rng, 1e-9, 1.0)), -h, 2 * rng.normal()]))
    m = float(log_uniform(rng, 1e-14, 1.0))
    pairs = [(1.0, np.array([h]), np.array([k]))]
    with mpmath.workdps(30):
        H, K, c = mpf(h), mpf(k), 1 - mpf(m)
        d, a = abs(H - K), mp.sqrt(mpf(m) * (2 - mpf(m)))
        if m > orthants.NEAR_ONE:

            def density(t):
                return mp.exp(-(H * H - 2 * mp.sin(t) * H * K + K * K) / (2 * mp.cos(t) ** 2)) / (2 * mp.pi)

            ends = mp.linspace(0, mp.asin(c), 4)
            exact = mp.quad(density, ends), mp.quad(lambda t: (c - mp.sin(t)) * density(t), ends)
            got, size = orthants.covariances(pairs, np.array([1 - m])), (1, 1)
        else:

            def density(x):
                t = mp.sqrt(1 - x * x)
                return mp.exp(-d * d / (2 * x * x) - H * K / (1 + t)) / t / (2 * mp.pi) if x else mpf(0)

            ends = [
                mpf(0),
                *sorted(
                    {min(a, d * s) for s in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 4, *10.0 ** np.arange(1, 13))} - {mpf(0)}
                    | {a}
                ),
            ]
            exact = (
                mp.quad(density, ends),
                mp.quad(lambda x: density(x) * (a * a - x * x) / (mp.sqrt(1 - x * x) + c), ends),
            )
            got, size = orthants.lacking(pairs, np.array([m])), (float(a), float(a) ** 3)
        for value, expected, scale in zip(got, exact, size, strict=True):
            assert abs(mpf(float(value[0])) - expected) < 1e-15 * scale, (h, k, m)


def exact_map(activation: Cornered, pair: Pair) -> Answer:
    """From expectations of the function itself, at 30 digits."""
    function = layers.Activation(STRAIGHT[activation.shown][0])
    with mpmath.workdps(60):
        a, b, nearer = mpf(pair.variance), mpf(pair.other), mpf(pair.nearer)
        cosine = pair.sign * (1 - nearer)
        value, slope = expectations(function, a, b, cosine * mp.sqrt(a * b))
        own, other = (expectations(function, q, q, q)[0] for q in (a, b))
        root = mp.sqrt(own * other)
        chords = [float(mp.sqrt(max(1 + sign * value / root, 0))) for sign in (-1, 1)]
        return Answer(*chords, float(slope * mp.sqrt(a * b) / root))


@pytest.mark.parametrize("name", MAPS)
def test_corners_lose_no_digits_of_any_pair(name):
    """Equal and scaled rows, near and opposite ones: chords and derivative's duals."""
    activation = MAPS[name]
    rng = np.random.default_rng(len(name))
    for k in range(3 if name != "zigzag" else 2):  # of many corners: exact values take seconds
        q = float(log_uniform(rng, 1e-2, 30.0))
        other = [q, q * (1 + log_uniform(rng, 1e-8, 1e-1)), float(log_uniform(rng, 1e-2, 30.0))][k % 3]
        nearer = float(rng.choice([1e-12, 1e-9, 1e-6, 1.1e-5, 1e-3, 0.1, 0.7]))
        pair = Pair(q, other, nearer, int(rng.choice([1, -1])))
        assert exact_map(activation, pair).error(mapped(activation, pair)) < 1e-12, pair


@pytest.mark.parametrize("name", ["hard tanh", "relu6", "tent", "zigzag"])
def test_thresholds_far_apart_lose_no_digits(name):
    """Of parallel rows of norms that differ by 200: functions of one normal variable, straight far into its tails."""
    pair = Pair(4.0, 1e-4, 1e-9, 1)
    assert exact_map(MAPS[name], pair).error(mapped(MAPS[name], pair)) < 1e-12, pair


def difficult_rows(rng: np.random.Generator) -> np.ndarray:
    """Of any norms: copies, near ones, scaled and opposite ones, others, and zeros."""
    base = rng.standard_normal(3)
    near = base + log_uniform(rng, 1e-12, 1.0, 4)[:, None] * rng.standard_normal((4, 3))
    scaled = base * np.array([-1.0, 1 + 1e-15, 1 + 1e-6, *log_uniform(rng, 1e-3, 3.0, 3)])[:, None]
    others = log_uniform(rng, 1e-2, 10.0, 6)[:, None] * rng.standard_normal((6, 3))
    return np.concatenate([[base, base, 0 * base], near, scaled, others, -others[:2]])


@pytest.mark.parametrize("name", STRAIGHT)
def test_every_engine_agrees_with_the_reference(name, backend):
    rng = np.random.default_rng(sum(map(ord, name)))
    X = difficult_rows(rng)
    activation = layers.Activation(STRAIGHT[name][0])
    kernel = ntk.NTK(2, activation, weight_variance=(0.5, 1.0, 1.5), bias_variance=float(log_uniform(rng, 1e-6, 1.0)))
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-6)):
        rows = X.astype(dtype)
        got, exact = kernel(rows, backend=backend), kernel(rows.astype(np.float64), backend="numpy")
        scale = np.sqrt(exact.diagonal())
        assert np.abs((got - exact) / np.outer(scale, scale)).max() < tolerance
        assert np.array_equal(got, got.T)
        if backend != "numba":  # a compiler's choice of vectors is its own
            assert np.array_equal(kernel(rows[:3], rows[3:11], backend=backend), got[:3, 3:11])


def test_the_derivatives_dual_is_a_probability():
    """Of the hard tanh: that both are inside, by SciPy."""
    hard_tanh = MAPS["hard tanh"]
    q, other, cosine = 2.0, 0.7, 0.95
    x, y = (hard_tanh.row_parameters(np.array([v]), 0.0) for v in (q, other))
    slope = hard_tanh.map_pairs(np.array([1 - cosine]), np.array([1 + cosine]), x, y)[2][0]
    covariance = [[q, cosine * np.sqrt(q * other)], [cosine * np.sqrt(q * other), other]]
    inside = multivariate_normal.cdf([1, 1], cov=covariance, lower_limit=[-1, -1])
    scale = np.sqrt(q * other / hard_tanh.centred_moment(q) / hard_tanh.centred_moment(other))
    assert slope == pytest.approx(scale * inside, rel=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_series_add_up_to_the_map(name):
    activation = MAPS[name]
    series, parameters = activation.cosine_series(1.7, 60), activation.row_parameters(np.array([1.7]), 0.0)
    m = np.array([0.5, 1.0, 1.4])
    map_m, map_p, slope = activation.map_pairs(m, 2 - m, parameters, parameters)
    polynomial = np.polynomial.Polynomial(series)
    np.testing.assert_allclose(0.5 * (map_p - map_m), polynomial(1 - m), rtol=0, atol=1e-13)
    np.testing.assert_allclose(slope, polynomial.deriv()(1 - m), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", MAPS)
def test_tiny_and_huge_rows_stay_finite(name):
    activation = MAPS[name]
    parameters = activation.row_parameters(np.array([0.0, 5e-324, 1e-40, 1e-6, 1.0, 1e16]), 0.0)
    for nearer in (0.0, 1e-18, 1e-9, 0.5, 1.0):
        m = np.full((6, 6), nearer)
        for state in ((m, 2 - m), (2 - m, m)):
            assert all(
                np.isfinite(part).all()
                for part in activation.map_pairs(*state, parameters[:, :, None], parameters[:, None])
            )


@pytest.mark.filterwarnings("error")
def test_kernels_of_functions_with_corners_are_exact(dtype, backend):
    """Unequal norms, duplicates and near ones, on every engine, without a warning; and equal norms by a table."""
    activation = layers.Activation(STRAIGHT["hard tanh"][0])
    kernel = ntk.NTK(1, activation, bias_variance=0.1)
    rng = np.random.default_rng(0)
    base = rng.standard_normal(3)
    Y = np.stack([base, base * (1 + 1e-6), base + 1e-7 * rng.standard_normal(3), -rng.random(3)])
    for X in (Y.astype(dtype), (Y / np.linalg.norm(Y, axis=1)[:, None]).astype(dtype)):
        got = kernel(X, backend=backend)
        worst = worst_entry(kernel, X[:1], X, got[:1])
        assert worst.error < (1e-12 if dtype == np.float64 else 1e-6), worst
        assert np.array_equal(got, got.T)
        product = ntk.KernelOperator(kernel, X, backend=backend) @ np.ones(len(X), dtype=dtype)
        np.testing.assert_allclose(product, got.sum(axis=1), rtol=1e-13 if dtype == np.float64 else 1e-5)


def test_zero_rows_have_no_covariance_without_a_bias():
    kernel = ntk.NTK(2, layers.Activation(STRAIGHT["hard tanh"][0]))
    K = kernel(np.array([[0.0, 0.0], [1.0, 2.0], [1e-150, 0.0]]))
    assert not K[0].any()
    assert 0 < K[2, 2] < 1e-298


def test_derivatives_by_variances():
    """On rows of any norms, duplicates among them, next to which D has a corner in the ratio of the norms."""
    kernel = ntk.NTK(2, layers.Activation(STRAIGHT["hard tanh"][0]), bias_variance=0.1)
    parameters = LogParameters(kernel, per_layer=False)
    X = np.random.default_rng(0).standard_normal((4, 3))
    X[3] = X[2]
    got = gram_derivatives(parameters, X)
    for direction, derivative in zip(np.eye(2), got, strict=True):
        moved = {k: parameters.kernel_at(parameters.theta + 4e-3 * k * direction)(X) for k in (-2, -1, 1, 2)}
        expected = (8 * (moved[1] - moved[-1]) - (moved[2] - moved[-2])) / (12 * 4e-3)
        np.testing.assert_allclose(derivative, expected, rtol=0, atol=1e-6 * np.abs(got).max())


def test_eigenvalues_on_the_sphere_sum_to_the_diagonal():
    kernel = ntk.NNGP(1, layers.Activation(STRAIGHT["hard tanh"][0]), bias_variance=0.1)
    with pytest.warns(layers.AccuracyWarning):
        found = ntk.spectrum.sphere_eigenvalues(kernel, 5, 60)
    trace = float(np.dot(found.eigenvalues, np.array(found.multiplicities, dtype=float)))
    assert trace == pytest.approx(float(kernel.profile([1.0])[0]), rel=1e-3)
