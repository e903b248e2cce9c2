"""Data frames of pandas, polars and pyarrow mean the same to kernels and to estimators, whatever their columns are."""

from __future__ import annotations

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pytest

import ntk_fast as ntk
from ntk_fast.rows.frames import columns_of, frame_rows, is_frame, is_missing

polars = pytest.importorskip("polars")
pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

CONTENTS = {
    "share": [0.5, -1.25, 3.0, 0.75],
    "is_new": [True, False, True, True],
    "count": [1, 2, 3, 1000],
    "price": [*map(decimal.Decimal, ("1.5", "2.0", "0.1", "-3.0"))],
}
X = np.array([list(map(float, values)) for values in CONTENTS.values()]).T

FRAMES = {
    "pandas": pd.DataFrame,
    "pandas nullable": lambda contents: pd.DataFrame(contents).convert_dtypes(),
    "pandas of arrow": lambda contents: pyarrow.table(contents).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": polars.DataFrame,
    "pyarrow": pyarrow.table,
}


@pytest.fixture(params=FRAMES.values(), ids=FRAMES.keys())
def make(request):
    return request.param


def test_kernels_and_estimators_see_the_same_numbers(make):
    frame = make(CONTENTS)
    assert is_frame(frame)
    assert np.array_equal(frame_rows(frame, "X"), X)
    assert np.array_equal(ntk.NTK(2)(frame), ntk.NTK(2)(X))
    y = np.arange(4.0)
    model = ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(frame, y)
    assert list(model.feature_names_in_) == list(CONTENTS)
    assert np.array_equal(model.predict(frame), ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(X, y).predict(X))


def test_columns_in_another_order_are_refused(make):
    model = ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(make(CONTENTS), np.arange(4.0))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(make(dict(reversed(CONTENTS.items()))))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (["1", "2", "3", "4"], "objects such as '1'"),
        (["a", None, "c", "d"], "objects such as 'a'"),
        ([dt.date(2024, 1, 2)] * 4, "dates"),
        ([dt.datetime(2024, 1, 2, tzinfo=dt.UTC)] * 4, "dates"),
    ],
)
def test_what_is_no_number_is_named(make, column, value):
    frame = make({"share": CONTENTS["share"], "what": column})
    message = rf"X must hold real numbers; column 'what' of this \w+ holds {value}"
    with pytest.raises(TypeError, match=message):
        ntk.NTK(2)(frame)
    with pytest.raises(TypeError, match=message):
        ntk.NTKRegressor().fit(frame, np.arange(4.0))


@pytest.mark.parametrize("column", [[1.5, None, 2.0], [True, None, False], [1, None, 2]])
def test_what_is_missing_is_named(make, column):
    frame = make({"share": [1.0, 2.0, 3.0], "what": column})
    with pytest.raises(ValueError, match=r"X must be finite; row 1 holds nan in column 1"):
        ntk.NTK(2)(frame)
    with pytest.raises(ValueError, match="NaN"):
        ntk.NTKRegressor().fit(frame, np.arange(3.0))


def test_float32_stays():
    frame = pd.DataFrame({"a": np.float32([1, 2]), "b": np.float32([0.1, 3])})
    table = {
        "a": pyarrow.array([1, 2], pyarrow.float32()),
        "b": pyarrow.array([0.1, 3], pyarrow.float32()),
        "c": [True, False],
    }
    for rows in (frame, frame.astype("Float32"), pyarrow.table(table), polars.from_arrow(pyarrow.table(table))):
        assert ntk.NTK(1)(rows).dtype == np.float32


def test_categories_and_moments_are_told_apart(make):
    here = dt.timezone(dt.timedelta(hours=5))
    moments = [dt.datetime(2024, 1, 2, 3, tzinfo=here), None]
    (column,) = columns_of(make({"when": moments}))
    assert column.values[0] == np.datetime64("2024-01-01T22:00")
    assert np.isnat(column.values[1])
    for frame in (
        pd.DataFrame({"kind": pd.Categorical(["b", "a", None])}),
        polars.DataFrame({"kind": ["b", "a", None]}, schema={"kind": polars.Categorical}),
        pyarrow.table({"kind": pyarrow.array(["b", "a", None]).dictionary_encode()}),
    ):
        (column,) = columns_of(frame)
        assert column.is_category
        assert [None if is_missing(value) else value for value in column.values] == ["b", "a", None]


def test_frames_without_columns_or_rows_are_refused():
    with pytest.raises(ValueError, match="at least one column"):
        ntk.NTK(1)(polars.DataFrame())
    with pytest.raises(ValueError, match="at least one column"):
        ntk.NTK(1)(pd.DataFrame(index=range(3)))
    assert ntk.NTK(1)(pd.DataFrame({"a": [], "b": []}, dtype=float)).shape == (0, 0)
