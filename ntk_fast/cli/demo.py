"""ntk-fast demo: the main job on real data. Every engine, its speed, its errors, two classifiers, and one picture."""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.backends.engines import Engine, available_engines
from ntk_fast.cli.demo_images import N_CONVOLUTIONS, SECONDS, SHAPE, ConvolutionalGram, convolutional_gram
from ntk_fast.cli.parser import Subparsers, add_command
from ntk_fast.disk import made_folder, refuse_unwritable, whole_file
from ntk_fast.kernels import NTK, Kernel
from ntk_fast.schedule.threads import choose_n_threads

#: What the demo imports beyond the package's own dependencies, and what pip calls it.
EXTRAS = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "mpmath": "mpmath"}

KERNEL = NTK(depth=3)
DEPTHS = (1, 3, 10, 30, 100)
N_EXACT_PAIRS = 300
N_HELD_OUT = 450
#: Of kernel ridge regression, relative to the mean of the diagonal.
RIDGE = 1e-3
SECONDS_OF_TIMING = 0.5
COLUMNS = "{:<16}{:>12}{:>12}{:>11}{:>13}{:>17}"

Matrix = NDArray[np.float64]
_say = partial(print, flush=True)


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
    path = arguments.out / "demo.png"
    refuse_unwritable(arguments.out)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; choose another one with --out.")
    from ntk_fast.cli.demo_picture import Seen, Timings, draw

    digits = load_digits()
    fastest = _compare_engines(digits.rows)
    _classify(fastest.gram, digits.labels)
    convolutional = _compare_with_images(fastest.gram, digits)
    _say(f"timing depths {', '.join(map(str, DEPTHS))} for the picture ...")
    fastest_of = {engine.backend: engine for engine in reversed(available_engines())}
    curves = {name: seconds_by_depth(engine, digits.rows) for name, engine in fastest_of.items()}
    timings = Timings(len(digits.rows), DEPTHS, curves, product_seconds(digits.rows))
    with made_folder(arguments.out), whole_file(path) as temporary:
        draw(temporary, KERNEL, fastest.gram, digits.labels, timings, Seen(digits.rows, convolutional.gram))
    _say(f"picture: {path}")


def _compare_engines(rows: Matrix) -> Measurement:
    """Print a line for each engine, the reference first, and return the fastest one's measurement."""
    _say(f"{len(rows)} handwritten digits of {rows.shape[1]} pixels; {KERNEL}, {choose_n_threads(None)} threads\n")
    _say(COLUMNS.format("", "first call", "best call", "speed-up", "from numpy", "from 50 digits"))
    pairs, exact = exact_sample(KERNEL, rows)
    *others, reference_engine = available_engines()
    fastest = reference = measure(reference_engine, KERNEL, rows)
    scale = np.sqrt(np.outer(reference.gram.diagonal(), reference.gram.diagonal()))
    for engine in (reference_engine, *reversed(others)):
        measurement = reference if engine is reference_engine else measure(engine, KERNEL, rows)
        fastest = min(fastest, measurement, key=lambda each: each.seconds)
        difference = float((np.abs(measurement.gram - reference.gram) / scale).max())
        _say(
            COLUMNS.format(
                str(engine),
                f"{measurement.first_seconds * 1e3:.1f} ms",
                f"{measurement.seconds * 1e3:.1f} ms",
                f"{reference.seconds / measurement.seconds:.1f} x",
                "-" if measurement is reference else f"{difference:.1e}",
                f"{error_against_exact(measurement.gram, pairs, exact):.1e}",
            )
        )
    _say(f"differences: the largest, over sqrt(K(x,x) K(y,y)); from 50 digits: on {N_EXACT_PAIRS} pairs\n")
    return fastest


def _compare_with_images(gram: Matrix, digits: Digits) -> ConvolutionalGram:
    """Print what a convolutional kernel of the digits costs and gets right, beside the dense one on the same digits."""
    n, size = len(digits.rows), " x ".join(map(str, SHAPE[:2]))
    _say(
        f"a convolutional kernel, {N_CONVOLUTIONS} convolutions and a global average on images of {size}: at most about"
    )
    _say(f"{SECONDS:.0f} s of it, float32 ...")
    result = convolutional_gram(digits.rows)
    some = slice(None, result.n)
    accuracies = [held_out_accuracy(each, digits.labels[some]) for each in (result.gram, gram[some, some])]
    which = f"all {n}" if result.n == n else f"{result.n} of {n}"
    cost = f"{result.seconds:.1f} s, {result.seconds_of_entry * 1e6:.3g} us an entry"
    _say(f"{which} digits in {cost}; right: {accuracies[0]:.2%}, the dense kernel on the same: {accuracies[1]:.2%}")
    return result


def _classify(gram: Matrix, labels: NDArray[np.int64]) -> None:
    start = time.perf_counter()
    accuracy = held_out_accuracy(gram, labels)
    seconds = time.perf_counter() - start
    n_train = len(labels) - N_HELD_OUT
    _say(f"kernel ridge regression on {n_train} digits: {accuracy:.2%} of {N_HELD_OUT} others right ({seconds:.2f} s)")


def load_digits() -> Digits:
    from sklearn.datasets import load_digits as load

    rows, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    return Digits(rows[order] / 16, labels[order])


def best_seconds(call: Callable[[], Any]) -> float:
    """Return the shortest of several calls, or of one that takes long."""
    seconds: list[float] = []
    while sum(seconds) < SECONDS_OF_TIMING:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(engine: Engine, kernel: Kernel, rows: Matrix) -> Measurement:
    gram = np.empty((len(rows), len(rows)))
    with engine.selected() as backend:
        start = time.perf_counter()
        kernel(rows, out=gram, backend=backend)
        first_seconds = time.perf_counter() - start
        seconds = best_seconds(partial(kernel, rows, out=gram, backend=backend))
    return Measurement(engine, first_seconds, seconds, gram)


def seconds_by_depth(engine: Engine, rows: Matrix) -> list[float]:
    """Seconds at each of `DEPTHS`, of an engine that has computed before."""
    gram = np.empty((len(rows), len(rows)))
    with engine.selected() as backend:
        calls = [partial(NTK(depth), rows, out=gram, backend=backend) for depth in DEPTHS]
        return [best_seconds(call) for call in calls]


def product_seconds(rows: Matrix) -> float:
    """Seconds of the matrix product alone, by NumPy on all cores."""
    other, product = rows.T.copy(), np.empty((len(rows), len(rows)))
    return best_seconds(partial(np.matmul, rows, other, out=product))


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

    n_train = len(labels) - min(N_HELD_OUT, len(labels) // 4)
    train, held_out = slice(None, n_train), slice(n_train, None)
    ridge = RIDGE * gram.diagonal().mean()
    factor = cho_factor(gram[train, train] + ridge * np.eye(n_train))
    scores = gram[held_out, train] @ cho_solve(factor, np.eye(10)[labels[train]])
    return float((scores.argmax(axis=1) == labels[held_out]).mean())
