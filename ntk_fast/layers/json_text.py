"""Descriptions as JSON text, and back: what model files, journals and the command line hold.

    {"layer": "Dense", "weight_variance": 2.0}          fields that are not named have their defaults
    {"layer": "Sequential", "layers": [...]}            layers within layers

Reading makes layers and nothing else: names of kinds and of fields are looked up, values are checked by the layers.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from ntk_fast.layers.layer import Layer

#: Layers in one text; more are a mistake, or an attack on memory.
MOST_LAYERS = 100_000


def to_json(network: Layer) -> str:
    """Return a network as JSON text.

    Parameters
    ----------
    network : Layer

    Returns
    -------
    str
        One line.

    Raises
    ------
    TypeError
        If it is no layer.
    ValueError
        If it holds a function that cannot be named: see :class:`ntk_fast.layers.Activation`.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.to_json(layers.Sequential(layers.Dense(2.0), layers.Relu()))
    '{"layer": "Sequential", "layers": [{"layer": "Dense", "weight_variance": 2.0}, {"layer": "Relu"}]}'
    """
    if not isinstance(network, Layer):
        raise TypeError(f"network must be a layer of ntk_fast.layers; got a {type(network).__name__}.")
    return json.dumps(to_record(network))


def to_record(network: Layer) -> dict[str, Any]:
    """Return a network as what JSON is made of: dicts, lists, strings and numbers."""
    record: dict[str, Any] = {"layer": network.name}
    for field in fields(network):
        value = getattr(network, field.name)
        if field.default is MISSING or value != field.default:
            record[field.name] = _plain(network.field_to_plain(field.name, value))
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, Layer):
        return to_record(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value


def from_json(text: str) -> Layer:
    """Return the network that a JSON text describes.

    Parameters
    ----------
    text : str

    Returns
    -------
    Layer

    Raises
    ------
    TypeError, ValueError
        If the text is none, or describes no network: one sentence says what and where.

    Examples
    --------
    >>> from ntk_fast import layers
    >>> layers.from_json('{"layer": "Sequential", "layers": [{"layer": "Dense"}, {"layer": "Relu"}]}')
    Sequential(Dense(), Relu())
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str of JSON; got a {type(text).__name__}.")
    try:
        record = json.loads(text)
    except RecursionError:
        raise ValueError("text nests too deeply to be a network.") from None
    except ValueError as error:
        raise ValueError(f"text is not JSON: {error}.") from None
    return from_record(record)


def from_record(record: Any) -> Layer:
    """Return the network that `to_record` made a record of."""
    return _Reader().layer(record, "the network")


class _Reader:
    """Makes layers of a record, and counts them."""

    def __init__(self) -> None:
        self._n_layers = 0

    def layer(self, record: Any, place: str) -> Layer:
        self._n_layers += 1
        if self._n_layers > MOST_LAYERS:
            raise ValueError(f"a network must not have more than {MOST_LAYERS} layers.")
        if not isinstance(record, dict) or not isinstance(record.get("layer"), str):
            raise ValueError(f'{place} must be an object with its kind as "layer"; got {_shortened(record)}.')
        name = record["layer"]
        kind = Layer.kinds.get(name)
        if kind is None:
            raise ValueError(f"{place} is of an unknown kind, {name!r}; there are {', '.join(sorted(Layer.kinds))}.")
        known = {field.name for field in fields(kind)}
        for given in record:
            if given != "layer" and given not in known:
                names = ", ".join(sorted(known)) or "none"
                raise ValueError(f"{place}, {name}, has no field {given!r}; its fields: {names}.")
        for field in fields(kind):
            if field.default is MISSING and field.default_factory is MISSING and field.name not in record:
                raise ValueError(f"{place}, {name}, lacks its field {field.name!r}.")
        values = {
            key: kind.field_from_plain(key, self._value(value, f"{place}, {name}: {key}"))
            for key, value in record.items()
            if key != "layer"
        }
        try:
            return kind.of_fields(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}, {name}: {error}") from None

    def _value(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return self.layer(value, place)
        if isinstance(value, list):
            return tuple(self._value(part, f"{place} {position}") for position, part in enumerate(value, start=1))
        return value


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
