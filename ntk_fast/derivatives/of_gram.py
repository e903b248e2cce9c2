"""The derivatives of a Gram matrix, whole or summed with weights, and of its diagonal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.caller import warns_once
from ntk_fast.compensated import Reals
from ntk_fast.derivatives.differences import difference
from ntk_fast.derivatives.forward import diagonal_derivatives, offsets, run_forward
from ntk_fast.derivatives.log_parameters import LogParameters
from ntk_fast.derivatives.reverse import contracted_in_reverse
from ntk_fast.gram import check_both, image_shape
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.tiling import Progress, Tile


@warns_once
def gram_derivatives(
    parameters: LogParameters, X: ArrayLike, Y: ArrayLike | None = None, *, n_threads: int | None = None
) -> Reals:
    """Return the derivatives of the Gram matrix with respect to theta.

    Parameters
    ----------
    parameters : LogParameters
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features), optional
        None: the rows of `X`.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.

    Returns
    -------
    ndarray of shape (n_parameters, n, n) or (n_parameters, n, m)

    Raises
    ------
    TypeError, ValueError
        If rows are no rows, or an entry would overflow.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> X = [[1.0, 0.0], [3.0, 4.0]]
    >>> weights = LogParameters(ntk.NTK(depth=2), per_layer=False)  # K is proportional to weight_variance^3
    >>> bool(np.allclose(gram_derivatives(weights, X), 3 * ntk.NTK(depth=2)(X)))
    True
    """
    kernel, n_formulas = parameters.kernel, parameters.n_formulas
    x, y = check_both(X, Y, np.float64, image_shape(kernel))
    out = np.empty((len(parameters.names), len(x), len(x if y is None else y)))

    def moved(kernel: Kernel, _: Progress | None) -> Reals:
        return np.asarray(kernel(x, y, n_threads=n_threads))

    for place in range(n_formulas, len(out)):
        out[place] = difference(parameters, place, moved, None)
    if not n_formulas:
        return out
    if parameters.powers is not None:
        np.multiply(parameters.powers[:, None, None], kernel(x, y, n_threads=n_threads), out=out[:n_formulas])
        return out

    def store(tile: Tile, values: Reals, symmetric: bool) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        by_formula = out[:n_formulas]
        if not symmetric:
            by_formula[:, rows, columns] = values
            return
        above = offsets(tile) >= 0
        np.copyto(by_formula[:, rows, columns], values, where=above)
        np.copyto(by_formula[:, columns, rows], values.transpose(0, 2, 1), where=above.T)

    run_forward(parameters, x, y, store, n_threads)
    return out


def contracted_derivatives(
    parameters: LogParameters,
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
    parameters : LogParameters
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

    Raises
    ------
    ValueError
        If the weights are not one for each entry.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> weights = LogParameters(ntk.NTK(depth=2), per_layer=False)  # K is proportional to weight_variance^3
    >>> X = np.eye(3)
    >>> bool(np.allclose(contracted_derivatives(weights, X, np.ones((3, 3))), 3 * ntk.NTK(depth=2)(X).sum()))
    True
    """
    x, y = check_both(X, Y, np.float64, image_shape(parameters.kernel))
    shape = len(x), len(x if y is None else y)
    if np.shape(weights) != shape:
        raise ValueError(f"weights must have shape {shape}; got {np.shape(weights)}.")

    def moved(kernel: Kernel, progress: Progress | None) -> float:
        return float(np.vdot(weights, kernel(x, y, n_threads=n_threads, progress=progress)))

    by_formula: Reals = np.empty(0)
    if parameters.n_formulas and parameters.powers is not None:
        by_formula = parameters.powers * moved(parameters.kernel, progress)
    elif parameters.n_formulas:
        arguments = parameters, x, y, weights, n_threads, progress
        in_reverse = contracted_in_reverse(*arguments)
        by_formula = _contracted_forward(*arguments) if in_reverse is None else in_reverse
    return _with_differences(by_formula, parameters, moved, progress)


def _contracted_forward(
    parameters: LogParameters,
    x: Reals,
    y: Reals | None,
    weights: Reals,
    n_threads: int | None,
    progress: Progress | None,
) -> Reals:
    sums: dict[Tile, Reals] = {}

    def add(tile: Tile, values: Reals, symmetric: bool) -> None:
        part = weights[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop]
        if symmetric:  # an entry above the diagonal stands for its mirror image too
            part = part * (1.0 + np.sign(offsets(tile)))
        sums[tile] = np.einsum("pij,ij->p", values, part)

    tiles = run_forward(parameters, x, y, add, n_threads, progress)
    return sum((sums[tile] for tile in tiles), np.zeros(len(parameters.groups)))


def contracted_diagonal_derivatives(parameters: LogParameters, X: ArrayLike, weights: Reals) -> Reals:
    """Return ``sum(weights * derivative)`` over the diagonal of the Gram matrix of `X`, for each parameter.

    Parameters
    ----------
    parameters : LogParameters
    X : array-like of shape (n, n_features)
    weights : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n_parameters,)
    """
    values, _ = check_both(X, None, np.float64, image_shape(parameters.kernel))

    def moved(kernel: Kernel, _: Progress | None = None) -> float:
        return float(np.vdot(weights, kernel.diag(values)))

    by_formula: Reals = np.empty(0)
    if parameters.n_formulas and parameters.powers is not None:
        by_formula = parameters.powers * moved(parameters.kernel)
    elif parameters.n_formulas:
        by_formula = diagonal_derivatives(parameters, values) @ weights
    return _with_differences(by_formula, parameters, moved, None)


def _with_differences(
    by_formula: Reals,
    parameters: LogParameters,
    value: Callable[[Kernel, Progress | None], float],
    progress: Progress | None,
) -> Reals:
    """Return derivatives that formulas gave, and behind them those that they do not give."""
    places = range(parameters.n_formulas, len(parameters.names))
    return np.array([*by_formula, *(difference(parameters, place, value, progress) for place in places)])
