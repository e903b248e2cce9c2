"""The model file: named arrays and one JSON header in a single file that is either whole or refused.

It is a zip archive of uncompressed members, `ntk_fast_model.json` first and then one `.npy` per array, so that it can
be looked into with any tool. The archive's comment, its last bytes, is the SHA-256 of everything before it: a file cut
short or with a single bit turned anywhere is refused. Nothing in it is pickled, and reading it runs no code.

A file is written under a temporary name and renamed when it is complete: at no moment does `path` name half a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ntk_fast.disk import whole_file

#: Raised by one whenever files of the new kind would be misread by older releases.
FORMAT_VERSION = 1

HEADER_MEMBER = "ntk_fast_model.json"
#: What every model file begins with: a zip member of that name (its name stands 30 bytes into the file).
_MAGIC, _NAME_AT = b"PK\x03\x04", 30
_DIGEST_LENGTH = 64
_CHUNK = 1 << 20


def _digest(file: BinaryIO, n_bytes: int) -> bytes:
    """SHA-256, in hexadecimal, of the next bytes of a file."""
    digest = hashlib.sha256()
    while n_bytes > 0:
        chunk = file.read(min(_CHUNK, n_bytes))
        if not chunk:
            break
        digest.update(chunk)
        n_bytes -= len(chunk)
    return digest.hexdigest().encode()


def _write(file: BinaryIO, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = b"0" * _DIGEST_LENGTH
        text = json.dumps({"format_version": FORMAT_VERSION, **header}, allow_nan=False)
        archive.writestr(zipfile.ZipInfo(HEADER_MEMBER), text)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                npy.write_array(member, np.asanyarray(array), allow_pickle=False)
    n_bytes = file.seek(0, os.SEEK_END) - _DIGEST_LENGTH
    file.seek(0)
    digest = _digest(file, n_bytes)
    file.seek(n_bytes)
    file.write(digest)


def write_model_file(path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write a model file; `path` keeps what it held until the new file is complete and on the disk.

    Parameters
    ----------
    path : str or path-like
    header : dict
        Anything that JSON can hold, infinities and NaN excepted.
    arrays : dict of str to ndarray
        Of any dtype but `object`.

    Raises
    ------
    OSError
        If the file cannot be written: the disk is full, the directory is missing or read-only.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model"
    >>> write_model_file(path, {"note": "three numbers"}, {"numbers": np.arange(3)})
    >>> read_model_file(path)
    ({'format_version': 1, 'note': 'three numbers'}, {'numbers': array([0, 1, 2])})
    """
    with whole_file(Path(path)) as temporary, open(temporary, "wb+") as file:
        _write(file, header, arrays)


def _refuse_foreign_or_damaged(file: BinaryIO, path: str) -> None:
    start = file.read(_NAME_AT + len(HEADER_MEMBER))
    if not start.startswith(_MAGIC) or start[_NAME_AT:] != HEADER_MEMBER.encode():
        raise ValueError(f"{path!r} is not an ntk_fast model file.")
    n_bytes = file.seek(0, os.SEEK_END) - _DIGEST_LENGTH
    file.seek(0)
    if n_bytes <= 0 or _digest(file, n_bytes) != file.read():
        raise ValueError(f"{path!r} is damaged: its contents do not match its checksum; restore it or fit again.")


def read_model_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model file.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    header : dict
    arrays : dict of str to ndarray
        With the dtype, the memory order and the very bits that were written.

    Raises
    ------
    ValueError
        If the file is not a model file, is damaged, or was written by a newer release.
    OSError
        If there is no such file, or it cannot be opened.
    """
    shown = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{shown!r}: there is no such model file.")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{shown!r} is a directory, and no model file.")
    with open(path, "rb") as file:
        _refuse_foreign_or_damaged(file, shown)
        with zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read(HEADER_MEMBER))
            version = header["format_version"]
            if version > FORMAT_VERSION:
                raise ValueError(
                    f"{shown!r} is a model file of version {version} and this release of ntk_fast reads versions up to "
                    f"{FORMAT_VERSION}: install a newer release."
                )
            arrays = {}
            for name in archive.namelist()[1:]:
                with archive.open(name) as member:
                    arrays[name.removesuffix(".npy")] = npy.read_array(member, allow_pickle=False)
    return header, arrays
