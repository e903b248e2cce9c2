"""Sequential: layers one after the other; Identity: none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntk_fast.layers.layer import Layer

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


#: Layers within layers. A description deeper than this is a mistake, and would exhaust the stack.
MOST_NESTED = 100


def check_layers(layers: tuple[Any, ...], name: str) -> None:
    """Refuse what is no layer, and layers that nest too deeply already."""
    for position, layer in enumerate(layers, start=1):
        if not isinstance(layer, Layer):
            hint = " (an instance, not the class)" if isinstance(layer, type) and issubclass(layer, Layer) else ""
            got = layer.__name__ if isinstance(layer, type) else type(layer).__name__
            raise TypeError(f"{name} {position} must be a layer of ntk_fast.layers{hint}; got {got}.")
        if layer.levels > MOST_NESTED:
            raise ValueError(f"{name} {position} nests layers {layer.levels} deep: at most {MOST_NESTED} are accepted.")


def check_fields(values: dict[str, Any], name: str) -> tuple[Layer, ...]:
    """Return the sequence of layers among the values of fields."""
    layers = values.get(name)
    if not isinstance(layers, tuple):
        raise ValueError(f"{name} must be a list of layers.")
    return layers


@dataclass(frozen=True, repr=False, init=False)
class Sequential(Layer):
    """Layers one after the other, each with parameters of its own, even where one object stands twice.

    Parameters
    ----------
    *layers : Layer

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
    >>> layers.Sequential(layers.Dense(), layers.Relu(), layers.Dense())
    Sequential(Dense(), Relu(), Dense())
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        check_layers(layers, f"{self.name}: layer")
        object.__setattr__(self, "layers", layers)

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> Sequential:
        return cls(*check_fields(values, "layers"))

    def lower(self, builder: Builder, node: Node) -> Node:
        for position, layer in enumerate(self.layers, start=1):
            node = builder.lower(layer, node, f"layer {position} of {len(self.layers)}")
        return node

    @property
    def passes_units(self) -> bool:
        return all(layer.passes_units for layer in self.layers)

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        n_layers = len(self.layers)
        makers = [position for position, layer in enumerate(self.layers, start=1) if not layer.passes_units]
        last = makers[-1] if makers else 0
        for position, layer in enumerate(self.layers, start=1):
            wanted = n_units if position >= last else graph.width
            units = graph.connect(layer, units, wanted, f"layer {position} of {n_layers}")
        return units

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.layers))})"


@dataclass(frozen=True, repr=False)
class Identity(Layer):
    """Nothing: the branch of a sum that passes its input on.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.Sum(layers.Identity(), layers.Dense())
    Sum(Identity(), Dense())
    """

    def lower(self, builder: Builder, node: Node) -> Node:
        return node

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        return units
