"""What a plan's instructions take from rows: shares, and the parameters of maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.compensated import Reals
from ntk_fast.lazy import lazy
from ntk_fast.lower.accuracy import row_tolerance
from ntk_fast.lower.instructions import MeanPlanes, SharePlanes, instructions_of
from ntk_fast.lower.program import PlacedMap
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.scaled import UNIT, Scaled
from ntk_fast.lower.steps import Plan


def norm_range(*square_norms: Scaled) -> Scaled:
    """Return the squared norms that programs are compiled for: the least, the largest and, if there is one, 0.

    Of such ranges it returns their union.
    """
    high, low, exponent = (
        np.concatenate([getattr(part, name) for part in square_norms]) for name in ("high", "low", "exponent")
    )
    positive = np.flatnonzero(high)
    order = positive[np.lexsort((low[positive], high[positive], exponent[positive]))]
    chosen = np.concatenate([order[:1], order[-1:], np.flatnonzero(high == 0)[:1]]).astype(np.int64)
    return Scaled(high[chosen], low[chosen], exponent[chosen])


@dataclass(frozen=True, eq=False)
class Placed:
    """Row parameters of some rows in one array, and where the maps' own are in it."""

    maps: tuple[PlacedMap, ...]
    parameters: Reals  # (n_parameters, n): shares first


class RowParameters:
    """What a plan's instructions take from rows of given squared norms: shares, and the parameters of maps."""

    def __init__(self, plan: Plan, square_norm: Scaled) -> None:
        self.instructions = instructions_of(plan)
        self.values = RowValues(plan, square_norm)
        self._plan = plan

    @lazy
    def shares(self) -> Reals:
        """All shares, (n_shares, n). Where a variance is 0 they do not matter, and are those of unit rows."""
        planes = self.instructions.planes
        shares = self.values.shares()
        if self.values.square_norm.is_zero.any():
            unit, first = RowValues(self._plan, UNIT).shares(), 0
            for part in planes:
                if isinstance(part, SharePlanes):
                    own = slice(first, first + part.count)
                    shares[own] = np.where(shares[own].any(axis=0), shares[own], unit[own])
                    first += part.count
        if len(shares) == self.instructions.n_shares:
            return shares
        result, first = np.empty((self.instructions.n_shares, shares.shape[1])), 0
        for part in planes:
            own = slice(part.first, part.first + part.count)
            if isinstance(part, MeanPlanes):
                result[own] = self.values.mean_shares(part.node, part.step.activation)
            else:
                result[own] = shares[first : first + part.count]
                first += part.count
        return result

    def variance(self, index: int) -> Reals:
        """Return the variances before a map."""
        return self.values.variance(self.instructions.maps[index].node).plain()

    def placed(
        self, dtype: np.dtype, counts: tuple[int, ...] | None = None, tabulated: frozenset[int] = frozenset()
    ) -> Placed:
        """Return all row parameters.

        `counts`: how many each map has, where they must agree with others'; `tabulated`: maps that need none.
        """
        shares = self.shares
        parts, maps, first = [shares], [], len(shares)
        for index, slot in enumerate(self.instructions.maps):
            activation = slot.step.activation
            own: Reals = np.empty((0, shares.shape[1]))
            if activation.homogeneity is None and index not in tabulated:
                most = None if counts is None else counts[index]
                own = activation.row_parameters(self.variance(index), row_tolerance(dtype), most)
            if counts is not None and len(own) < counts[index]:
                own = np.concatenate([own, np.zeros((counts[index] - len(own), own.shape[1]))])
            maps.append(PlacedMap(activation, first, len(own)))
            parts.append(own)
            first += len(own)
        return Placed(tuple(maps), np.concatenate(parts))
