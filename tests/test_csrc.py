"""The C sources: no warnings, and no bad access or undefined behaviour in any instruction set of this processor."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from ntk_fast.backends import available_backends

ROOT = Path(__file__).parent.parent
SOURCES = sorted(map(str, ROOT.glob("csrc/*.c")))
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = [
    pytest.mark.skipif(not SOURCES, reason="the C sources are not here"),
    pytest.mark.skipif(not COMPILERS, reason="no C compiler"),
]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_sources_compile_without_warnings(compiler, tmp_path):
    compiled = run(
        compiler, *STRICT, "-fsyntax-only", *SOURCES, str(ROOT / "tests/sanitize.c"), f"-I{ROOT / 'csrc'}", cwd=ROOT
    )
    assert compiled.returncode == 0, compiled.stderr


def test_generated_coefficients_are_up_to_date():
    generator = runpy.run_path(str(ROOT / "csrc" / "elementary_coefficients.py"))
    assert (ROOT / "csrc" / "elementary_coefficients.h").read_text() == generator["header"]()


@pytest.mark.parametrize("compiler", COMPILERS)
def test_tiles_of_odd_shapes_run_clean_under_the_sanitizers(compiler, tmp_path):
    (tmp_path / "nothing.c").write_text("int main(void) { return 0; }\n")
    probe = run(compiler, *SANITIZERS, "nothing.c", "-o", "nothing", cwd=tmp_path)
    if probe.returncode or run("./nothing", cwd=tmp_path).returncode:
        pytest.skip(f"{compiler} has no sanitizers here")
    flags = [*STRICT, *SANITIZERS, "-O0", "-g", "-ffp-contract=off", f"-I{ROOT / 'csrc'}"]
    objects = []
    builds = []
    for source in [*SOURCES, str(ROOT / "tests" / "sanitize.c")]:
        objects.append(Path(source).stem + ".o")
        builds.append(
            subprocess.Popen(
                [compiler, *flags, "-c", source, "-o", objects[-1]], cwd=tmp_path, stderr=subprocess.PIPE, text=True
            )
        )
    for build in builds:
        errors = build.communicate()[1]
        assert build.returncode == 0, errors
    linked = run(compiler, *SANITIZERS, *objects, "-lm", "-o", "sanitize", cwd=tmp_path)
    assert linked.returncode == 0, linked.stderr
    ran = run("./sanitize", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    checked = {line.split()[0] for line in ran.stdout.splitlines()}
    assert "baseline" in checked
    if "cython" in available_backends():
        from ntk_fast.backends.cython_backend import available_instruction_sets

        assert checked == set(available_instruction_sets())
