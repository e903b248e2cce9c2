"""Tables with texts, gaps and dates become rows of numbers; what was done is data, and is done again."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import check_estimator_cloneable

import ntk_fast as ntk
from ntk_fast.estimators.column_encodings import Category, Date, LeftOut, Number

polars = pytest.importorskip("polars")
pyarrow = pytest.importorskip("pyarrow")

CONTENTS = {
    "size": [30.0, None, 80.0, 45.0],
    "heating": ["gas", "oil", None, "oil"],
    "built": [dt.datetime(1970, 1, 2), dt.datetime(1970, 1, 1, 12), None, dt.datetime(1969, 12, 31)],
    "sold": ["2024-02-29", "1970-01-01T06:00", "1969-12-31 00:00:00", None],
    "new": [True, False, True, None],
    "rooms": [1, 2, 3, 4],
}
ROWS = [
    [30, 0, 1, 0, 0, 1, 0, 19782, 0, 1, 0, 1],
    [45, 1, 0, 1, 0, 0.5, 0, 0.25, 0, 0, 0, 2],
    [80, 0, 0, 0, 1, 0.5, 1, -1, 0, 1, 0, 3],
    [45, 0, 0, 1, 0, -1, 0, 0.25, 1, 1, 1, 4],
]
NAMES = [
    *("size", "size is missing", "heating=gas", "heating=oil", "heating is missing"),
    *("built in days", "built is missing", "sold in days", "sold is missing", "new", "new is missing", "rooms"),
]
FRAMES = {
    "pandas": pd.DataFrame,
    "pandas nullable": lambda contents: pd.DataFrame(contents).convert_dtypes(),
    "polars": polars.DataFrame,
    "pyarrow": pyarrow.table,
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())
def test_every_kind_of_column(make):
    encoder = ntk.TableEncoder().fit(make(CONTENTS))
    assert np.array_equal(encoder.transform(make(CONTENTS)), ROWS)
    assert list(encoder.get_feature_names_out()) == NAMES
    shuffled = {"other": [1, 2, 3, 4], **dict(reversed(CONTENTS.items()))}
    assert np.array_equal(encoder.transform(make(shuffled)), ROWS)
    assert [name for name, _ in encoder.describe()] == list(CONTENTS)


def test_categories_are_scikit_learn_s():
    generator = np.random.default_rng(0)
    texts = generator.choice(["a", "b b", "ü", "D", "1e"], (200, 3))
    encoder = ntk.TableEncoder().fit(pd.DataFrame(texts))
    assert np.array_equal(encoder.transform(texts), OneHotEncoder(sparse_output=False).fit_transform(texts))


def test_medians_are_numpy_s():
    generator = np.random.default_rng(0)
    values = generator.standard_normal((200, 5)) * 10.0 ** generator.uniform(-200, 200, 5)
    gaps = generator.random((200, 5)) < 0.3
    rows = np.where(gaps, np.nan, values)
    encoded = ntk.TableEncoder().fit_transform(rows)
    assert np.array_equal(encoded[:, ::2], np.where(gaps, np.nanmedian(rows, axis=0), values))
    assert np.array_equal(encoded[:, 1::2], gaps)


def test_numbers_without_gaps_pass_as_they_are():
    rows = np.random.default_rng(0).standard_normal((20, 3))
    assert np.array_equal(ntk.TableEncoder().fit(rows).transform(rows), rows)


CONTENTS_FRAME = pd.DataFrame(CONTENTS)


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [
        ([f"house {i}" for i in range(30)], LeftOut, "30 different texts in 30 rows, such as 'house 0'"),
        ([f"t{i % 60}" for i in range(300)], LeftOut, "60 different texts in 300 rows"),
        (pd.Categorical([f"t{i % 60}" for i in range(300)]), Category, "each of 60 texts"),
        (pd.Categorical([1, 2, 3] * 10), Category, "each of 3 texts"),
        ([None] * 30, LeftOut, "it holds nothing"),
        ([np.nan] * 30, LeftOut, "it holds nothing"),
        (["x"] * 30, LeftOut, "it holds 'x' everywhere"),
        (["x", ""] * 15, Category, "each of 1 texts and one where it is missing"),
        ([" 1.5", "2 ", None] * 10, Number, "gaps filled with 1.75"),
        (["2024-12-31", "2025-01-01"] * 15, Date, "days since 1970"),
        (["2024-12-31", "2025-02-30"] * 15, LeftOut, "such as '2025-02-30'"),
        (["31.12.2024", "1.1.2025"] * 15, LeftOut, "dates that are not written as 2024-12-31, such as '31.12.2024'"),
        (["12/31/24 10:00", "1/2/25 9:30 PM"] * 15, LeftOut, "dates that are not written as 2024-12-31"),
    ],
)
def test_what_a_column_is(column, kind, words):
    encoder = ntk.TableEncoder().fit(pd.DataFrame({"what": column, "number": range(len(column))}))
    assert isinstance(encoder.encodings_[0], kind)
    assert words in encoder.describe()[0][1]


@pytest.mark.parametrize(
    ("contents", "error", "parts"),
    [
        ({"a": [*range(9), "1o"]}, ValueError, ["Column 'a'", "1 of 10 cells", "'1o'"]),
        ({"a": [1.0, np.inf]}, ValueError, ["Column 'a'", "finite", "row 1"]),
        ({"a": ["1", "1e999"]}, ValueError, ["Column 'a'", "finite", "1e999"]),
        ({"a": [[1], [2]]}, TypeError, ["Column 'a'", "numbers, texts or dates"]),
        ({"a": [1j, 2j]}, TypeError, ["Column 'a'", "complex128"]),
        ({"a": pd.to_timedelta([1, 2])}, TypeError, ["Column 'a'", "timedelta64"]),
        ({"a": [None, None], "b": ["x", "x"]}, ValueError, ["No column", "'a' left out", "'b' left out"]),
        ({}, ValueError, ["at least one row and one column"]),
        ({"a": []}, ValueError, ["at least one row and one column"]),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(contents, error, parts):
    with pytest.raises(error) as raised:
        ntk.TableEncoder().fit(pd.DataFrame(contents))
    for part in parts:
        assert part in str(raised.value)
    assert str(raised.value).endswith(".")


def test_repeated_names_are_refused():
    with pytest.raises(ValueError, match="X has 2 columns 'a'"):
        ntk.TableEncoder().fit(pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]))


def test_masked_values_are_refused():
    with pytest.raises(ValueError, match="X must not have masked values"):
        ntk.TableEncoder().fit(np.ma.masked_greater(np.arange(6.0).reshape(3, 2), 4))


def test_one_dimension_is_refused():
    with pytest.raises(ValueError, match=r"data frame, or an array \(n_rows, n_columns\); got shape \(3,\)"):
        ntk.TableEncoder().fit([1, 2, 3])


class TestTablesThatDiffer:
    """From the one of training."""

    encoder = ntk.TableEncoder().fit(CONTENTS_FRAME)

    def test_unknown_texts_are_no_category(self):
        frame = CONTENTS_FRAME.assign(heating=["wood", "gas", "wood", "solar"])
        with pytest.warns(UserWarning, match="Column 'heating' holds 'solar', 'wood', unknown from training"):
            rows = self.encoder.transform(frame)
        assert np.array_equal(rows[:, 2:5], [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])

    def test_new_gaps_are_filled_and_told(self):
        with pytest.warns(UserWarning, match="Column 'rooms' has gaps in 1 rows, and had none in training: filled"):
            rows = self.encoder.transform(CONTENTS_FRAME.assign(rooms=[1, None, 3, 4]))
        assert rows[:, -1].tolist() == [1, 2.5, 3, 4]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"rooms": ["1", "2", "three", "4"]}, "Column 'rooms' must hold numbers, as in training; got 'three'"),
            ({"sold": ["1.1.2024"] * 4}, "Column 'sold' must hold dates such as 2024-12-31, as in training"),
            ({"size": [1, 2, 3, np.inf]}, "Column 'size' must hold finite numbers; row 3 holds inf"),
        ],
    )
    def test_other_kinds_are_refused(self, change, sentence):
        with pytest.raises(ValueError, match=sentence):
            self.encoder.transform(CONTENTS_FRAME.assign(**change))

    def test_missing_columns_are_named(self):
        with pytest.raises(ValueError, match="X must have one column 'heating', as in training; got 0 of it"):
            self.encoder.transform(CONTENTS_FRAME.drop(columns="heating"))

    def test_rows_without_names_are_taken_in_order(self):
        assert np.array_equal(self.encoder.transform(CONTENTS_FRAME.to_numpy(dtype=object)), ROWS)
        with pytest.raises(ValueError, match="X must have 6 columns, as in training; got 5"):
            self.encoder.transform(CONTENTS_FRAME.to_numpy(dtype=object)[:, 1:])


class TestFiles:
    def test_a_pipeline_comes_back_bit_by_bit(self, tmp_path):
        model = make_pipeline(ntk.TableEncoder(7), ntk.NTKRegressor(ntk.NTK(2), ridge=0.1))
        model.fit(CONTENTS_FRAME, [1.0, 2.0, 4.0, 3.0])
        ntk.save_model(model, tmp_path / "model.ntk")
        loaded = ntk.load_model(tmp_path / "model.ntk")
        assert repr(loaded) == repr(model)
        assert loaded[0].encodings_ == model[0].encodings_
        assert np.array_equal(loaded.predict(CONTENTS_FRAME), model.predict(CONTENTS_FRAME))
        assert list(loaded.feature_names_in_) == list(CONTENTS)

    def test_an_estimator_alone_too(self, tmp_path):
        encoder = ntk.TableEncoder().fit(CONTENTS_FRAME)
        ntk.save_model(encoder, tmp_path / "encoder.ntk")
        assert np.array_equal(ntk.load_model(tmp_path / "encoder.ntk").transform(CONTENTS_FRAME), ROWS)

    def test_what_is_not_ours_is_refused(self, tmp_path):
        model = make_pipeline(OneHotEncoder(sparse_output=False), ntk.NTKRegressor()).fit([["a"], ["b"]], [1.0, 2.0])
        with pytest.raises(TypeError, match="a pipeline of such; got a OneHotEncoder, 'onehotencoder'"):
            ntk.save_model(model, tmp_path / "model.ntk")
        assert not list(tmp_path.iterdir())


def test_scikit_learn_s_conventions():
    encoder = ntk.TableEncoder(max_categories=3)
    check_estimator_cloneable("TableEncoder", encoder)
    assert clone(encoder).max_categories == 3
    with pytest.raises(ValueError, match="max_categories must be a whole number >= 2; got 1"):
        ntk.TableEncoder(1).fit(CONTENTS_FRAME)
