"""What a command says at its end: a table for people, or one JSON object for programs."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


class Summary:
    """Names with what is to be said of each: words, and what a program wants of it."""

    def __init__(self) -> None:
        self._words: list[tuple[str, str]] = []
        self._values: dict[str, Any] = {}

    def add(self, name: str, words: str, **values: Any) -> None:
        """Add a line of the table, and members of the JSON object: by default the words, by the line's name."""
        self._words.append((name, words))
        for key, value in (values or {name.lower().replace(" ", "_"): words}).items():
            self._values[key] = value

    def text(self, as_json: bool) -> str:
        """Return the whole, to be printed; numbers that JSON has no form for are null."""
        if not as_json:
            return aligned(self._words)
        return json.dumps(_plain(self._values), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
