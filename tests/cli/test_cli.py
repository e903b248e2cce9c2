"""The command line: what it writes, what it says, and that nothing half-done stays behind."""

from __future__ import annotations

import errno
import importlib
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.backends.engines import available_engines
from ntk_fast.cli import main
from ntk_fast.cli.csv_file import CsvFile
from ntk_fast.cli.csv_layout import CsvOptions
from ntk_fast.cli.row_files import read_csv

ROOT = Path(__file__).parents[2]
ROWS = np.random.default_rng(0).standard_normal((20, 3))

#: Runs the command line in a process of its own, with signals as terminals have them: nohup turns some off.
PROCESS = [
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "[signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)];"
    "from ntk_fast.cli import main; sys.exit(main())",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the same rows in every format."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", ROWS)
    np.savez("one.npz", rows=ROWS)
    np.savez("two.npz", train=ROWS, test=ROWS[:5])
    np.savetxt("rows.csv", ROWS, delimiter=",", fmt="%.17g")
    return tmp_path


def run(command: str) -> int:
    """Run a command as if typed; words are separated by blanks."""
    try:
        return main(command.split())
    except SystemExit as end:  # argparse's way out
        return int(end.code or 0)


class TestGram:
    @pytest.mark.parametrize("rows", ["rows.npy", "one.npz", "rows.csv", "two.npz --key train"])
    def test_every_format_gives_the_library_s_matrix(self, folder: Path, rows: str) -> None:
        assert run(f"gram {rows} --out K.npy --depth 3") == 0
        assert np.array_equal(np.load("K.npy"), ntk.NTK(3)(ROWS))

    @pytest.mark.parametrize(
        ("options", "kernel"),
        [
            ("", ntk.NTK()),
            ("--kernel nngp --depth 2", ntk.NNGP(2)),
            ("--kernel arccos --order 0 --depth 2", ntk.ArcCosine(0, 2)),
            ("--kernel arccos", ntk.ArcCosine()),
            ("--activation abs --bias-variance 0.1", ntk.NTK(1, "abs", bias_variance=0.1)),
            ("--activation leaky_relu --slope 0.3", ntk.NTK(1, ntk.leaky_relu(0.3))),
            ("--depth 2 --weight-variance 1,2,2", ntk.NTK(2, weight_variance=(1, 2, 2))),
        ],
    )
    def test_options_name_the_kernel(self, folder: Path, options: str, kernel: Callable) -> None:
        assert run(f"gram rows.npy --out K.npy {options}") == 0
        assert np.array_equal(np.load("K.npy"), kernel(ROWS))

    def test_other_rows_make_the_columns(self, folder: Path) -> None:
        assert run("gram rows.npy --other two.npz --key test --out K.npy") == 0
        assert np.array_equal(np.load("K.npy"), ntk.NTK()(ROWS, ROWS[:5]))

    @pytest.mark.parametrize("backend", ntk.available_backends())
    def test_backend_threads_and_dtype(self, folder: Path, backend: str) -> None:
        assert run(f"gram rows.npy --out K.npy --backend {backend} --threads 1 --dtype float32") == 0
        expected = ntk.NTK()(ROWS, backend=backend, dtype=np.float32)
        written = np.load("K.npy")
        assert written.dtype == np.float32
        assert np.array_equal(written, expected)

    def test_float32_rows_stay_float32(self, folder: Path) -> None:
        np.save("small.npy", ROWS.astype(np.float32))
        assert run("gram small.npy --out K.npy") == 0
        assert np.load("K.npy").dtype == np.float32

    def test_summary_and_progress(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run("gram rows.npy --out K.npy --depth 3")
        shown = capsys.readouterr()
        matrix = np.load("K.npy")
        for part in ("K.npy: 20 x 20 float64", "NTK(depth=3)", "entries/s", f"{matrix.min():.6g}", "diagonal"):
            assert part in shown.out
        assert "100%" in shown.err

    def test_an_existing_file_is_kept_without_force(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("K.npy").write_text("precious")
        assert run("gram rows.npy --out K.npy") == 2
        assert Path("K.npy").read_text() == "precious"
        assert "--force" in capsys.readouterr().err
        assert run("gram rows.npy --out K.npy --force") == 0
        assert np.load("K.npy").shape == (20, 20)

    def test_nothing_but_the_result_appears(self, folder: Path) -> None:
        before = set(os.listdir())
        run("gram rows.npy --out K.npy")
        assert set(os.listdir()) == before | {"K.npy"}

    def test_the_result_has_ordinary_permissions(self, folder: Path) -> None:
        run("gram rows.npy --out K.npy")
        assert Path("K.npy").stat().st_mode == Path("rows.npy").stat().st_mode


def _broken_npy() -> None:
    np.save("broken.npy", ROWS)
    Path("broken.npy").write_bytes(Path("broken.npy").read_bytes()[:-8])


def _broken_npz() -> None:
    content = bytearray(Path("one.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path("broken.npz").write_bytes(content)


def _with_nan() -> None:
    rows = ROWS.copy()
    rows[3, 1] = np.nan
    np.save("nan.npy", rows)


#: What is wrong, what prepares it, and what the sentence must hold.
BAD_INPUT: list[tuple[str, Callable[[], object] | None, list[str]]] = [
    ("gram missing.npy --out K.npy", None, ["missing.npy", "No such file"]),
    ("gram rows.txt --out K.npy", None, ["rows.txt", ".npy, .npz or .csv"]),
    ("gram rows.npy --out K.txt", None, ["--out", ".npy"]),
    ("gram rows.npy --out nowhere/K.npy", None, ["nowhere"]),
    ("gram rows.npy --out .", None, ["--out"]),
    ("gram rows.npy --out rows.npy --force", None, ["--out", "rows"]),
    ("gram two.npz --out K.npy", None, ["train", "test", "--key"]),
    ("gram two.npz --out K.npy --key nothing", None, ["nothing", "train"]),
    ("gram rows.npy --out K.npy --key train", None, ["--key", ".npz"]),
    ("gram broken.npy --out K.npy", _broken_npy, ["broken.npy"]),
    ("gram broken.npz --out K.npy", _broken_npz, ["broken.npz"]),
    ("gram not.npz --out K.npy", lambda: Path("not.npz").write_text("hello"), ["not.npz", "archive"]),
    ("gram objects.npy --out K.npy", lambda: np.save("objects.npy", np.array([[{}]])), ["objects.npy", "objects"]),
    ("gram objects.npz --out K.npy", lambda: np.savez("objects.npz", a=np.array([[{}]])), ["objects.npz"]),
    ("gram text.npy --out K.npy", lambda: np.save("text.npy", np.array([["a"]])), ["text.npy", "<U1"]),
    ("gram complex.npy --out K.npy", lambda: np.save("complex.npy", ROWS * 1j), ["complex"]),
    ("gram cube.npy --out K.npy", lambda: np.save("cube.npy", np.ones((2, 2, 2))), ["(2, 2, 2)"]),
    ("gram none.npy --out K.npy", lambda: np.save("none.npy", np.ones((0, 2))), ["(0, 2)"]),
    ("gram nan.npy --out K.npy", _with_nan, ["nan.npy", "row 3", "column 1"]),
    ("gram empty.csv --out K.npy", lambda: Path("empty.csv").write_text("\n"), ["empty.csv"]),
    ("gram header.csv --out K.npy", lambda: Path("header.csv").write_text("a,b\n"), ["(0, 2)"]),
    (
        "gram named.csv --out K.npy",
        lambda: Path("named.csv").write_text("id,name\n1,Ada\n"),
        ["'name'", "line 2", "'Ada'"],
    ),
    ("gram plain.csv --out K.npy", lambda: Path("plain.csv").write_text("1,2\n3,x\n"), ["column 2", "line 2", "'x'"]),
    ("gram hole.csv --out K.npy", lambda: Path("hole.csv").write_text("a,b\n1,2\n3,\n"), ["'b'", "line 3", "empty"]),
    (
        "gram hole1.csv --out K.npy",
        lambda: Path("hole1.csv").write_text("1.5,NA,2\n1,2,3\n"),
        ["column 2", "line 1", "'NA'"],
    ),
    (
        "gram quote.csv --out K.npy",
        lambda: Path("quote.csv").write_text('1,2\n3,"4\n' + "5,6\n" * 50_000),
        ["quote.csv", "quote"],
    ),
    ("gram ragged.csv --out K.npy", lambda: Path("ragged.csv").write_text("1,2\n3,4,5\n"), ["line 2", "3 cells"]),
    ("gram bytes.csv --out K.npy", lambda: Path("bytes.csv").write_bytes(b"\xff\xfe1,2"), ["bytes.csv", "UTF-8"]),
    ("gram rows.npy --out K.npy --other w.npy", lambda: np.save("w.npy", np.ones((2, 4))), ["columns", "3", "4"]),
    ("gram rows.npy --out K.npy --depth 0", None, ["depth", "0"]),
    ("gram rows.npy --out K.npy --depth 1.5", None, ["--depth", "1.5"]),
    ("gram rows.npy --out K.npy --bias-variance -1", None, ["--bias-variance must", "-1"]),
    ("gram rows.npy --out K.npy --weight-variance 1,x", None, ["--weight-variance", "'1,x'"]),
    ("gram rows.npy --out K.npy --weight-variance 1,2,3", None, ["--weight-variance must", "3 values"]),
    ("gram rows.npy --out K.npy --order 1", None, ["--order", "arccos"]),
    ("gram rows.npy --out K.npy --kernel arccos --order 5", None, ["order", "5"]),
    ("gram rows.npy --out K.npy --kernel arccos --bias-variance 1", None, ["--bias-variance", "arccos"]),
    ("gram rows.npy --out K.npy --slope 0.1", None, ["--slope", "leaky_relu"]),
    ("gram rows.npy --out K.npy --kernel rbf", None, ["--kernel", "rbf", "ntk"]),
    ("gram rows.npy --out K.npy --backend fortran", None, ["backend", "'fortran'", "'numpy'"]),
    ("gram rows.npy --out K.npy --threads 0", None, ["--threads must", "0"]),
    ("gram big.npy --out K.npy", lambda: np.save("big.npy", np.full((1, 2), 1e200)), ["overflow"]),
    ("gram rows.npy", None, ["--out"]),
    ("", None, ["COMMAND"]),
    ("conquer", None, ["conquer"]),
]


@pytest.mark.parametrize(("command", "prepare", "parts"), BAD_INPUT, ids=[row[0] or "nothing" for row in BAD_INPUT])
def test_bad_input_ends_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, prepare: Callable | None, parts: list[str]
) -> None:
    if prepare is not None:
        prepare()
    before = set(os.listdir())
    assert run(command) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("ntk-fast")
    assert sentence.count("\n") == 1
    for part in parts:
        assert part in sentence
    assert set(os.listdir()) == before


def test_a_full_disk_is_refused_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = set(os.listdir())
    assert run("gram rows.npy --out K.npy") == 2
    assert "K.npy: The disk is full; nothing was kept. With --resume" in capsys.readouterr().err
    assert set(os.listdir()) == before


def test_a_folder_that_is_read_only_is_known_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run("gram rows.npy --out K.npy") == 2
    assert "K.npy cannot be written: its folder is read-only." in capsys.readouterr().err


def test_a_second_run_does_not_disturb_what_another_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "K.npy.partial").write_bytes(b"half a matrix")
    (folder / "K.npy.journal").write_text('{"identity": {}, "stamp": "", "finished": "10"}')
    assert run("gram rows.npy --out K.npy") == 2
    assert "was begun and not finished; pass --resume to go on, or --force to begin anew" in capsys.readouterr().err
    assert (folder / "K.npy.partial").read_bytes() == b"half a matrix"


@pytest.mark.parametrize("name", ["K.npy", "K.zarr"])
def test_force_takes_nothing_away_that_is_not_ours(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (folder / f"{name}.partial").mkdir()
    (folder / f"{name}.partial" / "thesis.txt").write_text("mine")
    before = set(os.listdir())
    for force in ("", " --force", " --force --resume"):
        assert run(f"gram rows.npy --out {name}{force}") == 2
        assert "exists and has no journal that says it is ours; remove it" in capsys.readouterr().err
        assert set(os.listdir()) == before
    assert (folder / f"{name}.partial" / "thesis.txt").read_text() == "mine"


def test_a_finished_matrix_has_no_speed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gram rows.npy --out K.npy --resume") == 0
    assert "entries/s" in capsys.readouterr().out
    assert run("gram rows.npy --out K.npy --resume") == 0
    shown = capsys.readouterr()
    assert "the matrix was finished before" in shown.out
    assert "entries/s" not in shown.out + shown.err


def test_an_error_before_any_work_leaves_what_an_earlier_run_began(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "K.npy.partial").write_bytes(b"half a matrix")
    (folder / "K.npy.journal").write_text('{"identity": {}, "stamp": "", "finished": "10"}')

    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(ntk, "write_gram", fail)
    assert run("gram rows.npy --out K.npy") == 2
    assert (folder / "K.npy.partial").read_bytes() == b"half a matrix"
    assert (folder / "K.npy.journal").exists()


class TestCsv:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("1,2\n3,4\n", ["1", "2"]),
            ("a,b\n1,2\n3,4\n", ["a", "b"]),
            ("a,2020\n1,2\n3,4\n", ["a", "2020"]),
            ("2019,land\n1,2\n3,4\n", ["2019", "land"]),
            ('"a, b",c\n1,2\n3,4\n', ["a, b", "c"]),
            ('"a; x",b\n1,2\n3,4\n', ["a; x", "b"]),
            ("a;b\n1;2\n3;4", ["a", "b"]),
            ("1\t2\r\n3\t4\r\n", ["1", "2"]),
            ("\ufeffa,b\n1,2\n3,4\n", ["a", "b"]),
            ("\n a , b \n\n 1 , 2 \n  \n3,4\n\n", ["a", "b"]),
        ],
    )
    def test_header_and_numbers(self, tmp_path: Path, text: str, names: list[str]) -> None:
        path = tmp_path / "rows.csv"
        path.write_text(text, encoding="utf-8", newline="")
        file = CsvFile.of(path, CsvOptions())
        numbers = file.read()
        assert file.names == names
        assert np.array_equal(numbers, [[1, 2], [3, 4]])

    def test_numbers_keep_every_bit(self, folder: Path) -> None:
        assert np.array_equal(read_csv(Path("rows.csv"), CsvOptions()), ROWS)


class TestInfo:
    def test_says_what_computes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("info") == 0
        shown = capsys.readouterr().out
        assert ntk.__version__ in shown
        for engine in available_engines():
            assert engine.backend in shown
            assert (engine.instruction_set or "") in shown
        for part in ("threads", "BLAS", "processor", f"numpy {np.__version__}"):
            assert part in shown

    def test_follows_the_environment(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NTK_FAST_BACKEND", "numpy")
        monkeypatch.setenv("NTK_FAST_NUM_THREADS", "3")
        assert run("info") == 0
        shown = capsys.readouterr().out
        assert "numpy, as NTK_FAST_BACKEND says" in shown
        assert "NTK_FAST_NUM_THREADS=3" in shown

    def test_version_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("--version") == 0
        assert capsys.readouterr().out == f"ntk-fast {ntk.__version__}\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_behind(folder: Path, number: signal.Signals, code: int) -> None:
    rows = np.random.default_rng(0).standard_normal((3000, 5))
    np.save("many.npy", rows)
    before = set(os.listdir())
    command = [*PROCESS, "gram", "many.npy", "--out", "K.npy", "--depth", "1000", "--backend", "numpy"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while set(os.listdir()) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in complaint
    assert set(os.listdir()) == before


def test_the_console_script_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = declared["project"]["scripts"]["ntk-fast"].partition(":")
    assert declared["tool"]["setuptools"]["py-modules"] == [module]
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(
    "name", ["numpy", "ntk_fast.kernels", "ntk_fast.cli", "ntk_fast.cli.fit", "ntk_fast.cli.words"]
)
def test_ctrl_c_is_heard_while_the_command_is_imported(name: str) -> None:
    code = f"""
import sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from ntk_fast_command import main
sys.exit(main())
"""
    arguments = ["gram", "missing.npy", "--out", "K.npy"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert re.fullmatch(r"ntk-fast( gram)?: interrupted\n", done.stderr)


def test_python_m(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "ntk_fast", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ntk-fast {ntk.__version__}\n"


def test_commands_load_no_extra() -> None:
    code = (
        "import importlib, sys; from ntk_fast.cli import COMMANDS; "
        "[importlib.import_module(f'ntk_fast.cli.{name}') for name in COMMANDS]; "
        "extras = ('rich', 'matplotlib', 'pandas', 'sklearn', 'mpmath', 'numba'); "
        "print([name for name in extras if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
