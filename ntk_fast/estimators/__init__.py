"""Models in scikit-learn's conventions.

The map:

    regressor           NTKRegressor, and `classifier`, NTKClassifier: kernel ridge regression, with any of the solvers
    ridge               what they share; `ridge_choice`: what is chosen from data; `calibration`: probabilities
    fit_warnings        what a fit should not pass over in silence
    gaussian_process    NTKGaussianProcessRegressor: deviations, samples; `marginal_likelihood`: what its variances
                        maximise by `likelihood_search`, in `standard_units`; `process_parameters`: their checks;
                        on all rows `exact_process`, through centres `fitc`; `posterior_spread`: of new rows
    gaussian_process_classifier  NTKGaussianProcessClassifier: probabilities, by `laplace_process`, `laplace`
    gradient_flow       GradientFlowRegressor: infinitely many infinitely wide networks, trained for some time
    scaling             units of columns and targets; `targets`: their checks; `parameters`: what else all share
    image_scaling       ChannelScaler, ZCAWhitener: what papers do to the pixels of images
    expansion           predictions as sums of kernels
    table_encoder       TableEncoder: data frames with texts, gaps and dates as rows; `column_encodings`: of one column
    saving              `save` and `load`, which all of them have; `model_file`: one file, whole or refused
    sklearn_kernel      GaussianProcessKernel: a kernel as scikit-learn's own Gaussian processes want one
"""

from __future__ import annotations

import os
from typing import Any

from sklearn.pipeline import Pipeline

from ntk_fast.estimators.classifier import NTKClassifier
from ntk_fast.estimators.fit_warnings import FitWarning
from ntk_fast.estimators.gaussian_process import NTKGaussianProcessRegressor
from ntk_fast.estimators.gaussian_process_classifier import NTKGaussianProcessClassifier
from ntk_fast.estimators.gradient_flow import GradientFlowRegressor
from ntk_fast.estimators.image_scaling import ChannelScaler, ZCAWhitener
from ntk_fast.estimators.model_file import read_model_file, write_model_file
from ntk_fast.estimators.regressor import NTKRegressor
from ntk_fast.estimators.saving import SavedEstimator
from ntk_fast.estimators.sklearn_kernel import GaussianProcessKernel
from ntk_fast.estimators.table_encoder import TableEncoder
from ntk_fast.version import __version__

__all__ = [
    "ChannelScaler",
    "FitWarning",
    "GaussianProcessKernel",
    "GradientFlowRegressor",
    "NTKClassifier",
    "NTKGaussianProcessClassifier",
    "NTKGaussianProcessRegressor",
    "NTKRegressor",
    "TableEncoder",
    "ZCAWhitener",
    "load_model",
    "save_model",
]

ESTIMATORS: dict[str, Any] = {
    estimator.__name__: estimator
    for estimator in (
        NTKRegressor,
        NTKClassifier,
        NTKGaussianProcessRegressor,
        NTKGaussianProcessClassifier,
        GradientFlowRegressor,
        TableEncoder,
        ChannelScaler,
        ZCAWhitener,
    )
}
#: What a file calls a pipeline of these.
PIPELINE = "Pipeline"


def load_model(path: str | os.PathLike[str]) -> Any:
    """Read a fitted model of whatever kind the file holds.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    NTKRegressor, NTKClassifier, NTKGaussianProcessRegressor, NTKGaussianProcessClassifier, GradientFlowRegressor,
    TableEncoder or a pipeline of them

    Raises
    ------
    ValueError
        If the file is no model file, is damaged, or comes from a newer release.
    OSError
        If it cannot be opened.
    """
    header, arrays = read_model_file(path)
    if header.get("estimator") != PIPELINE:
        return _restored(header, arrays, path)
    return Pipeline([(name, _restored(step, arrays, path)) for name, step in header["steps"]])


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to one file, or a pipeline of a `TableEncoder` and a model; `load_model` reads it.

    Parameters
    ----------
    model : estimator of this package, or scikit-learn Pipeline of such
    path : str or path-like
        It keeps what it held until the new file is complete.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    TypeError
        If the model, a step or a parameter is an object that cannot be saved.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> table = pd.DataFrame({"size": [30.0, None, 80.0, 45.0], "heating": ["gas", "oil", "gas", "oil"]})
    >>> model = make_pipeline(TableEncoder(), NTKRegressor()).fit(table, [300.0, 400.0, 700.0, 380.0])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rents.ntk"
    >>> save_model(model, path)
    >>> bool((load_model(path).predict(table) == model.predict(table)).all())
    True
    """
    steps = list(model.steps) if isinstance(model, Pipeline) else [("model", model)]
    for name, step in steps:
        if not isinstance(step, SavedEstimator):
            raise TypeError(
                f"model must be an estimator of ntk_fast or a pipeline of such; got a {type(step).__name__}, {name!r}."
            )
    if not isinstance(model, Pipeline):
        model.save(path)
        return
    arrays: dict[str, Any] = {}
    headers = [(name, step._header(arrays, f"{name}.")) for name, step in steps]
    write_model_file(path, {"estimator": PIPELINE, "ntk_fast": __version__, "steps": headers}, arrays)


def _restored(header: dict[str, Any], arrays: dict[str, Any], path: str | os.PathLike[str]) -> Any:
    kind = header.get("estimator")
    if kind not in ESTIMATORS:
        raise ValueError(f"{os.fspath(path)!r} holds a {kind}, which this release of ntk_fast does not know.")
    return ESTIMATORS[kind]._restored(header, arrays, path)
