"""The C sources: no warnings, and no bad access or undefined behaviour in any instruction set of this processor."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest

from ntk_fast.backends import available_backends

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted(map(str, ROOT.glob("csrc/*.c")))
TILES = str(ROOT / "tests" / "sanitize" / "tiles.c")
EXTENSION = ROOT / "ntk_fast" / "backends" / "_tile.c"
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
INCLUDES = [f"-I{ROOT / 'csrc'}", f"-I{sysconfig.get_path('include')}"]

pytestmark = [
    pytest.mark.skipif(not SOURCES, reason="the C sources are not here"),
    pytest.mark.skipif(not COMPILERS, reason="no C compiler"),
]


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )


def compile_all(compiler: str, sources: Iterable[str], flags: list[str], folder: Path) -> list[str]:
    """Compile sources side by side; return the objects."""
    objects, builds = [], []
    for source in sources:
        objects.append(str(folder / Path(source).with_suffix(".o").name))
        command = [compiler, *flags, *INCLUDES, "-c", source, "-o", objects[-1]]
        builds.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    errors = [build.communicate()[1] for build in builds]
    assert not any(build.returncode for build in builds), errors
    return objects


@pytest.fixture(scope="module", params=COMPILERS)
def sanitized(request, tmp_path_factory):
    """Return a compiler, a folder, and the sources compiled in it under the sanitizers, once for all tests."""
    compiler, folder = request.param, tmp_path_factory.mktemp("sanitized")
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n")
    probe = run(compiler, *SANITIZERS, "nothing.c", "-o", "nothing", cwd=folder)
    if probe.returncode or run("./nothing", cwd=folder).returncode:
        pytest.skip(f"{compiler} has no sanitizers here")
    flags = [*STRICT, *SANITIZERS, "-O0", "-g", "-fPIC", "-ffp-contract=off"]
    return compiler, folder, compile_all(compiler, SOURCES, flags, folder)


def expect_every_instruction_set(printed: str) -> None:
    checked = {line.split()[0] for line in printed.splitlines()}
    assert "baseline" in checked
    if "cython" in available_backends():
        from ntk_fast.backends.cython_backend import available_instruction_sets

        assert checked == set(available_instruction_sets())


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_sources_compile_without_warnings(compiler):
    compiled = run(compiler, *STRICT, "-fsyntax-only", *SOURCES, TILES, *INCLUDES, cwd=ROOT)
    assert compiled.returncode == 0, compiled.stderr


def test_generated_coefficients_are_up_to_date():
    generator = runpy.run_path(str(ROOT / "csrc" / "elementary_coefficients.py"))
    assert (ROOT / "csrc" / "elementary_coefficients.h").read_text() == generator["header"]()


def test_tiles_of_odd_shapes_run_clean_under_the_sanitizers(sanitized):
    compiler, folder, objects = sanitized
    own = compile_all(compiler, [TILES], [*STRICT, *SANITIZERS, "-O0", "-g", "-ffp-contract=off"], folder)
    linked = run(compiler, *SANITIZERS, *objects, *own, "-lm", "-o", "tiles", cwd=folder)
    assert linked.returncode == 0, linked.stderr
    ran = run("./tiles", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    expect_every_instruction_set(ran.stdout)


@pytest.mark.skipif(not EXTENSION.exists(), reason="the extension was not built here")
def test_drawn_networks_on_images_run_clean_under_the_sanitizers(sanitized):
    """In a Python whose extension is built under them, and which loads what they need before anything else."""
    compiler, folder, objects = sanitized
    runtime = run(compiler, "-print-file-name=libasan.so", cwd=folder).stdout.strip()
    if compiler != "gcc" or not Path(runtime).is_absolute():
        pytest.skip(f"the address sanitizer of {compiler} cannot be loaded into Python")
    own = compile_all(compiler, [str(EXTENSION)], ["-std=c11", "-O0", "-w", "-fPIC"], folder)
    linked = run(compiler, *SANITIZERS, "-shared", *objects, *own, "-lm", "-o", "_tile.so", cwd=folder)
    assert linked.returncode == 0, linked.stderr
    program, paths = str(ROOT / "tests" / "sanitize" / "images.py"), os.pathsep.join([str(ROOT), *sys.path])
    sanitizer = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": paths}
    ran = run(sys.executable, program, str(folder / "_tile.so"), "0", "4", cwd=folder, **sanitizer)
    assert ran.returncode == 0, f"{ran.stdout[-1000:]}\n{ran.stderr}"
    expect_every_instruction_set(ran.stdout)
