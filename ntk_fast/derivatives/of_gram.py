"""The derivatives of a Gram matrix, whole or summed with weights, and of its diagonal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.caller import warns_once
from ntk_fast.compensated import Reals
from ntk_fast.derivatives.forward import diagonal_derivatives, offsets, run_forward
from ntk_fast.derivatives.reverse import contracted_in_reverse
from ntk_fast.derivatives.variances import VarianceParameters
from ntk_fast.gram import check_both
from ntk_fast.schedule.tiling import Progress, Tile


@warns_once
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

    Raises
    ------
    TypeError, ValueError
        If rows are no rows, or an entry would overflow.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> X = [[1.0, 0.0], [3.0, 4.0]]
    >>> weights = VarianceParameters(ntk.NTK(depth=2), per_layer=False)  # K is proportional to weight_variance^3
    >>> bool(np.allclose(gram_derivatives(weights, X), 3 * ntk.NTK(depth=2)(X)))
    True
    """
    kernel = parameters.kernel
    if parameters.powers is not None:
        return parameters.powers[:, None, None] * kernel(X, Y, dtype=np.float64, n_threads=n_threads)
    out: Reals | None = None

    def store(tile: Tile, values: Reals, symmetric: bool) -> None:
        assert out is not None
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        if not symmetric:
            out[:, rows, columns] = values
            return
        above = offsets(tile) >= 0
        np.copyto(out[:, rows, columns], values, where=above)
        np.copyto(out[:, columns, rows], values.transpose(0, 2, 1), where=above.T)

    x, y = check_both(X, Y, np.float64)
    out = np.empty((len(parameters.groups), len(x), len(x if y is None else y)))
    run_forward(parameters, x, y, store, n_threads)
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

    Raises
    ------
    ValueError
        If the weights are not one for each entry.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> weights = VarianceParameters(ntk.NTK(depth=2), per_layer=False)  # K is proportional to weight_variance^3
    >>> X = np.eye(3)
    >>> bool(np.allclose(contracted_derivatives(weights, X, np.ones((3, 3))), 3 * ntk.NTK(depth=2)(X).sum()))
    True
    """
    kernel = parameters.kernel
    x, y = check_both(X, Y, np.float64)
    shape = len(x), len(x if y is None else y)
    if np.shape(weights) != shape:
        raise ValueError(f"weights must have shape {shape}; got {np.shape(weights)}.")
    if parameters.powers is not None:
        total = np.vdot(weights, kernel(x, y, dtype=np.float64, n_threads=n_threads, progress=progress))
        return parameters.powers * total
    in_reverse = contracted_in_reverse(parameters, x, y, weights, n_threads, progress)
    if in_reverse is not None:
        return in_reverse
    sums: dict[Tile, Reals] = {}

    def add(tile: Tile, values: Reals, symmetric: bool) -> None:
        part = weights[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop]
        if symmetric:  # an entry above the diagonal stands for its mirror image too
            part = part * (1.0 + np.sign(offsets(tile)))
        sums[tile] = np.einsum("pij,ij->p", values, part)

    tiles = run_forward(parameters, x, y, add, n_threads, progress)
    return sum((sums[tile] for tile in tiles), np.zeros(len(parameters.groups)))


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
    kernel = parameters.kernel
    values, _ = check_both(X, None, np.float64)
    if parameters.powers is not None:
        return parameters.powers * np.vdot(weights, kernel.diag(values))
    return diagonal_derivatives(parameters, values) @ weights
