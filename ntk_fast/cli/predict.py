"""ntk-fast predict: a model's predictions for rows in a file, into a file."""

from __future__ import annotations

import argparse
import csv
import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast
from ntk_fast.cli.csv_layout import csv_options
from ntk_fast.cli.labelled_rows import Choice, LabelledRows, add_target_arguments, read_labelled_rows
from ntk_fast.cli.model_errors import errors, is_classifier
from ntk_fast.cli.new_files import check_new, new_file
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.prediction import check_picture, check_scikit_learn, draw_model, predict_in_blocks
from ntk_fast.cli.scheduler import add_scheduler_argument, connected
from ntk_fast.cli.summary import Summary, add_json_argument
from ntk_fast.schedule.threads import choose_n_threads


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "predict",
        run,
        "Predict with a saved model for rows in a file (.csv, .npy, .npz); with true targets there, report the error.",
        "ntk-fast predict price.ntk new.csv --out predictions.csv",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file, of ntk-fast fit or of save()")
    parser.add_argument(
        "rows", type=Path, metavar="ROWS", help="rows by features; columns are found by name if both files have names"
    )
    add_target_arguments(parser, required=False)
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the .csv or .npy file to write")
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--std", action="store_true", help="also write the standard deviation of each prediction")
    more.add_argument("--scores", action="store_true", help="also write the score of each class; the largest wins")
    more.add_argument("--proba", action="store_true", help="also write the probability of each class")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw predictions beside true targets")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_json_argument(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    add_scheduler_argument(parser, "have a Dask cluster share the work")


@dataclass(frozen=True, eq=False)
class _Model:
    """A model file: the estimator, and before it how a table becomes rows if it needs that."""

    encoder: Any
    estimator: Any

    @classmethod
    def of(cls, path: Path, n_threads: int) -> _Model:
        from sklearn.pipeline import Pipeline

        model = ntk_fast.load_model(path)
        steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
        estimator = steps.pop()
        if not hasattr(estimator, "predict") or len(steps) > 1:
            raise ValueError(f"{path} holds a {type(model).__name__} that does not predict.")
        if "n_threads" in estimator.get_params():
            estimator.set_params(n_threads=n_threads)
        return cls(steps[0] if steps else None, estimator)

    @property
    def columns(self) -> Any:
        """What knows the columns: their number, and perhaps their names."""
        return self.estimator if self.encoder is None else self.encoder

    @property
    def names(self) -> list[str] | None:
        names = getattr(self.columns, "feature_names_in_", None)
        return None if names is None else list(names)

    @property
    def is_text(self) -> list[bool]:
        """Of the columns, whose cells are texts, whatever they look like."""
        return [] if self.encoder is None else [encoding.is_text for encoding in self.encoder.encodings_]

    def rows(self, data: LabelledRows) -> NDArray[np.floating[Any]]:
        if self.encoder is None:
            return data.numbers()
        try:
            return self.encoder.transform(data.features)
        except (TypeError, ValueError) as error:
            sentence = str(error)
            path = "" if data.source is None else f"{data.source.path}: "
            raise type(error)(f"{path}{sentence[0].lower()}{sentence[1:]}") from None


def run(arguments: argparse.Namespace) -> None:
    _check_outputs(arguments)
    layout = csv_options(arguments)
    n_threads = choose_n_threads(arguments.threads)
    check_scikit_learn()
    model = _Model.of(arguments.model, n_threads)
    estimator = model.estimator
    _prediction(arguments, estimator)  # what it lacks is said first
    target_name = getattr(estimator, "target_name_", None)
    choice = Choice(named=model.names, is_text=model.is_text)
    data = read_labelled_rows(
        arguments.rows, layout, arguments.target, arguments.target_file, arguments.key, choice, target_name
    )
    target, unused = _check_against(model, data, arguments)
    rows = model.rows(data)
    start = time.perf_counter()
    with connected(arguments) as client:
        predict = _prediction(arguments, estimator, {} if client is None else {"client": client})
        predicted, *more = predict_in_blocks(predict, rows, f"Predicting {len(rows)} rows", client)
    seconds = time.perf_counter() - start
    _write(arguments, predicted, more, target_name or "prediction", estimator)
    summary = Summary()
    n = len(predicted)
    summary.add("written", f"{arguments.out}: {n} predictions", out=str(arguments.out), predictions=n)
    kernel = repr(getattr(estimator, "kernel_", estimator.kernel))
    summary.add("model", f"{type(estimator).__name__}, {kernel}", estimator=type(estimator).__name__, kernel=kernel)
    if data.notes:
        summary.add("table", ", ".join(data.notes), table=data.notes)
    if model.names is not None or data.names is not None:
        by_name = model.names is not None and data.names is not None
        nameless = arguments.rows if data.names is None else arguments.model
        words = "found by name" if by_name else f"taken in order: {nameless} does not name them"
        if data.others:
            words += f"; passed over: {', '.join(data.others)}"
        summary.add("columns", words, columns_found_by="name" if by_name else "position")
    if target is not None:
        for kind, words, value in errors(estimator, target, predicted):
            summary.add(kind, words, **{kind: value})
    elif unused is not None:
        summary.add("error unknown", unused)
    if arguments.plot is not None:
        assert target is not None
        draw_model(arguments.plot, arguments.force, estimator, target, predicted, "rows")
    summary.add("time", f"{seconds:.3g} s, {n_threads} threads", seconds=seconds, threads=n_threads)
    print(summary.text(arguments.json))


