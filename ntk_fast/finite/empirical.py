"""Kernels of finite networks: Gram matrices of their features without the features, and averages over networks.

The tangent features of a Dense are delta (outer product) a, and shift delta for its bias, so their Gram matrix is the
Hadamard product of two small ones, (delta . delta') (a . a' + b): nothing here has the size of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.products import Reals, add_gram, mirror
from ntk_fast.kernels import NTK
from ntk_fast.lower.plan import plan_of
from ntk_fast.tiling import Progress
from ntk_fast.validation import check_rng, check_rows, check_whole_number

if TYPE_CHECKING:
    from ntk_fast.finite.graph import Weights
    from ntk_fast.finite.propagation import Propagation
    from ntk_fast.layers.activation import ActivationLayer
    from ntk_fast.layers.layer import Layer

#: Of passes over rows; the weights; and how many of the rows are x, the others being y (None: all are both).
GramFunction = Callable[["Propagation", "Weights", int | None], Reals]


def hidden_gram(passes: Propagation, weights: Weights, n_x: int | None) -> Reals:
    """Return a . a' + b of the last Dense, of all rows, or of the first `n_x` rows with the others."""
    passes.forward(weights)
    out = _zeros(passes, n_x)
    _add_readout(out, passes, n_x)
    return _complete(out, passes, n_x)


def tangent_gram(passes: Propagation, weights: Weights, n_x: int | None) -> Reals:
    """Return the sum of (delta . delta') (a . a' + b) over trained layers, rows as in `hidden_gram`."""
    passes.forward(weights)
    out = _zeros(passes, n_x)
    if passes.graph.readout.is_trained:
        _add_readout(out, passes, n_x)
    passes.turn(weights, np.ones(len(passes.X)))
    for _, affine, delta, inputs in passes.backward(weights):
        add_gram(out, [_halves(delta, n_x), _halves(inputs, n_x)], passes.n_threads, affine.bias_variance)
    return _complete(out, passes, n_x)


def _add_readout(out: Reals, passes: Propagation, n_x: int | None) -> None:
    readout = passes.graph.readout
    add_gram(out, [_halves(passes.inputs(readout), n_x)], passes.n_threads, readout.bias_variance)


def _halves(rows: Reals, n_x: int | None) -> tuple[Reals, Reals | None]:
    return (rows, None) if n_x is None else (rows[:n_x], rows[n_x:])


def _zeros(passes: Propagation, n_x: int | None) -> Reals:
    n = len(passes.X)
    return np.zeros((n, n) if n_x is None else (n_x, n - n_x))


def _complete(out: Reals, passes: Propagation, n_x: int | None) -> Reals:
    if n_x is None:
        mirror(out, passes.n_threads)
    return out


@dataclass(frozen=True, eq=False)
class KernelAverage:
    """A Monte-Carlo average over networks.

    Attributes
    ----------
    mean, standard_error : ndarray of shape (n, n) or (n, m)
        Of the mean over networks, entry by entry.
    n_networks : int
    """

    mean: Reals
    standard_error: Reals
    n_networks: int


def average_kernel(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    kernel: Literal["ntk", "nngp"] = "ntk",
    n_networks: int,
    width: int,
    depth: int | None = None,
    activation: str | ActivationLayer | None = None,
    network: Layer | None = None,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> KernelAverage:
    """Average the empirical kernel over independent networks, with its standard error.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features), optional
    kernel : {"ntk", "nngp"}, default "ntk"
    n_networks : int >= 2
    width, depth, activation, network
        As for :class:`Network`.
    rng : numpy.random.Generator or int, optional
    n_threads : int >= 1, optional
    progress : callable, optional
        Called as ``progress(networks_done, n_networks)``.

    Returns
    -------
    KernelAverage

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> from ntk_fast import finite
    >>> average = finite.average_kernel(np.eye(2), n_networks=50, width=256, rng=0)
    >>> bool(abs(average.mean[0, 1] - 1 / (2 * np.pi)) < 4 * average.standard_error[0, 1])  # Eq. 6
    True
    """
    from ntk_fast.finite.network import Network

    if kernel not in ("ntk", "nngp"):
        raise ValueError(f"kernel must be 'ntk' or 'nngp'; got {kernel!r}.")
    n_networks = check_whole_number(n_networks, "n_networks", 2)
    generator = check_rng(rng)
    description = NTK(depth=depth, activation=activation, network=network).network
    n_features = check_rows(X, "X", None, plan_of(description).shape).shape[1]
    mean = squares = np.zeros(())
    for count in range(1, n_networks + 1):  # Welford's update: no cancellation, whatever the number of networks
        drawn = Network.initialize(n_features, width, depth, activation, generator, network=network)
        gram = (drawn.empirical_ntk if kernel == "ntk" else drawn.empirical_nngp)(X, Y, n_threads=n_threads)
        deviation = gram - mean
        mean = mean + deviation / count
        squares = squares + deviation * (gram - mean)
        if progress is not None:
            progress(count, n_networks)
    return KernelAverage(mean, np.sqrt(squares / (n_networks - 1) / n_networks), n_networks)
