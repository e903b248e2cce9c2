"""read_gram: parts of a file, and files that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stores import KERNEL, rows

import ntk_fast as ntk

pytestmark = pytest.mark.usefixtures("small_blocks")


def test_what_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "K.npy"
    with pytest.raises(FileNotFoundError, match=r"K.npy is missing"):
        ntk.read_gram(path)
    ntk.write_gram(KERNEL, rows(20), path)
    for part in ((5, 3), (0, 21), (0, 5, 30)):
        with pytest.raises(ValueError, match="must satisfy 0 <= start <= stop <= 20"):
            ntk.read_gram(path, *part)
    with pytest.raises(ValueError, match="row_start must be a whole number"):
        ntk.read_gram(path, -1)
    content = path.read_bytes()
    for damaged in (content[:-1], content[:50], b"", b"no array"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is not a whole .npy file"):
            ntk.read_gram(path)
    np.save(path, np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"is not a whole .npy file"):
        ntk.read_gram(path)
    for foreign in (np.zeros(3), np.array([["a", "b"]]), np.zeros((2, 2), dtype=int)):
        np.save(path, foreign)
        with pytest.raises(ValueError, match="must hold a matrix of reals"):
            ntk.read_gram(path)
    with open(path, "wb") as file:
        np.savez(file, K=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"is not a whole .npy file of numbers"):
        ntk.read_gram(path)
    (tmp_path / "K.zarr").mkdir()
    with pytest.raises(ValueError, match="is not a Zarr array"):
        ntk.read_gram(tmp_path / "K.zarr")


READ_UNDER_A_LIMIT = """
import resource, sys
import numpy as np
import ntk_fast as ntk
ntk.read_gram
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20),) * 2)
print(ntk.read_gram(sys.argv[1], 3, 5, 7, 10).tolist())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the address space in use")
def test_a_part_is_read_where_the_whole_does_not_fit_in_the_address_space(tmp_path):
    path = tmp_path / "K.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (20000, 20000)})
        start = file.tell()
        for row in (3, 4):
            file.seek(start + 8 * (row * 20000 + 7))
            file.write(np.arange(row, row + 3.0).tobytes())
        os.truncate(path, start + 8 * 20000**2)
    script = [sys.executable, "-c", READ_UNDER_A_LIMIT, str(path)]
    done = subprocess.run(script, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    assert done.stdout == "[[3.0, 4.0, 5.0], [4.0, 5.0, 6.0]]\n", done.stderr


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("stored", ["<f4", ">f8", "<f2"])
def test_parts_of_any_npy_file_of_reals(tmp_path, order, stored):
    K = np.asarray(np.random.default_rng(0).standard_normal((30, 50)), dtype=stored, order=order)
    np.save(tmp_path / "K.npy", K)
    for part in ((0, None, 0, None), (3, 9, 0, None), (0, None, 7, 8), (29, 30, 49, 50), (5, 5, 0, 3), (0, 30, 50, 50)):
        read = ntk.read_gram(tmp_path / "K.npy", *part)
        np.testing.assert_array_equal(read, K[part[0] : part[1], part[2] : part[3]])
        assert read.dtype == K.dtype
