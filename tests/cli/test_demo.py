"""The demo: its parts on few digits, and the sentence when what it needs is missing."""

from __future__ import annotations

import errno
import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntk_fast import NTK
from ntk_fast.backends.engines import available_engines
from ntk_fast.cli import demo, demo_images, main
from ntk_fast.cli.demo_picture import spread_out


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> demo.Digits:
    """The demo cut down to what a test can wait for."""
    digits = demo.load_digits()
    few = demo.Digits(digits.rows[:500], digits.labels[:500])
    monkeypatch.setattr(demo, "load_digits", lambda: few)
    monkeypatch.setattr(demo, "DEPTHS", (1, 3))
    monkeypatch.setattr(demo, "N_EXACT_PAIRS", 20)
    monkeypatch.setattr(demo, "N_HELD_OUT", 100)
    monkeypatch.setattr(demo, "SECONDS_OF_TIMING", 1e-9)
    monkeypatch.setattr(demo_images, "affordable", lambda rows: 120)
    return few


def test_every_engine_has_its_line_and_the_picture_is_drawn(
    few_digits: demo.Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "new" / "folder")]) == 0
    shown = capsys.readouterr().out
    for engine in available_engines():
        assert f"\n{engine} " in shown
    assert "\n120 of 500 digits in " in shown
    assert (tmp_path / "new" / "folder" / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_errors_are_those_of_the_matrix(few_digits: demo.Digits) -> None:
    kernel = NTK(2)
    rows = few_digits.rows[:50]
    gram = kernel(rows, backend="numpy")
    pairs, exact = demo.exact_sample(kernel, rows)
    assert demo.error_against_exact(gram, pairs, exact) < 2e-15
    i, j = pairs[0]
    gram[i, j] += 1e-6 * np.sqrt(gram[i, i] * gram[j, j])
    assert demo.error_against_exact(gram, pairs, exact) == pytest.approx(1e-6, rel=1e-6)


def test_the_classifier_learns(few_digits: demo.Digits) -> None:
    gram = demo.KERNEL(few_digits.rows, backend="numpy")
    assert demo.held_out_accuracy(gram, few_digits.labels) > 0.9


def test_digits_are_as_many_as_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).random((300, 64))
    clock = iter((0.0, 1.0, 0.0, 1e-6))
    monkeypatch.setattr(demo_images.time, "perf_counter", lambda: next(clock))
    assert demo_images.affordable(rows, NTK(1)) == math.isqrt(int(demo_images.SECONDS * 48 * 49))
    assert demo_images.affordable(rows, NTK(1)) == 300


def test_digits_in_whose_nearest_ones_the_kernels_differ() -> None:
    labels = np.repeat([0, 1], 8)
    classes = (labels[:, None] == labels).astype(float) + np.eye(16)
    blurred = classes.copy()
    blurred[2] = blurred[:, 2] = 1 - blurred[2]
    blurred[2, 2] = 2
    assert demo_images.told_apart(blurred, classes, labels, 1) == [2]
    assert set(demo_images.nearest(classes, 3, 5).tolist()) <= set(range(8)) - {3}


def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mpmath" else find(name))
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err == "ntk-fast demo: the demo needs mpmath: pip install 'ntk_fast[demo]'.\n"
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_an_error_leaves_no_folder_and_no_half_picture(
    few_digits: demo.Digits,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Any,
) -> None:
    def fail(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr("ntk_fast.cli.demo_picture.draw", fail)
    assert main(["demo", "--out", str(tmp_path / "new" / "folder")]) == (2 if isinstance(error, OSError) else 130)
    sentence = capsys.readouterr().err
    assert "[Errno" not in sentence
    assert isinstance(error, KeyboardInterrupt) or "demo.png: The disk is full" in sentence
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_is_known_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--out", str(tmp_path / "file" / "folder")]) == 2
    shown = capsys.readouterr()
    assert "file is a file; results go into a folder" in shown.err
    assert shown.out == ""


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_labels_lie_apart_in_the_order_of_their_lines(heights: list[float]) -> None:
    placed = spread_out(heights, 0.06)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(placed)[order]) >= 0.06 - 1e-9).all()
    assert abs(np.mean(placed) - np.mean(heights)) < 1e-9
