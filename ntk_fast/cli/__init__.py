"""The command line, ntk-fast: one module per command, and what they share.

The map:

    info, gram, fit, predict, demo, theory    the commands
    kernel_arguments     the options that name a kernel
    row_files            rows from .npy, .npz and .csv (`csv_file`, `csv_layout`); `labelled_rows`: with their targets
    training_rows        rows kept out of a fit, columns encoded
    prediction           predictions in blocks; `model_errors`: what is wrong with them; `model_picture`
    scheduler            the client of a Dask cluster
    new_files            result files that are whole or not there
    progress, summary    what the terminal shows while a command runs, and at its end; `fit_summary`
    parser               argument parsers that complain in one sentence; `words`: the library's sentences in options

Whatever a user can get wrong ends in one sentence on stderr and exit code 2; Ctrl-C in 130.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from importlib import import_module
from types import FrameType
from typing import Any

from ntk_fast.caller import warns_once
from ntk_fast.version import __version__

#: The commands, each a module.
COMMANDS = ("info", "gram", "fit", "predict", "demo", "theory")

#: Exit codes; those of signals as shells give them, 128 and the signal's number.
BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

#: Signals that end a process, and give it the time to clean up.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of ntk-fast, with the process's own arguments by default, and return its exit code."""
    prog = "ntk-fast"
    try:
        parsed = _parser().parse_args(arguments)
        prog = parsed.prog
        with _plain_warnings(), _terminates_like_an_error():
            warns_once(parsed.run)(parsed)
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain(prog, "interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ImportError, MemoryError, OSError, OverflowError, TypeError, ValueError) as error:
        return _complain(prog, _sentence(error), BAD_INPUT)
    return 0


def _parser() -> argparse.ArgumentParser:
    # imported here, and not with this module: Ctrl-C is heard while they are
    from ntk_fast.cli.parser import Parser

    parser = Parser(prog="ntk-fast", description="Exact kernels of infinitely wide neural networks, on all cores.")
    parser.add_argument("--version", action="version", version=f"ntk-fast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"ntk_fast.cli.{name}").add_parser(commands)
    return parser


def _sentence(error: Exception) -> str:
    from ntk_fast.cli.words import in_words_of_the_command_line

    if isinstance(error, OSError) and error.strerror:
        is_full = error.errno in (ENOSPC, EDQUOT) and error.strerror == os.strerror(error.errno)
        words = "The disk is full; nothing was kept: make room, and run it again" if is_full else error.strerror
        return f"{words}." if error.filename is None else f"{error.filename}: {words}."
    return in_words_of_the_command_line(" ".join(str(error).split())) or type(error).__name__


def _complain(prog: str, sentence: str, code: int) -> int:
    print(f"{prog}: {sentence}", file=sys.stderr)
    return code


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as sentences, not as source lines."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        from ntk_fast.cli.words import in_words_of_the_command_line

        print(f"ntk-fast: {in_words_of_the_command_line(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _terminates_like_an_error() -> Iterator[None]:
    """Let the signals that end a process unwind the stack as Ctrl-C does, so that no temporary file stays behind."""

    def terminate(signal_number: int, frame: FrameType | None) -> None:
        sys.exit(128 + signal_number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # SIGHUP: its terminal was closed; it stays ignored where nohup had it so
    numbers = [number for number in ENDING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, terminate)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
