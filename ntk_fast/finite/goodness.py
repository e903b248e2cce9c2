"""When is the linearisation good? Section 2 of the lecture, as measurements: the error, its two terms, its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.network import Network
from ntk_fast.finite.products import Reals
from ntk_fast.layers.names import activation_named
from ntk_fast.layers.relu import PiecewiseLinear

WITH_CURVATURE = "finite.softplus(t) (gamma = t / 4)"
PIECEWISE_LINEAR = "'relu', 'leaky_relu', 'abs' and ntk_fast.leaky_relu(slope)"


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Eq. 7, row by row."""

    printed: Reals
    printed_of_distance: Reals
    corrected: Reals
    corrected_of_distance: Reals


@dataclass(frozen=True, eq=False)
class _Switches:
    """Eqs. 8 and 9, row by row."""

    fraction: Reals
    error: Reals
    printed_failures: Reals
    corrected_failures: Reals


@dataclass(frozen=True, eq=False)
class LinearizationError:
    """``f(x; theta) - lin(x; theta)`` of a network with one hidden layer, row by row: see `linearization_error`.

    Attributes
    ----------
    term_a : ndarray of shape (n,)
        ``sum_i (beta_i - beta_i(0)) (sigma(w_i.x) - sigma(w_i(0).x)) / sqrt(width)``.
    term_b : ndarray of shape (n,)
        ``sum_i beta_i(0) [sigma(w_i.x) - sigma(w_i(0).x) - sigma'(w_i(0).x) x.(w_i - w_i(0))] / sqrt(width)``.
    """

    term_a: Reals
    term_b: Reals
    activation: str
    _bounds: _Bounds | None
    _switches: _Switches | None

    @property
    def exact(self) -> Reals:
        """The error itself: term (a) plus term (b), shape (n,)."""
        return self.term_a + self.term_b

    @property
    def bound_printed(self) -> Reals:
        """Eq. 7's first line as printed, ``(gamma/2 |x|^2 + C |x|) sum_i |w_i - w_i(0)|^2 / sqrt(width)``.

        It lacks the factors |beta_i(0)| and D, and can be too small.
        """
        return self._need_bounds().printed

    @property
    def bound_printed_of_distance(self) -> Reals:
        """Eq. 7's second line as printed: the same with ``|theta - theta(0)|^2``."""
        return self._need_bounds().printed_of_distance

    @property
    def bound_corrected(self) -> Reals:
        """A bound that holds: ``sum_i (|beta_i(0)| gamma/2 |x|^2 + C D |x|) |w_i - w_i(0)|^2 / sqrt(width)``.

        D is the largest ``|beta_i - beta_i(0)| / |w_i - w_i(0)|``; a unit whose hidden weights have not moved
        contributes no error, and does not count. (The error is computed with the rounding errors of its terms, which
        may exceed a bound that is next to zero.)
        """
        return self._need_bounds().corrected

    @property
    def bound_corrected_of_distance(self) -> Reals:
        """And in terms of the distance, with C/2 for C D as ``2 |a| |b| <= a^2 + b^2``:
        ``(max_i |beta_i(0)| gamma/2 |x|^2 + C/2 |x|) |theta - theta(0)|^2 / sqrt(width)``.

        The largest of width standard normal numbers grows like ``sqrt(2 log width)``: the conclusion stands.
        """
        return self._need_bounds().corrected_of_distance

    @property
    def switched(self) -> Reals:
        """The fraction of units whose pre-activation has changed sides, shape (n,)."""
        return self._need_switches().fraction

    @property
    def error_switched(self) -> Reals:
        """The part of the error that comes from units that have changed sides."""
        return self._need_switches().error

    @property
    def error_unswitched(self) -> Reals:
        """The rest: without the switched units term (b) is zero, and this is their part of term (a)."""
        return self.exact - self._need_switches().error

    @property
    def eq_8_printed_failures(self) -> Reals:
        """The fraction of units for which Eqs. 8 and 9 fail as printed: sides told by the new pre-activation alone."""
        return self._need_switches().printed_failures

    @property
    def eq_8_corrected_failures(self) -> Reals:
        """The fraction for which they fail when the old pre-activation has to lie on the same side: none."""
        return self._need_switches().corrected_failures

    def _need_bounds(self) -> _Bounds:
        if self._bounds is None:
            raise ValueError(
                "Eq. 7 needs an activation with a bounded second derivative, which of those here only "
                f"{WITH_CURVATURE} has; got {self.activation}."
            )
        return self._bounds

    def _need_switches(self) -> _Switches:
        if self._switches is None:
            raise ValueError(
                f"Eqs. 8 and 9 need an activation that is linear on either side of zero: {PIECEWISE_LINEAR}; "
                f"got {self.activation}."
            )
        return self._switches


