"""What layers that act between the positions of images and sequences have in common."""

from __future__ import annotations

from typing import Any

from ntk_fast.layers.window import PADDINGS, Grid
from ntk_fast.validation import check_whole_number


def check_sizes(value: Any, name: str) -> int | Grid:
    """Return one whole number >= 1 for all dimensions, or one for each of one or two."""
    if not isinstance(value, (tuple, list)):
        return check_whole_number(value, name, 1)
    if len(value) not in (1, 2):
        raise ValueError(f"{name} must be a whole number >= 1, or one or two of them; got {value!r}.")
    return tuple(check_whole_number(number, name, 1) for number in value)


def check_steps(value: Any, name: str) -> int | Grid:
    """Return the same; one number for all dimensions wherever that says it."""
    sizes = check_sizes(value, name)
    return sizes[0] if isinstance(sizes, tuple) and len(set(sizes)) == 1 else sizes


def check_padding(value: Any) -> str:
    """Return the name of a padding."""
    if not isinstance(value, str) or value not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(map(repr, PADDINGS))}; got {value!r}.")
    return value


def for_each_dimension(sizes: int | Grid, grid: Grid) -> Grid:
    """Return numbers, one for each dimension of a grid, where one was given for all."""
    return sizes if isinstance(sizes, tuple) else (sizes,) * len(grid)
