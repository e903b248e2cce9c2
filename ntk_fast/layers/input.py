"""Input: rows seen as images or sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntk_fast.layers.layer import Layer
from ntk_fast.validation import check_whole_number

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node

NAMES = {2: ("length", "channels"), 3: ("height", "width", "channels")}


@dataclass(frozen=True, repr=False, init=False)
class Input(Layer):
    """Each row is an image, or a sequence: S[i, i'] = x_i . x'_i', a sum over the channels of two positions; T = 0.

    The first layer of a network, or of each of its branches that take the rows. Kernels of such a network take arrays
    of shape (n, height, width, channels), or the same flattened to (n, height * width * channels).

    Parameters
    ----------
    *shape : int >= 1
        ``height, width, channels`` of an image, or ``length, channels`` of a sequence; also by these names.

    Attributes
    ----------
    shape : tuple of int

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Input(8, 8, 3) == layers.Input(height=8, width=8, channels=3)
    True
    >>> layers.Input(20, 4)
    Input(20, 4)
    """

    shape: tuple[int, ...]

    def __init__(self, *shape: int, **named: int) -> None:
        expected = "height, width, channels of an image, or length, channels of a sequence"
        if named:
            names = next((names for names in NAMES.values() if set(names[len(shape) :]) == set(named)), None)
            if names is None:
                raise TypeError(f"Input takes {expected}; got {len(shape)} numbers and {', '.join(named)}.")
            shape = (*shape, *(named[name] for name in names[len(shape) :]))
        if len(shape) not in NAMES:
            raise ValueError(f"Input takes {expected}; got {len(shape)} numbers.")
        checked = tuple(
            check_whole_number(number, name, 1) for number, name in zip(shape, NAMES[len(shape)], strict=True)
        )
        object.__setattr__(self, "shape", checked)

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> Input:
        shape = values.get("shape")
        if not isinstance(shape, tuple):
            raise ValueError("shape must be a list of whole numbers.")
        return cls(*shape)

    @property
    def n_features(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape)

    def lower(self, builder: Builder, node: Node) -> Node:
        return builder.arrange(node, self.shape)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return graph.arranged(units, self.shape)

    def __repr__(self) -> str:
        return f"Input({', '.join(map(str, self.shape))})"
