"""How fast empirical kernels approach the infinite-width kernel: deviation against width, and its exponent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.finite.network import Network
from ntk_fast.finite.products import Reals
from ntk_fast.kernels import Kernel
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.schedule.tiling import Progress
from ntk_fast.validation import check_rng, check_whole_number


@dataclass(frozen=True, eq=False)
class KernelConvergence:
    """Deviations of empirical kernels from their limit.

    Attributes
    ----------
    widths : tuple of int
    deviations : ndarray of shape (n_widths, n_networks)
        ``|K_width - K|_F / |K|_F`` of each network.
    """

    widths: tuple[int, ...]
    deviations: Reals

    @property
    def root_mean_square(self) -> Reals:
        """Over networks, shape (n_widths,)."""
        return np.sqrt((self.deviations**2).mean(axis=1))

    @property
    def law(self) -> PowerLaw:
        """Root-mean-square deviation against width; the exponent is expected to be -1/2."""
        return fit_power_law(self.widths, self.root_mean_square)


def kernel_convergence(
    kernel: Kernel,
    X: ArrayLike,
    widths: Sequence[int],
    *,
    n_networks: int = 10,
    rng: np.random.Generator | int | None = None,
    antisymmetric: bool = False,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> KernelConvergence:
    """Compare empirical kernels of random networks with the infinite-width kernel, over widths.

    Parameters
    ----------
    kernel : NTK, NNGP or ArcCosine
        Of any network and any variances.
    X : array-like of shape (n, n_features)
    widths : sequence of int >= 1
    n_networks : int >= 1, default 10
        Of each width, independent.
    rng : numpy.random.Generator or int, optional
    antisymmetric : bool, default False
        As for :meth:`Network.initialize`.
    n_threads : int >= 1, optional
    progress : callable, optional
        Called as ``progress(networks_done, networks_in_all)``.

    Returns
    -------
    KernelConvergence

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from ntk_fast import finite
    >>> result = finite.kernel_convergence(ntk.NTK(depth=1), np.eye(4), [64, 256, 1024], rng=0)
    >>> bool(abs(result.law.exponent + 0.5) < 0.1)
    True
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an NTK, an NNGP or an ArcCosine; got a {type(kernel).__name__}.")
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise TypeError(f"widths must be a sequence of whole numbers >= 1; got {widths!r}.")
    checked = tuple(check_whole_number(width, "widths", 1) for width in widths)
    n_networks = check_whole_number(n_networks, "n_networks", 1)
    generator = check_rng(rng)
    limit = kernel(X, dtype=np.float64, n_threads=n_threads)
    size = np.linalg.norm(limit)
    if size == 0:
        raise ValueError("X must hold a row that is not zero: deviations are relative to the size of the kernel.")
    n_features = math.prod(np.shape(X)[1:])
    deviations = np.empty((len(checked), n_networks))
    for place, width in enumerate(checked):
        for trial in range(n_networks):
            network = Network.initialize(
                n_features, width, rng=generator, antisymmetric=antisymmetric, network=kernel.network
            )
            empirical = network.empirical_ntk if kernel.has_tangent else network.empirical_nngp
            deviations[place, trial] = np.linalg.norm(empirical(X, n_threads=n_threads) - limit) / size
            if progress is not None:
                progress(place * n_networks + trial + 1, deviations.size)
    return KernelConvergence(checked, deviations)
