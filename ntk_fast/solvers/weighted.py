"""Weighted least squares, and leaving one row out of it without fitting anew.

Minimising ``sum_i w_i (y_i - f(x_i))^2 + ridge |f|^2`` gives coefficients D A^-1 D y with D = diag(sqrt(w)) and
A = D K D + ridge I: the system without weights, in scaled rows and columns. The error that a model fitted without row i
makes on it is (A^-1 D y)_i / (sqrt(w_i) (A^-1)_ii) (Allen's PRESS; Rasmussen & Williams 2006, Eq. 5.12).

Targets from which their mean was taken lose another mean when a row is left out, m - w_i y_i / (sum(w) - w_i). Errors
are linear in the targets, so those of a column of ones say by how much: it is carried as one target more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[Any]


def roots_of(weights: NDArray[np.float64] | None, n_rows: int) -> NDArray[np.float64]:
    """Return D as a column, (n, 1)."""
    return np.ones((n_rows, 1)) if weights is None else np.sqrt(weights)[:, None]


@dataclass(frozen=True, eq=False)
class WeightedTargets:
    """Targets, (n, n_targets), of rows with positive weights, (n,) or None for ones.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([[1.0], [-1.0], [0.0]])
    >>> problem = WeightedTargets(y, None, is_centred=True)
    >>> problem.leave_one_out(problem.columns).ravel()  # a model that predicts nothing but the mean
    array([ 1.5, -1.5,  0. ])
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    is_centred: bool  # whether their weighted mean was taken from them

    @property
    def columns(self) -> NDArray[np.float64]:
        """What to solve for: the targets, and ones if they are centred."""
        return np.column_stack([self.values, np.ones(len(self.values))]) if self.is_centred else self.values

    def leave_one_out(self, errors: Reals, rows: Any = slice(None)) -> Reals:
        """Return errors of the targets, (..., n, n_targets), from those of all `columns` with the mean kept.

        `rows` are those that the errors are of, by default all.
        """
        if not self.is_centred:
            return errors
        weights = np.ones(len(self.values)) if self.weights is None else self.weights
        others = weights.sum() - weights
        change = weights[:, None] * self.values / np.where(others > 0, others, np.inf)[:, None]
        return errors[..., :-1] + change[rows] * errors[..., -1:]

    def mean_square(self, errors: Reals, rows: Any = slice(None)) -> Reals:
        """Return weighted means over rows and targets of squares, (...), of errors, (..., n, n_targets)."""
        weights = None if self.weights is None else self.weights[rows]
        return np.average((errors**2).mean(axis=-1), axis=-1, weights=weights)

    def part(self, rows: NDArray[np.intp]) -> WeightedTargets:
        """Return some of the rows, with the mean that they have."""
        weights = None if self.weights is None else self.weights[rows]
        values = self.values[rows]
        if self.is_centred:
            values = values - np.average(values, axis=0, weights=weights)
        return WeightedTargets(values, weights, self.is_centred)
