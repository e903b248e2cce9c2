"""`save` and `load` of every estimator: its parameters and all that `fit` found, into a model file and back."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ntk_fast.estimators.column_encodings import ENCODINGS
from ntk_fast.estimators.model_file import read_model_file, write_model_file
from ntk_fast.estimators.scaling import ColumnScaling, TargetScaling
from ntk_fast.kernels import NNGP, NTK, ArcCosine, Kernel
from ntk_fast.layers.json_text import from_record, to_record
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.relu import Abs, LeakyRelu, Relu
from ntk_fast.version import __version__

KERNELS: dict[str, type[Kernel]] = {kernel.__name__: kernel for kernel in (ArcCosine, NNGP, NTK)}
SCALINGS: dict[str, type[Any]] = {scaling.__name__: scaling for scaling in (ColumnScaling, TargetScaling)}
#: Dataclasses that are saved by their fields, by the word that files have for their kind.
DATACLASSES: dict[str, dict[str, type[Any]]] = {"kernel": {**KERNELS}, "scaling": SCALINGS, "column": {**ENCODINGS}}

Arrays = dict[str, NDArray[Any]]


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    """Return what JSON can hold of a value; arrays go to `arrays`. Objects are {kind: contents}."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            if not all(isinstance(item, str) for item in value.flat):
                raise TypeError(f"{name} holds objects that are not strings, and cannot be saved.")
            arrays[name] = value.astype(str)
            return {"strings": name}
        arrays[name] = value
        return {"array": name}
    if isinstance(value, range):
        value = list(value)
    if isinstance(value, tuple | list):
        items = [_encode(item, f"{name}.{index}", arrays) for index, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, Layer):
        return {"network": to_record(value)}
    for kind, known in DATACLASSES.items():
        if type(value) in known.values():
            parameters = value.get_params(deep=False) if kind == "kernel" else vars(value)
            encoded = {key: _encode(parameter, f"{name}.{key}", arrays) for key, parameter in parameters.items()}
            return {kind: [type(value).__name__, encoded]}
    raise TypeError(f"{name} must be a number, a string, an array or a kernel to be saved; got {value!r}.")


def _decode(value: Any, arrays: Arrays) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, contents),) = value.items()
    if kind == "array":
        return arrays[contents]
    if kind == "strings":
        return arrays[contents].astype(object)
    if kind == "network":
        return from_record(contents)
    if kind == "activation":  # as version 0.1 had them: a name and a slope
        name, slope = contents
        return {"relu": Relu(), "abs": Abs()}.get(name, LeakyRelu(slope))
    if kind in DATACLASSES:
        known = DATACLASSES[kind]
        name, parameters = contents
        if name not in known:
            raise ValueError(f"The model has a {kind} {name}, which this release of ntk_fast does not know.")
        return known[name](**{key: _decode(parameter, arrays) for key, parameter in parameters.items()})
    items = [_decode(item, arrays) for item in contents]
    return tuple(items) if kind == "tuple" else items


class SavedEstimator:
    """Gives a scikit-learn estimator `save` and `load`: see `model_file` for the file."""

    #: Attributes that files of earlier releases lack, and what they stand for.
    NOT_IN_OLD_FILES: ClassVar[dict[str, Any]] = {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to one file, replacing what was there only when the new file is complete.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter is an object that cannot be saved, such as a ``RandomState``.
        OSError
            If the file cannot be written.
        """
        arrays: Arrays = {}
        write_model_file(path, self._header(arrays), arrays)

    def _header(self, arrays: Arrays, prefix: str = "") -> dict[str, Any]:
        """Return what JSON can hold of the estimator; arrays go to `arrays`, their names after `prefix`."""
        check_is_fitted(self)
        parameters = self.get_params(deep=False)  # type: ignore[attr-defined]
        fitted = {name: value for name, value in vars(self).items() if name.endswith("_")}
        return {
            "estimator": type(self).__name__,
            "ntk_fast": __version__,
            "parameters": {name: _encode(value, prefix + name, arrays) for name, value in parameters.items()},
            "fitted": {name: _encode(value, prefix + name, arrays) for name, value in fitted.items()},
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a fitted model; it predicts what the saved one did, to the last bit.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        The estimator.

        Raises
        ------
        ValueError
            If the file is no model file, is damaged, comes from a newer release, or holds another kind of estimator.
        OSError
            If it cannot be opened.
        """
        header, arrays = read_model_file(path)
        kind = header.get("estimator")
        if kind != cls.__name__:
            raise ValueError(f"{os.fspath(path)!r} holds a {kind}, not a {cls.__name__}: read it with {kind}.load.")
        return cls._restored(header, arrays, path)

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: Arrays, path: str | os.PathLike[str]) -> Self:
        try:
            estimator = cls(**{name: _decode(value, arrays) for name, value in header["parameters"].items()})
            fitted = {name: _decode(value, arrays) for name, value in header["fitted"].items()}
            for name, value in {**cls.NOT_IN_OLD_FILES, **fitted}.items():
                setattr(estimator, name, value)
            names = vars(estimator).pop("column_names_", None)  # what release 0.1.0 of the command line called them
            if names is not None:
                estimator.feature_names_in_ = np.array(names, dtype=object)  # type: ignore[attr-defined]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{os.fspath(path)!r} holds a {cls.__name__} that this release of ntk_fast cannot read ({error}): "
                f"it was written by release {header.get('ntk_fast')}."
            ) from None
        return estimator
