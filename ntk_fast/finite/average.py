"""Averages of empirical kernels over networks, with their standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.network import Network
from ntk_fast.finite.products import Reals
from ntk_fast.kernels import NTK
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.layer import Layer
from ntk_fast.lower.plan import plan_of
from ntk_fast.schedule.tiling import Progress
from ntk_fast.validation import check_rng, check_rows, check_whole_number


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
