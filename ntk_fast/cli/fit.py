"""ntk-fast fit: a model of a table and its targets, into a file."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast
from ntk_fast.cli.csv_layout import csv_options, is_number
from ntk_fast.cli.fit_summary import summary_of
from ntk_fast.cli.kernel_arguments import add_kernel_arguments, kernel_from
from ntk_fast.cli.labelled_rows import Choice, LabelledRows, add_target_arguments, column_list, read_labelled_rows
from ntk_fast.cli.new_files import check_new
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.prediction import check_picture, check_scikit_learn, draw_model, predict_in_blocks
from ntk_fast.cli.progress import shown_stages
from ntk_fast.cli.scheduler import add_scheduler_argument, connected
from ntk_fast.cli.summary import add_json_argument
from ntk_fast.cli.training_rows import SEED, encoded, rows_at, split
from ntk_fast.schedule.threads import choose_n_threads

SOLVERS = ("auto", "cholesky", "cg", "nystroem")
#: Options of the estimators that are passed on as they are, where they are given.
PASSED_ON = {
    "ridge": "ridge",
    "solver": "solver",
    "centres": "n_centres",
    "rank": "rank",
    "tolerance": "tolerance",
    "max_iterations": "max_iterations",
}
#: What columns are divided by: what the estimators of the ridge call it, and those of Gaussian processes.
SCALES: dict[str, Any] = {"auto": "auto", "deviation": "deviation", "range": "range", "no": None}


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "fit",
        run,
        "Fit a kernel model to a table with targets (.csv, .npy, .npz) and save it. Texts become columns of 0 and 1, "
        "gaps in numbers the median, dates days; what was done is told, kept in the model, and done again by predict.",
        "ntk-fast fit train.csv --target price --model price.ntk --validation 0.2",
    )
    parser.add_argument("rows", type=Path, metavar="TRAIN", help="the table; - is standard input, a CSV file")
    add_target_arguments(parser, required=True)
    columns = "headers or positions from 1, with commas between"
    parser.add_argument("--columns", type=column_list, metavar="A,B", help=f"features to take, {columns}; default: all")
    parser.add_argument("--drop", type=column_list, metavar="A,B", help="columns to leave out, likewise")
    parser.add_argument("--model", type=Path, metavar="FILE", required=True, help="the model file to write")
    parser.add_argument(
        "--validation",
        type=_share,
        metavar="SHARE",
        help="keep this share of the rows out, 0.2 say, and report the error",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw predictions beside true targets")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_json_argument(parser)
    add_kernel_arguments(parser, "that of the library's models; with --kernel, that kernel's own")
    group = parser.add_argument_group("model")
    group.add_argument(
        "--task",
        choices=["regression", "classification"],
        help="default: classification if a target is text, regression if all are numbers, whole numbers too",
    )
    group.add_argument(
        "--gaussian-process",
        action="store_true",
        help="a Gaussian process, whose variances are fitted: predict then has --std, or --proba of classes",
    )
    group.add_argument(
        "--scale-columns",
        choices=SCALES,
        help="what columns are divided by, once they are centred; default: auto, whichever leaves smaller errors",
    )
    group.add_argument(
        "--ridge",
        type=_ridge,
        metavar="R",
        help="a number >= 0, of the kernel's mean diagonal, or loo: by leave-one-out; default: loo",
    )
    group.add_argument("--solver", choices=SOLVERS, help="default: auto, by the number of rows")
    group.add_argument("--centres", type=int, metavar="N", help="of solver nystroem; default: 5 sqrt(rows)")
    group.add_argument("--rank", type=int, metavar="N", help="of the preconditioner of solver cg")
    group.add_argument("--tolerance", type=float, metavar="T", help="where solvers cg and nystroem stop")
    group.add_argument("--max-iterations", type=int, metavar="N", help="likewise")
    group.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    add_scheduler_argument(group, "have a Dask cluster share the products of solvers cg and nystroem")


def run(arguments: argparse.Namespace) -> None:
    _check_outputs(arguments)
    options = _passed_on(arguments)
    layout = csv_options(arguments)
    n_threads = choose_n_threads(arguments.threads)
    check_scikit_learn()
    kernel = _kernel(arguments)
    choice = Choice(arguments.columns, arguments.drop)
    data = read_labelled_rows(arguments.rows, layout, arguments.target, arguments.target_file, arguments.key, choice)
    task, target = _task_and_target(arguments.task, data)
    chosen, held_out = split(arguments.validation, target, task)
    encoder, rows = encoded(data, chosen)
    model = _model(arguments, task, kernel, options, n_threads)
    start = time.perf_counter()
    with connected(arguments) as client:
        shared = {} if client is None else {"client": client}
        with shown_stages(f"Fitting {len(rows)} rows") as report:
            model.fit(rows, target[chosen], report=report, **shared)
        seconds = time.perf_counter() - start
        predict = partial(model.predict, **shared)
        results = [
            ("training", target[chosen], predict_in_blocks(predict, rows, "Errors on the training rows", client))
        ]
        if len(held_out):
            new_rows = rows_at(data, held_out, encoder)
            predicted = predict_in_blocks(predict, new_rows, "Errors on the validation rows", client)
            results.append(("validation", target[held_out], predicted))
    _save(arguments, model, encoder, data)
    if arguments.plot is not None:
        name, truth, predicted = results[-1]
        draw_model(arguments.plot, arguments.force, model, truth, predicted, f"{name} rows")
    summary = summary_of(arguments.model, data, encoder, model, results)
    summary.add("time", f"{seconds:.3g} s, {n_threads} threads", seconds=seconds, threads=n_threads)
    print(summary.text(arguments.json))


def _check_outputs(arguments: argparse.Namespace) -> None:
    check_new(arguments.model, arguments.force)
    check_picture(arguments.plot, arguments.force)
    inputs = [path.resolve() for path in (arguments.rows, arguments.target_file) if path is not None]
    for option, path in (("--model", arguments.model), ("--plot", arguments.plot)):
        if path is not None and path.resolve() in inputs:
            raise ValueError(f"{option} must not be a file of the rows or targets, {path}.")
    if arguments.plot is not None and arguments.plot.resolve() == arguments.model.resolve():
        raise ValueError(f"--model and --plot must be different files; got {arguments.plot} for both.")


def _passed_on(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in PASSED_ON if getattr(arguments, name) is not None}
    if "centres" in given and arguments.solver != "nystroem":
        raise ValueError("--centres applies to --solver nystroem only.")
    if arguments.scheduler is not None and arguments.gaussian_process:
        raise ValueError("--scheduler does not apply to --gaussian-process, which one machine fits.")
    if arguments.scheduler is not None and arguments.solver == "cholesky":
        raise ValueError("--scheduler does not apply to --solver cholesky, which factorises on one machine.")
    if arguments.gaussian_process and given:
        raise ValueError(f"--{next(iter(given)).replace('_', '-')} does not apply to --gaussian-process.")
    options = {PASSED_ON[name]: value for name, value in given.items()}
    if arguments.gaussian_process:
        # with a kernel of one's own too: nothing depends on units
        chosen = SCALES[arguments.scale_columns or "auto"]
        return {"scale_columns": "deviation" if chosen == "auto" else chosen}
    return options if arguments.scale_columns is None else {**options, "scale_columns": SCALES[arguments.scale_columns]}


def _kernel(arguments: argparse.Namespace) -> Any:
    """Return the kernel that is asked for, or None for the default of the model."""
    from ntk_fast.estimators.parameters import DEFAULT_KERNEL

    kernel = kernel_from(arguments, DEFAULT_KERNEL)
    return None if kernel == DEFAULT_KERNEL else kernel


def _model(arguments: argparse.Namespace, task: str, kernel: Any, options: dict[str, Any], n_threads: int) -> Any:
    estimator: Any
    if arguments.gaussian_process:
        estimator = {
            "regression": ntk_fast.NTKGaussianProcessRegressor,
            "classification": ntk_fast.NTKGaussianProcessClassifier,
        }[task]
    else:
        estimator = {"regression": ntk_fast.NTKRegressor, "classification": ntk_fast.NTKClassifier}[task]
    return estimator(kernel, random_state=SEED, n_threads=n_threads, **options)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"must be a share of the rows, between 0 and 1; got {text!r}")
    return share


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


def _save(arguments: argparse.Namespace, model: Any, encoder: Any, data: LabelledRows) -> None:
    model.set_params(n_threads=None)  # those of this run, not the model's
    model.target_name_ = data.target_name
    check_new(arguments.model, arguments.force)  # it may have appeared meanwhile
    if encoder is None:
        ntk_fast.save_model(model, arguments.model)
        return
    from sklearn.pipeline import Pipeline

    ntk_fast.save_model(Pipeline([("table", encoder), ("model", model)]), arguments.model)
