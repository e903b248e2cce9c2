"""Kernel objects: what they are as values, and what they mean as functions of the cosine and the norms."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from registry import KERNELS, tolerance

import ntk_fast as ntk
from ntk_fast import NNGP, NTK, ArcCosine, leaky_relu
from ntk_fast.high_precision import exact_value
from ntk_fast.layers import LeakyRelu  # noqa: F401 - for eval

COSINES = np.array([1.0, 1 - 1e-9, 0.9, 0.3, 0.0, -0.3, -0.9, -1 + 1e-9, -1.0])


def test_kernels_are_immutable(kernel):
    with pytest.raises(dataclasses.FrozenInstanceError):
        kernel.depth = 7


def test_copies_and_pickles_are_equal_kernels(kernel):
    for twin in (copy.copy(kernel), copy.deepcopy(kernel), pickle.loads(pickle.dumps(kernel)), eval(repr(kernel))):
        assert twin == kernel
        assert hash(twin) == hash(kernel)
        assert repr(twin) == repr(kernel)


def test_different_kernels_are_unequal():
    distinct = list({kernel: name for name, kernel in KERNELS.items()})
    assert len({*distinct, NTK(2), NNGP(2), NTK(2, bias_variance=1e-300)}) == len(distinct) + 3
    assert NTK(1) != NNGP(1)
    assert NTK(1) != "NTK(depth=1)"


def test_equal_parameters_however_written_make_equal_kernels():
    assert NTK(depth=np.int64(3)) == NTK(3)
    assert NTK(2, "leaky_relu") == NTK(2, leaky_relu(0.01))
    assert NTK(2, weight_variance=[2, 2, 2]) == NTK(2, weight_variance=np.full(3, 2.0)) == NTK(2, weight_variance=2.0)
    assert hash(NTK(2, bias_variance=(0, 0, 0))) == hash(NTK(2))


@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        (NTK(3), "NTK(depth=3)"),
        (ArcCosine(order=0, depth=2), "ArcCosine(order=0, depth=2)"),
        (NNGP(1, "abs", bias_variance=0.1), "NNGP(depth=1, activation='abs', bias_variance=0.1)"),
        (NTK(1, leaky_relu(0.1), (1, 2)), "NTK(depth=1, activation=LeakyRelu(slope=0.1), weight_variance=(1.0, 2.0))"),
    ],
)
def test_the_repr_shows_what_is_not_default(kernel, text):
    assert repr(kernel) == text


@pytest.mark.parametrize("activation", ["relu", "abs", "leaky_relu", leaky_relu(-0.3), leaky_relu(4.0)])
def test_he_scaling_keeps_the_diagonal_at_every_depth(activation):
    X = np.random.default_rng(0).standard_normal((5, 3))
    squares = (X * X).sum(axis=1)
    for depth in (1, 2, 37, 1000):
        assert NNGP(depth, activation, "he").diag(X) == pytest.approx(squares, rel=1e-12)
        assert NTK(depth, activation, "he").diag(X) == pytest.approx((depth + 1) * squares, rel=1e-12)


def test_he_scaling_has_a_name_that_stays():
    named, written = NTK(2, weight_variance="he"), NTK(2, weight_variance=(1, 2, 2))
    X = np.random.default_rng(0).standard_normal((5, 3))
    assert np.array_equal(named(X), written(X))
    assert float(exact_value(named, X[0], X[1])) == pytest.approx(named(X[0], X[1]), rel=1e-14)
    assert repr(named) == "NTK(depth=2, weight_variance='he')"
    assert named.with_parameters(depth=3).diag(X) == pytest.approx(named.diag(X) * 4 / 3)


def test_one_pair_of_rows_is_one_value(kernel):
    X = np.random.default_rng(0).standard_normal((2, 4))
    value = kernel(X[0], X[1])
    assert type(value) is float
    assert value == kernel(X[:1], X[1:])[0, 0] == kernel(list(X[0]), tuple(X[1]))
    with pytest.raises(ValueError, match=r"X must be a 2-D array .* for one row pass X\.reshape"):
        kernel(X[0])
    with pytest.raises(ValueError, match=r"same number of columns; got 4 and 3"):
        kernel(X[0], X[1, :3])
    with pytest.raises(ValueError, match=r"Y must be a 2-D array"):
        kernel(X, X[0])


def test_parameters_by_name():
    assert NTK(2).get_params() == {"depth": 2, "activation": "relu", "weight_variance": 1.0, "bias_variance": 0.0}
    assert ArcCosine(0).get_params(deep=False) == {"order": 0, "depth": 1}


def test_a_repr_keeps_every_digit_of_a_slope():
    kernel = NTK(1, leaky_relu(0.1234567890123))
    assert eval(repr(kernel)) == kernel


def test_the_profile_is_the_kernel_of_unit_rows(kernel):
    profile = kernel.profile(COSINES)
    assert profile.shape == COSINES.shape
    scale = float(kernel.profile(1.0))
    for cosine, value in zip(COSINES, profile, strict=True):
        row = [cosine, np.sqrt((1 - cosine) * (1 + cosine))]
        # the row is rounded, and where the profile is steep the value with it
        slack = 1e-7 if isinstance(kernel, ArcCosine) and kernel.order == 0 else 1e-13
        assert float(exact_value(kernel, [1.0, 0.0], row)) == pytest.approx(float(value), rel=0, abs=slack * scale)


def test_the_profile_takes_any_shape():
    kernel = NTK(2)
    assert kernel.profile(0.5).shape == ()
    assert kernel.profile([]).shape == (0,)
    square = COSINES.reshape(3, 3)
    assert np.array_equal(kernel.profile(square), kernel.profile(COSINES).reshape(3, 3))


@pytest.mark.parametrize("cosine", [1.0000001, -2.0, np.nan, np.inf])
def test_the_profile_refuses_what_is_no_cosine(cosine):
    with pytest.raises(ValueError, match=r"cosine must lie in \[-1, 1\]"):
        NTK(1).profile([0.0, cosine])


def test_the_ntk_of_depth_1_is_equation_6():
    phi = np.linspace(0, np.pi, 50)
    expected = (np.sin(phi) + 2 * (np.pi - phi) * np.cos(phi)) / (2 * np.pi)
    assert NTK(1).profile(np.cos(phi)) == pytest.approx(expected, abs=1e-14)


def test_the_arc_cosine_kernel_of_order_1_is_equation_1():
    phi = np.linspace(0, np.pi, 50)
    expected = (np.sin(phi) + (np.pi - phi) * np.cos(phi)) / (2 * np.pi)
    assert ArcCosine(1).profile(np.cos(phi)) == pytest.approx(expected, abs=1e-14)


def test_order_1_is_the_gaussian_process_of_relu(dtype, backend):
    X = np.random.default_rng(0).standard_normal((30, 5)).astype(dtype)
    assert np.array_equal(ArcCosine(1, depth=4)(X, backend=backend), NNGP(4)(X, backend=backend))


def test_a_leaky_slope_of_0_is_relu_and_of_minus_1_the_absolute_value(dtype, backend):
    X = np.random.default_rng(0).standard_normal((30, 5)).astype(dtype)
    for slope, name in ((0.0, "relu"), (-1.0, "abs")):
        twins = NTK(3, leaky_relu(slope)), NTK(3, name)
        assert np.array_equal(twins[0](X, backend=backend), twins[1](X, backend=backend))


def test_a_slope_of_1_is_the_identity_and_the_kernel_linear(dtype, backend):
    X = np.random.default_rng(0).standard_normal((30, 5)).astype(dtype)
    linear = X.astype(np.float64) @ X.astype(np.float64).T
    scale = np.sqrt(np.outer(linear.diagonal(), linear.diagonal()))
    for kernel, factor in ((NNGP(2, leaky_relu(1.0)), 1), (NTK(2, leaky_relu(1.0)), 3)):
        error = np.abs(kernel(X, backend=backend) - factor * linear) / (factor * scale)
        assert error.max() <= tolerance(kernel, dtype)


def test_the_diagonal_is_that_of_the_matrix(kernel, dtype, backend):
    X = np.random.default_rng(0).standard_normal((9, 4)).astype(dtype)
    assert np.array_equal(kernel.diag(X, backend=backend), kernel(X, backend=backend).diagonal())


def test_gram_is_the_call(kernel):
    X = np.random.default_rng(0).standard_normal((9, 4))
    assert np.array_equal(ntk.gram(kernel, X, X[:3]), kernel(X, X[:3]))
