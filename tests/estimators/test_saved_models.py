"""Models that earlier releases saved: they load, and predict what they always did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.estimators.model_file import read_model_file

FOLDER = Path(__file__).parents[1] / "data" / "saved_models"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ntk"))


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "predictions.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_predicts_what_it_did(name, expected):
    model, rows = ntk.load_model(FOLDER / f"{name}.ntk"), expected["rows"]
    predicted = model.predict(rows)
    if predicted.dtype.kind == "f":
        np.testing.assert_allclose(predicted, expected[name], rtol=1e-12, atol=1e-14)
    else:
        np.testing.assert_array_equal(predicted, expected[name])
    for what, value in {
        "scores": lambda: model.decision_function(rows),
        "std": lambda: model.predict(rows, return_std=True)[1],
        "cov": lambda: model.predict(rows, return_cov=True)[1],
    }.items():
        if f"{name}/{what}" in expected:
            np.testing.assert_allclose(value(), expected[f"{name}/{what}"], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["regressor", "regressor_loo", "classifier_two_classes"])
def test_its_bits_are_those_of_its_coefficients(name, expected):
    """Nothing is centred or scaled that was not; the bits of kernels themselves depend on the processor."""
    model, (header, arrays) = ntk.load_model(FOLDER / f"{name}.ntk"), read_model_file(FOLDER / f"{name}.ntk")
    operator = ntk.KernelOperator(model.kernel_, expected["rows"], arrays["X_fit_"], dtype=np.float64)
    function = model.predict if header["estimator"] == "NTKRegressor" else model.decision_function
    shape = expected[name].shape
    np.testing.assert_array_equal(function(expected["rows"]), (operator @ arrays["dual_coef_"]).reshape(shape))
