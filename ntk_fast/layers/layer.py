"""What a layer is: a frozen description, and how it is lowered to the few steps that everything is computed with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units
    from ntk_fast.lower.plan import Builder, Node


@dataclass(frozen=True, repr=False)
class Layer:
    """A layer of a network, as data: comparable, hashable, picklable, with a repr that is the call which makes it.

    A kind of layer is one file: a frozen dataclass whose fields are numbers, strings or layers; `lower`, its rule for
    the covariance S and the tangent T; and its counterpart of finite width.
    """

    #: Kinds of layers by name, as in JSON.
    kinds: ClassVar[dict[str, type[Layer]]] = {}

    def __init_subclass__(cls, *, abstract: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not abstract:
            Layer.kinds[cls.__name__] = cls

    @property
    def name(self) -> str:
        """What the layer is called in tables and sentences."""
        return type(self).__name__

    def lower(self, builder: Builder, node: Node) -> Node:
        """Add the layer's steps to a plan, and return the node that holds its output."""
        raise NotImplementedError

    @property
    def passes_units(self) -> bool:
        """Whether a network of finite width has as many units after the layer as before it, one by one."""
        return True

    def connect(self, graph: Graph, units: Units, n_units: int) -> Units:
        """Add the layer's counterpart of finite width to a graph, and return the units that it makes.

        They are as many as asked for, unless the layer passes units on.
        """
        raise NotImplementedError

    @classmethod
    def of_fields(cls, values: dict[str, Any]) -> Layer:
        """Return a layer with these values of its fields; those that have defaults may be missing."""
        return cls(**values)

    def field_to_plain(self, name: str, value: Any) -> Any:
        """Return a field's value as JSON holds it: numbers, strings, sequences and layers are held as they are."""
        return value

    @classmethod
    def field_from_plain(cls, name: str, value: Any) -> Any:
        """Undo `field_to_plain`."""
        return value

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={value!r}" for field in fields(self) if (value := getattr(self, field.name)) != field.default
        ]
        return f"{self.name}({', '.join(shown)})"
