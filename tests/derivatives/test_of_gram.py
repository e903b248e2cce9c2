"""Derivatives against finite differences of the kernels, and against what is known exactly."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.backends.engines import available_engines
from ntk_fast.derivatives import (
    LogParameters,
    contracted_derivatives,
    contracted_diagonal_derivatives,
    gram_derivatives,
)

BIASED = {
    "ntk-1": ntk.NTK(1, bias_variance=0.3),
    "ntk-3": ntk.NTK(3, bias_variance=0.1),
    "ntk-leaky-5": ntk.NTK(5, ntk.leaky_relu(0.2), bias_variance=(0.5, *(0.01,) * 5)),
    "nngp-abs-2": ntk.NNGP(2, "abs", weight_variance=(1.0, 2.0, 2.0), bias_variance=(0.3, 0.0, 0.1)),
}

RELU, GELU, NORM = layers.Relu(), layers.Gelu(), layers.LayerNorm()


def dense(weight=1.5, bias=0.0, trained=True):
    return layers.Dense(weight, bias, trained)


def hard_tanh(z):
    return np.clip(z, -1, 1)


NETWORKS = {
    "residual": (dense(bias=0.2), layers.Residual(RELU, dense(bias=0.1), RELU, dense()), RELU, dense()),
    "normalised": (dense(bias=0.3), NORM, RELU, dense(bias=0.1), NORM, RELU, dense(0.7)),
    "product": (
        dense(),
        layers.Product(
            layers.Sequential(RELU, dense(bias=0.2)), layers.Sequential(layers.Abs(), dense(0.5, 0.1)), NORM
        ),
        dense(bias=0.1),
    ),
    "concatenated": (
        layers.Concatenate(
            layers.Sequential(dense(bias=0.2), RELU), layers.Sequential(dense(0.5), layers.Abs()), shares=(0.25, 0.75)
        ),
        dense(2.0, 0.1),
        RELU,
        dense(),
    ),
    "frozen": (dense(bias=0.2), RELU, dense(0.9, 0.3, False), dense(0.8, 0.1, False), dense(1.2, 0.2), RELU, dense()),
    "gelu": (dense(bias=0.2), GELU, dense(bias=0.1), layers.Residual(NORM, GELU, dense()), dense()),
    "monomials": (dense(bias=0.2), layers.RectifiedMonomial(2), dense(0.5, 0.1), layers.Erf(), dense()),
    "whole-monomials": (
        *(dense(0.5, 0.2), layers.Monomial(2), dense(0.1, 0.1), layers.Polynomial((0.0, 0.0, 0.0, 0.5)), dense()),
        *(layers.LayerNorm(), layers.Monomial(3), dense(bias=0.3)),
    ),
    "kink-after-product": (
        dense(bias=0.1),
        layers.Product(layers.Sequential(GELU, dense(bias=0.2)), layers.Sequential(layers.Erf(), dense(0.5, 0.1))),
        *(dense(bias=0.1), RELU, dense()),
    ),
}
NETWORK_PRIORS = {
    **{f"ntk-{name}": ntk.NTK(network=layers.Sequential(*parts)) for name, parts in NETWORKS.items()},
    "nngp-residual": ntk.NNGP(network=layers.Sequential(*NETWORKS["residual"])),
    "nngp-product": ntk.NNGP(network=layers.Sequential(*NETWORKS["product"])),
}


@pytest.fixture
def rows():
    """Rows of unequal norms, among them a multiple, an antipode, a near duplicate and a zero row."""
    X = np.random.default_rng(0).standard_normal((8, 4)) * np.array([0.1, 1, 1, 2, 3, 1, 1, 1])[:, None]
    X[3], X[4], X[5], X[6] = 2 * X[1], -X[0], X[1] * (1 + 1e-9), 0
    return X


def finite_differences(parameters, X, step=1e-3):
    """Sixth-order central differences of the Gram matrix."""
    result = []
    for direction in np.eye(len(parameters.theta)):
        total = 0
        for k, weight in enumerate((3 / 4, -3 / 20, 1 / 60), start=1):
            above, below = (parameters.kernel_at(parameters.theta + s * k * step * direction)(X) for s in (1, -1))
            total = total + weight * (above - below)
        result.append(total / step)
    return np.array(result)


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("prior", BIASED.values(), ids=BIASED.keys())
def test_against_finite_differences(prior, per_layer, rows):
    parameters = LogParameters(prior, per_layer)
    exact = gram_derivatives(parameters, rows)
    error = np.abs(exact - finite_differences(parameters, rows)).max(axis=(1, 2))
    assert (error <= 1e-10 * np.abs(exact).max()).all(), (prior, error)


@pytest.mark.parametrize("prior", NETWORK_PRIORS.values(), ids=NETWORK_PRIORS.keys())
def test_networks_against_finite_differences(prior, rows):
    """Sums, products, concatenations, layers that stay as they were drawn, activations known by differences only."""
    parameters = LogParameters(prior, per_layer=True)
    exact = gram_derivatives(parameters, rows)
    error = np.abs(exact - finite_differences(parameters, rows, step=4e-3)).max(axis=(1, 2))
    assert (error <= 1e-10 * np.abs(exact).max()).all(), (prior, error)
    shared = gram_derivatives(LogParameters(prior, per_layer=False), rows)
    parts = np.array([name.startswith("weight") for name in parameters.names])
    for k, part in enumerate((parts, ~parts)):
        np.testing.assert_allclose(shared[k], exact[part].sum(axis=0), rtol=1e-12, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("activation", "most"),
    [
        *((layers.Sign(), 1e-10), (layers.Step(), 1e-10), (layers.Cos(), 1e-10), (layers.Rbf(0.3), 1e-10)),
        (layers.Activation(hard_tanh), 1e-8),
    ],
    ids=repr,
)
@pytest.mark.parametrize("make", [ntk.NNGP, ntk.NTK])
def test_a_kink_after_any_activation_keeps_the_digits_of_nearly_equal_rows(activation, most, make, rows):
    """There the angle moves by what is left of two large numbers, as either row's variance moves."""
    network = layers.Sequential(dense(0.5, 0.2), activation, dense(0.8, 0.1), RELU, dense(1.0, 0.1))
    parameters = LogParameters(make(network=network), per_layer=True)
    exact = gram_derivatives(parameters, rows[:6])
    error = np.abs(exact - finite_differences(parameters, rows[:6], step=4e-3)).max()
    assert error <= most * np.abs(exact).max()


