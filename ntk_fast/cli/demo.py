"""ntk-fast demo: the main job on real data. Every engine, its speed, its errors, a classifier, and one picture."""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.cli.table import aligned
from ntk_fast.engines import Engine, available_engines
from ntk_fast.kernels import NTK, Kernel
from ntk_fast.threads import choose_n_threads

#: What the demo imports beyond the package's own dependencies, and what pip calls it.
EXTRAS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "mpmath": "mpmath"}

KERNEL = NTK(depth=3)
DEPTHS = (1, 3, 10, 30, 100)
N_EXACT_PAIRS = 300
N_HELD_OUT = 450
#: Of kernel ridge regression, relative to the mean of the diagonal.
RIDGE = 1e-3
SECONDS_OF_TIMING = 0.5

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits in random order."""

    rows: Matrix  # (1797, 64), 0 to 1
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Measurement:
    """One engine's Gram matrix of the digits."""

    engine: Engine
    first_seconds: float  # with whatever is compiled at the first call
    seconds: float
    gram: Matrix


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "demo",
        run,
        "Compute scikit-learn's digits on every backend, compare, classify, and draw a picture.",
        "ntk-fast demo --out demo",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="FOLDER", help="where demo.png goes; default: demo"
    )


def run(arguments: argparse.Namespace) -> None:
    missing = [package for module, package in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"the demo needs {' and '.join(missing)}: pip install 'ntk_fast[demo]'.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    from ntk_fast.cli.demo_picture import Timings, draw

    digits = load_digits()
    n, n_features = digits.rows.shape
    print(f"{n} handwritten digits of {n_features} pixels; {KERNEL}, float64, {choose_n_threads(None)} threads\n")
    measurements = [measure(engine, KERNEL, digits.rows) for engine in available_engines()]
    reference = next(each for each in measurements if each.engine.backend == "numpy")
    pairs, exact = exact_sample(KERNEL, digits.rows)
    print(aligned(_table(measurements, reference, pairs, exact), right=(1, 2, 3)), end="\n\n")

    start = time.perf_counter()
    accuracy = held_out_accuracy(measurements[0].gram, digits.labels)
    print(
        f"kernel ridge regression on {n - N_HELD_OUT} digits: {accuracy:.2%} of the {N_HELD_OUT} held out are right "
        f"({time.perf_counter() - start:.2f} s)"
    )
    print(f"timing depths {', '.join(map(str, DEPTHS))} for the picture ...", flush=True)
    seconds = {name: seconds_by_depth(engine, digits.rows) for name, engine in _one_engine_a_backend().items()}
    path = arguments.out / "demo.png"
    timings = Timings(n, DEPTHS, seconds, product_seconds(digits.rows))
    draw(path, KERNEL, measurements[0].gram, digits.labels, timings)
    print(f"picture: {path}")


def load_digits() -> Digits:
    from sklearn.datasets import load_digits as load

    rows, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    return Digits(rows[order] / 16, labels[order])


def timed(call: Callable[[], Any]) -> list[float]:
    """Return the seconds of calls, as many as fit in a moment, at least one."""
    seconds: list[float] = []
    while not seconds or sum(seconds) < SECONDS_OF_TIMING:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(engine: Engine, kernel: Kernel, rows: Matrix) -> Measurement:
    gram = np.empty((len(rows), len(rows)))
    with engine.selected() as backend:
        seconds = timed(lambda: kernel(rows, out=gram, backend=backend))
    return Measurement(engine, seconds[0], min(seconds), gram)


def seconds_by_depth(engine: Engine, rows: Matrix) -> list[float]:
    return [measure(engine, NTK(depth), rows).seconds for depth in DEPTHS]


def product_seconds(rows: Matrix) -> float:
    """Seconds of the matrix product alone, by NumPy on all cores."""
    other, product = rows.T.copy(), np.empty((len(rows), len(rows)))
    return min(timed(lambda: np.matmul(rows, other, out=product)))


def exact_sample(kernel: Kernel, rows: Matrix) -> tuple[NDArray[np.int64], list[Any]]:
    """Return random pairs (i, j) of rows, and their kernel values to 50 digits."""
    from ntk_fast.high_precision import exact_value

    pairs = np.random.default_rng(1).integers(len(rows), size=(N_EXACT_PAIRS, 2))
    return pairs, [exact_value(kernel, rows[i], rows[j]) for i, j in pairs]


def error_against_exact(gram: Matrix, pairs: NDArray[np.int64], exact: list[Any]) -> float:
    """Return the largest error over sqrt(K(x, x) K(y, y))."""
    scale = np.sqrt(gram.diagonal())
    return max(
        float(abs(value - gram[i, j])) / (scale[i] * scale[j]) for (i, j), value in zip(pairs, exact, strict=True)
    )


def held_out_accuracy(gram: Matrix, labels: NDArray[np.int64]) -> float:
    """Return the share of the last digits that kernel ridge regression on the others' one-hot labels gets right."""
    from scipy.linalg import cho_factor, cho_solve

    n_train = len(labels) - N_HELD_OUT
    train, held_out = slice(None, n_train), slice(n_train, None)
    ridge = RIDGE * gram.diagonal().mean()
    factor = cho_factor(gram[train, train] + ridge * np.eye(n_train))
    scores = gram[held_out, train] @ cho_solve(factor, np.eye(10)[labels[train]])
    return float((scores.argmax(axis=1) == labels[held_out]).mean())


def _table(
    measurements: list[Measurement], reference: Measurement, pairs: NDArray[np.int64], exact: list[Any]
) -> list[tuple[str, ...]]:
    scale = np.sqrt(np.outer(reference.gram.diagonal(), reference.gram.diagonal()))
    lines: list[tuple[str, ...]] = [
        (
            "engine",
            "first call",
            "best",
            "speed-up",
            "largest difference from numpy",
            f"from 50 digits ({N_EXACT_PAIRS} pairs)",
        )
    ]
    for each in measurements:
        difference = float((np.abs(each.gram - reference.gram) / scale).max())
        lines.append(
            (
                str(each.engine),
                f"{each.first_seconds * 1e3:.1f} ms",
                f"{each.seconds * 1e3:.1f} ms",
                f"{reference.seconds / each.seconds:.1f} x",
                f"{difference:.1e}" if each is not reference else "-",
                f"{error_against_exact(each.gram, pairs, exact):.1e}",
            )
        )
    return lines


def _one_engine_a_backend() -> dict[str, Engine]:
    """The fastest engine of each backend."""
    return {engine.backend: engine for engine in reversed(available_engines())}
