"""Models in scikit-learn's conventions.

ridge               NTKRegressor, NTKClassifier: kernel ridge regression, with any of the solvers
gaussian_process    NTKGaussianProcessRegressor: deviations, samples; `marginal_likelihood`: what its variances maximise
gradient_flow       GradientFlowRegressor: infinitely many infinitely wide networks, trained for some time
scaling             units of columns and targets; `targets`: their checks; `parameters`: what else the estimators share
expansion           predictions as sums of kernels
saving              `save` and `load`, which all of them have
"""

from __future__ import annotations

import os
from typing import Any

from ntk_fast.estimators.gaussian_process import NTKGaussianProcessRegressor
from ntk_fast.estimators.gradient_flow import GradientFlowRegressor
from ntk_fast.estimators.ridge import NTKClassifier, NTKRegressor
from ntk_fast.model_file import read_model_file

__all__ = [
    "GradientFlowRegressor",
    "NTKClassifier",
    "NTKGaussianProcessRegressor",
    "NTKRegressor",
    "load_model",
]

ESTIMATORS: dict[str, Any] = {
    estimator.__name__: estimator
    for estimator in (NTKRegressor, NTKClassifier, NTKGaussianProcessRegressor, GradientFlowRegressor)
}


def load_model(path: str | os.PathLike[str]) -> Any:
    """Read a fitted model of whatever kind the file holds.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    NTKRegressor, NTKClassifier, NTKGaussianProcessRegressor or GradientFlowRegressor

    Raises
    ------
    ValueError
        If the file is no model file, is damaged, or comes from a newer release.
    OSError
        If it cannot be opened.
    """
    header, arrays = read_model_file(path)
    kind = header.get("estimator")
    if kind not in ESTIMATORS:
        raise ValueError(f"{os.fspath(path)!r} holds a {kind}, which this release of ntk_fast does not know.")
    return ESTIMATORS[kind]._restored(header, arrays, path)
