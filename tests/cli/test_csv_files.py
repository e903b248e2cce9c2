"""CSV files as people have them: whoever wrote them and however, the same rows come out, or a sentence says why not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.cli import main
from ntk_fast.cli.csv_file import CsvFile
from ntk_fast.cli.csv_layout import CsvOptions

pd = pytest.importorskip("pandas")

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((30, 4))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "rows.csv"


def read(path: Path, options: CsvOptions | None = None) -> tuple[CsvFile, np.ndarray]:
    file = CsvFile.of(path, options or CsvOptions())
    return file, file.read().to_numpy(dtype=float)


FRAME = pd.DataFrame(X)
NAMED = pd.DataFrame(X, columns=list("abcd"))
SHUFFLED = FRAME.sample(frac=1, random_state=0).sort_values(0)


class TestHeadersOfNumbers:
    """No header ever becomes a row in silence."""

    @pytest.mark.parametrize("index", [True, False])
    @pytest.mark.parametrize("n_columns", [2, 3, 4])
    def test_pandas_own(self, path: Path, index: bool, n_columns: int) -> None:
        FRAME.iloc[:, :n_columns].to_csv(path, index=index)
        file, rows = read(path)
        assert np.array_equal(rows, X[:, :n_columns])
        assert file.names == [str(i) for i in range(n_columns)]
        assert f"header of numbers, {','.join(file.names)}" in file.layout.notes
        assert ("row labels in the first column left out" in file.layout.notes) == index

    @pytest.mark.parametrize("n_columns", [8, 40])
    @pytest.mark.parametrize("start", [0, 1, 1990])
    def test_long_counts_are_headers_above_whole_numbers_too(self, path: Path, start: int, n_columns: int) -> None:
        counts = GENERATOR.integers(0, 9, (5, n_columns))
        pd.DataFrame(counts, columns=range(start, start + n_columns)).to_csv(path, index=False)
        file, rows = read(path)
        assert np.array_equal(rows, counts)
        assert file.names[0] == str(start)

    def test_years_above_measurements(self, path: Path) -> None:
        path.write_text("2019,2020\n1.5,2.5\n")
        assert np.array_equal(read(path)[1], [[1.5, 2.5]])

    @pytest.mark.parametrize("text", ["0,1\n1,0\n1,1\n", "0\n0.5\n0.25\n", "7,3\n1.5,2.5\n0.5,1.5\n", "0,1,2\n3,4,5\n"])
    def test_what_may_be_both_is_asked(self, path: Path, text: str) -> None:
        path.write_text(text)
        with pytest.raises(ValueError, match="may be a header and may be a row: pass --header yes or --header no"):
            read(path)
        n_lines = text.count("\n")
        for header, n_rows in ((True, n_lines - 1), (False, n_lines)):
            file, rows = read(path, CsvOptions(header=header))
            assert len(rows) == n_rows
            assert (file.layout.names is not None) == header

    def test_numbers_and_a_word(self, path: Path) -> None:
        path.write_text("2019,2020,country\n1.5,2.5,NO\n0.5,1.5,SE\n")
        assert CsvFile.of(path, CsvOptions()).names == ["2019", "2020", "country"]
        path.write_text("2019,2020,country\n1,2,NO\n3,4,NO\n")
        with pytest.raises(ValueError, match="the first line, 2019,2020,country, may be a header and may be a row"):
            CsvFile.of(path, CsvOptions())
        path.write_text("1,2,NO\n3,4,SE\n5,6,NO\n")
        assert CsvFile.of(path, CsvOptions()).layout.names is None

    @pytest.mark.parametrize(
        "text",
        ["1,2\n3,4\n", "9" * 5000 + ",1\n2,3\n", "0\n1\n2\n", "5,5\n1,2\n", "0.5,1\n2,3\n", "-1,0,1,2\n1,2,3,4\n"],
    )
    def test_rows_stay_rows(self, path: Path, text: str) -> None:
        path.write_text(text)
        file, rows = read(path)
        assert len(rows) == text.count("\n")
        assert file.layout.notes[0] == "no header"


class TestRowLabels:
    @pytest.mark.parametrize(
        "write",
        [
            lambda path: NAMED.to_csv(path),
            lambda path: NAMED.rename(index=lambda i: f"row {i}").to_csv(path),
            lambda path: NAMED.rename(index=lambda i: 1000 - 7 * i).to_csv(path),
            lambda path: NAMED.reset_index().rename(columns={"index": "Unnamed: 0"}).to_csv(path, index=False),
            # R's write.table: no name above the labels
            lambda path: path.write_text(NAMED.to_csv(quoting=2).replace('"",', "", 1)),
        ],
        ids=["pandas", "texts", "shuffled", "read again", "R"],
    )
    def test_are_left_out_and_told(self, path: Path, write: Callable[[Path], object]) -> None:
        write(path)
        file, rows = read(path)
        assert np.array_equal(rows, X)
        assert file.names == list("abcd")
        assert "row labels in the first column left out" in file.layout.notes

    def test_measurements_without_a_name_are_none(self, path: Path) -> None:
        NAMED.rename(columns={"a": ""}).to_csv(path, index=False)
        file, rows = read(path)
        assert np.array_equal(rows, X)
        assert file.names == ["column 1", "b", "c", "d"]


class TestMarks:
    @pytest.mark.parametrize("separator", [";", "\t", ",", "|"])
    @pytest.mark.parametrize("decimal", [".", ","])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_are_found_out(self, path: Path, separator: str, decimal: str, encoding: str) -> None:
        NAMED.to_csv(path, index=False, sep=separator, decimal=decimal, encoding=encoding)
        options = CsvOptions(decimal=decimal) if separator == decimal == "," else CsvOptions()
        file, rows = read(path, options)
        assert np.array_equal(rows, X)
        assert (file.layout.separator, file.layout.decimal) == (separator, decimal)
        assert ("decimal commas" in file.layout.notes) == (decimal == ",")

    def test_numpy_s_savetxt(self, path: Path) -> None:
        np.savetxt(path, X)
        assert np.array_equal(read(path)[1], X)

    def test_any_separator_can_be_named(self, path: Path) -> None:
        NAMED.to_csv(path, index=False, sep="#")
        assert np.array_equal(read(path, CsvOptions(separator="#"))[1], X)

    @pytest.mark.parametrize("digits", [3, 17])
    def test_numbers_of_every_size_keep_every_bit(self, path: Path, digits: int) -> None:
        sizes = 10.0 ** GENERATOR.uniform(-308, 308, (200, 3)) * GENERATOR.choice([-1, 1], (200, 3))
        texts = [[f"{value:.{digits}g}" for value in row] for row in sizes]
        path.write_text("a,b,c\n" + "\n".join(map(",".join, texts)))
        assert np.array_equal(read(path)[1], np.array(texts, dtype=float))


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("rows.csv", bytes),
        ("rows.tsv", bytes),
        ("rows.csv.gz", gzip.compress),
        ("rows.tsv.gz", gzip.compress),
        ("rows.CSV.BZ2", bz2.compress),
        ("rows.csv.xz", lzma.compress),
    ],
)
def test_plain_and_compressed_files(path: Path, name: str, compress: Callable[[bytes], bytes]) -> None:
    text = NAMED.to_csv(index=False, sep="\t" if "tsv" in name else ",")
    Path(name).write_bytes(compress(text.encode()))
    assert main(["gram", name, "--out", "K.npy"]) == 0
    assert np.array_equal(np.load("K.npy"), ntk.NTK()(X))


def test_a_large_file_shows_its_progress(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ntk_fast.cli.csv_file.LARGE", 100)
    monkeypatch.setattr("ntk_fast.cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    NAMED.to_csv(path, index=False)
    assert np.array_equal(read(path)[1], X)
    assert "rows.csv: rows, 100%" in capsys.readouterr().err


def test_standard_input(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(NAMED.to_csv().encode())

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Input())
    assert main(["gram", "-", "--out", "K.npy"]) == 0
    assert np.array_equal(np.load("K.npy"), ntk.NTK()(X))


def test_lines_of_separators_below_a_table_are_left_out(path: Path) -> None:
    path.write_text(NAMED.to_csv(index=False) + ",,,\n\n,,,\n")
    assert np.array_equal(read(path)[1], X)


def test_a_line_of_gaps_is_a_row(path: Path) -> None:
    path.write_text("a,b\n1,2\nNA,?\n3,nan\n")
    assert np.array_equal(read(path)[1], [[1, 2], [np.nan, np.nan], [3, np.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["is empty"]),
        (b"a,b\n1,2\n3\n", ["line 3 has 1 cells", "the first line has 2"]),
        (b"a,b\n1,2\n3,4,5\n", ["line 3 has 3 cells"]),
        (b"a,b\n" + b"1,2\n" * 1000 + b"3\n", ["line 1002 has 1 cells"]),
        (b"a,b\n" + b"1,2\n" * 1000 + b"3,4,5\n", ["line 1002 has 3 cells"]),
        (b'a,b\n1,"2\n' + b"3,4\n" * 1000, ["quote"]),
        (b"a,b\n" + b"1,2\n" * 100_000 + b"\xff,1\n", ["UTF-8"]),
        (b"a\n1,5\n2,5\n", ["line 2 has 2 cells"]),
        (b"a,b\n1,1e400\n", ["column 'b' is not finite", "line 2", "'1e400'"]),
        (b"a,b\n\n1,2\n3,x\n", ["column 'b' is not numeric", "line 4", "'x'"]),
        (b"a;b\n1,5;2\n1.5;2\n", ["column 'a' is not numeric", "'1,5'"]),
    ],
)
def test_bad_files_end_in_one_sentence(
    path: Path, capsys: pytest.CaptureFixture[str], content: bytes, parts: list[str]
) -> None:
    path.write_bytes(content)
    assert main(["gram", "rows.csv", "--out", "K.npy"]) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("ntk-fast gram: rows.csv")
    assert sentence.count("\n") == 1
    for part in parts:
        assert part in sentence
    assert not Path("K.npy").exists()


@pytest.mark.parametrize("content", [b"hello", gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-20]])
def test_a_damaged_compressed_file(path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    Path("rows.csv.gz").write_bytes(content)
    assert main(["gram", "rows.csv.gz", "--out", "K.npy"]) == 2
    assert "rows.csv.gz is not a compressed file, or is cut short" in capsys.readouterr().err


def test_without_pandas(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    NAMED.to_csv(path)
    assert main(["gram", "rows.csv", "--out", "K.npy"]) == 2
    assert "needs pandas: pip install 'ntk_fast[csv]'." in capsys.readouterr().err


@pytest.mark.parametrize("mark", ["1", "", "ab", '"', "."])
def test_separators_that_cannot_be(path: Path, capsys: pytest.CaptureFixture[str], mark: str) -> None:
    NAMED.to_csv(path)
    assert main(["gram", "rows.csv", "--out", "K.npy", f"--separator={mark}"]) == 2
    assert "--separator must be one character" in capsys.readouterr().err
