"""Warnings: at the caller's line, and how bad something is once a call, whatever is computed in it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.estimators.fit_warnings import FitWarning
from ntk_fast.validation import UnderflowWarning

X = np.random.default_rng(0).standard_normal((25, 3)) * np.geomspace(0.1, 10, 25)[:, None]
y = np.sin(X[:, 0])
#: Of kinks that no finite expansion resolves, in two layers.
KERNEL = ntk.NTK(2, layers.Activation(lambda z: z * np.clip(z + 3, 0, 6)), bias_variance=0.1)

CALLS = {
    "matrix": lambda: KERNEL(X, X[:5]),
    "profile": lambda: KERNEL.profile([0.5]),
    "description": KERNEL.describe,
    "operator": lambda: ntk.KernelOperator(KERNEL, X),
    "derivatives": lambda: ntk.GaussianProcessKernel(KERNEL)(X, eval_gradient=True),
    "ridge": lambda: ntk.NTKRegressor(KERNEL).fit(X, y),
    "iterations": lambda: ntk.NTKRegressor(KERNEL, solver="cg").fit(X, y),
    "classes": lambda: ntk.NTKClassifier(KERNEL).fit(X, y > 0),
    "process": lambda: ntk.NTKGaussianProcessRegressor(KERNEL, fitted=("noise_variance",)).fit(X, y),
    "process of classes": lambda: ntk.NTKGaussianProcessClassifier(KERNEL, fitted=()).fit(X, y > 0),
    "flow": lambda: ntk.GradientFlowRegressor(KERNEL, 1.0, ridge=0.1).fit(X, y),
}


def said(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", FitWarning)
        call()
    return [warning for warning in caught if warning.category is layers.AccuracyWarning]


@pytest.mark.parametrize("name", CALLS)
def test_how_accurate_a_call_is_is_said_once(name):
    (warning,) = said(CALLS[name])
    assert warning.filename == __file__


def test_predictions_say_it_once():
    for model in (ntk.NTKRegressor(KERNEL), ntk.NTKGaussianProcessRegressor(KERNEL, fitted=())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        assert len(said(lambda: model.predict(X))) == 1  # noqa: B023


def test_the_worst_is_said():
    """Of several layers and matrices: what the largest variance loses."""

    def error(call):
        (warning,) = said(call)
        return float(str(warning.message).split(" to ")[-1].split()[0])

    alone = [error(lambda: KERNEL(row[None], row[None])) for row in X[::6]]  # noqa: B023
    assert error(lambda: KERNEL(X[::6])) == max(alone)


@pytest.mark.parametrize(
    "model",
    [
        ntk.NTKGaussianProcessRegressor(ntk.NTK(1100), fitted=("noise_variance",)),
        ntk.GradientFlowRegressor(ntk.NTK(1100), 1.0),
    ],
)
def test_a_kernel_of_zeros_is_said_once_a_call(model):
    for call in (lambda: model.fit(X, y), lambda: model.predict(X)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [warning.category for warning in caught] == [UnderflowWarning]
        assert "weight_variance" in str(caught[0].message)


def test_kernels_of_many_layers_are_no_pages():
    kernel = ntk.NTK(1100, weight_variance=(0.5, *(0.6,) * 1100))
    with pytest.warns(UnderflowWarning) as caught:
        kernel(X)
    assert len(str(caught[0].message)) < 300
