"""Derivatives of Gram matrices with respect to the logarithms of the variances, for fitting them.

Each layer of `recursion` is differentiated, relative to sqrt(q q'). D is the derivative in one direction of
(log v_0, ..., log v_L, log b_0, ..., log b_L), a row's (rho, tau) are (cos t, sin t), and slope is the dual's kappa':

    D log q_l = rho^2 (D log v_l + D log q_{l-1}) + tau^2 D log b_l
    D t       = rho tau (D log b_l - D log v_l - D log q_{l-1}) / 2
    delta_l   = rho_x rho_y (1 - kappa) + 1 - cos(t_x - t_y)
    D delta_l = D(rho_x rho_y) (1 - kappa) + rho_x rho_y slope D delta_{l-1} + sin(t_x - t_y) (D t_x - D t_y)
    D theta_l = D(rho_x rho_y slope) theta_{l-1} + rho_x rho_y slope D theta_{l-1} - D delta_l
    D slope   = (slope's derivative with respect to the angle) D delta_{l-1} / sin(angle)

Every term keeps its relative accuracy where rows are nearly parallel. Without bias, entries are proportional to the
product of the weight variances, and there is nothing to differentiate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.adjoint import row_adjoints
from ntk_fast.backends.base import FillTile, Tile
from ntk_fast.backends.numpy_backend import NumpyBackend
from ntk_fast.backends.numpy_chords import tile_chords
from ntk_fast.compensated import Reals
from ntk_fast.duals import PiecewiseLinear, complement, slope_complement
from ntk_fast.gram import check_both, prepare
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.recursion import Recursion
from ntk_fast.rows import Rows, prepare_rows
from ntk_fast.threads import choose_n_threads, single_threaded_blas
from ntk_fast.tiling import Progress, make_tiles, run_tiles

VARIANCES = ("weight_variance", "bias_variance")
#: Rows and columns of a tile: some twenty such arrays stay in a 2 MB cache.
BLOCK_ROWS, BLOCK_COLUMNS = 64, 128


@dataclass(frozen=True)
class VarianceParameters:
    """The variances of a kernel as a vector of logarithms, theta, and back.

    A variance of zero stays zero: it is no parameter. An :class:`ArcCosine` kernel has none.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
        Where theta starts from.
    per_layer : bool
        False: one parameter for all weight variances and one for all bias variances, each the geometric mean of those
        that are not zero; moving it multiplies them all. True: one parameter per layer.
    fitted : sequence of {"weight_variance", "bias_variance"}
        Which variances are parameters.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> parameters = VarianceParameters(ntk.NTK(depth=2, weight_variance=(1, 2, 2), bias_variance=0.1), False)
    >>> np.exp(parameters.theta).round(3)
    array([1.587, 0.1  ])
    >>> parameters.kernel_at(parameters.theta + np.log([2, 1]))
    NTK(depth=2, weight_variance=(2.0, 4.0, 4.0), bias_variance=0.1)
    """

    kernel: Kernel
    per_layer: bool
    fitted: tuple[str, ...] = VARIANCES

    def _layers(self, name: str) -> tuple[float, ...]:
        recursion = self.kernel.recursion
        return recursion.weight_variances if name == "weight_variance" else recursion.bias_variances

    @property
    def groups(self) -> list[tuple[str, NDArray[np.intp]]]:
        """Each parameter's variance, and the layers that share it."""
        result = []
        for name in self.fitted if isinstance(self.kernel, NTK | NNGP) else ():
            layers = np.flatnonzero(self._layers(name))
            if len(layers):
                result += [(name, part) for part in (np.split(layers, len(layers)) if self.per_layer else [layers])]
        return result

    @property
    def names(self) -> list[str]:
        """Of the parameters: ``weight_variance``, or ``weight_variance[0]`` where each layer has its own."""
        return [
            name if len(layers) > 1 or not self.per_layer else f"{name}[{layers[0]}]" for name, layers in self.groups
        ]

    @property
    def theta(self) -> Reals:
        """The logarithms, (n_parameters,)."""
        return np.array([np.log(np.take(self._layers(name), layers)).mean() for name, layers in self.groups])

    @property
    def directions(self) -> Reals:
        """For each parameter, what it does to (log v_0, ..., log v_L, log b_0, ..., log b_L)."""
        n_layers = self.kernel.recursion.depth + 1
        result = np.zeros((len(self.groups), 2 * n_layers))
        for row, (name, layers) in zip(result, self.groups, strict=True):
            row[layers + n_layers * VARIANCES.index(name)] = 1.0
        return result

    def at(self, theta: ArrayLike) -> VarianceParameters:
        """Return the same parameters of the kernel with these logarithms."""
        return replace(self, kernel=self.kernel_at(theta))

    def kernel_at(self, theta: ArrayLike) -> Kernel:
        """Return the kernel with these logarithms."""
        changes: dict[str, Any] = {name: np.array(self._layers(name)) for name in VARIANCES}
        for (name, layers), old, new in zip(self.groups, self.theta, np.asarray(theta), strict=True):
            changes[name][layers] *= np.exp(new - old)
        if not self.groups:
            return self.kernel
        return replace(self.kernel, **{name: tuple(values.tolist()) for name, values in changes.items()})  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class _RowDerivatives:
    """Of each row, in each direction: of the angle t of every layer, and of log sqrt(q) of the last."""

    turn: Reals  # (n_parameters, depth + 1, n)
    log_scale: Reals  # (n_parameters, n)

    @classmethod
    def of(cls, rows: Rows, directions: Reals) -> _RowDerivatives:
        n_parameters, n_layers = len(directions), len(rows.rho)
        turn = np.zeros((n_parameters, *rows.rho.shape))
        log_variance = np.zeros((n_parameters, len(rows)))
        for layer, (rho, tau) in enumerate(zip(rows.rho, rows.tau, strict=True)):
            inner = directions[:, layer, None] + log_variance
            offset = directions[:, n_layers + layer, None]
            turn[:, layer] = rho * tau * (offset - inner) / 2
            log_variance = rho**2 * inner + tau**2 * offset
        return cls(turn, log_variance / 2)


