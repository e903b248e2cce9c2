"""Building the package: without a C compiler, and in `make`, which is quiet where all is well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="runs from a source tree")

USE = """
import sys, warnings
warnings.simplefilter("always")
import numpy as np
import ntk_fast as ntk
assert ntk.__file__.startswith(sys.argv[1]), ntk.__file__
X = np.random.default_rng(0).standard_normal((20, 3))
kernel = ntk.ArcCosine(order=1)
print(ntk.available_backends())
print(np.abs(kernel(X) - kernel(X, backend="numpy")).max() < 1e-14)
"""


def test_without_a_compiler_the_package_builds_and_runs_on_numba(tmp_path):
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "ntk_fast_command.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("csrc", "ntk_fast"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "_tile.c", "__pycache__"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NTK_FAST"))}

    build = [sys.executable, "setup.py", "build", "--build-lib", "built"]
    library = tmp_path / "built"
    stale = library / "ntk_fast" / "backends" / f"_tile{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier build")
    os.utime(stale, (0, 0))
    built = subprocess.run(build, cwd=tmp_path, env=environment | {"CC": "false"}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "the compiled extension could not be built" in built.stderr
    assert "runs on Numba" in built.stderr
    assert not list(library.rglob("*.so"))
    assert (library / "ntk_fast" / "py.typed").exists()

    use = [sys.executable, "-c", USE, str(library)]
    # as plain Python: compilation takes a minute, and is tested elsewhere
    quick = environment | {"NUMBA_DISABLE_JIT": "1"}
    used = subprocess.run(use, cwd=library, env=quick, capture_output=True, text=True, timeout=300)
    assert used.returncode == 0, used.stderr
    assert used.stdout.splitlines() == ["('numba', 'numpy')", "True"]
    assert "RuntimeWarning: ntk_fast runs on Numba" in used.stderr


PIP = """#!/bin/sh
echo "Collecting numpy"
echo "WARNING: a new release of pip" >&2
exit {code}
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("code", [0, 7])
def test_make_shows_what_pip_says_only_if_it_fails(tmp_path, code):
    for name in ("Makefile", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "ntk_fast" / "backends").mkdir(parents=True)
    (tmp_path / "ntk_fast" / "version.py").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP.format(code=code))
    python.chmod(0o755)
    # a make of its own, whose words are not those of a make that runs the tests
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", ".venv/with-demo"], cwd=tmp_path, capture_output=True, text=True, env=outside)
    assert (done.returncode == 0) == (code == 0)
    assert ("Collecting numpy\nWARNING: a new release of pip" in done.stderr) == (code != 0)
    assert "Collecting" not in done.stdout
    assert (tmp_path / ".venv" / "built").exists() == (code == 0)
    if code == 0:
        assert [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()] == ["Building", "Without", "Installing"]
