"""Sentences of the library in words of the command line: its options, not Python's arguments."""

from __future__ import annotations

import re

#: Options by the arguments that they stand for, where the two differ in more than hyphens.
RENAMED = {"n_threads": "--threads", "n_centres": "--centres"}
#: Arguments whose names are no words of prose: they are options wherever they stand.
NAMES = ["bias_variance", "max_iterations", "n_centres", "n_threads", "weight_variance"]
#: Arguments that prose has too: they are options before an equals sign, before "must", and where they are to be raised.
WORDS = ["activation", "backend", "depth", "dtype", "order", "rank", "ridge", "slope", "solver", "tolerance"]

#: What to do in Python, and what here; nothing where there is no option for it.
REMEDIES = {
    "fit an NTKClassifier": "pass --task classification",
    "Start elsewhere, or leave out of `fitted` what the data do not determine": "Start elsewhere: with another kernel",
    "noise_variance": "noise variance",
}

_ANY = "|".join(NAMES + WORDS)


def in_words_of_the_command_line(sentence: str) -> str:
    """Return a sentence with options in the place of arguments.

    Examples
    --------
    >>> in_words_of_the_command_line("bias_variance must be >= 0; raise ridge, rank or max_iterations.")
    '--bias-variance must be >= 0; raise --ridge, --rank or --max-iterations.'
    >>> in_words_of_the_command_line("ridge='loo' is for small ones: pass solver='cholesky'.")
    '--ridge loo is for small ones: pass --solver cholesky.'
    """
    for there, here in REMEDIES.items():
        sentence = sentence.replace(there, here)
    sentence = re.sub(r"\b([a-z]+)_variance = ", r"\1 variance = ", sentence)  # what was found, and not an option
    sentence = re.sub(r"^X\b", "The rows", sentence)
    sentence = re.sub(r"^y\b", "The targets", sentence)
    # a kernel is shown as Python writes it, NTK(depth=3)
    parts = re.split(r"(\w+\([^()]*\))", sentence)
    return "".join(part if place % 2 else _with_options(part) for place, part in enumerate(parts))


def _with_options(sentence: str) -> str:
    sentence = sentence.replace("=numpy.", "=")
    sentence = re.sub(rf"\b({_ANY})=(['\"]?)([^\s,;:'\"]*[^\s,;:'\".)])\2", _with_value, sentence)
    sentence = re.sub(rf"\b({_ANY})(?= must\b)", _option, sentence)
    sentence = re.sub(r"\b(raise|lower) (\w+(?:, \w+)*(?: or \w+)?)", _all_options, sentence)
    return re.sub(rf"(?<!-)\b({'|'.join(NAMES)})\b", _option, sentence)


def _option(match: re.Match[str]) -> str:
    return RENAMED.get(match[1], "--" + match[1].replace("_", "-"))


def _with_value(match: re.Match[str]) -> str:
    return f"{_option(match)} {match[3]}"


def _all_options(match: re.Match[str]) -> str:
    return match[1] + " " + re.sub(rf"\b({_ANY})\b", _option, match[2])
