"""The Python code of the README and of the examples runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "examples.md"]
#: Sizes that take too long for a test, and those it runs with.
SMALLER = {
    "permutation(5000)": "permutation(5000)[:400]",
    "4000": "300",
    "200_000": "2_000",
    "10_000": "1_000",
    "n_centres=2000": "n_centres=100",
    "width=4096": "width=256",
    "n_train = 150": "n_train = 40",
    "[1000:1200]": "[1000:1020]",
}
BLOCKS = {
    f"{page.name}-{number}": block
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", BLOCKS)
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = BLOCKS[name]
    for size, smaller in SMALLER.items():
        block = block.replace(size, smaller)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, name, "exec"), {})


def test_every_smaller_size_is_used() -> None:
    text = "".join(BLOCKS.values())
    assert all(size in text for size in SMALLER)


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "docs" / "cluster.md"]:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)]*)?\)", text):
            if target.startswith("http"):
                continue
            place = page.parent / target if target else page
            assert place.exists(), target
            if anchor:
                titles = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert anchor[1:] in {re.sub("[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
