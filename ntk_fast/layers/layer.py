"""What a layer is: a frozen description, and how it is lowered to the few steps that everything is computed with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ntk_fast.layers.nested_parameters import nested, with_nested
from ntk_fast.lazy import lazy

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

    @lazy
    def levels(self) -> int:
        """How many layers lie in one another, this one counted; kept, so that no walk goes down more than a level."""
        values = [getattr(self, field.name) for field in fields(self)]
        return 1 + max((part.levels for value in values if _is_sequence(value) for part in value), default=0)

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

    @property
    def _parameters(self) -> dict[str, Any]:
        """Fields by name; layers of a sequence by their places."""
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return {
            key: part
            for name, value in values
            for key, part in (_by_place(value) if _is_sequence(value) else {name: value}).items()
        }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, layers within by their places from 0.

        Parameters
        ----------
        deep : bool, default True
            Whether those of layers within are among them.

        Returns
        -------
        dict

        Examples
        --------
        >>> from ntk_fast import layers
        >>> layers.Sequential(layers.LeakyRelu(0.1), layers.Dense(2.0)).get_params()["0__slope"]
        0.1
        """
        return nested(self._parameters) if deep else self._parameters

    def with_parameters(self, **changes: Any) -> Layer:
        """Return the same layer with other values of some of its parameters, by the names of `get_params`.

        Parameters
        ----------
        **changes
            Values by name.

        Returns
        -------
        Layer

        Raises
        ------
        TypeError, ValueError
            If there is no parameter of that name, or it does not take the value.

        Examples
        --------
        >>> from ntk_fast import layers
        >>> layers.Sequential(layers.Relu(), layers.Dense()).with_parameters(**{"1__bias_variance": 0.5})
        Sequential(Relu(), Dense(bias_variance=0.5))
        """
        changed = with_nested(self._parameters, changes, self)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return self.of_fields(
            {
                name: tuple(changed[key] for key in _by_place(value)) if _is_sequence(value) else changed[name]
                for name, value in values.items()
            }
        )

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


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(part, Layer) for part in value)


def _by_place(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    return {str(place): layer for place, layer in enumerate(layers)}
