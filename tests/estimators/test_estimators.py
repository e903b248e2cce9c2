"""What all estimators share: scikit-learn's conventions, and models on disk."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import ntk_fast as ntk
from ntk_fast.estimators.model_file import read_model_file, write_model_file

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


WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "a row that is repeated is not left out by leaving out one of its "
    "copies, and one of weight 2 is: the ridges chosen differ"
}


@parametrize_with_checks(
    [
        ntk.NTKRegressor(),
        ntk.NTKRegressor(solver="cg", rank=10),
        ntk.NTKClassifier(),
        ntk.NTKClassifier(solver="nystroem"),
        ntk.NTKGaussianProcessRegressor(fitted=("noise_variance",)),
        ntk.GradientFlowRegressor(),
        ntk.NTKRegressor(ridge=0.1, scale_columns="deviation"),
    ],
    expected_failed_checks=lambda estimator: WEIGHTS if getattr(estimator, "ridge", None) == "loo" else {},
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


WITHOUT_SKLEARN = """
import inspect, sys
{blocked}
import ntk_fast
for package, missing in ((ntk_fast, "NTKRegressor"), (ntk_fast.finite, "RandomFeatures")):
    assert not hasattr(package, missing)
    inspect.getmembers(package)
    names = {{}}
    exec(f"from {{package.__name__}} import *", names)
    assert set(package.__all__) <= set(names), set(package.__all__) - set(names)
    try:
        exec(f"from {{package.__name__}} import {{missing}}")
    except ImportError as error:
        print(error)
{package}.{name}
"""


@pytest.mark.parametrize(("package", "name"), [("ntk_fast", "NTKRegressor"), ("ntk_fast.finite", "RandomFeatures")])
def test_without_scikit_learn_its_names_are_missing_and_say_what_to_install(package, name):
    script = WITHOUT_SKLEARN.format(blocked="sys.modules['sklearn'] = None", package=package, name=name)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    for missing, sentence in zip(
        ("ntk_fast.NTKRegressor", "ntk_fast.finite.RandomFeatures"), run.stdout.splitlines(), strict=True
    ):
        assert sentence == f"{missing} needs scikit-learn 1.6 or later: pip install 'ntk_fast[sklearn]'."
    assert f"ImportError: {package}.{name} needs scikit-learn" in run.stderr
    assert f"AttributeError: {package}.{name} needs scikit-learn" in run.stderr.splitlines()[-1]
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ntk.Nothing  # noqa: B018


def test_an_older_scikit_learn_is_as_good_as_none(tmp_path):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("__version__ = '1.0'")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import ntk_fast; print(hasattr(ntk_fast, 'NTKRegressor'))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr


class Tensor:
    """Like a tensor of another library that NumPy cannot read: bfloat16, or part of a graph of derivatives."""

    shape, dtype = (60, 4), "bfloat16"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error

    def __len__(self) -> int:
        return self.shape[0]


class Standard:
    """As little of an array as the array API standard asks for: no slice of rows alone, no __array__."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, part):
        raise IndexError("one slice for each axis")

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


ESTIMATORS = {**REGRESSORS, "classifier": ntk.NTKClassifier(PRIOR)}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_rows_and_targets_that_are_no_numbers_are_named(name, data):
    X, Y, _ = data
    model, y = clone(ESTIMATORS[name]), (Y[:, 0] > 0).astype(float)
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    hidden = np.ma.masked_array(X, mask=X > 2)
    shown = np.ma.masked_array(X, mask=False)
    for masked in (hidden, list(hidden)):
        with pytest.raises(ValueError, match="X must not have masked values"):
            model.fit(masked, y)
    with pytest.raises(ValueError, match="y must not have masked values"):
        model.fit(X, np.ma.masked_equal(y, 1))
    with pytest.raises(ValueError, match=r"X must be a 2-D array .* images as rows, X.reshape\(len\(X\), -1\)"):
        model.fit(X[:, :, None], y)
    for error in (TypeError("unsupported ScalarType BFloat16"), RuntimeError("requires grad")):
        for argument, given in (("X", (Tensor(error), y)), ("y", (X, Tensor(error)))):
            with pytest.raises(TypeError, match=f"{argument} must be an array .* of a Tensor .*{error}.*: convert it"):
                model.fit(*given)
    expected = model.fit(X, y).predict(X)
    with pytest.raises(ValueError, match="X must not have masked values"):
        model.predict(hidden)
    hidden_numbers = np.ma.masked_equal(y, 1)
    for argument, given in (("y", {"y": hidden_numbers}), ("sample_weight", {"y": y, "sample_weight": hidden_numbers})):
        with pytest.raises(ValueError, match=f"{argument} must not have masked values"):
            model.score(X, **given)
    for same in (shown, Standard(X)):
        np.testing.assert_array_equal(model.fit(same, Standard(y)).predict(same), expected)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([None, "a"], ValueError, "that of row 0 is None"),
        (["a", float("nan")], ValueError, "that of row 1 is nan"),
        (pd.Series(["a", pd.NA], dtype="string"), ValueError, "that of row 1 is <NA>"),
        (np.array(["a", 1], dtype=object), TypeError, "labels of one kind, all text or all numbers; got 'a' and 1"),
    ],
    ids=str,
)
def test_labels_that_are_missing_or_mixed_are_named(y, error, message, data):
    with pytest.raises(error, match=message):
        ntk.NTKClassifier().fit(data[0][:2], y)


def test_labels_in_a_column_are_a_vector_and_a_warning_in_the_callers_line(data):
    X = data[0]
    labels = np.arange(len(X)) % 3
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed") as warned:
        model = ntk.NTKClassifier(PRIOR, ridge=0.1).fit(X, labels[:, None])
    assert {warning.filename for warning in warned} == {__file__}
    np.testing.assert_array_equal(model.predict(X), ntk.NTKClassifier(PRIOR, ridge=0.1).fit(X, labels).predict(X))


def test_labels_of_a_foreign_kind_are_named(data):
    with pytest.raises(TypeError, match="y must hold labels, text or numbers; got dtype"):
        ntk.NTKClassifier().fit(data[0][:2], np.zeros(2, dtype="V2"))


@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize("name", REGRESSORS)
def test_no_target_may_be_missing(name, missing, data):
    X, Y, _ = data
    with pytest.raises(ValueError, match=r"y must hold finite numbers|Input contains NaN"):
        REGRESSORS[name].fit(X, np.array([missing, *Y[1:, 0]], dtype=object))
