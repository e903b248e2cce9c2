"""Run targets, and the grid; print, write and draw both."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import report
from bench.targets import FULL, GROUPS, QUICK, TARGETS, Row
from ntk_fast.backends.engines import available_engines
from ntk_fast.schedule.threads import available_cores

HERE = Path(__file__).parent
GRID = "grid"
#: Of a table that goes into a file, whose width nobody knows.
COLUMNS_IN_A_FILE = 170


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    groups = ", ".join((*GROUPS, GRID))
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"default: all of {groups}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: five minutes instead of an hour")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder (default: bench/results)")
    arguments = parser.parse_args()
    chosen = arguments.groups or [*GROUPS, GRID]
    unknown = [group for group in chosen if group not in (*GROUPS, GRID)]
    if unknown:
        parser.error(f"GROUP must be one of {groups}; got {unknown[0]!r}")
    console = Console(width=None if sys.stdout.isatty() else COLUMNS_IN_A_FILE)
    engines = [str(engine) for engine in available_engines()]
    machine = {"processor": processor(), "cores": available_cores(), "engines": engines, "python": sys.version}
    console.print(f"{machine['processor']}, {machine['cores']} cores; engines: {', '.join(engines)}")
    rows: list[Row] = []
    for group in (group for group in GROUPS if group in chosen):
        import_module(f"bench.{group}")
        for measure in TARGETS[group]:
            console.print(f"measuring: {group}, {measure.__name__.replace('_', ' ')} ...")
            rows += measure(QUICK if arguments.quick else FULL)
    if rows:
        report.print_targets(console, rows)
    results: list[dict[str, Any]] = []
    if GRID in chosen:
        console.print("measuring: the grid ...")
        if arguments.quick:
            os.environ["NTK_FAST_BENCH_QUICK"] = "1"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "grid.json"
            options = ["-q", "--no-header", "-p", "no:cacheprovider", "--benchmark-quiet", f"--benchmark-json={path}"]
            status = pytest.main([str(HERE), *options])
            if status != 0:
                return int(status)
            results = json.loads(path.read_text())["benchmarks"]
        report.print_grid(console, results)
    report.write(arguments.out, machine, rows, results)
    console.print(f"written to {arguments.out}: {', '.join(sorted(path.name for path in arguments.out.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
