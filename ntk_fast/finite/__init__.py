"""Finite networks: the networks behind the kernels, their linearisation, and how good it is.

The map:

    network          Network (Eq. 2): parameters as one vector, of any description
    network_function   what it computes at rows: values, derivatives, empirical kernels
    graph            a description at finite width, as matrix products and what happens between them row by row;
                     what each layer contributes stands beside its rule for infinite width, in `ntk_fast.layers`
    propagation      forward and backward passes by hand; `directional`: derivatives along one direction
    products         matrix products on all cores
    antisymmetric    networks that start at zero
    activations      the lecture's softplus(t)
    linearization    the first-order Taylor expansion (Eqs. 3 to 5), and fitting it
    empirical        finite-width kernels without tangent features; `average`: over networks
    convergence      how fast they approach the infinite kernels
    goodness         section 2: the linearisation's error, Eq. 7's bounds, sign switches
    training         full-batch gradient descent (`descent`), with the linear model alongside
    flow             the kernel's gradient flow
    random_features  the features of both linear approximations, as a scikit-learn transformer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntk_fast.finite.activations import softplus
from ntk_fast.finite.average import KernelAverage, average_kernel
from ntk_fast.finite.convergence import KernelConvergence, kernel_convergence
from ntk_fast.finite.flow import KernelFlow
from ntk_fast.finite.goodness import LinearizationError, linearization_error
from ntk_fast.finite.linearization import Linearization
from ntk_fast.finite.network import Network
from ntk_fast.finite.training import Training, TrainingDiverged, train
from ntk_fast.sklearn_names import has_sklearn, import_for

if TYPE_CHECKING:
    from ntk_fast.finite.random_features import RandomFeatures

__all__ = [
    "KernelAverage",
    "KernelConvergence",
    "KernelFlow",
    "Linearization",
    "LinearizationError",
    "Network",
    "RandomFeatures",
    "Training",
    "TrainingDiverged",
    "average_kernel",
    "kernel_convergence",
    "linearization_error",
    "softplus",
    "train",
]


if not has_sklearn():
    __all__.remove("RandomFeatures")


def __getattr__(name: str) -> Any:
    if name != "RandomFeatures":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_for(__name__, "ntk_fast.finite.random_features", name)
