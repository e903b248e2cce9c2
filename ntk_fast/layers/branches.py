"""Branches that meet: Sum, Residual, Product, Concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ntk_fast.layers.layer import Layer
from ntk_fast.layers.meeting import Added, Multiplied, SideBySide, meeting, number_of_units, spread
from ntk_fast.layers.rowwise import Rowwise
from ntk_fast.layers.sequential import Sequential, check_fields, check_layers
from ntk_fast.validation import check_finite_number

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False, init=False)
class _Branches(Layer, abstract=True):
    """Layers that all take the same input, each with parameters of its own."""

    branches: tuple[Layer, ...]

    def __init__(self, *branches: Layer) -> None:
        if not branches:
            raise ValueError(f"{self.name} needs at least one branch.")
        check_layers(branches, f"{self.name}: branch")
        object.__setattr__(self, "branches", branches)

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> Layer:
        others = {name: value for name, value in values.items() if name != "branches"}
        return cls(*check_fields(values, "branches"), **others)

    def _lower_branches(self, builder: Builder, node: Node) -> list[Node]:
        n = len(self.branches)
        return [builder.lower(branch, node, f"branch {k} of {n}") for k, branch in enumerate(self.branches, start=1)]

    @property
    def passes_units(self) -> bool:
        return any(branch.passes_units for branch in self.branches)

    def _connect_branches(self, graph: Graph, units: Units, n_units: Sequence[int]) -> list[Units]:
        n = len(self.branches)
        return [
            graph.connect(branch, units, wanted, f"branch {k} of {n}")
            for k, (branch, wanted) in enumerate(zip(self.branches, n_units, strict=True), start=1)
        ]

    def _meet(self, graph: Graph, units: Units, n_units: int, rule: Rowwise) -> Units:
        """Connect the branches, and let independent ones meet unit by unit."""
        n = number_of_units(self, units, n_units)
        parts = self._connect_branches(graph, units, [n] * len(self.branches))
        return parts[0] if len(parts) == 1 else meeting(graph, parts, n, rule)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.branches))})"


def _refuse_means(builder: Builder, nodes: list[Node], what: str) -> None:
    """Refuse what would add products of means, of two branches that both have one, or of one thing with itself."""
    if sum(not node.is_centred for node in nodes) > 1:
        raise builder.refuse(
            f"at most one branch of a {what} may have a mean: the rows as they are and what an activation "
            "makes have one, a Dense at the end of a branch takes it away."
        )
    builder.refuse_dependent(nodes, what)


@dataclass(frozen=True, repr=False, init=False)
class Sum(_Branches):
    """The sum of independent branches: S and T are the sums of theirs.

    Parameters
    ----------
    *branches : Layer
        At most one may end in the rows themselves or in an activation: two such are not independent.

    Attributes
    ----------
    branches : tuple of Layer

    Raises
    ------
    TypeError, ValueError
        If one is no layer, or there is none.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Sum(layers.Identity(), layers.Dense())
    Sum(Identity(), Dense())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        nodes = self._lower_branches(builder, node)
        _refuse_means(builder, nodes, "sum")
        return builder.mix(
            nodes,
            [Fraction(1)] * len(nodes),
            is_gaussian=all(node.is_gaussian for node in nodes),
            is_centred=all(node.is_centred for node in nodes),
        )

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return self._meet(graph, units, n_units, Added())


@dataclass(frozen=True, repr=False, init=False)
class Residual(Layer):
    """x + f(x): the sum of the input and of some layers.

    Parameters
    ----------
    *layers : Layer
        f, one after the other.

    Attributes
    ----------
    layers : tuple of Layer

    Raises
    ------
    TypeError, ValueError
        If one is no layer.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Residual(layers.Relu(), layers.Dense())
    Residual(Relu(), Dense())
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        check_layers(layers, f"{self.name}: layer")
        object.__setattr__(self, "layers", layers)

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> Residual:
        return cls(*check_fields(values, "layers"))

    def lower(self, builder: Builder, node: Node) -> Node:
        end = node
        for position, layer in enumerate(self.layers, start=1):
            end = builder.lower(layer, end, f"layer {position} of {len(self.layers)}")
        nodes = [node, end]
        _refuse_means(builder, nodes, "residual connection")
        return builder.mix(
            nodes,
            [Fraction(1)] * 2,
            is_gaussian=all(node.is_gaussian for node in nodes),
            is_centred=all(node.is_centred for node in nodes),
        )

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        n = number_of_units(self, units, n_units)
        return meeting(graph, [units, Sequential(*self.layers).connect(graph, units, n)], n, Added())

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.layers))})"


@dataclass(frozen=True, repr=False, init=False)
class Product(_Branches):
    """The product of independent branches, unit by unit: S = prod S_k, T = sum_k T_k prod_{j != k} S_j.

    Parameters
    ----------
    *branches : Layer

    Attributes
    ----------
    branches : tuple of Layer

    Raises
    ------
    TypeError, ValueError
        If one is no layer, or there is none.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Product(layers.Dense(), layers.Dense())
    Product(Dense(), Dense())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        nodes = self._lower_branches(builder, node)
        return nodes[0] if len(nodes) == 1 else builder.multiply(nodes)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return self._meet(graph, units, n_units, Multiplied())