def _differentiate(
    recursion: Recursion,
    chord: Reals,
    opposite: NDArray[np.bool_],
    x: tuple[Rows, _RowDerivatives, slice],
    y: tuple[Rows, _RowDerivatives, slice],
) -> Reals:
    """Return the derivatives of a tile, (n_parameters, rows, columns): see the module."""
    dual = recursion.dual
    assert isinstance(dual, PiecewiseLinear)
    slope_per_angle = dual.slope_offset / np.pi  # kappa' falls at this rate
    (x_rows, x_dot, rows), (y_rows, y_dot, columns) = x, y
    n_parameters = len(x_dot.turn)
    square = 2 * chord * chord
    decrease = np.where(opposite, 2 - square, square)
    slope = np.zeros_like(chord)
    theta = np.zeros_like(chord)
    delta_dot, theta_dot, slope_dot = np.zeros((3, n_parameters, *chord.shape))
    for layer in range(recursion.depth + 1):
        if layer:
            decrease = complement(dual, chord, opposite)
            slope = 1 - slope_complement(dual, chord, opposite)
            sine = 2 * chord * np.sqrt(1 - chord * chord)
            # for parallel rows delta_dot is 0 as well, and so is what the angle does
            slope_dot = -slope_per_angle * delta_dot / np.where(sine == 0, 1.0, sine)
        rho_x, tau_x = x_rows.rho[layer, rows, None], x_rows.tau[layer, rows, None]
        rho_y, tau_y = y_rows.rho[layer, columns], y_rows.tau[layer, columns]
        turn_x, turn_y = x_dot.turn[:, layer, rows, None], y_dot.turn[:, layer, None, columns]
        rho, tau = rho_x * rho_y, tau_x * tau_y
        rho_dot = -(tau_x * rho_y * turn_x + rho_x * tau_y * turn_y)
        sine_between = tau_x * rho_y - rho_x * tau_y
        delta = rho * decrease + sine_between**2 / (1 + tau + rho)
        delta_dot = rho_dot * decrease + rho * slope * delta_dot + sine_between * (turn_x - turn_y)
        if recursion.has_tangent:
            theta_dot = rho_dot * (slope * theta) + rho * (slope_dot * theta + slope * theta_dot) - delta_dot
            theta = rho * slope * theta + (1 - delta)
        else:
            theta_dot, theta = -delta_dot, 1 - delta
        from_opposite = 2 - delta
        if layer == 0:
            divisor = np.maximum(1 - tau + rho, 1)
            from_opposite = rho * square + (rho_x * tau_y + tau_x * rho_y) ** 2 / divisor
        opposite = delta > 1
        chord = np.sqrt(np.maximum(np.where(opposite, from_opposite, delta) / 2, 0))
    scale = x_rows.scale[rows, None] * y_rows.scale[columns]
    log_scale_dot = x_dot.log_scale[:, rows, None] + y_dot.log_scale[:, None, columns]
    return scale * (log_scale_dot * theta + theta_dot)


