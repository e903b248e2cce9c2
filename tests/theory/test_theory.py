"""The experiments: every claim is seen, the page stands alone, and seeds make every figure reproducible."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import subprocess
import sys
from html import escape

import pytest

from ntk_fast import theory
from ntk_fast.cli import main
from ntk_fast.theory.experiment import Claim, Experiment, Outcome

#: Quick enough for tests; the others run in `ntk-fast theory --quick`.
FAST = ("linearization-error", "sign-switches")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theory")
    seen = []
    outcomes = theory.run(FAST, folder, quick=True, progress=lambda *step: seen.append(step))
    return folder, outcomes, seen


def test_every_claim_is_seen(results):
    _, outcomes, _ = results
    assert list(outcomes) == list(FAST)
    for outcome in outcomes.values():
        for claim in outcome.claims:
            assert claim.holds, claim


def test_files(results):
    folder, outcomes, _ = results
    for name, outcome in outcomes.items():
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        with open(folder / f"{name}.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == list(outcome.columns)
        assert len(rows) == len(outcome.rows) > 10
        assert all(len(row) == len(header) for row in rows)
        assert json.loads((folder / f"{name}.json").read_text())["quick"] is True


def test_page_has_every_claim_and_needs_nothing_from_elsewhere(results):
    folder, outcomes, _ = results
    page = (folder / "index.html").read_text()
    for name, outcome in outcomes.items():
        assert f'<img src="{name}.png"' in page
        for claim in outcome.claims:
            assert claim.source in page
            assert escape(claim.equation) in page
        assert page.count("Corrected: ") == sum(c.correction is not None for o in outcomes.values() for c in o.claims)
    assert "http" not in page
    assert "<script" not in page
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (folder / link).exists(), link


def test_printed_and_corrected_statements_both_show(results):
    folder, _, _ = results
    page = (folder / "index.html").read_text()
    assert "|f - lin| &lt;= (1/sqrt d) (gamma/2 |x|^2 + C |x|) sum_i |w_i - w_i(0)|^2" in page
    assert "(1/sqrt d) sum_i (|beta_i(0)| gamma/2 |x|^2 + C D |x|) |w_i - w_i(0)|^2" in page


def test_progress(results):
    _, _, seen = results
    for name in FAST:
        steps = [(done, total) for experiment, done, total in seen if experiment == name]
        assert steps[0] == (0, steps[-1][1])
        assert steps[-1][0] == steps[-1][1]


def test_figures_are_reproducible(results, tmp_path):
    folder, _, _ = results
    theory.run(["linearization-error"], tmp_path, quick=True)
    for suffix in ("csv", "png"):
        name = f"linearization-error.{suffix}"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_results_of_other_experiments_stay_on_the_page(results, tmp_path):
    folder, _, _ = results
    for path in folder.glob("sign-switches.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    theory.run(["linearization-error"], tmp_path, quick=True)
    page = (tmp_path / "index.html").read_text()
    assert page.index('id="linearization-error"') < page.index('id="sign-switches"')


def test_command_line(tmp_path, capsys):
    assert main(["theory", "linearization-error", "--quick", "--out", str(tmp_path / "new" / "folder")]) == 0
    printed = capsys.readouterr().out
    assert "Eq. 7, first line: holds as corrected." in printed
    assert (tmp_path / "new" / "folder" / "index.html").exists()


def test_unknown_experiment(tmp_path, capsys):
    assert main(["theory", "spectra", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ntk-fast theory: experiment must be one of kernel-convergence, ")
    assert error.count("\n") == 1
    with pytest.raises(ValueError, match="got 'spectra'"):
        theory.run(["spectra"], tmp_path)
    with pytest.raises(TypeError, match="experiments must be a sequence of names; got 'spectrum'"):
        theory.run("spectrum", tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"my": 1}', "[]", '{"claims": [{}]}'])
def test_a_damaged_or_foreign_result_is_named_before_any_work(tmp_path, content):
    (tmp_path / "spectrum.json").write_text(content)
    steps = []
    with pytest.raises(ValueError, match=r"spectrum.json is no result of ntk-fast theory, or is damaged; remove it"):
        theory.run(["sign-switches"], tmp_path, quick=True, progress=lambda *step: steps.append(step))
    assert not steps
    assert [path.name for path in tmp_path.iterdir()] == ["spectrum.json"]


@pytest.mark.parametrize("name", ["index.html", "sign-switches.png", "sign-switches.csv"])
def test_files_of_others_are_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} exists and is no"):
        theory.run(["sign-switches"], tmp_path, quick=True)
    assert (tmp_path / name).read_text() == "mine"


def test_the_command_checks_all_experiments_before_the_first(tmp_path, capsys):
    (tmp_path / "spectrum.png").write_text("mine")
    assert main(["theory", "sign-switches", "spectrum", "--quick", "--out", str(tmp_path)]) == 2
    assert "spectrum.png exists and is no result" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["spectrum.png"]


def test_a_place_that_is_no_folder(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("mine")
    assert main(["theory", "--quick", "--out", str(tmp_path / "file")]) == 2
    assert "file is a file; results go into a folder" in capsys.readouterr().err
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["theory", "--quick", "--out", str(tmp_path / "folder")]) == 2
    assert "folder cannot be written to" in capsys.readouterr().err


def test_an_interrupt_leaves_whole_results_only(results, tmp_path, monkeypatch):
    """Also while a picture is saved that takes the place of an earlier one."""
    folder, _, _ = results
    for path in folder.glob("linearization-error.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(self, path, **options):
        with open(path, "wb") as file:
            file.write(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(KeyboardInterrupt):
        theory.run(["linearization-error"], tmp_path, quick=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_experiments_have_their_names():
    for name in theory.EXPERIMENTS:
        assert theory.load(name).name == name


@pytest.mark.parametrize("suffix", ["png", "csv", "json"])
def test_an_error_leaves_no_half_result(tmp_path, capsys, monkeypatch, suffix):
    claim = Claim("Eq. 1", "a = b", "a is b", "a = 1, b = 1", True)
    outcome = Outcome([claim], ["a", "b"], [[1, 1]], 1, lambda figure: figure.add_subplot(), "a and b")
    experiments = {
        name: Experiment(name, "title", "question?", lambda quick, progress: outcome) for name in theory.EXPERIMENTS
    }
    monkeypatch.setattr(theory, "load", experiments.__getitem__)
    folder, replace = tmp_path / "new" / "folder", os.replace

    def full(source, target):
        if str(target).endswith(suffix):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert main(["theory", "sign-switches", "--quick", "--out", str(folder)]) == 2
    assert f"sign-switches.{suffix}: The disk is full" in capsys.readouterr().err
    assert not (folder / "sign-switches.png").exists()
    assert suffix != "json" or not (tmp_path / "new").exists()
    assert main(["theory", "sign-switches", "--quick", "--out", str(folder)]) == 0
    assert {path.suffix for path in folder.iterdir()} == {".html", ".png", ".csv", ".json"}


def test_bad_arguments_make_no_folder(tmp_path, capsys):
    assert main(["theory", "spectra", "--out", str(tmp_path / "folder")]) == 2
    with pytest.raises(ValueError, match="got 'spectra'"):
        theory.run(["spectra"], tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_import_is_light():
    code = "import sys, ntk_fast.theory; assert not {'scipy', 'matplotlib', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
