"""The command line's models: ntk-fast fit and predict, and stores written by ntk-fast gram."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.cli import gram as gram_command
from ntk_fast.cli import main

pytest.importorskip("sklearn")
from ntk_fast.estimators.parameters import DEFAULT_KERNEL

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((60, 3))
Y = X[:, 0] + 0.5 * X[:, 1] ** 2
LABELS = np.where(X[:, 0] > 0.4, "warm", np.where(X[:, 0] > -0.4, "mild", "cold"))


def run(command: str) -> int:
    """Run a command as if typed; words are separated by blanks."""
    try:
        return main(command.split())
    except SystemExit as end:  # argparse's way out
        return int(end.code or 0)


def write_csv(path: str, names: list[str], columns: list[np.ndarray]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


def column(path: str) -> list[str]:
    return Path(path).read_text().split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the same rows and targets in several forms."""
    monkeypatch.chdir(tmp_path)
    write_csv("values.csv", ["a", "b", "c", "y"], [*X.T, Y])
    write_csv("labels.csv", ["a", "label", "b", "c"], [X[:, 0], LABELS, X[:, 1], X[:, 2]])
    np.save("values.npy", np.column_stack([X, Y]))
    np.save("rows.npy", X)
    np.save("targets.npy", Y)
    np.savez("two.npz", rows=X, values=np.column_stack([X, Y]))
    return tmp_path


@pytest.fixture
def model(folder: Path) -> Path:
    """The model of values.csv, in value.ntk."""
    assert run("fit values.csv --target y --model value.ntk --depth 2 --ridge 0.1") == 0
    return folder


