"""The README's Python code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
#: Sizes of the README that take too long for a test, and those it runs with.
SMALLER = {
    "size=5000": "size=300",
    "(5000, 784)": "(300, 784)",
    "200_000": "2_000",
    "10_000": "1_000",
    "n_centres=2000": "n_centres=100",
}
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, smaller in SMALLER.items():
        block = block.replace(size, smaller)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})


def test_every_smaller_size_is_of_the_readme() -> None:
    text = "".join(BLOCKS)
    assert all(size in text for size in SMALLER)
