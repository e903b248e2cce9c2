"""What is true of every kernel on any rows, tried on rows that hypothesis makes up."""

from __future__ import annotations

import numpy as np
import pytest
from adversarial import degree
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from registry import TOLERANCES, tolerance

from ntk_fast import NNGP, NTK, ArcCosine, leaky_relu
from ntk_fast.kernels import Kernel

FLOAT64 = np.dtype(np.float64)

variances = st.floats(0.05, 4.0)
activations = st.one_of(st.sampled_from(["relu", "abs", "leaky_relu"]), st.floats(-2.0, 2.0).map(leaky_relu))


@st.composite
def networks(draw: st.DrawFn, bias: bool = True) -> Kernel:
    depth = draw(st.integers(1, 12))
    weights = draw(variances | st.tuples(*[variances] * (depth + 1)))
    biases = draw(st.just(0.0) | st.floats(0.0, 2.0) | st.tuples(*[st.floats(0.0, 1.0)] * (depth + 1))) if bias else 0.0
    return draw(st.sampled_from([NNGP, NTK]))(depth, draw(activations), weights, biases)


arc_cosines = st.builds(ArcCosine, st.integers(0, 2), st.integers(1, 3))
kernels = networks() | arc_cosines
numbers = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda value: 0.0 if abs(value) < 1e-3 else value)
shapes = st.tuples(st.integers(1, 8), st.integers(1, 6))
rows = hnp.arrays(FLOAT64, shapes, elements=numbers)


def scaled_to_unit_diagonal(kernel: Kernel, X: np.ndarray) -> np.ndarray:
    """The Gram matrix of the rows that are not zero, each divided by the root of its own diagonal entry."""
    X = X[np.abs(X).max(axis=1) > 0]
    root = np.sqrt(kernel.diag(X))
    return kernel(X) / np.outer(root, root)


@given(kernels, rows)
@example(NTK(3), np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [2.0, 4.0], [1.0, 2.0 + 1e-12]]))
def test_gram_matrices_are_symmetric_and_positive_semidefinite(kernel, X):
    K = kernel(X)
    assert np.array_equal(K, K.T)
    correlations = scaled_to_unit_diagonal(kernel, X)
    if len(correlations):
        assert np.linalg.eigvalsh(correlations)[0] >= -len(correlations) * tolerance(kernel, FLOAT64)


@given(kernels, rows)
def test_no_entry_exceeds_what_cauchy_and_schwarz_allow(kernel, X):
    assert (np.abs(scaled_to_unit_diagonal(kernel, X)) <= 1 + tolerance(kernel, FLOAT64)).all()


@given(networks(bias=False) | arc_cosines, rows, st.integers(-40, 40), st.integers(-40, 40))
def test_without_bias_scaling_the_rows_by_powers_of_two_scales_the_entries_exactly(kernel, X, first, second):
    power = degree(kernel) * (first + second)
    assert np.array_equal(kernel(X * 2.0**first, X * 2.0**second), kernel(X, X.copy()) * 2.0**power)


# order 0 is too steep near angle 0 for rows that are rounded when they are scaled
@given(networks(bias=False) | arc_cosines.filter(lambda kernel: kernel.order), rows, st.floats(1e-3, 1e3))
def test_without_bias_the_kernel_is_homogeneous(kernel, X, factor):
    scale = np.sqrt(np.outer(kernel.diag(X), kernel.diag(X))) * factor ** degree(kernel)
    allowed = 20 * TOLERANCES[FLOAT64] * kernel.depth * degree(kernel)
    assert (np.abs(kernel(factor * X, X) - factor ** degree(kernel) * kernel(X, X)) <= allowed * scale).all()


@given(kernels, rows)
def test_on_unit_rows_every_kernel_is_a_dot_product_kernel(kernel, X):
    X = X[np.abs(X).max(axis=1) > 0]
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = np.clip(X @ X.T, -1, 1)
    apart = np.abs(cosine) < 0.999  # nearer, the cosine has lost the digits that the kernel still has
    difference = np.abs(kernel(X) - kernel.profile(cosine))[apart]
    assert (difference <= 1e-12 * kernel.depth * kernel.profile(1.0)).all()


@given(kernels, rows)
def test_swapping_the_arguments_transposes_the_matrix(kernel, X):
    half = len(X) // 2
    assert np.array_equal(kernel(X[:half], X), kernel(X, X[:half]).T)


@given(st.sampled_from([NNGP, NTK]), st.integers(1, 12), variances, rows)
def test_an_even_activation_does_not_see_the_sign_of_a_row(kind, depth, weight, X):
    kernel = kind(depth, "abs", weight)
    scale = np.sqrt(np.outer(kernel.diag(X), kernel.diag(X)))
    assert (np.abs(kernel(X, -X) - kernel(X, X)) <= tolerance(kernel, FLOAT64) * scale).all()


@given(st.integers(1, 12), variances, rows)
def test_the_tangent_kernel_contains_the_process_kernel(depth, weight, X):
    """Theta - Sigma is a kernel too, so it is positive semidefinite."""
    difference = NTK(depth, weight_variance=weight)(X) - NNGP(depth, weight_variance=weight)(X)
    root = np.sqrt(np.maximum(difference.diagonal(), np.finfo(float).tiny))
    assert np.linalg.eigvalsh(difference / np.outer(root, root))[0] >= -1e-14 * len(X)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@given(rows, st.integers(1, 8))
def test_with_he_scaling_the_variance_is_preserved_and_the_tangent_adds_one_a_layer(bias, X, depth):
    """Sigma_l(x, x) = |x|^2 + l b and, without bias, Theta_l(x, x) = (l + 1) |x|^2."""
    weights = (1.0, *(2.0,) * depth)
    square = (X * X).sum(axis=1)
    process = NNGP(depth, weight_variance=weights, bias_variance=bias)
    assert process.diag(X) == pytest.approx(square + (depth + 1) * bias, rel=1e-14)
    if bias == 0:
        assert NTK(depth, weight_variance=weights).diag(X) == pytest.approx((depth + 1) * square, rel=1e-14)
