"""Files appear whole or not at all, keep their permissions, and nobody's left-overs stay."""

from __future__ import annotations

import errno
import os
import signal
import stat
from pathlib import Path

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.disk import made_folder, whole_file


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write(path: Path, content: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(content)


def killed_while_writing(path: Path) -> None:
    """Have another process killed in the middle of the file."""
    child = os.fork()
    if child == 0:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "model"
    write(path, "first")
    path.chmod(mode)
    write(path, "second")
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == mode


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    write(tmp_path / "model", "first")
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_a_killed_process_left_goes_with_the_next_file_of_that_name(tmp_path):
    path = tmp_path / "model [1]"
    killed_while_writing(path)
    killed_while_writing(path)
    killed_while_writing(tmp_path / "model")
    assert len(names(tmp_path)) == 2, "the second one has removed what the first one left"
    for name in (".model [1].notes.part", ".model [1].0123456789abcdef.part.txt"):
        (tmp_path / name).touch()
    with whole_file(path) as temporary:
        other = tmp_path / "nothing"
        write(path, "by another process, meanwhile")
        assert temporary.exists(), "a file that is being written is left alone"
        temporary.write_text("whole")
        assert not other.exists()
    assert path.read_text() == "whole"
    write(tmp_path / "model", "whole")
    assert names(tmp_path) == {"model", "model [1]", ".model [1].notes.part", ".model [1].0123456789abcdef.part.txt"}


def test_an_error_leaves_what_was_there_and_is_of_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "model"
    write(path, "first")
    with pytest.raises(OSError, match="No space left") as raised, whole_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.filename == str(path)
    with pytest.raises(ZeroDivisionError), whole_file(path):
        raise ZeroDivisionError
    assert path.read_text() == "first"
    assert names(tmp_path) == {"model"}
    with pytest.raises(FileNotFoundError) as missing, whole_file(tmp_path / "nowhere" / "model"):
        pass
    assert missing.value.filename == str(tmp_path / "nowhere" / "model")


def test_a_folder_stays_only_if_something_is_in_it(tmp_path):
    def fail(error: type[BaseException], *result: str) -> None:
        with made_folder(tmp_path / "a" / "b"):
            for name in result:
                (tmp_path / "a" / "b" / name).touch()
            raise error

    for error in (KeyboardInterrupt, OSError):
        with pytest.raises(error):
            fail(error)
        assert names(tmp_path) == set()
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt, "result")
    assert (tmp_path / "a" / "b" / "result").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyboardInterrupt), made_folder(tmp_path / "empty"):
        raise KeyboardInterrupt
    assert (tmp_path / "empty").is_dir(), "it was there before"


def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    """A device that became a file would be one for every program of the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, message in (("pipe", "is no regular file"), ("folder", "is a folder")):
        (tmp_path / f"{name}.npy").symlink_to(tmp_path / name)
        for path in (tmp_path / name, tmp_path / f"{name}.npy"):
            with pytest.raises(OSError, match=message):
                write(path, "content")
        with pytest.raises(OSError, match=message):
            ntk.write_gram(ntk.NTK(1), np.eye(2), tmp_path / f"{name}.npy", overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == {"pipe", "folder", "pipe.npy", "folder.npy"}
