"""The largest likelihood: from the best of several starts uphill, and warnings where that is not an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ntk_fast.caller import warn_caller

Reals = NDArray[np.floating]

#: Of theta, and whether the gradient is wanted: the value, and the gradient.
Likelihood = Callable[[Reals, bool], tuple[float, Reals]]

#: How near to a bound, in logarithms, what is fitted is as good as at it.
AT_BOUND = 1e-3
#: How far, in logarithms, what goes towards a bound has gone.
FAR = 1.0
#: How far, relatively, equal likelihoods may be apart.
ROUNDINGS = 1e-9


def maximise(
    likelihood: Likelihood,
    starts: Sequence[Reals],
    restarts: Sequence[Reals],
    bounds: Reals,
    names: Sequence[str],
    what: str,
    determined: Sequence[str],
    tolerance: float,
    steepness: Reals,
) -> tuple[float, Reals]:
    """Return the largest likelihood found, and its theta.

    The values of all `starts` are compared, and the search goes uphill from the best, and from each of `restarts`,
    until a step changes the value by less than `tolerance`; `bounds` are (2, n_parameters). A parameter of twice the
    `steepness`, (n_parameters,), is moved by half as much.
    It warns of the parameters of `what` if it fails, and if those of `determined` end at a bound; a bias may vanish.
    """
    starts = [np.clip(theta, *bounds) for theta in starts]

    def value_at(theta: Reals) -> float:
        try:
            return likelihood(theta, False)[0]
        except ValueError:  # singular here
            return -np.inf

    values = [value_at(theta) for theta in starts]
    if not np.isfinite(values).any():
        likelihood(starts[0], False)  # what is wrong is the caller's to hear of

    def climb(start: Reals) -> tuple[float, Reals, str]:
        """Return the value and theta reached, and what went wrong."""
        try:
            first = likelihood(start, True)
        except ValueError:
            return -np.inf, start, "the first model is singular"
        # the first step is as long as the gradient: a factor of e is enough
        unit = max(1.0, float(np.linalg.norm(first[1] / steepness)))

        def objective(place: Reals) -> tuple[float, Reals]:
            try:
                value, gradient = likelihood(start + place / steepness, True) if place.any() else first
            except ValueError:  # the line search turns back
                return np.inf, np.zeros_like(place)
            return -value / unit, -gradient / steepness / unit

        result = minimize(
            objective,
            np.zeros_like(start),
            jac=True,
            method="L-BFGS-B",
            bounds=((bounds - start) * steepness).T,
            options={"ftol": tolerance / max(unit, abs(first[0]))},
        )
        value, theta = -float(result.fun) * unit, np.clip(start + result.x / steepness, *bounds)
        for parameter, slope in enumerate(-result.jac):
            if abs(theta[parameter] - start[parameter]) < FAR:
                continue
            # so flat that the search stopped under way: noise that is not there does this
            edge = theta.copy()
            edge[parameter] = bounds[int(slope > 0), parameter]
            at_edge = value_at(edge)
            if at_edge >= value:
                value, theta = at_edge, edge
        return value, theta, "" if result.success else str(result.message)

    value, theta, problem = climb(starts[int(np.argmax(values))])
    for start in restarts:
        other = climb(start)
        if other[0] > value + ROUNDINGS * (1 + abs(value)):
            value, theta, problem = other
    if problem and determined:
        warn_caller(
            f"The parameters of {what} were not fitted to the end: {problem}; start elsewhere, or leave out of "
            "`fitted` what the data do not determine.",
            ConvergenceWarning,
        )
    is_low, is_high = np.abs(theta - bounds) < AT_BOUND
    # a bias that vanishes is an answer: there is none
    is_stuck = is_high | (is_low & ~np.array([name.startswith("bias_variance") for name in names], dtype=bool))
    stuck = [place for place, name in enumerate(names) if is_stuck[place] and name in determined]
    if stuck:
        stuck_at = ", ".join(f"{names[place]} = {np.exp(theta[place]):.2g}" for place in stuck)
        warn_caller(
            f"The likelihood is largest at a bound of what was fitted: {stuck_at}. Start elsewhere, or leave out of "
            "`fitted` what the data do not determine.",
            ConvergenceWarning,
        )
    return value, theta