def gram_derivatives(
    parameters: VarianceParameters, X: ArrayLike, Y: ArrayLike | None = None, *, n_threads: int | None = None
) -> Reals:
    """Return the derivatives of the Gram matrix with respect to theta.

    Parameters
    ----------
    parameters : VarianceParameters
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features), optional
        None: the rows of `X`.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.

    Returns
    -------
    ndarray of shape (n_parameters, n, n) or (n_parameters, n, m)

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> X = [[1.0, 0.0], [3.0, 4.0]]
    >>> weights = VarianceParameters(ntk.NTK(depth=2), per_layer=False)  # K is proportional to weight_variance^3
    >>> bool(np.allclose(gram_derivatives(weights, X), 3 * ntk.NTK(depth=2)(X)))
    True
    """
    kernel, directions = parameters.kernel, parameters.directions
    if kernel.recursion.is_homogeneous:
        return directions.sum(axis=1)[:, None, None] * kernel(X, Y, dtype=np.float64, n_threads=n_threads)
    out: Reals | None = None

    def store(tile: Tile, values: Reals, symmetric: bool) -> None:
        assert out is not None
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        if not symmetric:
            out[:, rows, columns] = values
            return
        above = _offsets(tile) >= 0
        np.copyto(out[:, rows, columns], values, where=above)
        np.copyto(out[:, columns, rows], values.transpose(0, 2, 1), where=above.T)

    x, y = check_both(X, Y, np.float64)
    out = np.empty((len(directions), len(x), len(x if y is None else y)))
    _run(kernel, directions, x, y, store, n_threads)
    return out


def contracted_derivatives(
    parameters: VarianceParameters,
    X: ArrayLike,
    weights: Reals,
    Y: ArrayLike | None = None,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Reals:
    """Return ``sum(weights * derivative)`` over a Gram matrix, for each parameter, storing no derivative.

    Parameters
    ----------
    parameters : VarianceParameters
    X : array-like of shape (n, n_features)
    weights : ndarray of shape (n, n) or (n, m)
        Symmetric without `Y`.
    Y : array-like of shape (m, n_features), optional
        None: the rows of `X`.
    n_threads, progress
        As in :func:`ntk_fast.gram`.

    Returns
    -------
    ndarray of shape (n_parameters,)
    """
    kernel, directions = parameters.kernel, parameters.directions
    if kernel.recursion.is_homogeneous:
        total = np.vdot(weights, kernel(X, Y, dtype=np.float64, n_threads=n_threads, progress=progress))
        return directions.sum(axis=1) * total
    x, y = check_both(X, Y, np.float64)
    total = np.zeros(len(directions))
    for rows, adjoints in row_adjoints(kernel.recursion, x, y, weights, n_threads=n_threads, progress=progress):
        derivatives = _RowDerivatives.of(rows, directions)
        total += np.tensordot(derivatives.turn, adjoints[:-1], axes=2) + derivatives.log_scale @ adjoints[-1]
    return total


def contracted_diagonal_derivatives(parameters: VarianceParameters, X: ArrayLike, weights: Reals) -> Reals:
    """Return ``sum(weights * derivative)`` over the diagonal of the Gram matrix of `X`, for each parameter.

    Parameters
    ----------
    parameters : VarianceParameters
    X : array-like of shape (n, n_features)
    weights : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n_parameters,)
    """
    kernel, directions = parameters.kernel, parameters.directions
    x, _ = check_both(X, None, np.float64)
    if kernel.recursion.is_homogeneous:
        return directions.sum(axis=1) * np.vdot(weights, kernel.diag(x))
    rows = prepare_rows(x, "X", kernel.recursion, None, NumpyBackend())
    derivatives = _RowDerivatives.of(rows, directions)
    theta, theta_dot = np.zeros(len(rows)), np.zeros((len(directions), len(rows)))
    if kernel.recursion.has_tangent:
        for rho, tau, turn in zip(rows.rho, rows.tau, derivatives.turn.transpose(1, 0, 2), strict=True):
            theta_dot = rho**2 * theta_dot - 2 * rho * tau * turn * theta
            theta = rho**2 * theta + 1
    else:
        theta += 1
    return (rows.scale**2 * (2 * derivatives.log_scale * theta + theta_dot)) @ weights


def _offsets(tile: Tile) -> NDArray[np.intp]:
    """Column minus row of each entry."""
    return np.arange(tile.column_start, tile.column_stop) - np.arange(tile.row_start, tile.row_stop)[:, None]


def _run(
    kernel: Kernel,
    directions: Reals,
    x_values: Reals,
    y_values: Reals | None,
    use: Callable[[Tile, Reals, bool], None],
    n_threads: int | None,
    progress: Progress | None = None,
) -> list[Tile]:
    """Compute the derivatives tile by tile, on several threads, and hand them to `use`."""
    backend = NumpyBackend()
    x, y, _ = prepare(kernel, x_values, y_values, backend)
    x_dot = _RowDerivatives.of(x, directions)
    y_dot = x_dot if y is None else _RowDerivatives.of(y, directions)
    other = x if y is None else y
    tiles = make_tiles(len(x), len(other), symmetric=y is None, block_rows=BLOCK_ROWS, block_columns=BLOCK_COLUMNS)

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        chord, opposite = tile_chords(kernel.recursion, x, other, rows, columns)
        values = _differentiate(kernel.recursion, chord, opposite, (x, x_dot, rows), (other, y_dot, columns))
        use(tile, values, y is None)

    def make_fill() -> FillTile:
        return fill

    with single_threaded_blas():
        run_tiles(tiles, make_fill, choose_n_threads(n_threads), progress)
    return tiles