@pytest.mark.parametrize("activation", [layers.Erf(), GELU, layers.Sin()], ids=repr)
def test_activations_of_large_variances_bend_over_small_angles(activation, rows):
    network = layers.Sequential(dense(bias=0.2), activation, dense(0.5, 0.1), activation, dense())
    parameters = LogParameters(ntk.NTK(network=network), per_layer=False)
    for size in (10, 100):
        exact = gram_derivatives(parameters, size * rows)
        error = np.abs(exact - finite_differences(parameters, size * rows, step=4e-3)).max()
        assert error <= 1e-12 * size * np.abs(exact).max(), (size, error)


def test_rows_that_need_more_terms_than_others():
    """Of few and of many terms, each side alone and both together: against differences."""
    parameters = LogParameters(ntk.NTK(1, layers.Silu(), bias_variance=0.1), per_layer=True)
    generator = np.random.default_rng(0)
    small, large = (size * generator.standard_normal((4, 3)) for size in (0.05, 0.7))
    for x, y in ((small, large), (large, small), (np.concatenate([small, large]), None)):

        def matrix(shift, k, x=x, y=y):
            return parameters.kernel_at(parameters.theta + shift * np.eye(len(parameters.theta))[k])(x, y)

        for k, derivative in enumerate(gram_derivatives(parameters, x, y)):
            differences = (8 * (matrix(1e-3, k) - matrix(-1e-3, k)) - matrix(2e-3, k) + matrix(-2e-3, k)) / 12e-3
            np.testing.assert_allclose(derivative, differences, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("prior", BIASED.values(), ids=BIASED.keys())
def test_scaling_all_variances(prior, rows):
    """v_l -> c v_l and b_l -> c^(l + 1) b_l multiplies the kernel by c^(depth + 1)."""
    parameters = LogParameters(prior, per_layer=True)
    shares = [1.0 if name == "weight_variance" else layers[0] + 1.0 for name, layers in parameters.groups]
    total = np.tensordot(shares, gram_derivatives(parameters, rows), axes=1)
    np.testing.assert_allclose(total, (prior.depth + 1) * prior(rows), rtol=1e-13, atol=1e-13)


def test_without_bias_kernels_are_powers_of_the_weight_variance(rows):
    prior = ntk.NTK(4, weight_variance=1.7)
    (shared,) = gram_derivatives(LogParameters(prior, per_layer=False), rows)
    np.testing.assert_allclose(shared, 5 * prior(rows), rtol=1e-14)
    layers = gram_derivatives(LogParameters(prior, per_layer=True), rows, rows[:3])
    np.testing.assert_allclose(layers, np.broadcast_to(prior(rows, rows[:3]), (5, 8, 3)), rtol=1e-14)


def test_symmetric_rectangular_and_contracted_agree(rows):
    X = np.vstack([rows, np.random.default_rng(1).standard_normal((300, 4))])
    parameters = LogParameters(BIASED["ntk-3"], per_layer=True)
    symmetric, rectangular = gram_derivatives(parameters, X), gram_derivatives(parameters, X, X)
    np.testing.assert_array_equal(symmetric, symmetric.transpose(0, 2, 1))
    np.testing.assert_allclose(symmetric, rectangular, rtol=1e-13, atol=1e-13)
    weights = np.random.default_rng(2).standard_normal((len(X), len(X)))
    weights += weights.T
    sums = [contracted_derivatives(parameters, X, weights, n_threads=n) for n in (1, 2, 5)]
    np.testing.assert_allclose(sums[0], (weights * symmetric).sum(axis=(1, 2)), rtol=1e-10)
    assert (sums[0] == sums[1]).all()
    assert (sums[0] == sums[2]).all()


def check_contracted(parameters, X, generator):
    """All sums of derivatives against the derivatives themselves, which NumPy computes."""
    derivatives = gram_derivatives(parameters, X)
    weights = generator.standard_normal((len(X), len(X)))
    weights += weights.T
    kernel = parameters.kernel
    # scale and angle move against each other: what is left is right to a rounding error of the matrix itself
    allowed = 1e-14 * np.abs(weights * derivatives).sum(axis=(1, 2)) + 1e-15 * np.abs(weights * kernel(X)).sum()
    error = contracted_derivatives(parameters, X, weights) - (weights * derivatives).sum(axis=(1, 2))
    assert (np.abs(error) <= allowed).all(), (kernel, len(X), error / allowed)
    some = slice(0, len(X) // 2)
    error = contracted_derivatives(parameters, X, weights[:, some], X[some])
    error -= (weights * derivatives)[:, :, some].sum(axis=(1, 2))
    assert (np.abs(error) <= allowed).all(), (kernel, len(X), error / allowed)
    diagonals = np.diagonal(derivatives, axis1=1, axis2=2)
    error = contracted_diagonal_derivatives(parameters, X, weights[0]) - diagonals @ weights[0]
    allowed = 1e-14 * np.abs(diagonals) @ np.abs(weights[0]) + 1e-15 * kernel.diag(X) @ np.abs(weights[0])
    assert (np.abs(error) <= allowed).all(), (kernel, len(X), error / allowed)


@pytest.mark.parametrize("engine", available_engines(), ids=str)
@pytest.mark.parametrize("prior", BIASED.values(), ids=BIASED.keys())
def test_every_engine_sums_the_same_derivatives(prior, engine, rows, monkeypatch):
    monkeypatch.setenv("NTK_FAST_BACKEND", engine.backend)
    monkeypatch.setenv("NTK_FAST_ISA", engine.instruction_set or "")
    generator = np.random.default_rng(3)
    for n in np.geomspace(1, 300, 5).astype(int):
        X = np.vstack([rows[:n], 10.0 ** generator.uniform(-6, 6, (n, 1)) * generator.standard_normal((n, 4))])
        check_contracted(LogParameters(prior, per_layer=True), X, generator)


@pytest.mark.parametrize("engine", available_engines(), ids=str)
@pytest.mark.parametrize(
    "name", ["ntk-residual", "ntk-product", "nngp-product", "ntk-normalised", "ntk-frozen", "ntk-gelu"]
)
def test_every_engine_sums_the_derivatives_of_networks(name, engine, rows, monkeypatch):
    monkeypatch.setenv("NTK_FAST_BACKEND", engine.backend)
    monkeypatch.setenv("NTK_FAST_ISA", engine.instruction_set or "")
    generator = np.random.default_rng(4)
    X = np.vstack([rows, 10.0 ** generator.uniform(-2, 1, (40, 1)) * generator.standard_normal((40, 4))])
    check_contracted(LogParameters(NETWORK_PRIORS[name], per_layer=True), X, generator)


def test_weights_are_one_for_each_entry(rows):
    for prior in (BIASED["ntk-1"], ntk.NTK(1)):
        for Y, shape in ((None, (8, 7)), (rows[:3], (8, 8))):
            with pytest.raises(ValueError, match=r"weights must have shape \(8, "):
                contracted_derivatives(LogParameters(prior, per_layer=False), rows, np.ones(shape), Y)


def test_shifted_variances_may_take_more_terms_than_rows_have(rows):
    direction = rows[0] / np.linalg.norm(rows[0])
    for norm in np.geomspace(0.5, 2, 15):  # among them ends of what the same number of terms serves
        kernel = ntk.NTK(2, layers.Silu(), bias_variance=0.1)
        parameters = LogParameters(kernel, per_layer=False)
        derivative = gram_derivatives(parameters, norm * direction[None], direction[None])
        assert np.isfinite(derivative).all()


def test_rows_of_one_norm_have_derivatives(rows):
    """The matrix is one table then, and its derivatives are not."""
    X = rows[[0, 1, 2, 7]] / np.linalg.norm(rows[[0, 1, 2, 7]], axis=1)[:, None]
    for prior in (BIASED["ntk-3"], NETWORK_PRIORS["ntk-residual"]):
        check_contracted(LogParameters(prior, per_layer=True), X, np.random.default_rng(5))


def test_parameters_and_kernels_correspond():
    prior = ntk.NTK(2, weight_variance=(1, 2, 2), bias_variance=(0.1, 0.0, 0.3))
    for per_layer, n_parameters in ((False, 2), (True, 5)):
        parameters = LogParameters(prior, per_layer)
        assert len(parameters.theta) == n_parameters
        assert parameters.kernel_at(parameters.theta) == prior
        moved = parameters.kernel_at(parameters.theta + 1)
        np.testing.assert_allclose(moved.weight_variance, np.e * np.array(prior.weight_variance))
        np.testing.assert_allclose(moved.bias_variance, np.e * np.array(prior.bias_variance))
    equal = LogParameters(ntk.NTK(2), per_layer=True)
    assert len(equal.theta) == 3  # no less because the kernel writes equal variances as one number


def test_arc_cosine_kernels_have_no_parameters(rows):
    parameters = LogParameters(ntk.ArcCosine(2), per_layer=True)
    assert parameters.theta.shape == (0,)
    assert parameters.kernel_at([]) == ntk.ArcCosine(2)
    assert gram_derivatives(parameters, rows).shape == (0, 8, 8)


@pytest.mark.parametrize("activation", [layers.Elu(0.3), layers.Activation(np.abs, np.sign)], ids=str)
def test_next_to_a_kink_slopes_are_functions_of_the_angle_and_not_of_its_square(activation):
    """Near pairs and duplicates, by the bias variance: their own differences of the sixth order."""
    rng = np.random.default_rng(3)
    row = rng.standard_normal(4)
    X = np.stack([row, -row, *(row + d * rng.standard_normal(4) for d in (0.1, 0.03, 1e-2, 1e-3, 1e-5))])
    kernel = ntk.GaussianProcessKernel(ntk.NTK(2, activation, bias_variance=0.1))
    K, slopes = kernel(X, eval_gradient=True)
    which = [h.name for h in kernel.hyperparameters].index("bias_variance")

    def moved(step):
        theta = kernel.theta.copy()
        theta[which] += step
        return kernel.clone_with_theta(theta)(X)

    differences = sum(w * (moved(0.02 * k) - moved(-0.02 * k)) for k, w in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60)))
    error = np.abs(differences / 0.02 - slopes[:, :, which]) / np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    assert error.max() < 1e-10
