"""What ridge estimators refuse, and what they warn of."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from plain_ridge import PRIOR
from sklearn.exceptions import NotFittedError

import ntk_fast as ntk
from ntk_fast.estimators import FitWarning


def test_a_fit_that_is_probably_not_meant_warns_once(data):
    X, y, _ = data
    cases = {
        r"ridge is 1e\+04 times the mean diagonal": lambda: ntk.NTKRegressor(ridge=1e4).fit(X, y),
        r"is 0 on all training rows, .* weight_variance='he'": lambda: ntk.NTKRegressor(ntk.NTK(1100)).fit(X, y),
        "all rows are 0": lambda: ntk.NTKRegressor(ntk.NTK(2)).fit(np.ones((30, 2)), y[:30]),
        "The targets are 4 different whole numbers": lambda: ntk.NTKRegressor().fit(X, np.clip(np.rint(y), -1, 2)),
        r"worse than the targets' mean: R2 is -": lambda: ntk.NTKRegressor(ridge=1e-9).fit(
            X, np.random.default_rng(1).standard_normal(200)
        ),
        r"worse than the most frequent class, which is right on 85.0% .* Pass ridge='loo', or": lambda: (
            ntk.NTKClassifier(ridge=1e-9).fit(X, np.random.default_rng(1).permutation(200) < 30)
        ),
        "The targets are 2 different whole numbers": lambda: ntk.GradientFlowRegressor(ridge=0.1).fit(X, y > 0),
        "they are labels, fit an NTKClassifier": lambda: ntk.NTKGaussianProcessRegressor(PRIOR, fitted=()).fit(
            X, (y > 0).astype(float)
        ),
    }
    for message, fit in cases.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit()
        assert [warning.category for warning in caught] == [FitWarning]
        assert re.search(message, str(caught[0].message))
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ntk.NTKRegressor().fit(X, y)
        ntk.NTKRegressor().fit(X, np.rint(10 * y))
        ntk.NTKClassifier().fit(X, np.random.default_rng(1).permutation(200) < 30)  # no better than chance, nor worse
        model = ntk.NTKRegressor().fit(X, np.full(200, 7))
    np.testing.assert_allclose(model.predict(X), 7)
    with pytest.warns(FitWarning):
        zero = ntk.NTKRegressor(ntk.NTK(1100)).fit(X, y)
    np.testing.assert_allclose(zero.predict(X), y.mean())


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"ridge": -1.0}, ValueError, "ridge must be >= 0; got -1.0"),
        ({"ridge": np.nan}, ValueError, "ridge must be finite"),
        ({"ridge": "auto"}, ValueError, "ridge must be a number >= 0 or 'loo'; got 'auto'"),
        ({"ridge": None}, TypeError, "ridge must be a real number"),
        ({"solver": "lu"}, ValueError, "solver must be one of 'auto', 'cholesky', 'cg', 'nystroem'; got 'lu'"),
        ({"scale_columns": True}, ValueError, "scale_columns must be 'auto', 'deviation', 'range' or None; got True"),
        ({"fit_intercept": 1}, TypeError, "fit_intercept must be True or False; got 1"),
        ({"leave_one_out": "no"}, TypeError, "leave_one_out must be True or False; got 'no'"),
        ({"kernel": "ntk"}, TypeError, "kernel must be an ArcCosine, NNGP or NTK; got 'ntk' of type str"),
        ({"solver": "nystroem", "n_centres": 201}, ValueError, "n_centres must not exceed the number of rows; got 201"),
        ({"n_centres": 0}, ValueError, "n_centres must be a whole number >= 1"),
        ({"rank": -1}, ValueError, "rank must be a whole number >= 0"),
        ({"tolerance": 0.0}, ValueError, "tolerance must lie between 0 and 1; got 0.0"),
        ({"max_iterations": 1.5}, TypeError, "max_iterations must be a whole number"),
        ({"n_threads": 0}, ValueError, "n_threads must be a whole number >= 1"),
    ],
)
def test_bad_parameters(parameters, error, message, data):
    X, y, _ = data
    with pytest.raises(error, match=message):
        ntk.NTKRegressor(**parameters).fit(X, y)


def test_bad_targets(data):
    X, y, _ = data
    with pytest.raises(ValueError, match="NaN"):
        ntk.NTKRegressor().fit(X, np.where(y > 0, y, np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ntk.NTKRegressor().fit(X, y[:-1])
    with pytest.raises(ValueError, match="y must hold at least two classes; got one class, 'a'"):
        ntk.NTKClassifier().fit(X, ["a"] * 200)
    with pytest.raises(ValueError, match="class_weight must be a dict, 'balanced' or None; got 'even'"):
        ntk.NTKClassifier(class_weight="even").fit(X, y > 0)
    with pytest.raises(ValueError, match=r"class_weight must hold finite weights >= 0; got \{True: -1\}"):
        ntk.NTKClassifier(class_weight={True: -1}).fit(X, y > 0)
    with pytest.raises(ValueError, match="class_weight must be None where rows have several labels"):
        ntk.NTKClassifier(class_weight="balanced").fit(X, np.column_stack([y > 0, y > 1]))
    for weights, message in (
        (-np.ones(200), r"sample_weight must be >= 0; that of row 0 is -1\.0"),
        (np.ones(199), r"sample_weight must be a vector of 200 real numbers; got shape \(199,\)"),
        (np.zeros(200), "sample_weight must be > 0 for some row"),
        (np.full(200, np.nan), "sample_weight must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            ntk.NTKRegressor().fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="y must hold at least two classes; got one class, True"):
        ntk.NTKClassifier().fit(X, y > 0, sample_weight=(y > 0).astype(float))
    with pytest.raises(ValueError, match="Unknown label type"):
        ntk.NTKClassifier().fit(X, y)


def test_bad_rows(data):
    X, y, X_new = data
    with pytest.raises(NotFittedError):
        ntk.NTKRegressor().predict(X_new)
    model = ntk.NTKRegressor().fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but NTKRegressor is expecting 4 features"):
        model.predict(X_new[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        model.predict(np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match=r"singular to working precision .* pass a larger ridge or noise, such as 1e-"):
        ntk.NTKRegressor(ridge=0).fit(np.vstack([X, X]), np.append(y, y))
