"""Argument parsers that complain in one sentence, and commands that know their own name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

Subparsers = Any  # argparse has no public name for it


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def add_command(
    commands: Subparsers, name: str, run: Callable[[argparse.Namespace], None], description: str, example: str
) -> Parser:
    """Add a command that is carried out by `run`."""
    parser: Parser = commands.add_parser(
        name,
        help=description,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,  # the example keeps its line
    )
    parser.set_defaults(run=run, prog=parser.prog)
    return parser
