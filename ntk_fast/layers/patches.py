"""What windows make of the units at positions, in networks of finite width: arrays (n_rows, n_positions, n_units)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.layers.rowwise import Reals
from ntk_fast.layers.window import OUTSIDE, Window, seen_positions
from ntk_fast.lazy import lazy


@dataclass(frozen=True)
class Arranged:
    """Rows as numbers at positions: channels last."""

    n_positions: int

    def value(self, *units: Reals) -> Reals:
        return units[0].reshape(-1, self.n_positions, units[0].shape[1] // self.n_positions)

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        return self.value(*tangents)

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        return (cotangent.reshape(-1, self.n_positions * cotangent.shape[2]),)


@dataclass(frozen=True)
class _Windowed:
    """A linear map of what each window sees."""

    window: Window

    @lazy
    def seen(self) -> NDArray[np.int64]:
        """The position that each tap sees of each output, (n_taps, n_outputs); the last but for zeros around."""
        return np.where((seen := seen_positions(self.window)) == OUTSIDE, np.prod(self.window.grid), seen)

    def with_zeros(self, units: Reals) -> Reals:
        """Return units with a position more, where all are zero."""
        return np.concatenate([units, np.zeros((len(units), 1, units.shape[-1]))], axis=1)

    def placed(self, made: Reals) -> Reals:
        """Return what windows make without its positions, if there is one window that is the whole grid."""
        return made if self.window.output else made[:, 0]

    def spread(self, of_taps: Iterator[Reals], n_rows: int, n_units: int) -> Reals:
        """Return the sum at each position of what the taps that see it have for it."""
        whole = np.zeros((n_rows, int(np.prod(self.window.grid)) + 1, n_units))
        for positions, cotangent in zip(self.seen, of_taps, strict=True):
            whole[:, positions] += cotangent  # a tap sees no position twice, and what it sees outside is dropped
        return whole[:, :-1]


@dataclass(frozen=True)
class Patches(_Windowed):
    """The units that each window sees, side by side: tap by tap."""

    def value(self, *units: Reals) -> Reals:
        n_taps, n_outputs = self.seen.shape
        patches = self.with_zeros(units[0])[:, self.seen.T]
        return self.placed(patches.reshape(-1, n_outputs, n_taps * units[0].shape[2]))

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        return self.value(*tangents)

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        n_taps, n_outputs = self.seen.shape
        parts = cotangent.reshape(-1, n_outputs, n_taps, units[0].shape[2])
        of_taps = (parts[:, :, tap] for tap in range(n_taps))
        return (self.spread(of_taps, len(parts), parts.shape[-1]),)


@dataclass(frozen=True)
class Pooled(_Windowed):
    """The sum of the units that each window sees, times a factor."""

    factor: float

    def value(self, *units: Reals) -> Reals:
        padded = self.with_zeros(units[0])
        total = np.zeros((len(padded), self.seen.shape[1], padded.shape[-1]))
        for positions in self.seen:
            total += padded[:, positions]
        return self.placed(total * self.factor)

    def pushed(self, units: Sequence[Reals], tangents: Sequence[Reals]) -> Reals:
        return self.value(*tangents)

    def pulled(self, units: Sequence[Reals], cotangent: Reals) -> tuple[Reals, ...]:
        scaled = (cotangent if self.window.output else cotangent[:, None]) * self.factor
        return (self.spread((scaled for _ in self.seen), len(scaled), scaled.shape[-1]),)
