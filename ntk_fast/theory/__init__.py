"""The lecture's claims as experiments that anyone reruns: `ntk-fast theory [EXPERIMENT ...] --out FOLDER`.

The map:

    experiment             what an experiment is
    kernel_convergence     Eqs. 1 and 6 as limits; term (0) of Eq. 4
    architectures          property 3: limits of other networks
    linearization_error    Eq. 7, as printed and corrected
    lazy_training          distances and errors of networks in training
    sign_switches          Eqs. 8 and 9, as printed and corrected
    spectrum_decay         properties 2 and 4
    two_approximations     the fixed hidden layer and the NTK against trained networks
    picture, page          how they look

An experiment leaves NAME.png, NAME.csv and NAME.json in the folder; index.html shows all that are there.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ntk_fast.disk import made_folder, whole_file

if TYPE_CHECKING:
    from ntk_fast.theory.experiment import Experiment, Outcome

__all__ = ["EXPERIMENTS", "load", "prepare", "run"]

#: The experiments and their modules, in the order of the page; imported when they are run.
EXPERIMENTS = {
    "kernel-convergence": "kernel_convergence",
    "architectures": "architectures",
    "linearization-error": "linearization_error",
    "lazy-training": "lazy_training",
    "sign-switches": "sign_switches",
    "spectrum": "spectrum_decay",
    "two-approximations": "two_approximations",
}


def load(name: str) -> Experiment:
    """Return an experiment by name."""
    experiment: Experiment = import_module(f"ntk_fast.theory.{EXPERIMENTS[_check_name(name)]}").EXPERIMENT
    return experiment


def prepare(experiments: Sequence[str] | None, out_folder: str | Path) -> list[str]:
    """Return the names of the experiments that :func:`run` would run; raise, as it does, if it could not."""
    if isinstance(experiments, str):
        raise TypeError(f"experiments must be a sequence of names; got {experiments!r}.")
    names = [_check_name(name) for name in dict.fromkeys(experiments or EXPERIMENTS)]
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("the experiments draw with matplotlib: pip install 'ntk_fast[plot]'.")
    from ntk_fast.theory.page import check_folder

    check_folder(Path(out_folder), names, list(EXPERIMENTS))
    return names


def _check_name(name: str) -> str:
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment must be one of {', '.join(EXPERIMENTS)}; got {name!r}.")
    return name


def run(
    experiments: Sequence[str] | None,
    out_folder: str | Path,
    quick: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Outcome]:
    """Run experiments, and leave their tables and pictures and a page about them in a folder.

    Parameters
    ----------
    experiments : sequence of str, optional
        Names in :data:`EXPERIMENTS`; None or none at all: all of them.
    out_folder : path
        Made if it is not there. Results of other experiments in it stay, and stay on the page; earlier results of the
        same ones are replaced, and no other files are.
    quick : bool, default False
        Smaller sizes: less than a minute in all, instead of some minutes.
    progress : callable, optional
        Called as ``progress(experiment, steps_done, steps_in_all)``.

    Returns
    -------
    dict of str to Outcome

    Raises
    ------
    TypeError, ValueError
        If there is no experiment of that name, or a result in the folder is damaged.
    OSError
        If the folder cannot be written to, or has files of the same names that are no such results.
    ImportError
        If matplotlib is not installed.
    """
    names, folder = prepare(experiments, out_folder), Path(out_folder)
    from ntk_fast.theory.page import write_page

    outcomes = {}
    with made_folder(folder):
        for name in names:

            def report(done: int, total: int, name: str = name) -> None:
                if progress is not None:
                    progress(name, done, total)

            start = time.perf_counter()
            outcomes[name] = load(name).measure(quick, report)
            _leave(folder, name, outcomes[name], quick, time.perf_counter() - start)
            write_page(folder, [load(each) for each in EXPERIMENTS])
    return outcomes


def _leave(folder: Path, name: str, outcome: Outcome, quick: bool, seconds: float) -> None:
    """Write the three files of an experiment: all of them, or none."""
    from ntk_fast.theory.picture import saved_figure

    result = {
        "quick": quick,
        "seconds": seconds,
        "caption": outcome.caption,
        "claims": [asdict(claim) for claim in outcome.claims],
    }
    # the last to come gets its name first: a picture without its result would be taken for another program's
    with ExitStack() as files:
        png, table, summary = (
            files.enter_context(whole_file(folder / f"{name}.{suffix}")) for suffix in ("png", "csv", "json")
        )
        with saved_figure(png, outcome.n_panels) as figure:
            outcome.draw(figure)
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(outcome.columns)
            writer.writerows(outcome.rows)
        summary.write_text(json.dumps(result, indent=1), encoding="utf-8")
