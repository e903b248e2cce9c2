"""ntk-fast predict: a model's predictions for rows in a file, into a file."""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast
from ntk_fast.cli.labelled_rows import LabelledRows, add_target_arguments, read_labelled_rows
from ntk_fast.cli.new_files import check_new, new_file
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.prediction import check_picture, draw_model, error_lines, is_classifier, predict_in_blocks
from ntk_fast.cli.table import aligned
from ntk_fast.threads import choose_n_threads


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
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw predictions beside true targets")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all processors")


def run(arguments: argparse.Namespace) -> None:
    _check_outputs(arguments)
    n_threads = choose_n_threads(arguments.threads)
    model = ntk_fast.load_model(arguments.model)
    if "n_threads" in model.get_params():
        model.set_params(n_threads=n_threads)
    target_name = getattr(model, "target_name_", None)
    data = read_labelled_rows(
        arguments.rows,
        arguments.target,
        arguments.target_file,
        arguments.key,
        features=getattr(model, "column_names_", None),
        usual_target=target_name,
    )
    target, unused = _check_against(model, data, arguments)
    start = time.perf_counter()
    predicted = predict_in_blocks(model, data.rows, f"Predicting {len(data.rows)} rows")
    seconds = time.perf_counter() - start
    _write(arguments.out, arguments.force, predicted, target_name or "prediction")
    lines = [
        ("written", f"{arguments.out}: {len(predicted)} predictions"),
        ("model", f"{type(model).__name__}, {getattr(model, 'kernel_', model.kernel)!r}"),
    ]
    if target is not None:
        lines += error_lines(model, target, predicted)
    elif unused is not None:
        lines.append(("no errors", unused))
    if arguments.plot is not None:
        assert target is not None
        draw_model(arguments.plot, arguments.force, model, target, predicted, "rows")
    print(aligned([*lines, ("time", f"{seconds:.3g} s, {n_threads} threads")]))


def _check_outputs(arguments: argparse.Namespace) -> None:
    if arguments.out.suffix.lower() not in (".csv", ".npy"):
        raise ValueError(f"--out must name a .csv or .npy file; got {arguments.out}.")
    inputs = [path.resolve() for path in (arguments.model, arguments.rows, arguments.target_file) if path is not None]
    if arguments.out.resolve() in inputs:
        raise ValueError(f"--out must not be the file of the model, rows or targets, {arguments.out}.")
    if arguments.plot is not None and arguments.plot.resolve() in inputs:
        raise ValueError(f"--plot must not be the file of the model, rows or targets, {arguments.plot}.")
    check_new(arguments.out, arguments.force)
    check_picture(arguments.plot, arguments.force)


def _check_against(
    model: Any, data: LabelledRows, arguments: argparse.Namespace
) -> tuple[NDArray[Any] | None, str | None]:
    """Return the true targets as the model has them, or why there are none; refuse what does not suit the model.

    Targets that nobody asked for, in the column that was the target in training, are not used if they do not suit it.
    """
    expected, found = model.n_features_in_, data.rows.shape[1]
    if found != expected:
        hint = ""
        if data.target is None and found == expected + 1:
            hint = "; if one of them is the target, name it with --target"
        raise ValueError(f"{arguments.rows} has {found} columns, and the model was fitted on {expected}{hint}.")
    target, unused = data.target, data.unused
    wants_text = is_classifier(model) and np.asarray(model.classes_).dtype.kind in "UO"
    kinds = "text" if wants_text else "numbers"
    is_asked_for = arguments.target is not None or arguments.target_file is not None
    if target is not None and not is_asked_for and (target.dtype.kind == "U") != wants_text:
        target, unused = None, f"column {data.target_name!r} does not hold {kinds}, as in training"
    if target is None:
        if arguments.plot is not None:
            reason = f" ({unused})" if unused else ""
            raise ValueError(f"--plot draws predictions beside true targets: pass --target or --target-file{reason}.")
        return None, unused
    if not getattr(model, "single_target_", True):
        raise ValueError(
            f"{arguments.model} predicts several targets, and errors are reported for one: leave --target."
        )
    if (target.dtype.kind == "U") != wants_text:
        raise ValueError(f"The targets of {arguments.target_file or arguments.rows} must be {kinds}, as in training.")
    return target, None


def _write(path: Path, force: bool, predicted: NDArray[Any], name: str) -> None:
    """Write a column, or several, with every bit: numbers in their shortest form that reads back the same."""
    if predicted.dtype == object:
        predicted = predicted.astype(str)
    with new_file(path, force) as temporary:
        if path.suffix.lower() == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, predicted, allow_pickle=False)
            return
        columns = predicted.reshape(len(predicted), -1)
        names = [name] if columns.shape[1] == 1 else [f"{name}_{i + 1}" for i in range(columns.shape[1])]
        with open(temporary, "w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(columns.tolist())
