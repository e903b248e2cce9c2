"""A model file is either whole or refused, and `path` never names half of one."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

from ntk_fast.estimators import model_file
from ntk_fast.estimators.model_file import FORMAT_VERSION, read_model_file, write_model_file

HEADER = {"estimator": "Example", "nested": {"numbers": [1, 2.5, None, True], "text": "é"}}
ARRAYS = {
    "float32": np.linspace(0, 1, 7, dtype=np.float32),
    "column major": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "labels": np.array(["one", "three"]),
    "empty": np.empty((0, 3)),
    "scalar": np.array(5),
    "specials": np.array([np.nan, -0.0, np.inf, 5e-324]),
}


def test_everything_comes_back_bit_by_bit(tmp_path):
    path = tmp_path / "model"
    write_model_file(path, HEADER, ARRAYS)
    header, arrays = read_model_file(path)
    assert header == {"format_version": FORMAT_VERSION, **HEADER}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].flags.f_contiguous == array.flags.f_contiguous
        assert arrays[name].tobytes() == array.tobytes()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model"
    write_model_file(path, HEADER, {"coefficients": np.arange(3.0)})
    return path


def test_cut_short_at_any_byte(path):
    whole = path.read_bytes()
    for n_bytes in range(len(whole)):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match=r"damaged|not an ntk_fast model file"):
            read_model_file(path)


def test_a_flipped_bit_of_any_byte(path):
    whole = bytearray(path.read_bytes())
    for position in range(len(whole)):
        whole[position] ^= 1 << position % 8
        path.write_bytes(whole)
        with pytest.raises(ValueError, match=r"damaged|not an ntk_fast model file"):
            read_model_file(path)
        whole[position] ^= 1 << position % 8


def test_bytes_added(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        read_model_file(path)


def test_foreign_files(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.arange(3))
    (tmp_path / "text").write_text("not a model")
    (tmp_path / "empty").touch()
    for name in ("arrays.npz", "text", "empty"):
        with pytest.raises(ValueError, match=f"{name}' is not an ntk_fast model file"):
            read_model_file(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_model_file(tmp_path / "missing")


def test_no_file_and_a_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent': there is no such model file\.$"):
        read_model_file(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="is a directory, and no model file"):
        read_model_file(tmp_path)


def test_newer_version(path, monkeypatch):
    monkeypatch.setattr(model_file, "FORMAT_VERSION", FORMAT_VERSION + 1)
    write_model_file(path, HEADER, ARRAYS)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"version {FORMAT_VERSION + 1} .* up to {FORMAT_VERSION}: install a newer"):
        read_model_file(path)


def test_nothing_is_pickled(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_model_file(tmp_path / "model", {}, {"objects": np.array([object()])})
    assert os.listdir(tmp_path) == []


def test_any_zip_tool_opens_it(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("ntk_fast_model.json"))["estimator"] == "Example"


def test_a_write_that_fails_leaves_what_was_there(path, monkeypatch):
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_model_file(path, {"estimator": "Other"}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_header_must_be_plain_json(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_model_file(tmp_path / "model", {"bad": float("nan")}, {})
