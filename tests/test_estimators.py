"""What all estimators share: scikit-learn's conventions, and models on disk."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntk_fast as ntk
from ntk_fast.model_file import read_model_file, write_model_file

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PRIOR = ntk.NTK(2, ntk.leaky_relu(0.2), weight_variance=(1, 2, 2), bias_variance=0.1)
REGRESSORS = {
    "cholesky": ntk.NTKRegressor(PRIOR, ridge=0.1),
    "loo": ntk.NTKRegressor(PRIOR, ridge="loo"),
    "cg": ntk.NTKRegressor(PRIOR, ridge=0.1, solver="cg", rank=20, random_state=3),
    "nystroem": ntk.NTKRegressor(PRIOR, ridge=0.1, solver="nystroem", n_centres=20),
    "default": ntk.NTKRegressor(),
    "process": ntk.NTKGaussianProcessRegressor(PRIOR, depths=(1, 2), fitted=["noise_variance"]),
    "flow": ntk.GradientFlowRegressor(PRIOR, time=7.0, ridge=0.1),
    "flow-last": ntk.GradientFlowRegressor(PRIOR, ridge=0.1, trained_layers="last"),
}


@parametrize_with_checks(
    [
        ntk.NTKRegressor(),
        ntk.NTKRegressor(ridge="loo"),
        ntk.NTKRegressor(solver="cg", rank=10),
        ntk.NTKClassifier(),
        ntk.NTKClassifier(solver="nystroem"),
        ntk.NTKGaussianProcessRegressor(fitted=("noise_variance",)),
        ntk.GradientFlowRegressor(),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((60, 4))
    return X, np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]]), generator.standard_normal((25, 4))


@pytest.mark.parametrize("dtype_of_rows", [np.float64, np.float32])
@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("model", REGRESSORS.values(), ids=REGRESSORS.keys())
def test_predictions_after_loading_are_bit_identical(model, n_targets, dtype_of_rows, data, tmp_path):
    X, Y, X_new = (part.astype(dtype_of_rows) for part in data)
    model.fit(X, Y[:, 0] if n_targets is None else Y)
    path = tmp_path / "model"
    model.save(path)
    for loaded in (type(model).load(path), ntk.load_model(path)):
        assert type(loaded) is type(model)
        assert repr(loaded) == repr(model)
        np.testing.assert_array_equal(loaded.predict(X_new), model.predict(X_new))
        for option in ("return_std", "return_cov"):
            if option in model.predict.__code__.co_varnames:
                ours, theirs = (one.predict(X_new, **{option: True}) for one in (model, loaded))
                np.testing.assert_array_equal(ours[1], theirs[1])
        assert set(vars(loaded)) == set(vars(model))


@pytest.mark.parametrize(
    "labels",
    [["a", "b"], [3, 1, 2], [True, False], [0.0, 1.0]],
    ids=["strings", "whole numbers", "truths", "numbers"],
)
def test_classifiers_keep_their_labels(labels, data, tmp_path):
    X, _, X_new = data
    y = np.resize(labels, 60)
    for given in (y, y.astype(object), pd.Series(y.tolist())) if y.dtype.kind == "U" else (y, pd.Series(y)):
        model = ntk.NTKClassifier(PRIOR).fit(X, given)
        model.save(tmp_path / "model")
        loaded = ntk.NTKClassifier.load(tmp_path / "model")
        assert loaded.classes_.dtype == model.classes_.dtype
        np.testing.assert_array_equal(loaded.predict(X_new), model.predict(X_new))


@pytest.mark.parametrize(
    "y", [["1", "2"] * 30, np.array(["a", "b"] * 30, dtype=object), np.zeros(60, "M8[s]")], ids=str
)
def test_words_and_dates_are_no_targets_of_a_regression(y, data):
    for model in (ntk.NTKRegressor(), ntk.NTKGaussianProcessRegressor(), ntk.GradientFlowRegressor()):
        with pytest.raises(TypeError, match="y must hold numbers; got dtype"):
            model.fit(data[0], y)


def test_names_of_columns_are_kept(data, tmp_path):
    frame = pd.DataFrame(data[0], columns=["a", "b", "c", "d"])
    ntk.NTKRegressor().fit(frame, data[1]).save(tmp_path / "model")
    loaded = ntk.NTKRegressor.load(tmp_path / "model")
    assert list(loaded.feature_names_in_) == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[["b", "a", "c", "d"]])


def test_a_model_predicts_the_same_in_another_process(data, tmp_path):
    model = ntk.NTKRegressor(PRIOR).fit(*data[:2])
    model.save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", data[2])
    script = (
        "import sys, numpy as np, ntk_fast as ntk; folder = sys.argv[1]; "
        "model = ntk.load_model(folder + '/model'); "
        "np.save(folder + '/predicted.npy', model.predict(np.load(folder + '/rows.npy')))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "predicted.npy"), model.predict(data[2]))


def test_what_cannot_be_saved(data, tmp_path):
    with pytest.raises(NotFittedError):
        ntk.NTKRegressor().save(tmp_path / "model")
    model = ntk.NTKRegressor(random_state=np.random.RandomState(0)).fit(*data[:2])
    with pytest.raises(TypeError, match="random_state must be a number, a string, an array or a kernel to be saved"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to(tmp_path / "there")
    ntk.NTKRegressor().fit(*data[:2]).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").is_file()
    with pytest.raises(FileNotFoundError):
        ntk.NTKRegressor().fit(*data[:2]).save(tmp_path / "missing" / "model")


def test_a_model_of_another_kind(data, tmp_path):
    path = tmp_path / "model"
    ntk.NTKRegressor().fit(*data[:2]).save(path)
    with pytest.raises(ValueError, match=r"holds a NTKRegressor, not a NTKClassifier: read it with NTKRegressor\.load"):
        ntk.NTKClassifier.load(path)
    header, arrays = read_model_file(path)
    write_model_file(path, {**header, "estimator": "Unheard"}, arrays)
    with pytest.raises(ValueError, match="holds a Unheard, which this release of ntk_fast does not know"):
        ntk.load_model(path)
    for wrong in ({"fitted": None}, {"parameters": {"new_option": 1}}):
        write_model_file(path, {key: value for key, value in {**header, **wrong}.items() if value is not None}, arrays)
        with pytest.raises(ValueError, match=r"holds a NTKRegressor that this release .* cannot read"):
            ntk.load_model(path)
    write_model_file(path, {}, {})
    with pytest.raises(ValueError, match="holds a None, which this release"):
        ntk.load_model(path)
    header["parameters"]["kernel"] = {"kernel": ["Unheard", {}]}
    write_model_file(path, header, arrays)
    with pytest.raises(ValueError, match="has a kernel Unheard, which this release"):
        ntk.load_model(path)


@pytest.mark.parametrize("model", [*REGRESSORS.values(), ntk.NTKClassifier(PRIOR)], ids=[*REGRESSORS, "classifier"])
def test_fits_report_what_they_do(model, data):
    X, Y, _ = data
    said = []
    y = (Y[:, 0] > 0).astype(int) if hasattr(model, "decision_function") else Y
    model.fit(X, y, report=lambda stage, share: said.append((stage, share)))
    assert {type(stage) for stage, _ in said} == {str}
    assert all(share is None or 0 <= share <= 1 for _, share in said)
    assert max(share for _, share in said if share is not None) == 1
    with pytest.raises(TypeError, match=r"report must be a function of \(stage, share of it done\); got a str"):
        model.fit(X, y, report="loud")


def test_an_interrupted_fit_leaves_no_half_fitted_model(data):
    """A report that raises stands for Ctrl-C: both come to the calling thread."""

    def interrupt(stage, share):
        raise KeyboardInterrupt

    for model in REGRESSORS.values():
        fresh = clone(model)
        with pytest.raises(KeyboardInterrupt):
            fresh.fit(*data[:2], report=interrupt)
        with pytest.raises(NotFittedError):
            fresh.predict(data[2])


def test_importing_the_package_imports_no_extra():
    script = (
        "import sys, ntk_fast; "
        "print([name for name in ('sklearn', 'numba', 'matplotlib', 'rich', 'zarr') if name in sys.modules]); "
        "ntk_fast.NTKRegressor; print('sklearn' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.split("\n")[:2] == ["[]", "True"]


def test_without_scikit_learn_the_message_says_what_to_install():
    script = "import sys; sys.modules['sklearn'] = None; import ntk_fast; ntk_fast.NTKRegressor"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "ImportError: ntk_fast.NTKRegressor needs scikit-learn" in run.stderr
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ntk.Nothing  # noqa: B018
