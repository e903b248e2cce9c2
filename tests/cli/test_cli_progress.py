"""What the command line says while it works: the time so far and in all, and no speed where nothing was done."""

from __future__ import annotations

import time

import pytest

from ntk_fast.cli.progress import shown_progress, shown_stages
from ntk_fast.cli.words import in_words_of_the_command_line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time as the test wants it: the last item."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[-1])
    return now


def test_lines_read_naturally(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("Predicting", "rows") as progress:
        progress(0, 1000)
        for seconds, done in ((6.0, 150), (7.0, 160), (12.0, 300), (40.0, 1000), (41.0, 1000)):
            clock.append(seconds)
            progress(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "Predicting: 15%, 6 of 40 s, 25 rows/s",
        "Predicting: 30%, 12 of 40 s, 25 rows/s",
        "Predicting: 100%, 40 s, 25 rows/s",
    ]


@pytest.mark.parametrize("done", [0, 500])
def test_what_an_earlier_run_did_has_no_speed(
    clock: list[float], capsys: pytest.CaptureFixture[str], done: int
) -> None:
    with shown_progress("Computing", "entries") as progress:
        progress(1000 if done == 0 else done, 1000)
        clock.append(10.0)
        progress(1000, 1000)
    told = capsys.readouterr().err
    assert ("/s" in told) == (done == 500)
    if done:
        assert told == "Computing: 100%, 10 s, 50 entries/s\n"


def test_a_job_at_its_first_step_has_no_speed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("Predicting", "rows") as progress:
        clock.append(6.0)
        progress(0, 1000)
    assert capsys.readouterr().err == "Predicting: 0%, 6 s\n"


def test_stages_have_a_time_of_their_own(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with shown_stages("Fitting 9 rows") as report:
        for seconds, stage, share in (
            (6, "Factorising", 0.5),
            (12, "Solving", 0.1),
            (18, "Solving", 0.6),
            (4000, "x", 0.61),
        ):
            clock.append(float(seconds))
            report(stage, share)
    assert capsys.readouterr().err.splitlines() == [
        "Fitting 9 rows: Factorising, 50%, 6 of 12 s",
        "Fitting 9 rows: Solving, 10%, 0.0 of 0.0 s",
        "Fitting 9 rows: Solving, 60%, 6 of 10 s",
        "Fitting 9 rows: x, 61%, 66 of 109 min",
    ]


def test_the_bar_shows_the_same(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    rich = pytest.importorskip("rich.console")
    consoles = []

    class Console(rich.Console):
        def __init__(self, **_: object) -> None:
            super().__init__(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
            consoles.append(self)

    monkeypatch.setattr(rich, "Console", Console)
    monkeypatch.setattr("ntk_fast.cli.progress._has_bar", lambda: True)
    with shown_progress("Predicting", "rows") as progress:
        progress(0, 1000)
    with shown_stages("Fitting") as report:
        report("Factorising", 0.5)
        report("Solving", None)
    for console in consoles:
        console.file.close()
    shown = consoles[0].export_text() + consoles[1].export_text()
    assert "Predicting" in shown and "Fitting: Solving" in shown
    assert "/s" not in shown


@pytest.mark.parametrize(
    ("python", "line"),
    [
        ("depth must be a whole number >= 1; got 0.", "--depth must be a whole number >= 1; got 0."),
        ("n_threads must be a whole number >= 1; got 0.", "--threads must be a whole number >= 1; got 0."),
        (
            "n_centres must not exceed the number of rows; got 9.",
            "--centres must not exceed the number of rows; got 9.",
        ),
        (
            "stopped at a residual of 1e-08: raise ridge, rank or max_iterations, or use the Cholesky solver.",
            "stopped at a residual of 1e-08: raise --ridge, --rank or --max-iterations, or use the Cholesky solver.",
        ),
        (
            "The result would overflow float32: scale the rows down or pass dtype=numpy.float64.",
            "The result would overflow float32: scale the rows down or pass --dtype float64.",
        ),
        (
            "ridge='loo' decomposes the matrix: pass solver='cholesky'.",
            "--ridge loo decomposes the matrix: pass --solver cholesky.",
        ),
        (
            "They are regressed as numbers: if they are labels, fit an NTKClassifier.",
            "They are regressed as numbers: if they are labels, pass --task classification.",
        ),
        (
            "The likelihood is largest at a bound of what was fitted: bias_variance = 5e+04. Start elsewhere, or leave "
            "out of `fitted` what the data do not determine.",
            "The likelihood is largest at a bound of what was fitted: bias variance = 5e+04. Start elsewhere: with "
            "another kernel.",
        ),
        ("X must be finite; row 3 holds nan in column 1.", "The rows must be finite; row 3 holds nan in column 1."),
        ("y must hold at least two classes.", "The targets must hold at least two classes."),
        ("The kernel matrix with ridge 1e-9 is singular.", "The kernel matrix with ridge 1e-9 is singular."),
        ("a.csv: column 'depth' must hold numbers.", "a.csv: column 'depth' must hold numbers."),
        ("NTK(depth=3, bias_variance=0.1) is shown as it is.", "NTK(depth=3, bias_variance=0.1) is shown as it is."),
    ],
)
def test_sentences_in_words_of_the_command_line(python: str, line: str) -> None:
    assert in_words_of_the_command_line(python) == line
