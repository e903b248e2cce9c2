"""Sums, products and multiples of kernels: the same of their matrices, wherever a kernel can go."""

from __future__ import annotations

import math
import pickle
import re

import mpmath
import numpy as np
import pytest
from oracle import exact_diagonal, largest_ulps, worst_entry
from registry import ENGINES, TOLERANCES
from sklearn.gaussian_process.kernels import RBF

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.derivatives import LogParameters, gram_derivatives
from ntk_fast.high_precision import exact_value

NTK, NNGP = ntk.NTK(2), ntk.NNGP(3, bias_variance=0.1)
STEPS, SMOOTH = ntk.ArcCosine(0, 2), ntk.NTK(1, layers.Erf(), bias_variance=0.2)
PASSED = ntk.NNGP(network=layers.Sum(layers.Identity(), layers.Dense(0.5)))
#: Kernels, and what they are, as a function of the value of each kernel on a pair of rows.
COMBINED = {
    "sum of NTKs": (NTK + SMOOTH, lambda value: value(NTK) + value(SMOOTH)),
    "sum of covariances": (NNGP + STEPS, lambda value: value(NNGP) + value(STEPS)),
    "mixed sum": (NTK + NNGP + STEPS, lambda value: value(NTK) + value(NNGP) + value(STEPS)),
    "multiples": (0.25 * (NTK + 3 * NNGP), lambda value: (value(NTK) + 3 * value(NNGP)) / 4),
    "small and large": (1e-9 * NTK + NNGP * 1e9, lambda value: mpmath.mpf(1e-9) * value(NTK) + 10**9 * value(NNGP)),
    "constants": (0.5 + (NTK + 0.25), lambda value: value(NTK) + 0.75),
    "sum()": (sum([NTK, STEPS]), lambda value: value(NTK) + value(STEPS)),
    "product of covariances": (NNGP * STEPS * NNGP, lambda value: value(NNGP) ** 2 * value(STEPS)),
    "product of NTKs": (NTK * SMOOTH, lambda value: value(NTK) * value(SMOOTH)),
    "mixed product": (NNGP * NTK * STEPS, lambda value: value(NTK) * value(NNGP) * value(STEPS)),
    "sums of products": (
        (NTK + NNGP) * (0.5 * NTK + 1) + STEPS * NTK,
        lambda value: (value(NTK) + value(NNGP)) * (value(NTK) / 2 + 1) + value(STEPS) * value(NTK),
    ),
    "rows passed on": (PASSED * PASSED + PASSED, lambda value: value(PASSED) ** 2 + value(PASSED)),
    "nothing of one": (0 * SMOOTH + NTK, lambda value: value(NTK)),
}


