"""ntk-fast fit: a model of rows and their targets, into a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast
from ntk_fast.cli.csv_file import is_number
from ntk_fast.cli.kernel_arguments import add_kernel_arguments, kernel_from
from ntk_fast.cli.labelled_rows import LabelledRows, add_target_arguments, read_labelled_rows
from ntk_fast.cli.new_files import check_new
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.prediction import check_picture, draw_model, error_lines, predict_in_blocks
from ntk_fast.cli.progress import shown_stages
from ntk_fast.cli.table import aligned
from ntk_fast.threads import choose_n_threads

SOLVERS = ("auto", "cholesky", "cg", "nystroem")


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "fit",
        run,
        "Fit kernel ridge regression or classification to rows with targets (.csv, .npy, .npz) and save the model.",
        "ntk-fast fit train.csv --target price --model price.ntk --depth 3 --bias-variance 0.1 --ridge loo",
    )
    parser.add_argument("rows", type=Path, metavar="TRAIN", help="rows by features, a column of targets among them")
    add_target_arguments(parser, required=True)
    parser.add_argument("--model", type=Path, metavar="FILE", required=True, help="the model file to write")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the model on its training rows")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_kernel_arguments(parser)
    group = parser.add_argument_group("model")
    group.add_argument(
        "--task",
        choices=["regression", "classification"],
        help="default: classification if a target is text, regression if all are numbers, whole numbers too",
    )
    group.add_argument(
        "--ridge", type=_ridge, default=1.0, metavar="R", help="a number >= 0, or loo: by leave-one-out; default 1"
    )
    group.add_argument("--solver", choices=SOLVERS, default="auto", help="default: auto, by the number of rows")
    group.add_argument("--centres", type=int, metavar="N", help="of solver nystroem; default: 5 sqrt(rows)")
    group.add_argument("--threads", type=int, metavar="N", help="default: all processors")


def run(arguments: argparse.Namespace) -> None:
    check_new(arguments.model, arguments.force)
    check_picture(arguments.plot, arguments.force)
    for option, path in (("--model", arguments.model), ("--plot", arguments.plot)):
        if path is not None and path.resolve() in _inputs(arguments):
            raise ValueError(f"{option} must not be a file of the rows or targets, {path}.")
    if arguments.plot is not None and arguments.plot.resolve() == arguments.model.resolve():
        raise ValueError(f"--model and --plot must be different files; got {arguments.plot} for both.")
    if arguments.centres is not None and arguments.solver != "nystroem":
        raise ValueError("--centres applies to --solver nystroem only.")
    kernel = kernel_from(arguments)
    n_threads = choose_n_threads(arguments.threads)
    data = read_labelled_rows(arguments.rows, arguments.target, arguments.target_file, arguments.key)
    task, target = _task_and_target(arguments.task, data)
    estimator = ntk_fast.NTKClassifier if task == "classification" else ntk_fast.NTKRegressor
    # the threads are those of this run, not the model's
    model = estimator(
        kernel, arguments.ridge, arguments.solver, n_centres=arguments.centres, random_state=0, n_threads=n_threads
    )
    start = time.perf_counter()
    with shown_stages(f"Fitting {len(target)} rows") as report:
        model.fit(data.rows, target, report=report)
    seconds = time.perf_counter() - start
    predicted = predict_in_blocks(model, data.rows, "Errors on the training rows")
    model.set_params(n_threads=None)
    # what `predict` finds columns by; part of the model file as every attribute with an underscore at its end
    model.column_names_, model.target_name_ = data.names, data.target_name
    check_new(arguments.model, arguments.force)  # it may have appeared meanwhile
    model.save(arguments.model)
    if arguments.plot is not None:
        draw_model(arguments.plot, arguments.force, model, target, predicted, "training rows")
    print(aligned(_report(arguments, task, data, model, seconds, n_threads, target, predicted)))


def _inputs(arguments: argparse.Namespace) -> list[Path]:
    return [path.resolve() for path in (arguments.rows, arguments.target_file) if path is not None]


def _ridge(text: str) -> float | str:
    if text == "loo":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number >= 0 or loo; got {text!r}") from None


def _task_and_target(task: str | None, data: LabelledRows) -> tuple[str, NDArray[Any]]:
    """Return what to fit, and the targets as it wants them: labels that are whole numbers stay such."""
    assert data.target is not None
    is_text = data.target.dtype.kind == "U"
    if task is None and is_text:
        cells = data.target.tolist()
        text = next(cell for cell in cells if not is_number(cell))
        if any(map(is_number, cells)):
            raise ValueError(
                f"The targets are numbers but for {text!r}: mend it, or pass --task classification if they are labels."
            )
    if task is None:
        task = "classification" if is_text else "regression"
    if task == "regression" and is_text:
        text = next(cell for cell in data.target.tolist() if not is_number(cell))
        raise ValueError(f"--task regression needs numbers as targets; got {text!r}.")
    whole = task == "classification" and not is_text and bool((data.target == np.rint(data.target)).all())
    return task, data.target.astype(np.int64) if whole else data.target


def _report(
    arguments: argparse.Namespace,
    task: str,
    data: LabelledRows,
    model: Any,
    seconds: float,
    n_threads: int,
    target: NDArray[Any],
    predicted: NDArray[Any],
) -> list[tuple[str, str]]:
    solver = model.solver_
    if model.n_iter_:
        solver += f", {model.n_iter_} iterations to a residual of {float(model.residuals_[-1].max()):.1e}"
    if len(model.X_fit_) < len(data.rows):
        solver += f", {len(model.X_fit_)} centres"
    lines = [
        ("written", f"{arguments.model}: {arguments.model.stat().st_size / 1e6:.4g} MB"),
        ("model", f"{task}, {model.kernel_!r}, ridge {model.ridge_:.6g}"),
        ("rows", f"{data.rows.shape[0]} x {data.rows.shape[1]} features"),
    ]
    if task == "classification":
        lines.append(("classes", str(len(model.classes_))))
    lines += [(f"training {name}", value) for name, value in error_lines(model, target, predicted)]
    if len(model.path_errors_):
        lines.append(("leave-one-out", f"mean squared error {float(model.path_errors_.min()):.6g} of the targets"))
    return [*lines, ("solver", solver), ("time", f"{seconds:.3g} s, {n_threads} threads")]
