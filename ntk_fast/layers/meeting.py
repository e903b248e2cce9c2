"""Branches of finite width that meet: units added, multiplied, or side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.rowwise import Rowwise

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Graph, Units


def number_of_units(layer: Layer, units: Units, n_units: int) -> int:
    """Return how many units branches have that meet: as many as asked for, or those that a branch passes on."""
    return units.n_units if layer.passes_units and not units.is_rows else n_units


def meeting(graph: Graph, parts: Sequence[Units], n_units: int, rule: Rowwise) -> Units:
    """Let independent branches meet unit by unit, the rows, and other numbers of units, by fixed random weights."""
    parts = [graph.embedded(part, n_units) for part in parts]
    graph.check_independent(parts)
    return graph.join(parts, rule, n_units)


def spread(sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """Deal out as many units as the sizes add up to, so that each share has some of every stretch of them."""
    ideal = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    owners = np.repeat(np.arange(len(sizes)), sizes)[np.argsort(ideal, kind="stable")]
    return [np.flatnonzero(owners == k) for k in range(len(sizes))]


@dataclass(frozen=True)
class Added:
    """Units added up."""

    def value(self, *units: Reals) -> Reals:
        return np.asarray(sum(units[1:], start=units[0]))

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        return self.value(*tangents)

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        return (cotangent,) * len(units)


@dataclass(frozen=True)
class Multiplied:
    """Units multiplied."""

    def value(self, *units: Reals) -> Reals:
        return np.asarray(math.prod(units[1:], start=units[0]))

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        return np.asarray(sum(self.value(tangent, *_without(units, k)) for k, tangent in enumerate(tangents)))

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        return tuple(self.value(cotangent, *_without(units, k)) for k in range(len(units)))


def _without(units: Sequence[Reals], k: int) -> list[Reals]:
    return [*units[:k], *units[k + 1 :]]


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Units of several branches, of each those with some numbers."""

    parts: tuple[NDArray[np.intp], ...]

    def value(self, *units: Reals) -> Reals:
        return np.concatenate([each[..., part] for each, part in zip(units, self.parts, strict=True)], axis=-1)

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        return self.value(*tangents)

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        pulled, start = [], 0
        for each, part in zip(units, self.parts, strict=True):
            stop = start + len(part)
            whole = np.zeros((*cotangent.shape[:-1], each.shape[-1]))
            whole[..., part] = cotangent[..., start:stop]
            pulled.append(whole)
            start = stop
        return tuple(pulled)