def linearization_error(network0: Network, network: Network, X: ArrayLike) -> LinearizationError:
    """Measure how far a network is from the linearisation about its initial parameters.

    Parameters
    ----------
    network0, network : Network
        Before and after; of the same n_features, width and activation, with one hidden layer. (For more layers the
        error is ``network(X) - network0.linearize()(X, network.parameters)``; the lecture's terms are for one.)
    X : array-like of shape (n, n_features)

    Returns
    -------
    LinearizationError
        With the bounds of Eq. 7 for softplus, and the sign switches of Eqs. 8 and 9 for ReLU and its kind.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> from ntk_fast import finite
    >>> rng = np.random.default_rng(0)
    >>> before = finite.Network.initialize(n_features=3, width=100, activation=finite.softplus(4.0), rng=rng)
    >>> after = before.with_parameters(before.parameters + 0.1 * rng.standard_normal(before.n_parameters))
    >>> error = finite.linearization_error(before, after, np.eye(3))
    >>> bool(np.all(np.abs(error.exact) <= error.bound_corrected))
    True
    """
    for name, value in (("network0", network0), ("network", network)):
        if not isinstance(value, Network):
            raise TypeError(f"{name} must be a finite.Network; got a {type(value).__name__}.")
        if value.depth != 1:
            raise ValueError(f"{name} must have depth 1: Eq. 7 and its terms are for one hidden layer; got {value!r}.")
    kinds = [(each.n_features, each.width, each.activation) for each in (network0, network)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"network must be network0 with other parameters; got {network0!r} and {network!r}.")
    rows = network0.check_rows(X)
    unit, scale = activation_named(network0.activation), network0.width**-0.5
    beta0, beta_moved = network0.weights.readout, network.weights.readout - network0.weights.readout
    moved = network.weights.hidden[0] - network0.weights.hidden[0]
    old, step = rows @ network0.weights.hidden[0].T, rows @ moved.T
    new = old + step
    change = unit.value(new) - unit.value(old)
    curved = change - unit.derivative(old) * step
    each_a, each_b = change * (beta_moved * scale), curved * (beta0 * scale)
    switches = bounds = None
    if unit.curvature is not None and unit.lipschitz is not None:
        norms, squares = np.linalg.norm(rows, axis=1), (moved**2).sum(axis=1)
        c, gamma = unit.lipschitz, unit.curvature
        ratio = np.divide(np.abs(beta_moved), np.sqrt(squares), where=squares > 0, out=np.zeros_like(squares))
        printed = (gamma / 2 * norms**2 + c * norms) * scale
        distance = squares.sum() + (beta_moved**2).sum()
        bounds = _Bounds(
            printed * squares.sum(),
            printed * distance,
            (gamma / 2 * norms**2 * (np.abs(beta0) @ squares) + c * ratio.max() * norms * squares.sum()) * scale,
            (gamma / 2 * norms**2 * np.abs(beta0).max() + c / 2 * norms) * distance * scale,
        )
    elif isinstance(unit, PiecewiseLinear):
        switched = (new > 0) != (old > 0)
        # Eqs. 8 and 9, for any slopes: the change is sigma'(new) times the step
        tolerance = 8 * np.finfo(np.float64).eps * (np.abs(new) + np.abs(old))
        failed = np.abs(change - unit.derivative(new) * step) > tolerance * unit.lipschitz
        switches = _Switches(
            switched.mean(axis=1),
            ((each_a + each_b) * switched).sum(axis=1),
            failed.mean(axis=1),
            (failed & ~switched).mean(axis=1),
        )
    return LinearizationError(each_a.sum(axis=1), each_b.sum(axis=1), repr(network0.activation), bounds, switches)