@dataclass(frozen=True, repr=False, init=False)
class Concatenate(_Branches):
    """The units of all branches side by side: S = sum_k a_k S_k, T = sum_k a_k T_k, with the shares a_k of the units.

    Parameters
    ----------
    *branches : Layer
    shares : sequence of float > 0, optional
        One per branch; they add up to 1. None: equal ones.

    Attributes
    ----------
    branches : tuple of Layer
    shares : tuple of float, or None

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Concatenate(layers.Dense(), layers.Identity(), shares=(0.25, 0.75))
    Concatenate(Dense(), Identity(), shares=(0.25, 0.75))
    """

    shares: tuple[float, ...] | None

    def __init__(self, *branches: Layer, shares: Sequence[float] | None = None) -> None:
        super().__init__(*branches)
        object.__setattr__(self, "shares", None if shares is None else _checked_shares(shares, len(branches)))

    @property
    def exact_shares(self) -> list[Fraction]:
        """The shares as numbers that add up to 1 exactly, as they are meant to."""
        n = len(self.branches)
        given = [Fraction(1, n)] * n if self.shares is None else [Fraction(share) for share in self.shares]
        return [share / sum(given) for share in given]

    def lower(self, builder: Builder, node: Node) -> Node:
        nodes = self._lower_branches(builder, node)
        return builder.mix(
            nodes,
            self.exact_shares,
            is_gaussian=len(nodes) == 1 and nodes[0].is_gaussian,
            is_centred=all(node.is_centred for node in nodes),
        )

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        """Each branch makes its share of the units; where it passes units on, it has a share of them, spread evenly."""
        n = number_of_units(self, units, n_units)
        if len(self.branches) == 1:
            return self._connect_branches(graph, units, [n])[0]
        stops = [round(n * share) for share in accumulate(self.exact_shares)]
        starts = [0, *stops[:-1]]
        sizes = [stop - start for start, stop in zip(starts, stops, strict=True)]
        if min(sizes) < 1:
            raise graph.refuse(f"{n} units leave none for a branch: the width must be larger.")
        parts = self._connect_branches(graph, units, sizes)
        wanted = [n if branch.passes_units else size for branch, size in zip(self.branches, sizes, strict=True)]
        parts = [
            part if part.n_units == number and not part.is_rows else graph.embedded(part, size)
            for part, size, number in zip(parts, sizes, wanted, strict=True)
        ]
        passed = spread(sizes)
        chosen = [
            np.arange(size) if part.n_units == size else own
            for part, own, size in zip(parts, passed, sizes, strict=True)
        ]
        return graph.join(parts, SideBySide(tuple(chosen)), n)

    def __repr__(self) -> str:
        shares = [] if self.shares is None else [f"shares={self.shares!r}"]
        return f"{self.name}({', '.join([*map(repr, self.branches), *shares])})"


def _checked_shares(shares: Any, n_branches: int) -> tuple[float, ...]:
    expected = f"shares must be {n_branches} positive numbers, one per branch, that add up to 1"
    try:
        numbers = tuple(check_finite_number(share, "shares") for share in shares)
    except TypeError:
        raise TypeError(f"{expected}; got {shares!r}.") from None
    if len(numbers) != n_branches or min(numbers) <= 0 or abs(sum(numbers) - 1) > 1e-9:
        raise ValueError(f"{expected}; got {numbers!r}.")
    return numbers
