"""ntk-fast theory: the claims of the lecture, measured, on one page."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ntk_fast import theory
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.progress import shown_progress

if TYPE_CHECKING:
    from ntk_fast.theory.experiment import Claim, Outcome


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "theory",
        run,
        "Measure the claims of the lecture on finite networks and on spectra, and write a page about them.",
        "ntk-fast theory lazy-training spectrum --out theory --quick",
    )
    names = ", ".join(theory.EXPERIMENTS)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"default: all of {names}")
    parser.add_argument(
        "--out", type=Path, default=Path("theory"), metavar="FOLDER", help="where index.html goes; default: theory"
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes: less than a minute in all")


def run(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    for name in theory.prepare(arguments.experiments, arguments.out):  # all of them, before the first
        outcome = _run_one(name, arguments)
        print(f"{name}:")
        for claim in outcome.claims:
            print(_line(claim), flush=True)
    print(f"page: {arguments.out / 'index.html'} ({time.perf_counter() - start:.0f} s)")


def _run_one(name: str, arguments: argparse.Namespace) -> Outcome:
    with shown_progress(name, "steps") as show:
        return theory.run([name], arguments.out, arguments.quick, lambda _, done, total: show(done, total))[name]


def _line(claim: Claim) -> str:
    verdict = ("holds" if claim.correction is None else "holds as corrected") if claim.holds else "NOT SEEN"
    return f"  {claim.source}: {verdict}. {claim.measured}"