def _check_outputs(arguments: argparse.Namespace) -> None:
    if arguments.out.suffix.lower() not in (".csv", ".npy"):
        raise ValueError(f"--out must name a .csv or .npy file; got {arguments.out}.")
    inputs = [path.resolve() for path in (arguments.model, arguments.rows, arguments.target_file) if path is not None]
    if arguments.out.resolve() in inputs:
        raise ValueError(f"--out must not be the file of the model, rows or targets, {arguments.out}.")
    if arguments.plot is not None and arguments.plot.resolve() in inputs:
        raise ValueError(f"--plot must not be the file of the model, rows or targets, {arguments.plot}.")
    for option in ("std", "scores", "proba"):
        if getattr(arguments, option) and arguments.out.suffix.lower() != ".csv":
            raise ValueError(f"--{option} writes several columns: --out must name a .csv file; got {arguments.out}.")
    check_new(arguments.out, arguments.force)
    check_picture(arguments.plot, arguments.force)


def _prediction(arguments: argparse.Namespace, estimator: Any, shared: dict[str, Any] | None = None) -> Any:
    """Return a function of rows that returns a tuple: predictions, and what else is to be written."""
    name, shared = f"{arguments.model} holds {type(estimator).__name__}, which", shared or {}
    if arguments.scheduler is not None and "client" not in inspect.signature(estimator.predict).parameters:
        raise ValueError(f"--scheduler: {name} predicts on one machine only.")
    if arguments.std:
        if "return_std" not in inspect.signature(estimator.predict).parameters:
            raise ValueError(f"--std: {name} has no deviations; fit one with --gaussian-process.")
        return lambda rows: estimator.predict(rows, return_std=True)
    if (arguments.scores or arguments.proba) and not is_classifier(estimator):
        raise ValueError(f"--{'scores' if arguments.scores else 'proba'}: {name} predicts numbers, not classes.")
    if arguments.proba:
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(f"--proba: {name} has no probabilities; --scores writes what its classes are chosen by.")
        return lambda rows: (estimator.predict(rows, **shared), estimator.predict_proba(rows, **shared))
    if arguments.scores:
        if not hasattr(estimator, "decision_function"):
            raise ValueError(f"--scores: {name} has no scores; pass --proba.")
        return lambda rows: (estimator.predict(rows, **shared), estimator.decision_function(rows, **shared))
    return lambda rows: (estimator.predict(rows, **shared),)


def _check_against(
    model: _Model, data: LabelledRows, arguments: argparse.Namespace
) -> tuple[NDArray[Any] | None, str | None]:
    """Return the true targets as the model has them, or why there are none; refuse what does not suit the model.

    Targets that nobody asked for, in the column that was the target in training, are not used if they do not suit it.
    """
    expected, found = model.columns.n_features_in_, data.features.shape[1]
    if found != expected:
        hint = ""
        if data.target is None and found == expected + 1:
            hint = "; if one of them is the target, name it with --target"
        raise ValueError(f"{arguments.rows} has {found} columns, and the model was fitted on {expected}{hint}.")
    estimator = model.estimator
    target, unused = data.target, data.unused
    wants_text = is_classifier(estimator) and np.asarray(estimator.classes_).dtype.kind in "UO"
    kinds = "text" if wants_text else "numbers"
    is_asked_for = arguments.target is not None or arguments.target_file is not None
    if target is not None and not is_asked_for and (target.dtype.kind == "U") != wants_text:
        target, unused = None, f"column {data.target_name!r} does not hold {kinds}, as in training"
    if target is None:
        if arguments.plot is not None:
            reason = f" ({unused})" if unused else ""
            raise ValueError(f"--plot draws predictions beside true targets: pass --target or --target-file{reason}.")
        return None, unused
    if not getattr(estimator, "single_target_", True):
        raise ValueError(
            f"{arguments.model} predicts several targets, and errors are reported for one: leave --target."
        )
    if (target.dtype.kind == "U") != wants_text:
        raise ValueError(f"The targets of {arguments.target_file or arguments.rows} must be {kinds}, as in training.")
    return target, None


def _write(
    arguments: argparse.Namespace, predicted: NDArray[Any], more: list[NDArray[Any]], name: str, estimator: Any
) -> None:
    """Write columns with every bit: numbers in their shortest form that reads back the same."""
    if predicted.dtype == object:
        predicted = predicted.astype(str)
    with new_file(arguments.out, arguments.force) as temporary:
        if arguments.out.suffix.lower() == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, predicted, allow_pickle=False)
            return
        blocks = [part.reshape(len(predicted), -1).tolist() for part in (predicted, *more)]
        names = _numbered(name, len(blocks[0][0]))
        for block in blocks[1:]:
            names += _names_of_more(arguments, name, len(block[0]), estimator)
        with open(temporary, "w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([cell for part in row for cell in part] for row in zip(*blocks, strict=True))


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{i + 1}" for i in range(count)]


def _names_of_more(arguments: argparse.Namespace, name: str, count: int, estimator: Any) -> list[str]:
    if arguments.std:
        return [f"{part}_std" for part in _numbered(name, count)]
    kind = "score" if arguments.scores else "probability"
    classes = estimator.classes_.tolist()
    # of two classes there is one score, the second one's
    return [f"{kind} {label}" for label in (classes if count == len(classes) else classes[-count:])]
