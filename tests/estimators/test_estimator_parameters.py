"""Parameters of estimators that reach into their kernels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.estimators.parameters import DEFAULT_KERNEL


@pytest.mark.parametrize("estimator", [ntk.NTKRegressor, ntk.NTKClassifier])
def test_parameters_reach_into_kernels(estimator):
    model = estimator()
    assert model.get_params()["kernel__depth"] == DEFAULT_KERNEL.depth
    assert model.get_params(deep=False)["kernel"] is None
    model.set_params(kernel__depth=2, kernel__bias_variance=0.5, ridge=0.3)
    assert model.kernel == DEFAULT_KERNEL.with_parameters(depth=2, bias_variance=0.5)
    assert model.ridge == 0.3
    assert clone(model).kernel is model.kernel
    model.set_params(kernel=ntk.ArcCosine(), kernel__order=2)
    assert model.kernel == ntk.ArcCosine(2)
    assert DEFAULT_KERNEL.depth == estimator().get_params()["kernel__depth"]
    with pytest.raises(ValueError, match=r"Invalid parameter 'deep' for ArcCosine\(order=2, depth=1\)"):
        model.set_params(kernel__deep=1)
    with pytest.raises(ValueError, match="Invalid parameter 'depht'"):
        model.set_params(depht=1)
    with pytest.raises(ValueError, match="depth must be a whole number from 1 to 5000; got 0"):
        model.set_params(kernel__depth=0)


def test_searches_reach_into_kernels():
    X = np.random.default_rng(0).standard_normal((60, 3))
    grid = {"kernel__depth": [1, 2], "kernel__bias_variance": [0, 0.1]}
    search = GridSearchCV(ntk.NTKClassifier(), grid, cv=2).fit(X, X[:, 0] > 0)
    best = search.best_estimator_
    assert {name: getattr(best.kernel_, name[8:]) for name in grid} == search.best_params_


def test_a_kernel_in_an_estimator_of_scikit_learns_is_cloned_and_shown():
    machine = SVC(kernel=ntk.NTK(2))
    assert machine.get_params()["kernel__depth"] == 2
    assert clone(machine).kernel is machine.kernel
    assert "NTK(depth=2)" in repr(machine)
    with pytest.raises(
        TypeError, match=r"NTK cannot be changed: pass other kernels, .* or ntk_fast.GaussianProcessKernel"
    ):
        machine.set_params(kernel__depth=3)
    wrapped = SVC(kernel=ntk.GaussianProcessKernel(ntk.NTK(2))).set_params(kernel__kernel__depth=3)
    assert wrapped.kernel.kernel == ntk.NTK(3)


def test_parameters_reach_into_sums_and_products():
    """By the names that scikit-learn's sums and products of kernels have."""
    first, second = ntk.NTK(2, bias_variance=0.1), ntk.NNGP(1)
    kernel = first * 0.5 + 2.0 * (second + 1.5)
    names = kernel.get_params()
    assert (names["k1"], names["k1__k2"], names["k2__k1"], names["k2__k2__k2"]) == (first * 0.5, 0.5, 2.0, 1.5)
    assert names["k1__k1__depth"] == 2 and names["k2__k2__k1__bias_variance"] == 0.0
    changes = {"k1__k1__depth": 3, "k1__k2": 0.25, "k2__k2__k1__bias_variance": 0.7, "k2__k2__k2": 4}
    changed = kernel.with_parameters(**changes)
    assert changed == first.with_parameters(depth=3) * 0.25 + 2.0 * (second.with_parameters(bias_variance=0.7) + 4)
    assert {name: changed.get_params()[name] for name in changes} == changes
    assert kernel.get_params(deep=False).keys() == {"network"}
    same = pickle.loads(pickle.dumps(kernel))
    assert same.get_params() == names
    assert kernel.with_parameters(network=second.network) == ntk.NTK(network=second.network)


def test_parameters_reach_into_networks():
    net = layers.Sequential(
        layers.Dense(2.0),
        layers.Residual(layers.LeakyRelu(0.1), layers.Dense()),
        layers.Concatenate(layers.Relu(), layers.Gelu(), shares=(0.25, 0.75)),
        layers.Dense(),
    )
    kernel = ntk.NNGP(network=net)
    assert kernel.get_params()["network__1__0__slope"] == 0.1
    changes = {"network__1__0__slope": 0.3, "network__3__bias_variance": 0.5, "network__2__1": layers.Erf()}
    changed = kernel.with_parameters(**changes, network__2__shares=(0.5, 0.5))
    assert changed.network == layers.Sequential(
        layers.Dense(2.0),
        layers.Residual(layers.LeakyRelu(0.3), layers.Dense()),
        layers.Concatenate(layers.Relu(), layers.Erf(), shares=(0.5, 0.5)),
        layers.Dense(bias_variance=0.5),
    )
    assert {name: changed.get_params()[name] for name in changes} == changes


@pytest.mark.parametrize(
    ("kernel", "grid"),
    [
        (ntk.NTK(1) + 0.5 * ntk.NNGP(1), {"k1__depth": [1, 2], "k2__k1": [0.1, 1.0]}),
        (ntk.NTK(network=ntk.NTK(1).network), {"network__2__bias_variance": [0.0, 0.3]}),
    ],
)
def test_searches_reach_into_whatever_a_kernel_is_made_of(kernel, grid):
    X = np.random.default_rng(0).standard_normal((60, 3))
    pipeline = make_pipeline(StandardScaler(), ntk.NTKRegressor(kernel))
    names = {f"ntkregressor__kernel__{name}": values for name, values in grid.items()}
    search = GridSearchCV(pipeline, names, cv=2).fit(X, X[:, 0])
    best = search.best_estimator_[-1].kernel_.get_params()
    assert {name: best[name] for name in grid} == {
        name: search.best_params_[f"ntkregressor__kernel__{name}"] for name in grid
    }


@pytest.mark.parametrize(
    ("kernel", "changes", "error", "words"),
    [
        (ntk.NTK(1) + 1, {"depth": 2}, ValueError, r"Invalid parameter 'depth' for .*: \['network', 'k1', 'k2'\]"),
        (ntk.NTK(1) + 1, {"k2__depth": 2}, ValueError, "k2 of .* has no parameters: it is 1.0"),
        (ntk.NTK(1) + 1, {"k1": 2}, TypeError, "k1 or k2 must be a kernel of ntk_fast; got 2 and 1.0"),
        (ntk.NTK(1) * ntk.NTK(2), {"k1": "relu"}, TypeError, "relu|unsupported|str"),
        (ntk.NTK(1) + 1, {"k2": 2, "network": layers.Dense()}, ValueError, "k1 and k2 must not be changed beside it"),
        (ntk.NTK(network=layers.Dense()), {"network__depth": 2}, ValueError, r"'depth' for Dense\(\)"),
        (ntk.NTK(network=ntk.NTK(1).network), {"network__9__slope": 1}, ValueError, "Invalid parameter '9'"),
        (ntk.NTK(network=ntk.NTK(1).network), {"network__1": 3}, TypeError, "layer 2 must be a layer"),
    ],
)
def test_parameters_that_are_not_there_are_refused(kernel, changes, error, words):
    with pytest.raises(error, match=words):
        kernel.with_parameters(**changes)
