"""What activations do to a pair of Gaussians, to many digits: textbook forms where there are any, else quadrature.

E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] for u, v of variances q, q' and covariance c. No mathematics is shared
with the maps of `layers`.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import mpmath

from ntk_fast import layers
from ntk_fast.high_precision.closed_forms import CLOSED_FORMS
from ntk_fast.high_precision.corners import of_corners
from ntk_fast.high_precision.quadrature import ANALYTIC, elu, in_the_plane, of_a_function, quadrature_digits
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.corners import corners_of


def expectations(layer: ActivationLayer, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    """Return E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] for Gaussians of these variances and covariance."""
    return _expectations(layer, q, q_other, covariance, mpmath.mp.prec)


@lru_cache(maxsize=4096)
def _expectations(layer: ActivationLayer, q: Any, q_other: Any, covariance: Any, precision: int) -> tuple[Any, Any]:
    for kind, closed_form in CLOSED_FORMS.items():
        if isinstance(layer, kind):
            return closed_form(layer, q, q_other, covariance)
    for kind, (function, singularity) in ANALYTIC.items():
        if isinstance(layer, kind):
            return in_the_plane(partial(function, layer), singularity(layer), q, q_other, covariance)
    if isinstance(layer, layers.Elu):
        return elu(layer, q, q_other, covariance)
    corners = corners_of(layer.function) if isinstance(layer, layers.Activation) else None
    if corners is not None:
        with mpmath.workdps(quadrature_digits() + 10):
            return of_corners(corners, q, q_other, covariance)
    return of_a_function(layer, q, q_other, covariance)
