"""ntk-fast info: what is installed here, and what computes."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import warnings

from ntk_fast.backends import BACKEND_VARIABLE, BACKENDS, why_missing
from ntk_fast.backends.engines import available_engines, chosen_engine
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.summary import Summary, add_json_argument
from ntk_fast.schedule.threads import THREADS_VARIABLE, available_cores, choose_n_threads
from ntk_fast.version import __version__

VARIABLES = (BACKEND_VARIABLE, "NTK_FAST_ISA", THREADS_VARIABLE)


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands, "info", run, "Show the version, the backends, the instruction set, threads and BLAS.", "ntk-fast info"
    )
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    summary = Summary()
    lines = _lines()
    for name, words in lines:
        same = [other for given, other in lines if given == name]
        summary.add(name, words, **{name.strip().replace(" ", "_"): same if len(same) > 1 else words})
    if not arguments.json:
        print(f"ntk-fast {__version__}\n")
    print(summary.text(arguments.json))


def _lines() -> list[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of running on a slower backend: the lines below say so
        engine = chosen_engine()
    lines = [("computes with", _computes_with(engine.backend))]
    for name in BACKENDS:
        reason = why_missing(name)
        lines.append((f"  {name}", "present" if reason is None else f"missing: {reason}"))
    sets = [each.instruction_set for each in available_engines() if each.instruction_set is not None]
    if sets:
        in_use = engine.instruction_set
        lines.append(("instruction sets", ", ".join(f"{name} (in use)" if name == in_use else name for name in sets)))
    lines.append(("threads", f"{choose_n_threads(None)} ({available_cores()} usable processors)"))
    lines += [("BLAS", library) for library in _blas_libraries()]
    lines.append(("processor", f"{_processor()}, {platform.machine()}"))
    lines.append(("system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"))
    packages = ("numpy", "scipy", "numba", "threadpoolctl")
    lines.append(("packages", ", ".join(f"{name} {_version(name)}" for name in packages)))
    lines += [("environment", f"{name}={os.environ[name]}") for name in VARIABLES if os.environ.get(name)]
    return lines


def _computes_with(backend: str) -> str:
    if os.environ.get(BACKEND_VARIABLE, "").strip():
        return f"{backend}, as {BACKEND_VARIABLE} says"
    reason = why_missing(BACKENDS[0])
    return backend if reason is None else f"{backend}, because {reason}"


def _blas_libraries() -> list[str]:
    import scipy.linalg.blas  # noqa: F401  loads the library that SciPy brings
    from threadpoolctl import threadpool_info

    return [
        f"{library['internal_api']} {library['version']}, {library['num_threads']} threads"
        + (f", {library['architecture']} kernels" if "architecture" in library else "")
        + f" ({os.path.basename(library['filepath'])})"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(missing)"
