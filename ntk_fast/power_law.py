"""Power laws, fitted: the exponents of spectra and of errors against width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.validation import refuse_masked


@dataclass(frozen=True)
class PowerLaw:
    """``y = amplitude * x**exponent``, by least squares in the logarithms.

    Attributes
    ----------
    exponent, standard_error : float
        The slope in the logarithms, and its standard error; infinite for two points. The standard error takes what is
        beside the line for noise.
    amplitude : float
    drift : float
        The slope of the upper half of the points less that of the lower half: how far this is from a law at all. 0 for
        fewer than four points, which have no halves.
    """

    exponent: float
    standard_error: float
    amplitude: float
    drift: float = 0.0

    @property
    def uncertainty(self) -> float:
        """The standard error, or half of the drift if that is larger."""
        return max(self.standard_error, abs(self.drift) / 2)

    def __str__(self) -> str:
        return f"{self.exponent:.3f} +- {self.uncertainty:.3f}"


def fit_power_law(x: ArrayLike, y: ArrayLike) -> PowerLaw:
    """Fit a power law through positive points.

    Parameters
    ----------
    x, y : array-like of shape (n,)
        At least two different x; all above 0.

    Returns
    -------
    PowerLaw

    Raises
    ------
    ValueError
        If the points are not as above.

    Examples
    --------
    >>> from ntk_fast.power_law import fit_power_law
    >>> print(fit_power_law([1.0, 2.0, 4.0], [8.0, 4.0, 2.0]))
    -1.000 +- 0.000
    """
    refuse_masked(x, "x")
    refuse_masked(y, "y")
    points = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if points[0].ndim != 1 or points[0].shape != points[1].shape:
        raise ValueError(f"x and y must be vectors of one length; got shapes {points[0].shape} and {points[1].shape}.")
    for name, values in zip("xy", points, strict=True):
        bad = ~((values > 0) & np.isfinite(values))
        if bad.any():
            raise ValueError(f"{name} must be positive and finite for a power law; got {values[bad][0]}.")
    if len(np.unique(points[0])) < 2:
        raise ValueError(f"x must hold at least two different values for a power law; got {len(points[0])} points.")
    log_x, log_y = np.log(points[0]), np.log(points[1])
    centred = log_x - log_x.mean()
    exponent = float(centred @ log_y / (centred @ centred))
    residual = log_y - log_y.mean() - exponent * centred
    freedom = len(log_x) - 2
    variance = float(residual @ residual) / freedom if freedom else np.inf
    return PowerLaw(
        exponent,
        float(np.sqrt(variance / (centred @ centred))),
        float(np.exp(log_y.mean() - exponent * log_x.mean())),
        _drift(log_x, log_y),
    )


def _drift(log_x: NDArray[np.float64], log_y: NDArray[np.float64]) -> float:
    order = np.argsort(log_x, kind="stable")
    half = len(order) // 2
    halves = [order[:half], order[half:]]
    if half < 2 or any(np.ptp(log_x[part]) == 0 for part in halves):
        return 0.0
    lower, upper = (float(np.polyfit(log_x[part], log_y[part], 1)[0]) for part in halves)
    return upper - lower
