"""One case per engine, dtype and kernel of the registry, by the names of a test's arguments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registry import DTYPES, ENGINES, KERNELS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = {
        "engine": {str(engine): engine for engine in ENGINES},
        "dtype": {str(dtype): dtype for dtype in DTYPES},
        "kernel": KERNELS,
    }
    own = " ".join(str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    for argument, values in cases.items():
        if argument in metafunc.fixturenames and argument not in own:
            metafunc.parametrize(argument, values.values(), ids=values.keys())


@pytest.fixture
def backend(engine) -> Iterator[str]:
    """The name of the engine's backend, while the environment holds it to the engine's instruction set."""
    with engine.selected() as name:
        yield name
