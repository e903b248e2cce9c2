"""ntk-fast fit and predict on tables as people have them, and one set of column names here and in Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.cli import main
from ntk_fast.cli.training_rows import split
from ntk_fast.estimators.model_file import read_model_file, write_model_file

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

GENERATOR = np.random.default_rng(0)
N = 120
HOUSES = pd.DataFrame(
    {
        "size": np.where(np.arange(N) % 10 == 3, np.nan, GENERATOR.lognormal(4, 0.5, N)),
        "city": GENERATOR.choice(["Oslo", "Bergen", "Bodø, north"], N),
        "code": GENERATOR.choice(["01", "02", "A"], N),
        "built": [str(day) for day in np.datetime64("1990-01-01") + GENERATOR.integers(0, 9999, N)],
        "name": [f"house {i}" for i in range(N)],
        "garden": GENERATOR.choice([True, False], N),
    }
)
HOUSES["price"] = HOUSES["size"].fillna(50) * 3 + (HOUSES["city"] == "Oslo") * 100
FEATURES = ["size", "city", "code", "built", "name", "garden"]


def run(command: str) -> int:
    """Run a command as if typed; words are separated by blanks."""
    try:
        return main(command.split())
    except SystemExit as end:  # argparse's way out
        return int(end.code or 0)


def read(path: str) -> tuple[list[str], list[list[str]]]:
    with open(path, newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return names, rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    HOUSES.to_csv("houses.csv", index=False)
    return tmp_path


class TestTablesAsTheyCome:
    def test_what_was_done_is_told_kept_and_done_again(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fit houses.csv --target price --model price.ntk --ridge 0.1") == 0
        told = capsys.readouterr().out
        for part in (
            "gaps filled with",
            "each of 3 texts",
            "as days since 1970",
            f"left out: {N} different texts",
            "120 x 10 features of 6 columns",
        ):
            assert part in told
        model = ntk.load_model("price.ntk")
        assert list(model.feature_names_in_) == FEATURES
        expected = model.predict(HOUSES)
        for write in (
            lambda frame: frame.to_csv("new.csv", index=False),
            lambda frame: frame[reversed(frame.columns)].to_csv("new.csv"),
            lambda frame: frame.assign(more=1).to_csv("new.csv", sep=";", decimal=",", encoding="utf-8-sig"),
        ):
            write(HOUSES)
            assert run("predict price.ntk new.csv --out p.npy --force") == 0
            assert np.array_equal(np.load("p.npy"), expected)
            assert "found by name" in capsys.readouterr().out

    def test_codes_stay_texts_where_all_look_like_numbers(self, folder: Path) -> None:
        run("fit houses.csv --target price --model price.ntk --ridge 0.1")
        numbers = HOUSES[HOUSES["code"] != "A"].reset_index(drop=True)
        numbers.to_csv("numbers.csv", index=False)
        assert run("predict price.ntk numbers.csv --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), ntk.load_model("price.ntk").predict(numbers))

    def test_codes_stay_texts_without_a_header_too(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        codes = HOUSES[["code", "size", "price"]].fillna(50)
        codes.to_csv("codes.csv", index=False, header=False)
        assert run("fit codes.csv --header no --target 3 --model m.ntk --ridge 0.1") == 0
        numbers = codes[codes["code"] != "A"]
        numbers.to_csv("numbers.csv", index=False, header=False)
        assert run("predict m.ntk numbers.csv --target -1 --out p.npy") == 0
        encoded = np.column_stack(
            [*((numbers["code"] == code).astype(float) for code in ("01", "02", "A")), numbers["size"]]
        )
        assert np.array_equal(np.load("p.npy"), ntk.load_model("m.ntk")[-1].predict(encoded))
        assert "pass" not in capsys.readouterr().err

    def test_the_library_fits_the_same(self, folder: Path) -> None:
        run("fit houses.csv --target price --model price.ntk --ridge 0.1")
        rows = ntk.TableEncoder().fit_transform(HOUSES[FEATURES])
        expected = ntk.NTKRegressor(ridge=0.1).fit(rows, HOUSES["price"]).predict(rows)
        assert np.array_equal(ntk.load_model("price.ntk").predict(HOUSES), expected)

    @pytest.mark.parametrize(
        ("options", "names"),
        [
            ("--columns garden,size", ["garden", "size"]),
            ("--columns 6,1", ["garden", "size"]),
            ("--drop name,built,city", ["size", "code", "garden"]),
            ("--columns size,city,garden --drop 2", ["size", "garden"]),
        ],
    )
    def test_columns_are_chosen(self, folder: Path, options: str, names: list[str]) -> None:
        assert run(f"fit houses.csv --target price --model price.ntk {options}") == 0
        assert list(ntk.load_model("price.ntk").feature_names_in_) == names
        assert run("predict price.ntk houses.csv --out p.csv") == 0

    def test_unknown_texts_and_new_gaps_are_told(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run("fit houses.csv --target price --model price.ntk")
        HOUSES.assign(city="Paris", garden=[None, *HOUSES["garden"][1:]]).to_csv("new.csv")
        assert run("predict price.ntk new.csv --out p.csv") == 0
        told = capsys.readouterr().err
        assert "ntk-fast: Column 'city' holds 'Paris', unknown from training" in told
        assert "ntk-fast: Column 'garden' has gaps in 1 rows, and had none in training" in told

    def test_rows_kept_out_have_an_error_of_their_own(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fit houses.csv --target price --model price.ntk --validation 0.25 --json") == 0
        told = json.loads(capsys.readouterr().out)
        model = ntk.load_model("price.ntk")
        chosen, kept_out = split(0.25, HOUSES["price"].to_numpy(), "regression")
        assert sorted([*chosen, *kept_out]) == list(range(N))
        assert (len(model[-1].X_fit_), len(kept_out)) == (90, 30)
        score = model.score(HOUSES.iloc[kept_out], HOUSES["price"][kept_out])
        assert told["validation_R2"] == pytest.approx(score, abs=1e-9)
        assert told["training_R2"] > told["validation_R2"]

    def test_classes_keep_their_shares_in_validation(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fit houses.csv --target city --model city.ntk --validation 0.2 --json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["classes"] == ["Bergen", "Bodø, north", "Oslo"]
        assert 0 <= told["validation_accuracy"] <= 1


class TestUnits:
    @pytest.mark.parametrize("model", ["", "--gaussian-process"])
    def test_do_not_matter_and_are_told(self, folder: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
        predictions = []
        for factor in 10.0 ** np.array([-4.0, 0.0, GENERATOR.uniform(-4, 4), 4.0]):
            HOUSES.assign(size=HOUSES["size"] * factor, price=HOUSES["price"] * factor + 7).to_csv("scaled.csv")
            options = "--columns size,garden --kernel ntk --depth 2 --bias-variance 0.1"
            assert run(f"fit scaled.csv --target price --model m.ntk --force {options} {model}") == 0
            assert "columns centred and divided by their" in capsys.readouterr().out
            assert run("predict m.ntk scaled.csv --out p.npy --force") == 0
            predictions.append((np.load("p.npy") - 7) / factor)
        spread = HOUSES["price"].std()
        for others in predictions[1:]:
            assert np.abs(others - predictions[0]).max() < (1e-2 if model else 1e-6) * spread

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ("--scale-columns no", "columns as they are"),
            ("--scale-columns range", "divided by their ranges"),
            ("--scale-columns deviation", "divided by their deviations"),
            ("--scale-columns no --gaussian-process", "columns as they are"),
            ("--scale-columns deviation --gaussian-process", "divided by their deviations"),
            ("--scale-columns range --gaussian-process", "divided by their ranges"),
        ],
    )
    def test_are_the_user_s_choice(
        self, folder: Path, capsys: pytest.CaptureFixture[str], options: str, told: str
    ) -> None:
        assert run(f"fit houses.csv --target price --model m.ntk --columns garden,city {options}") == 0
        assert told in capsys.readouterr().out


class TestOneSetOfNames:
    X = GENERATOR.standard_normal((40, 3))
    FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
    Y = X[:, 0] - 2 * X[:, 1]

    def test_a_model_of_python_finds_columns_by_name(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        model = ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(self.FRAME, self.Y)
        model.save("python.ntk")
        self.FRAME[["c", "b", "a"]].to_csv("new.csv")
        assert run("predict python.ntk new.csv --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), model.predict(self.FRAME))
        self.FRAME[["c", "b"]].to_csv("less.csv")
        assert run("predict python.ntk less.csv --out q.npy") == 2
        assert "less.csv must have one column 'a'" in capsys.readouterr().err
        self.FRAME.assign(d=self.X[:, 0]).set_axis(["c", "b", "a", "a"], axis=1).to_csv("twice.csv")
        assert run("predict python.ntk twice.csv --out q.npy") == 2
        assert "must have one column 'a', as the rows had that the model was fitted on; it has 2" in (
            capsys.readouterr().err
        )

    def test_a_model_of_the_command_line_knows_its_names_in_python(self, folder: Path) -> None:
        self.FRAME.assign(y=self.Y).to_csv("train.csv", index=False)
        assert run("fit train.csv --target y --model line.ntk --ridge 0.1") == 0
        model = ntk.load_model("line.ntk")
        assert list(model.feature_names_in_) == ["a", "b", "c"]
        expected = ntk.NTKRegressor(ridge=0.1).fit(self.X, self.Y).predict(self.X)
        for frame in (self.FRAME, self.FRAME[["c", "b", "a"]]):
            assert np.array_equal(model.predict(frame), expected)
        with pytest.raises(ValueError, match="X must have one column 'b', as in training; got 0"):
            model.predict(self.FRAME[["c", "a"]])

    def test_infinities_are_refused_by_their_line(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.FRAME.assign(y=self.Y).to_csv("train.csv", index=False)
        self.FRAME.assign(y=self.Y, b=self.FRAME["b"].where(self.FRAME.index != 7, -np.inf)).to_csv(
            "bad.csv", index=False
        )
        assert run("fit train.csv --target y --model m.ntk") == 0
        for command in ("fit bad.csv --target y --model n.ntk", "predict m.ntk bad.csv --out p.csv"):
            assert run(command) == 2
            assert "bad.csv: column 'b' is not finite: line 9 holds '-inf'." in capsys.readouterr().err

    @pytest.mark.parametrize("others", ["a,b", "a,b,city"])
    def test_gaps_in_new_rows_only_get_the_median_whatever_the_other_columns_are(
        self, folder: Path, capsys: pytest.CaptureFixture[str], others: str
    ) -> None:
        cities = np.where(self.FRAME["c"] > 0, "Rome", "Oslo")
        frame = self.FRAME.assign(y=self.Y, city=cities)
        frame[[*others.split(","), "y"]].to_csv("train.csv", index=False)
        assert run("fit train.csv --target y --model m.ntk") == 0
        gaps, filled = frame.drop(columns="y"), frame.drop(columns="y")
        gaps.loc[3, "a"] = np.nan
        filled.loc[3, "a"] = frame["a"].median()
        gaps.to_csv("gaps.csv", index=False)
        filled.to_csv("filled.csv", index=False)
        capsys.readouterr()
        for name in ("gaps", "filled"):
            assert run(f"predict m.ntk {name}.csv --out {name}.npy") == 0
            words = "Column 'a' has gaps in 1 rows, and had none in training: filled with the median of training."
            assert (words in capsys.readouterr().err) == (name == "gaps")
        assert np.array_equal(np.load("gaps.npy"), np.load("filled.npy"))

    def test_a_model_of_release_0_1_0_finds_its_names(self, folder: Path) -> None:
        ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(self.X, self.Y).save("new.ntk")
        header, arrays = read_model_file("new.ntk")
        header["fitted"] |= {"column_names_": {"list": ["a", "b", "c"]}, "target_name_": "y"}
        write_model_file("old.ntk", {key: value for key, value in header.items() if key != "format_version"}, arrays)
        assert list(ntk.load_model("old.ntk").feature_names_in_) == ["a", "b", "c"]
        self.FRAME[["c", "b", "a"]].to_csv("new.csv")
        assert run("predict old.ntk new.csv --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), ntk.load_model("new.ntk").predict(self.X))
        header["fitted"]["column_names_"] = None
        write_model_file("old.ntk", {key: value for key, value in header.items() if key != "format_version"}, arrays)
        assert not hasattr(ntk.load_model("old.ntk"), "feature_names_in_")

    def test_rows_without_names_are_taken_in_order_and_that_is_told(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ntk.NTKRegressor(ntk.NTK(2), ridge=0.1).fit(self.FRAME, self.Y).save("python.ntk")
        self.FRAME.to_csv("plain.csv", header=False, index=False)
        assert run("predict python.ntk plain.csv --out p.npy") == 0
        assert "taken in order: plain.csv does not name them" in capsys.readouterr().out

    def test_repeated_names_are_refused_at_fit(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("twice.csv").write_text("a,b,a,y\n1,2,3,4\n5,6,7,8\n")
        assert run("fit twice.csv --target y --model m.ntk") == 2
        assert "twice.csv has 2 columns 'a', and columns are found by name: rename all but one." in (
            capsys.readouterr().err
        )
        assert run("fit twice.csv --target y --model m.ntk --drop 1,3") == 0

    def test_headers_of_numbers_are_names(self, folder: Path) -> None:
        frame = pd.DataFrame(self.X)
        frame.assign(y=self.Y).to_csv("train.csv")
        assert run("fit train.csv --target y --model m.ntk --ridge 0.1") == 0
        frame[[2, 1, 0]].to_csv("new.csv")
        assert run("predict m.ntk new.csv --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), ntk.NTKRegressor(ridge=0.1).fit(self.X, self.Y).predict(self.X))


class TestMoreThanPredictions:
    def test_deviations(self, folder: Path) -> None:
        assert run("fit houses.csv --target price --model process.ntk --gaussian-process --bias-variance 0.1") == 0
        assert run("predict process.ntk houses.csv --out p.csv --std") == 0
        names, rows = read("p.csv")
        assert names == ["price", "price_std"]
        expected = ntk.load_model("process.ntk")
        mean, deviation = expected[-1].predict(expected[0].transform(HOUSES), return_std=True)
        assert np.array_equal(np.array(rows, dtype=float), np.column_stack([mean, deviation]))

    def test_probabilities_of_a_process(self, folder: Path) -> None:
        options = "--columns garden,size --gaussian-process --bias-variance 0.1"
        assert run(f"fit houses.csv --target city --model process.ntk {options}") == 0
        assert run("predict process.ntk houses.csv --out p.csv --proba") == 0
        names, rows = read("p.csv")
        assert names == ["city", "probability Bergen", "probability Bodø, north", "probability Oslo"]
        expected = ntk.load_model("process.ntk").predict_proba(HOUSES)
        assert np.array_equal(np.array([row[1:] for row in rows], dtype=float), expected)

    @pytest.mark.parametrize("target", ["city", "garden"])
    def test_scores(self, folder: Path, target: str) -> None:
        assert run(f"fit houses.csv --target {target} --model m.ntk") == 0
        assert run("predict m.ntk houses.csv --out p.csv --scores") == 0
        names, rows = read("p.csv")
        model = ntk.load_model("m.ntk")
        scores = model.decision_function(HOUSES).reshape(N, -1)
        classes = model.classes_.tolist()
        assert names == [target, *(f"score {label}" for label in classes[-scores.shape[1] :])]
        assert [row[0] for row in rows] == model.predict(HOUSES).tolist()
        assert np.array_equal(np.array([row[1:] for row in rows], dtype=float), scores)

    def test_probabilities_of_any_classifier_that_has_some(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run("fit houses.csv --target city --model m.ntk")
        monkeypatch.setattr(
            ntk.NTKClassifier, "predict_proba", lambda self, X: np.full((len(X), 3), 0.25), raising=False
        )
        assert run("predict m.ntk houses.csv --out p.csv --proba") == 0
        names, rows = read("p.csv")
        assert names == ["city", "probability Bergen", "probability Bodø, north", "probability Oslo"]
        assert rows[0][1:] == ["0.25"] * 3

    def test_json_is_one_object_with_numbers(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fit houses.csv --target price --model m.ntk --ridge loo --json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["ridge"] == ntk.load_model("m.ntk")[-1].ridge_
        assert told["columns"]["garden"] == "number"
        assert run("predict m.ntk houses.csv --out p.csv --json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["R2"] == pytest.approx(ntk.load_model("m.ntk").score(HOUSES, HOUSES["price"]), abs=1e-12)
        assert told["columns_found_by"] == "name"
        np.save("rows.npy", np.random.default_rng(0).standard_normal((30, 3)))
        capsys.readouterr()
        for out in ("K.npy", "K.zarr"):
            assert run(f"gram rows.npy --out {out} --depth 2 --json") == 0
            told = json.loads(capsys.readouterr().out)
            assert [told[name] for name in ("out", "rows", "columns", "dtype")] == [out, 30, 30, "float64"]
            assert told["kernel"] == "NTK(depth=2)" and told["seconds"] > 0 and told["share_computed"] == 1
        assert "largest" not in told  # a store is not read again
        assert run("gram rows.npy --out K.npy --depth 2 --json --force") == 0
        matrix, told = np.load("K.npy"), json.loads(capsys.readouterr().out)
        assert (told["least"], told["largest"]) == (matrix.min(), matrix.max())
        assert told["largest_on_diagonal"] == matrix.diagonal().max()
        assert run("info --json") == 0
        assert json.loads(capsys.readouterr().out)["threads"]

    def test_several_targets_have_a_column_each(self, folder: Path) -> None:
        y = np.column_stack([HOUSES["price"], -HOUSES["price"]])
        ntk.NTKGaussianProcessRegressor(ntk.NTK(1), fitted=()).fit(HOUSES[["garden"]], y).save("two.ntk")
        assert run("predict two.ntk houses.csv --out p.csv --std") == 0
        assert read("p.csv")[0] == ["prediction_1", "prediction_2", "prediction_1_std", "prediction_2_std"]


#: What is wrong, and what the sentence must hold.
BAD_INPUT = [
    ("fit houses.csv --target price --model m --columns nope", ["no column 'nope'", "7"]),
    ("fit houses.csv --target price --model m --columns price", ["--columns must not hold the target", "'price'"]),
    ("fit houses.csv --target price --model m --columns name", ["houses.csv: no column can be used", "'name'"]),
    ("fit houses.csv --target price --model m --validation 1", ["--validation", "between 0 and 1", "'1'"]),
    ("fit houses.csv --target price --model m --validation 0.001", ["--validation 0.001 of 120 rows"]),
    ("fit houses.csv --target price --model m --depth 99999999999999999999", ["--depth", "1 to 5000", "'99999"]),
    ("fit houses.csv --target price --model m --depth 1000000", ["--depth", "1 to 5000", "'1000000'"]),
    ("gram houses.csv --out K.npy --depth 1000000", ["--depth", "1 to 5000", "'1000000'"]),
    ("fit houses.csv --target price --model m --gaussian-process --ridge 1", ["--ridge", "--gaussian-process"]),
    ("fit houses.csv --target price --model m --rank -1 --solver cg", ["--rank must be a whole number >= 0", "-1"]),
    ("fit houses.csv --target price --model m --tolerance 2 --solver cg", ["--tolerance must lie", "2"]),
    ("fit typo.csv --target y --model m", ["typo.csv: column 'a'", "1 of 10 cells", "'1o'", "--drop"]),
    ("fit rows.npy --target 1 --model m --separator ,", ["--separator", "CSV", "rows.npy"]),
    ("fit houses.csv --target price --model m --separator . --decimal .", ["--separator", "'.'"]),
    ("fit - --target price --model m --json --key a", ["--key", "-"]),
    ("predict m.ntk houses.csv --out p.csv --std", ["--std: m.ntk holds NTKRegressor", "--gaussian-process"]),
    ("predict m.ntk houses.csv --out p.csv --scores", ["--scores: m.ntk", "numbers, not classes"]),
    ("predict m.ntk houses.csv --out p.csv --std --scores", ["--scores", "--std"]),
    ("predict m.ntk houses.csv --out p.npy --std", ["--std", ".csv", "p.npy"]),
    ("predict m.ntk hot.csv --out p.csv", ["hot.csv: column 'size' is not numeric", "line 4", "'hot'"]),
    ("predict m.ntk gap.csv --out p.csv", ["gap.csv: column 'size' is not numeric", "line 3 is empty there"]),
]


@pytest.mark.parametrize(("command", "parts"), BAD_INPUT, ids=[command for command, _ in BAD_INPUT])
def test_bad_input_ends_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, parts: list[str]
) -> None:
    np.save("rows.npy", np.ones((3, 2)))
    pd.DataFrame({"a": [*range(9), "1o"], "y": range(10)}).to_csv("typo.csv", index=False)
    model = ntk.NTKRegressor(ridge=0.1, scale_columns=None, leave_one_out=False)
    model.fit(HOUSES[["size", "garden"]].fillna(1), HOUSES["price"]).save("m.ntk")
    Path("hot.csv").write_text("size,garden\n1,1\n2,1\nhot,1\n")
    Path("gap.csv").write_text("size,garden\n1,1\n,1\n")
    before = {path.name for path in folder.iterdir()}
    assert run(command) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("ntk-fast")
    assert sentence.count("\n") == 1
    for part in parts:
        assert part in sentence
    assert {path.name for path in folder.iterdir()} == before


def test_without_scikit_learn(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ntk_fast.cli.prediction.has_sklearn", lambda: False)
    for command in ("fit houses.csv --target price --model m", "predict m houses.csv --out p.csv"):
        assert run(command) == 2
        assert "Models need scikit-learn 1.6 or later: pip install 'ntk_fast[sklearn]'." in capsys.readouterr().err
