"""Kernels inside scikit-learn: SVMs as they are, everything else through the adapter."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_digits
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.svm import SVC, SVR

import ntk_fast as ntk

PRIOR = ntk.NTK(3, bias_variance=0.1)


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((60, 3))
    return X, np.abs(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * generator.standard_normal(60)


def test_support_vector_machines_take_a_kernel_as_it_is(data):
    digits, labels = load_digits(return_X_y=True)
    digits, labels = digits[:600], labels[:600]
    precomputed = SVC(kernel="precomputed").fit(PRIOR(digits[:400]), labels[:400])
    direct = SVC(kernel=PRIOR).fit(digits[:400], labels[:400])
    np.testing.assert_array_equal(direct.predict(digits[400:]), precomputed.predict(PRIOR(digits[400:], digits[:400])))
    assert cross_val_score(SVC(kernel=PRIOR), digits, labels, cv=3).mean() > 0.85
    X, y = data
    assert SVR(kernel=PRIOR, C=100).fit(X, y).score(X, y) > 0.9
    search = GridSearchCV(SVC(), {"kernel": [ntk.NTK(1), ntk.NTK(3)]}, cv=2).fit(digits, labels)
    assert search.best_score_ > 0.85


def test_kernel_ridge_and_pca(data):
    X, y = data
    kernel = ntk.GaussianProcessKernel(PRIOR)
    ridge = KernelRidge(alpha=0.1, kernel=kernel).fit(X, y)
    expected = PRIOR(X[:5], X) @ np.linalg.solve(PRIOR(X) + 0.1 * np.eye(60), y)
    np.testing.assert_allclose(ridge.predict(X[:5]), expected, rtol=1e-10)
    of_adapter = KernelPCA(3, kernel=kernel).fit_transform(X)
    of_matrix = KernelPCA(3, kernel="precomputed").fit_transform(PRIOR(X))
    np.testing.assert_allclose(np.abs(of_adapter), np.abs(of_matrix), rtol=1e-8, atol=1e-8)


def test_kernels_as_functions_of_a_pair_of_rows(data):
    X, Y = data[0][:12], data[0][12:17]
    np.testing.assert_allclose(pairwise_kernels(X, Y, metric=PRIOR), PRIOR(X, Y), rtol=1e-14)
    np.testing.assert_allclose(pairwise_kernels(X, metric=PRIOR), PRIOR(X), rtol=1e-14)
    of_pairs = KernelPCA(3, kernel=PRIOR).fit_transform(X)
    of_matrix = KernelPCA(3, kernel="precomputed").fit_transform(PRIOR(X))
    np.testing.assert_allclose(np.abs(of_pairs), np.abs(of_matrix), rtol=1e-8, atol=1e-8)
    features = Nystroem(kernel=PRIOR, n_components=12, random_state=0).fit_transform(X)
    np.testing.assert_allclose(features @ features.T, PRIOR(X), rtol=1e-6)
    labels = SpectralClustering(2, affinity=PRIOR, random_state=0).fit_predict(X)
    expected = SpectralClustering(2, affinity="precomputed", random_state=0).fit_predict(PRIOR(X))
    np.testing.assert_array_equal(labels, expected)


def test_parameters_reach_into_the_kernel(data):
    X, y = data
    kernel = ntk.GaussianProcessKernel(PRIOR)
    assert kernel.get_params()["kernel__depth"] == 3
    assert kernel.get_params(deep=False).keys() == {"kernel", "per_layer", "bounds_of_variances", "fitted"}
    kernel.set_params(kernel__depth=1, per_layer=True)
    assert (kernel.kernel, kernel.per_layer) == (ntk.NTK(1, bias_variance=0.1), True)
    assert clone(kernel) == kernel
    assert PRIOR.depth == 3
    in_sum = ConstantKernel() * kernel
    in_sum.set_params(k2__kernel__bias_variance=0.5)
    assert kernel.kernel.bias_variance == 0.5
    search = GridSearchCV(KernelRidge(0.1, kernel=kernel), {"kernel__kernel__depth": [1, 2]}, cv=2).fit(X, y)
    assert search.best_estimator_.kernel.kernel.depth == search.best_params_["kernel__kernel__depth"]
    with pytest.raises(ValueError, match=r"Invalid parameter 'width' for NTK\(depth=1"):
        kernel.set_params(kernel__width=3)


@pytest.mark.parametrize("per_layer", [False, True])
def test_theta_bounds_and_gradient(data, per_layer):
    X, _ = data
    kernel = ntk.GaussianProcessKernel(PRIOR, per_layer=per_layer, bounds_of_variances=(1e-3, 1e3))
    n_parameters = 8 if per_layer else 2
    assert kernel.n_dims == n_parameters
    assert len({parameter.name for parameter in kernel.hyperparameters}) == n_parameters
    np.testing.assert_allclose(kernel.bounds, np.log([[1e-3, 1e3]] * n_parameters))
    moved = kernel.clone_with_theta(kernel.theta + 0.5)
    np.testing.assert_allclose(moved.theta, kernel.theta + 0.5)
    np.testing.assert_allclose(kernel.theta, clone(kernel).theta)
    assert kernel.kernel == PRIOR
    K, gradient = kernel(X, eval_gradient=True)
    np.testing.assert_array_equal(K, PRIOR(X))
    assert gradient.shape == (60, 60, n_parameters)
    np.testing.assert_array_equal(kernel.diag(X), np.diag(K))
    with pytest.raises(ValueError, match="eval_gradient"):
        kernel(X, X, eval_gradient=True)


def test_gaussian_processes_fit_it_alone_and_in_sums(data):
    X, y = data
    kernel = ntk.GaussianProcessKernel(PRIOR)
    alone = GaussianProcessRegressor(kernel, alpha=0.01).fit(X, y)
    assert alone.log_marginal_likelihood_value_ > alone.log_marginal_likelihood(kernel.theta)
    in_sum = GaussianProcessRegressor(ConstantKernel() * kernel + WhiteKernel(0.01, (1e-9, 1))).fit(X, y)
    assert in_sum.log_marginal_likelihood_value_ > alone.log_marginal_likelihood_value_ - 1e-3
    assert "NTK(depth=3" in repr(in_sum.kernel_)
    assert not kernel.is_stationary()
    classifier = GaussianProcessClassifier(kernel, optimizer=None).fit(X, y > 1)
    assert classifier.score(X, y > 1) > 0.9


def test_theta_holds_parameters_of_activations(data):
    X = data[0][:10]
    prior = ntk.NTK(2, "leaky_relu", bias_variance=0.1)
    kernel = ntk.GaussianProcessKernel(prior, fitted=("bias_variance", "activation__slope"))
    np.testing.assert_allclose(np.exp(kernel.theta), [0.1, 0.01])
    K, gradient = kernel(X, eval_gradient=True)
    np.testing.assert_array_equal(K, prior(X))
    moved = [kernel.clone_with_theta(kernel.theta + np.array([0, step]))(X) for step in (-1e-3, 1e-3)]
    np.testing.assert_allclose(gradient[:, :, 1], (moved[1] - moved[0]) / 2e-3, atol=1e-5 * np.abs(gradient).max())
    with pytest.raises(ValueError, match="fitted must hold names out of"):
        ntk.GaussianProcessKernel(prior, fitted=("slope",))(X, eval_gradient=True)


def test_equality():
    assert ntk.GaussianProcessKernel(PRIOR) == ntk.GaussianProcessKernel(PRIOR)
    assert ntk.GaussianProcessKernel(PRIOR) != ntk.GaussianProcessKernel(ntk.NTK(2))


@pytest.mark.parametrize("bounds", ["fixed", (-1, 1e-5), (1, 1), 3, (1, 2, 3)])
def test_bad_bounds(bounds):
    with pytest.raises(ValueError, match="bounds_of_variances must be a pair of numbers, 0 < low < high; got"):
        _ = ntk.GaussianProcessKernel(ntk.NTK(2), bounds_of_variances=bounds).bounds


def test_bad_kernels_and_thetas():
    with pytest.raises(TypeError, match=r"kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got 3"):
        _ = ntk.GaussianProcessKernel(3).theta
    with pytest.raises(ValueError, match=r"theta must have shape \(2,\); got \(1,\)"):
        ntk.GaussianProcessKernel(ntk.NTK(2, bias_variance=0.1)).clone_with_theta([1.0])


def test_single_precision_rows_are_solved_with_in_double():
    X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    assert ntk.GaussianProcessKernel(ntk.NTK(2))(X).dtype == np.float64