class TestFit:
    @pytest.mark.parametrize(
        "training",
        [
            "values.csv --target y",
            "values.csv --target 4",
            "values.csv --target -1",
            "values.npy --target 4",
            "two.npz --key values --target -1",
            "rows.npy --target-file targets.npy",
        ],
    )
    def test_every_form_gives_the_library_s_model(self, folder: Path, training: str) -> None:
        assert run(f"fit {training} --model value.ntk --depth 2 --ridge 0.1") == 0
        kernel = DEFAULT_KERNEL.with_parameters(depth=2)
        expected = ntk.NTKRegressor(kernel, ridge=0.1, random_state=0).fit(X, Y)
        assert np.array_equal(ntk.load_model("value.ntk").predict(X), expected.predict(X))

    def test_text_is_classified(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fit labels.csv --target label --model label.ntk") == 0
        expected = ntk.NTKClassifier().fit(X, LABELS)
        assert np.array_equal(ntk.load_model("label.ntk").predict(X), expected.predict(X))
        shown = capsys.readouterr().out
        for part in ("classification", "classes", "training accuracy", "leave-one-out", "spectral", "60 x 3 features"):
            assert part in shown

    def test_how_accurate_a_command_is_is_said_once(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fit values.csv --target y --model m.ntk --activation tanh --weight-variance 1000 --ridge 0.1") == 0
        assert capsys.readouterr().err.count("Hermite expansion") == 1

    def test_numbers_are_regressed_unless_they_are_called_labels(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_csv("codes.csv", ["a", "b", "code"], [X[:, 0], X[:, 1], (X[:, 0] > 0).astype(int)])
        assert run("fit codes.csv --target code --model numbers.ntk") == 0
        assert isinstance(ntk.load_model("numbers.ntk")[-1], ntk.NTKRegressor)
        assert "The targets are 2 different whole numbers" in (said := capsys.readouterr().err)
        assert "if they are labels, pass --task classification." in said
        assert run("fit codes.csv --target code --model codes.ntk --task classification") == 0
        assert run("predict codes.ntk codes.csv --out codes.txt.csv") == 0
        assert set(column("codes.txt.csv")) == {"code", "0", "1"}

    @pytest.mark.parametrize(
        ("options", "parts"),
        [
            ("--solver cg", ["cg", "iterations"]),
            ("--solver nystroem --centres 10", ["nystroem", "iterations", "10 centres"]),
            ("--ridge loo", ["leave-one-out", "spectral"]),
        ],
    )
    def test_report_of_solvers(
        self, folder: Path, capsys: pytest.CaptureFixture[str], options: str, parts: list[str]
    ) -> None:
        command = f"fit values.csv --target y --model value.ntk --kernel ntk --bias-variance 0.1 {options}"
        assert run(command) == 0
        shown = capsys.readouterr().out
        for part in ("regression", "NTK(depth=1, bias_variance=0.1)", "training R2", "training RMSE", *parts):
            assert part in shown

    @pytest.mark.parametrize("training", ["values.csv --target y --ridge loo", "labels.csv --target label"])
    def test_plot(self, folder: Path, training: str) -> None:
        pytest.importorskip("matplotlib")
        assert run(f"fit {training} --model model.ntk --plot model.png") == 0
        assert Path("model.png").read_bytes().startswith(b"\x89PNG")

    def test_an_existing_model_is_kept_without_force(self, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = Path("value.ntk").read_bytes()
        assert run("fit values.csv --target y --model value.ntk") == 2
        assert "--force" in capsys.readouterr().err
        assert Path("value.ntk").read_bytes() == before
        assert run("fit values.csv --target y --model value.ntk --force") == 0
        assert Path("value.ntk").read_bytes() != before


class TestPredict:
    def test_predictions_keep_every_bit(self, model: Path) -> None:
        expected = ntk.load_model("value.ntk").predict(X)
        assert run("predict value.ntk rows.npy --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), expected)
        assert run("predict value.ntk rows.npy --out p.csv") == 0
        name, *values = column("p.csv")
        assert name == "y"
        assert np.array_equal(np.array(values, dtype=float), expected)

    def test_columns_are_found_by_name(self, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_csv("other.csv", ["c", "note", "y", "a", "b"], [X[:, 2], LABELS, Y, X[:, 0], X[:, 1]])
        assert run("predict value.ntk other.csv --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), ntk.load_model("value.ntk").predict(X))
        assert "RMSE" in capsys.readouterr().out

    @pytest.mark.parametrize("rows", ["values.npy --target 4", "rows.npy --target-file targets.npy", "values.csv"])
    def test_errors_where_the_truth_is_known(self, model: Path, capsys: pytest.CaptureFixture[str], rows: str) -> None:
        capsys.readouterr()
        assert run(f"predict value.ntk {rows} --out p.npy") == 0
        score = ntk.load_model("value.ntk").score(X, Y)
        assert f"{score:.6f}" in capsys.readouterr().out

    def test_classes(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run("fit labels.csv --target label --model label.ntk")
        capsys.readouterr()
        assert run("predict label.ntk labels.csv --out p.csv") == 0
        expected = ntk.load_model("label.ntk").predict(X)
        assert column("p.csv") == ["label", *expected]
        assert f"{int((expected == LABELS).sum())} of 60" in capsys.readouterr().out
        assert run("predict label.ntk rows.npy --out p.npy") == 0
        assert np.array_equal(np.load("p.npy", allow_pickle=False), expected)

    def test_plot(self, model: Path) -> None:
        pytest.importorskip("matplotlib")
        assert run("predict value.ntk values.csv --out p.csv --plot p.png") == 0
        assert Path("p.png").read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        "estimator",
        [
            ntk.GradientFlowRegressor(ntk.NTK(1)),
            ntk.NTKGaussianProcessRegressor(ntk.NTK(1)),
            ntk.NTKRegressor(ntk.NTK(1)),
        ],
        ids=lambda estimator: type(estimator).__name__,
    )
    def test_models_of_the_library(self, folder: Path, estimator: ntk.NTKRegressor) -> None:
        estimator.fit(X, Y).save("library.ntk")
        assert run("predict library.ntk rows.npy --target-file targets.npy --out p.npy") == 0
        assert np.array_equal(np.load("p.npy"), ntk.load_model("library.ntk").predict(X))

    def test_several_targets_become_columns(self, folder: Path) -> None:
        ntk.NTKRegressor(ntk.NTK(1)).fit(X, np.column_stack([Y, -Y])).save("two.ntk")
        assert run("predict two.ntk rows.npy --out p.csv") == 0
        assert column("p.csv")[0] == "prediction_1,prediction_2"


def _damaged_model() -> None:
    content = bytearray(Path("value.ntk").read_bytes())
    content[len(content) // 2] ^= 1
    Path("damaged.ntk").write_bytes(content)


#: What is wrong, what prepares it, and what the sentence must hold.
BAD_INPUT: list[tuple[str, Callable[[], object] | None, list[str]]] = [
    ("fit missing.csv --target y --model m", None, ["missing.csv", "No such file"]),
    ("fit values.csv --model m", None, ["--target"]),
    ("fit values.csv --target y --target-file targets.npy --model m", None, ["--target-file", "--target"]),
    ("fit values.csv --target price --model m", None, ["'price'", "a, b, c, y"]),
    ("fit values.csv --target 0 --model m", None, ["'0'"]),
    ("fit values.csv --target 5 --model m", None, ["'5'", "4"]),
    ("fit values.npy --target y --model m", None, ["values.npy", "'y'"]),
    ("fit values.csv --target y --model m --key rows", None, ["--key", ".npz"]),
    ("fit two.npz --target 1 --model m", None, ["--key"]),
    ("fit rows.txt --target 1 --model m", None, [".npy, .npz or .csv"]),
    ("fit labels.csv --target label --model m --task regression", None, ["--task", "numbers"]),
    ("fit values.csv --target y --model m --task classification", None, ["continuous"]),
    ("fit hole.csv --target y --model m", lambda: Path("hole.csv").write_text("a,y\n1,2\n3,\n"), ["'y'", "line 3"]),
    ("fit nan.csv --target y --model m", lambda: Path("nan.csv").write_text("a,y\n1,2\n3,nan\n"), ["'y'", "'nan'"]),
    ("fit one.csv --target y --model m", lambda: Path("one.csv").write_text("y\n1\n2\n"), ["one.csv", "features"]),
    ("fit no.csv --target y --model m", lambda: Path("no.csv").write_text("a,y\n"), ["no.csv", "row"]),
    ("fit same.csv --target y --model m", lambda: Path("same.csv").write_text("a,y\n1,q\n2,q\n"), ["one class"]),
    ("fit two.csv --target a --model m", lambda: Path("two.csv").write_text("a,a,b\n1,2,3\n"), ["2 columns 'a'"]),
    ("fit rows.npy --target-file short.npy --model m", lambda: np.save("short.npy", Y[:9]), ["short.npy", "(9,)"]),
    ("fit rows.npy --target-file n.npy --model m", lambda: np.save("n.npy", Y * np.nan), ["n.npy", "finite"]),
    ("fit rows.npy --target-file values.csv --model m", None, ["--target-file", ".npy"]),
    ("fit values.csv --target y --model m --ridge -1", None, ["ridge", "-1"]),
    ("fit values.csv --target y --model m --ridge best", None, ["--ridge", "loo"]),
    ("fit values.csv --target y --model m --solver lu", None, ["--solver", "lu"]),
    ("fit values.csv --target y --model m --centres 5", None, ["--centres", "nystroem"]),
    ("fit values.csv --target y --model m --solver nystroem --centres 99", None, ["99", "60"]),
    ("fit values.csv --target y --model values.csv --force", None, ["--model", "rows"]),
    ("fit values.csv --target y --model m --plot m.jpg", None, ["--plot", ".png"]),
    ("fit values.csv --target y --model m.png --plot m.png", None, ["--plot", "--model"]),
    ("fit values.csv --target y --model nowhere/m", None, ["nowhere"]),
    ("predict missing.ntk rows.npy --out p.csv", None, ["missing.ntk"]),
    ("predict values.csv rows.npy --out p.csv", None, ["values.csv", "model"]),
    ("predict damaged.ntk rows.npy --out p.csv", _damaged_model, ["damaged.ntk"]),
    ("predict value.ntk values.npy --out p.csv", None, ["4 columns", "3", "--target"]),
    ("predict value.ntk rows.npy --target 1 --out p.csv", None, ["2 columns", "3"]),
    ("predict value.ntk labels.csv --target label --out p.csv", None, ["labels.csv", "numbers"]),
    ("predict value.ntk no.csv --out p.csv", lambda: Path("no.csv").write_text("a,b\n1,2\n"), ["'c'", "no.csv"]),
    ("predict value.ntk rows.npy --out p.txt", None, ["--out", ".csv or .npy"]),
    ("predict value.ntk rows.npy --out rows.npy --force", None, ["--out", "rows"]),
    ("predict value.ntk rows.npy --out p.csv --plot p.png", None, ["--plot", "--target"]),
    ("predict value.ntk rows.npy --out values.csv", None, ["values.csv", "--force"]),
    ("gram rows.npy --out store.zarr", lambda: os.mkdir("store.zarr"), ["store.zarr", "folder"]),
    ("gram rows.npy --out store.zarr --force", lambda: os.mkdir("store.zarr"), ["store.zarr", "folder"]),
    ("gram rows.npy --out values.npy --resume", None, ["values.npy", "--force"]),
]


@pytest.mark.parametrize(("command", "prepare", "parts"), BAD_INPUT, ids=[row[0] for row in BAD_INPUT])
def test_bad_input_ends_in_one_sentence(
    model: Path, capsys: pytest.CaptureFixture[str], command: str, prepare: Callable | None, parts: list[str]
) -> None:
    if prepare is not None:
        prepare()
    capsys.readouterr()
    before = {path.name: path.stat().st_mtime_ns for path in model.iterdir()}
    assert run(command) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("ntk-fast")
    assert sentence.count("\n") == 1
    for part in parts:
        assert part in sentence
    assert {path.name: path.stat().st_mtime_ns for path in model.iterdir()} == before


class TestGramStores:
    @pytest.mark.parametrize("out", ["K.zarr", "K.zarr --resume", "K.npy --resume"])
    @pytest.mark.parametrize("other", ["", "--other two.npz --key rows"])
    def test_the_store_holds_the_library_s_matrix(self, folder: Path, out: str, other: str) -> None:
        pytest.importorskip("zarr")
        before = set(os.listdir())
        assert run(f"gram rows.npy --out {out} --depth 3 {other}") == 0
        expected = ntk.NTK(3)(X, X.copy()) if other else ntk.NTK(3)(X)
        assert np.array_equal(ntk.read_gram(out.split()[0]), expected)
        name, *resume = out.split()
        assert set(os.listdir()) == before | {name} | ({f"{name}.journal"} if resume else set())
        if resume:  # what is finished is recognised
            assert run(f"gram rows.npy --out {out} --depth 3 {other}") == 0
            assert run(f"gram rows.npy --out {out} --depth 2 {other}") == 2

    def test_an_existing_store_is_kept_without_force(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("zarr")
        assert run("gram rows.npy --out K.zarr") == 0
        assert run("gram rows.npy --out K.zarr --depth 2") == 2
        assert "--force" in capsys.readouterr().err
        assert np.array_equal(ntk.read_gram("K.zarr"), ntk.NTK()(X))
        before = set(os.listdir())
        assert run("gram rows.npy --out K.zarr --depth 2 --force") == 0
        assert np.array_equal(ntk.read_gram("K.zarr"), ntk.NTK(2)(X))
        assert set(os.listdir()) == before

    @pytest.mark.parametrize("name", ["K.npy", "K.zarr"])
    def test_resume_keeps_unfinished_work_and_ends_with_the_same_bits(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        if name == "K.zarr":
            pytest.importorskip("zarr")
        rows = np.random.default_rng(1).standard_normal((2100, 4))
        np.save("many.npy", rows)

        class Interrupting:
            """Stands for the progress bar, and for somebody who presses Ctrl-C when the first blocks are done."""

            def __enter__(self) -> Callable[[int, int], None]:
                return self.show

            def __exit__(self, *_: object) -> None:
                pass

            def show(self, done: int, total: int) -> None:
                if done > 0:
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(gram_command, "shown_progress", lambda description, unit: Interrupting())
            assert run(f"gram many.npy --out {name} --resume") == 130
        assert not Path(name).exists()
        assert Path(f"{name}.partial").exists()
        assert run(f"gram many.npy --out {name} --resume --depth 2") == 2
        assert "--force" in capsys.readouterr().err
        assert run(f"gram many.npy --out {name} --resume") == 0
        assert not Path(f"{name}.partial").exists()
        assert np.array_equal(ntk.read_gram(name), ntk.NTK()(rows))

    def test_without_resume_an_interrupted_store_vanishes(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("zarr")

        write_gram = ntk.write_gram
        seen: list[set[str]] = []

        def interrupted(*arguments: Any, **options: Any) -> None:
            def interrupt(done: int, total: int) -> None:
                seen.append(set(os.listdir()))
                raise KeyboardInterrupt

            write_gram(*arguments, **{**options, "progress": interrupt})

        monkeypatch.setattr(ntk, "write_gram", interrupted)
        before = set(os.listdir())
        assert run("gram rows.npy --out K.zarr") == 130
        assert "K.zarr.partial" in seen[0]
        assert set(os.listdir()) == before


class TestColumnsThatAreNotWhatTheySeem:
    def test_one_word_among_numbers_is_no_classification(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_csv("rate.csv", ["a", "stars"], [X[:, 0], np.array(["NA", *map(str, range(59))])])
        assert run("fit rate.csv --target stars --model m.ntk") == 2
        assert "The targets are numbers but for 'NA'" in capsys.readouterr().err
        assert run("fit rate.csv --target stars --model m.ntk --task classification") == 0

    @pytest.mark.parametrize("cells", [[""] * 60, ["?"] * 60, ["1.5"] * 59 + [""]])
    def test_an_unusable_column_of_targets_does_not_stop_predictions(
        self, model: Path, capsys: pytest.CaptureFixture[str], cells: list[str]
    ) -> None:
        write_csv("new.csv", ["a", "b", "c", "y"], [*X.T, np.array(cells)])
        assert run("predict value.ntk new.csv --out p.csv") == 0
        assert "error unknown" in capsys.readouterr().out
        assert len(column("p.csv")) == 61
        assert run("predict value.ntk new.csv --out q.csv --target y") == 2