def rows(n: int, seed: int = 0, n_features: int = 5) -> np.ndarray:
    """Rows of very different norms, one of zeros, a multiple and a neighbour of another."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, n_features)) * 2.0 ** generator.uniform(-6, 6, (n, 1))
    X[0], X[1], X[2] = 0, -3 * X[3], X[4] * (1 + 1e-6 * generator.standard_normal(n_features))
    return X


def promise(kernel, dtype) -> float:
    """Two terms or factors may be off by what one may be, each; smooth activations have a promise of their own."""
    if "Erf" in repr(kernel):
        return {np.float64: 1e-13, np.float32: 2e-6}[dtype]
    return 3 * TOLERANCES[np.dtype(dtype)]


@pytest.mark.parametrize("name", COMBINED)
def test_the_kernel_is_what_its_parts_make(name):
    kernel, formula = COMBINED[name]
    X = rows(5)
    with mpmath.workdps(50):
        for x in X:
            for y in X:
                expected = formula(lambda part: exact_value(part, x, y))  # noqa: B023
                assert mpmath.almosteq(exact_value(kernel, x, y), expected, 1e-24, 1e-300)


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("name", COMBINED)
def test_entries_and_diagonals_are_exact(name, engine):
    kernel, _ = COMBINED[name]
    for dtype in (np.float64, np.float32):
        X = rows(6).astype(dtype)
        unit = np.ones((3, 2), dtype) * [[1, 1], [1, -1], [-1, -1]]
        with engine.selected() as backend:
            for values in (X, unit.astype(dtype)):  # of unequal norms: instructions; of equal ones: a table
                worst = worst_entry(kernel, values, values, kernel(values, values, backend=backend))
                assert worst.error <= promise(kernel, dtype), worst
                assert largest_ulps(kernel.diag(values, backend=backend), exact_diagonal(kernel, values)) <= 4


@pytest.mark.filterwarnings("ignore::ntk_fast.estimators.fit_warnings.FitWarning")
@pytest.mark.parametrize("name", COMBINED)
def test_it_is_a_kernel_like_any_other(name, tmp_path):
    kernel, _ = COMBINED[name]
    X = rows(40)
    y = np.sin(X[:, 0])
    K = kernel(X)
    names = {**vars(ntk), **vars(layers)}
    for same in (
        eval(repr(kernel), names),
        pickle.loads(pickle.dumps(kernel)),
        type(kernel)(**kernel.get_params(deep=False)),
    ):
        assert same == kernel and hash(same) == hash(kernel)
    assert kernel != NTK and kernel != 2 * kernel
    scale = np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    cosines = np.array([1.0, 0.3, -1.0])
    unit = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    np.testing.assert_allclose(kernel.profile(cosines), kernel(unit[:1], unit)[0], rtol=1e-12, atol=1e-14)
    product = ntk.KernelOperator(kernel, X) @ y
    assert (np.abs(product - K @ y) <= 1e-12 * (scale @ np.abs(y))).all()
    ntk.write_gram(kernel, X, tmp_path / "K.npy")
    assert (np.load(tmp_path / "K.npy") == K).all()
    model = ntk.NTKRegressor(kernel, ridge=1e-2).fit(X, y)
    model.save(tmp_path / "model.ntk")
    same = ntk.load_model(tmp_path / "model.ntk")
    assert same.kernel == kernel
    assert (same.predict(X) == model.predict(X)).all()


@pytest.mark.parametrize(
    "name", ["mixed sum", "multiples", "product of covariances", "product of NTKs", "sums of products"]
)
def test_derivatives_are_those_of_the_parts(name):
    """By each variance: against differences of the matrices."""
    kernel, _ = COMBINED[name]
    parameters = LogParameters(kernel, per_layer=True)
    X = rows(8)
    derivatives = gram_derivatives(parameters, X)
    scale = np.sqrt(np.outer(kernel.diag(X), kernel.diag(X)))
    for k, derivative in enumerate(derivatives):
        step = np.zeros(len(derivatives))
        step[k] = 1e-3
        sides = [parameters.kernel_at(parameters.theta + sign * step)(X) for sign in (1, -1)]
        assert (np.abs(derivative - (sides[0] - sides[1]) / 2e-3) <= 1e-5 * scale).all()


def test_the_units_of_targets_do_not_matter_to_a_gaussian_process():
    X = np.random.default_rng(0).standard_normal((20, 3))
    y = np.sin(X[:, 0]) + X[:, 1] + 0.1 * np.random.default_rng(1).standard_normal(20)
    kernel = ntk.NTK(1) + 0.1 * ntk.NNGP(2, bias_variance=0.3)
    predictions = [
        ntk.NTKGaussianProcessRegressor(kernel, random_state=0).fit(X, unit * y).predict(X) / unit
        for unit in (1.0, 2.0**20)
    ]
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(predictions[0], y, atol=0.5)


def test_gradient_flow_trains_the_network_of_a_sum():
    X = np.random.default_rng(0).standard_normal((20, 3))
    kernel = ntk.NTK(1) + ntk.NTK(3)
    model = ntk.GradientFlowRegressor(kernel, ridge=0.1).fit(X, X[:, 0])
    expected = kernel(X) @ np.linalg.solve(kernel(X) + 0.1 * np.eye(20), X[:, 0])
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-8, atol=1e-10)


def test_many_terms_are_one_sum():
    kernels = [ntk.NTK(1, bias_variance=bias) for bias in range(40)]
    X = rows(5)
    np.testing.assert_allclose(sum(kernels)(X), sum(kernel(X) for kernel in kernels), rtol=1e-13)
    assert len(sum(kernels).network.layers[0].branches) == 40


@pytest.mark.parametrize("number", [np.float64(2.0), np.float32(2.0), np.int8(2), 2, 2.0])
def test_numbers_of_numpy_stand_on_either_side(number):
    assert number * NTK == NTK * number == 2.0 * NTK
    assert isinstance(number + NTK, ntk.NTK)
    assert number + NTK == 2.0 + NTK


@pytest.mark.parametrize(
    ("combine", "error", "words"),
    [
        (lambda: -1 * NTK, ValueError, "a factor of a kernel must be >= 0; got -1"),
        (lambda: NTK * math.nan, ValueError, "a factor of a kernel must be finite; got nan"),
        (lambda: NTK + math.inf, ValueError, "a summand of a kernel must be finite; got inf"),
        (lambda: NTK + "NNGP", TypeError, "must be a kernel of ntk_fast or a number >= 0; got a str"),
        (lambda: True * NTK, TypeError, "got a bool"),
        (lambda: NTK * None, TypeError, "got a NoneType"),
        (lambda: np.eye(2) * NTK, TypeError, "got a ndarray"),
        (lambda: NTK + np.eye(2), TypeError, "got a ndarray"),
        (lambda: NTK + RBF(), TypeError, "got a RBF; ntk_fast.GaussianProcessKernel(kernel) can be combined"),
        (lambda: NTK - NTK, TypeError, "unsupported operand"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(combine, error, words):
    with pytest.raises(error, match=re.escape(words)):
        combine()
