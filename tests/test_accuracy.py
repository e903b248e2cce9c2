"""Every engine against 50 digits, on the pairs where kernels usually lose theirs."""

from __future__ import annotations

import numpy as np
import pytest
from adversarial import (
    NOISES,
    adversarial_pairs,
    biased_kernel,
    correlated_rows,
    degree,
    log_uniform,
    near_pairs,
    rows_of_any_norm,
)
from oracle import exact_diagonal, largest_ulps, worst_entry
from registry import DEEP_KERNELS, KERNELS, LARGEST_DIAGONAL_ULPS, TOLERANCES, tolerance

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.kernels import Kernel
from ntk_fast.lower.plan import variances_of

SHALLOW = {name: kernel for name, kernel in KERNELS.items() if kernel.depth <= 10}
DEEP = {name: kernel for name, kernel in KERNELS.items() if kernel.depth > 10} | DEEP_KERNELS


def kernels(table: dict[str, Kernel]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kernel", table.values(), ids=table.keys())


@kernels(SHALLOW)
@pytest.mark.parametrize("n_features", [1, 3, 64])
def test_entries_of_difficult_pairs_are_exact(kernel, n_features, dtype, backend):
    X, Y = adversarial_pairs(n_features, dtype, degree(kernel))
    worst = worst_entry(kernel, X, Y, kernel(X, Y, backend=backend))
    assert worst.error <= tolerance(kernel, dtype), worst


@kernels(DEEP)
def test_entries_of_deep_kernels_are_exact(kernel, dtype, backend):
    X, Y = near_pairs(16, dtype)
    Y = Y if kernel.depth < 1000 else Y[::2]  # exact values of so many layers take a second each
    worst = worst_entry(kernel, X, Y, kernel(X, Y, backend=backend))
    assert worst.error <= tolerance(kernel, dtype), worst


@pytest.mark.parametrize("seed", range(24))
def test_a_bias_of_any_size_loses_no_digits_of_rows_of_any_norm(seed, dtype, backend):
    rng = np.random.default_rng(seed)
    kernel = biased_kernel(rng)
    X, Y = rows_of_any_norm(rng, dtype)
    worst = worst_entry(kernel, X, Y, kernel(X, Y, backend=backend))
    assert worst.error <= tolerance(kernel, dtype), (kernel, worst)


@pytest.mark.parametrize("depth", [2, 5, 30])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("side", [1, -1], ids=["above", "below"])
def test_slopes_near_1_and_near_minus_1_are_exact(depth, sign, side, dtype, backend):
    """Nearly linear and nearly even layers turn at chords of about the distance, or its root: tables may miss that."""
    rng = np.random.default_rng(depth)
    distance = log_uniform(rng, 1e-12, 1e-1)
    activation = ntk.leaky_relu(sign * (1 + side * distance))
    angle = np.concatenate([[0.0, 1.0, 2.5], np.minimum(np.sqrt(distance) * np.array([0.1, 1.0, 3.0]), 1), [distance]])
    angle = np.concatenate([angle, np.pi - angle])
    Y = np.concatenate([[[-1.0, 0.0]], np.stack([np.cos(angle), np.sin(angle)], axis=1)]).astype(dtype)
    X = np.array([[1, 0]], dtype=dtype)
    kernel = (ntk.NTK, ntk.NNGP)[rng.integers(2)]
    for bias in (0.0, log_uniform(rng, 1e-6, 1e-1)):
        network = kernel(depth, activation, bias_variance=bias)
        worst = worst_entry(network, X, Y, network(X, Y, backend=backend))
        assert worst.error <= tolerance(network, dtype), (network, worst)


@pytest.mark.parametrize(
    "kernel",
    [ntk.NNGP(1000, ntk.leaky_relu(1 + 1.83e-6)), ntk.NTK(1000, ntk.leaky_relu(1 - 4.8e-8), 1.0, 1e-7)],
    ids=["NNGP", "NTK, bias"],
)
def test_rounding_errors_do_not_add_up_over_a_thousand_layers(kernel, backend):
    """Nearly linear ones, which forget none: without a rest of 1 - cosine, 1.3 and 3 times what is promised."""
    X, Y = near_pairs(3, np.dtype(np.float64))
    Y = Y[[7, 9]]
    worst = worst_entry(kernel, X, Y, kernel(X, Y, backend=backend))
    assert worst.error <= tolerance(kernel, np.dtype(np.float64)) / 10, worst


def test_a_float32_matrix_computed_in_float64_is_one_matrix(backend):
    """Deep and nearly linear: float32 would lose digits from layer to layer. Blocks, halves and products agree."""
    kernel = ntk.NTK(30, ntk.leaky_relu(0.99), bias_variance=1e-4)
    X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    K = kernel(X, backend=backend)
    assert K.dtype == np.float32
    assert np.array_equal(K, K.T)
    assert np.array_equal(K.diagonal(), kernel.diag(X, backend=backend))
    assert np.array_equal(K[:7, 7:], kernel(X[:7], X[7:], backend=backend))
    operator = ntk.KernelOperator(kernel, X, backend=backend)
    vectors = np.random.default_rng(1).standard_normal((300, 2)).astype(np.float32)
    product = operator @ vectors
    assert product.dtype == np.float32
    exact = kernel(X.astype(np.float64), backend=backend) @ vectors.astype(np.float64)
    assert product == pytest.approx(exact, rel=1e-5, abs=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("seed", range(6))
def test_rounding_errors_of_float32_do_not_add_up_over_many_layers(seed, backend):
    """Of slopes near 1 and a bias, so that no table serves: float64's own are far below float32's promise."""
    rng = np.random.default_rng(seed)
    depth, slope = round(log_uniform(rng, 10, 150)), 1 - log_uniform(rng, 1e-8, 1e-1)
    activation = ntk.leaky_relu(slope)
    gain = float(activation.gain)
    kernel = ntk.NTK(depth, activation, weight_variance=1 / gain, bias_variance=log_uniform(rng, 1e-12, 1e2))
    X, Y = near_pairs(16, np.dtype(np.float32))
    scale = np.float32(log_uniform(rng, 1e-3, 1e3))
    check_float32(kernel, X * scale, Y * scale, backend)


@pytest.mark.parametrize("seed", range(6))
def test_steps_behind_shares_keep_the_distances_of_float32_rows(seed, backend):
    """A Step takes the root of a distance, so that of two the second multiplies rounding errors."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([layers.Step(), layers.Sign(), layers.Relu()], size=rng.integers(2, 5))
    bias = log_uniform(rng, 1e-6, 1e2)
    network = [layers.Dense(1.0, bias)] + [part for step in steps for part in (step, layers.Dense(1.0, bias))]
    base = rng.standard_normal((1, 8))
    Y = base + log_uniform(rng, 1e-7, 1.0, 30)[:, None] * rng.standard_normal((30, 8))
    X, Y = (np.concatenate([part, -part]).astype(np.float32) for part in (base, Y))
    check_float32(ntk.NNGP(network=layers.Sequential(*network)), X, Y, backend)


def check_float32(kernel: Kernel, X: np.ndarray, Y: np.ndarray, backend: str) -> None:
    """Compare with float64, on the same rows, a Gram matrix, half of it, and products."""
    wide = [rows.astype(np.float64) for rows in (X, Y)]
    K, exact = kernel(X, Y, backend=backend), kernel(*wide, backend=backend)
    scales = np.sqrt(np.outer(*(kernel.diag(rows) for rows in wide)))
    assert K.dtype == np.float32
    np.testing.assert_array_less(np.abs(K - exact) / scales, TOLERANCES[np.dtype(np.float32)], repr(kernel))
    assert np.array_equal(kernel(Y, backend=backend)[0, 1:], kernel(Y[:1], Y[1:], backend=backend)[0])
    product = ntk.KernelOperator(kernel, X, Y, backend=backend) @ np.ones(len(Y))
    np.testing.assert_allclose(product, exact.sum(axis=1), rtol=0, atol=2e-6 * scales.sum(axis=1).max())


@pytest.mark.parametrize("bias", [0.1, 1.0])
@pytest.mark.parametrize("norm", [1e-8, 1e-4, 1e-2])
def test_what_little_small_rows_add_to_a_bias_is_exact(bias, norm, dtype, backend):
    """The kernel varies by norm^2, and by norm where it has a kink: its digits, not those of the bias."""
    kernel = ntk.NTK(1, "abs", bias_variance=bias)
    X = np.array([[norm], [-norm], [norm / 3]], dtype=dtype)
    worst = worst_entry(kernel, X, X, kernel(X, X.copy(), backend=backend))
    assert worst.error <= tolerance(kernel, dtype) / 2, worst


@kernels({name: KERNELS[name] for name in ("arccos0-1", "arccos2-3", "ntk-relu-3", "ntk-abs-3", "ntk-bias-3")})
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("n_features", [2, 64])
def test_rows_with_a_common_offset_lose_nothing(kernel, noise, n_features, dtype, backend):
    X = correlated_rows(n_features, noise, dtype)
    K = kernel(X, backend=backend)
    worst = worst_entry(kernel, X, X, K)
    assert worst.error <= tolerance(kernel, dtype), worst
    assert np.array_equal(K, K.T)


@kernels(SHALLOW)
def test_the_diagonal_is_exact_to_the_last_bits(kernel, dtype, backend):
    X = np.concatenate(adversarial_pairs(10, dtype, degree(kernel)))
    exact = exact_diagonal(kernel, X)
    for diagonal in (kernel.diag(X, backend=backend), kernel(X, backend=backend).diagonal()):
        assert diagonal.dtype == dtype
        assert largest_ulps(diagonal, exact) <= LARGEST_DIAGONAL_ULPS


def test_an_entry_is_right_where_its_rows_own_diagonal_is_out_of_range(dtype, backend):
    """K(x, x) overflows and K(y, y) underflows, but K(x, y) is an ordinary number."""
    kernel = KERNELS["ntk-relu-3"]
    X, Y = correlated_rows(5, 1.0, dtype), correlated_rows(5, 1e-3, dtype)
    power = 2.0 ** (np.finfo(dtype).maxexp - 60)  # exact, so the matrix must not change by a bit
    assert np.array_equal(kernel(X * power, Y / power, backend=backend), kernel(X, Y, backend=backend))


@pytest.mark.filterwarnings("ignore:All values of .* underflow to 0")
def test_subnormal_and_huge_rows_give_no_nan(kernel, dtype, backend):
    smallest, largest = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max / 64
    X = np.array([[smallest, 0], [smallest, smallest], [0, -7 * smallest], [0, 0], [1, 1]], dtype=dtype)
    if degree(kernel) <= 1:
        X = np.concatenate([X, np.array([[1, 0], [0, 0.5]], dtype=dtype)])
    assert np.isfinite(kernel(X, backend=backend)).all()
    with np.errstate(over="ignore"):
        Y = np.array([[largest, largest], [-largest, 0]], dtype=dtype)
    if degree(kernel) <= 1 and not any(bias for _, bias in variances_of(kernel.network)):
        assert np.isfinite(kernel(X[:4], Y, backend=backend)).all()
