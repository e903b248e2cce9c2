"""Parameters of estimators that reach into their kernels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import ntk_fast as ntk
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
    with pytest.raises(ValueError, match=r"Invalid parameter 'deep' for kernel ArcCosine\(order=2, depth=1\)"):
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
