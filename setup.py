"""The compiled extension, which is optional: everything else about the package stands in pyproject.toml."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

SOURCES = ["ntk_fast/backends/_tile.pyx", "csrc/dispatch.c", *map(str, sorted(Path("csrc").glob("f[36][24]_*.c")))]
HEADERS = list(map(str, sorted(Path("csrc").glob("*.h"))))


class OptionalBuild(build_ext):
    """Build the extension if the machine can, its files at once; say plainly what happens if it cannot."""

    def build_extension(self, extension):
        compile_files = self.compiler.compile

        def compile_at_once(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                of_each = pool.map(lambda source: compile_files([source], **options), sources)
                return [name for names in of_each for name in names]

        self.compiler.compile = compile_at_once
        try:
            super().build_extension(extension)
        except (CCompilerError, ExecError, PlatformError) as error:
            extension.optional = True  # what follows the build then passes over the missing file
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)  # an earlier build's, of other sources
            print(
                f"ntk_fast: the compiled extension could not be built ({error}).\n"
                "ntk_fast: it installs all the same and runs on Numba; with a C compiler (gcc or clang) it is faster.",
                file=sys.stderr,
            )


setup(
    ext_modules=[
        Extension(
            "ntk_fast.backends._tile",
            SOURCES,
            include_dirs=["csrc"],
            depends=HEADERS,
            # contraction off: a fused multiply-add stands where the source says so, and the same everywhere
            extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off"],
            libraries=["m"],
        )
    ],
    cmdclass={"build_ext": OptionalBuild},
)
