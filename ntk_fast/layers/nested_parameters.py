"""Parameters of parameters, by scikit-learn's names: ``k1__depth``, ``network__0__bias_variance``.

Kernels and layers are immutable: `with_nested` makes another one in which some are changed.
"""

from __future__ import annotations

from typing import Any

SEPARATOR = "__"


def nested(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters, each followed by its own, if it has some."""
    result = {}
    for name, value in parameters.items():
        result[name] = value
        if hasattr(value, "get_params"):
            result |= {f"{name}{SEPARATOR}{inner}": part for inner, part in value.get_params().items()}
    return result


def with_nested(parameters: dict[str, Any], changes: dict[str, Any], owner: Any) -> dict[str, Any]:
    """Return the parameters of `owner` with changes, by the names that `nested` gives them.

    Raises
    ------
    ValueError
        If there is no parameter of such a name.
    """
    result, inner = dict(parameters), dict[str, dict[str, Any]]()
    for name, value in changes.items():
        outer, separator, inner_name = name.partition(SEPARATOR)
        if outer not in parameters:
            raise ValueError(f"Invalid parameter {outer!r} for {owner!r}. Valid parameters are: {[*parameters]!r}.")
        if separator:
            inner.setdefault(outer, {})[inner_name] = value
        else:
            result[outer] = value
    for name, parts in inner.items():
        if not hasattr(result[name], "with_parameters"):
            raise ValueError(f"{name} of {owner!r} has no parameters: it is {result[name]!r}.")
        result[name] = result[name].with_parameters(**parts)
    return result
