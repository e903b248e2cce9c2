"""Gradient descent, how large its steps may be, and what to do when they are too large."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, eigsh

from ntk_fast.finite.network import Network
from ntk_fast.finite.products import Reals
from ntk_fast.finite.propagation import Propagation

#: A loss this many times the first one, or parameters this many times the first ones: descent has become ascent.
DIVERGED_LOSS, DIVERGED_PARAMETERS = 100.0, 1000.0
#: A smaller step is tried for this many times as many steps as the too large one took, and this many squared more.
SAFE_STEPS = 10
MOST_HALVINGS = 60


def largest_tangent_eigenvalue(network: Network, X: ArrayLike, *, n_threads: int | None = None) -> float:
    """Return the largest eigenvalue of the empirical NTK of rows, without forming it.

    Gradient descent on ``|f - y|^2 / 2`` is stable, for the linear model, up to a step size of 2 over it.

    Parameters
    ----------
    network : Network
    X : array-like of shape (n, n_features)
    n_threads : int >= 1, optional

    Returns
    -------
    float
    """
    rows = network.check_rows(X)
    n = len(rows)
    if n < 3:  # fewer rows than Lanczos iterations need
        return float(np.linalg.eigvalsh(network.empirical_ntk(rows, n_threads=n_threads))[-1]) if n else 0.0

    def multiply(vector: Reals) -> Reals:
        gradient = network.gradient(rows, vector.ravel(), n_threads=n_threads)
        _, by_readout, by_hidden = network.directional_derivatives(rows, gradient, n_threads=n_threads)
        return by_readout + by_hidden

    operator = LinearOperator((n, n), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)  # fixed: the step size must not vary between runs
    if not multiply(start).any():  # a kernel of zeros: all rows are, or all units are dead
        return 0.0
    return float(eigsh(operator, k=1, which="LA", tol=1e-4, v0=start, return_eigenvectors=False)[0])


class Descent:
    """Gradient descent on |f - y|^2 / 2 by all parameters, which tells when it has become ascent."""

    def __init__(self, network: Network, rows: Reals, target: Reals, step_size: float, n_threads: int) -> None:
        self.theta = network.parameters.copy()
        self.weights = network.split(self.theta)
        self.passes = Propagation(rows, network.graph, n_threads)
        self.first_loss: float | None = None
        self._target, self._step_size = target, step_size
        self._gradient = np.empty(network.n_parameters)
        self._slopes = network.graph.split(self._gradient)
        self._length = float(np.linalg.norm(self.theta))

    def loss(self, outputs: Reals) -> float:
        with np.errstate(over="ignore"):
            return 0.5 * float(((outputs - self._target) ** 2).sum())

    @np.errstate(over="ignore", invalid="ignore")
    def advance(self) -> str | None:
        """Take a step; or say why not, and leave the parameters as they are."""
        outputs = self.passes.gradient(self.weights, self._slopes, lambda f, block: f - self._target[block])
        loss = self.loss(outputs)
        if self.first_loss is None:
            self.first_loss = loss
        if not loss <= DIVERGED_LOSS * self.first_loss:
            return f"the loss was {self.first_loss:.3g} at first, and is {loss:.3g}"
        self._gradient *= self._step_size
        length = float(np.linalg.norm(self._gradient))
        if not length <= DIVERGED_PARAMETERS * self._length:
            return f"the next step would be {length / self._length:.3g} times as long as the vector of parameters"
        self.theta -= self._gradient
        return None

    def has_risen(self) -> bool:
        """Return whether the loss is above what it was before the first step."""
        self.passes.forward(self.weights)
        return not self.loss(self.passes.outputs(self.weights)) <= (self.first_loss or 0.0)


def safe_step(network: Network, rows: Reals, target: Reals, too_large: float, n_steps: int, n_threads: int) -> str:
    """Return what to say of a step, found by halving, with which training goes on and ends below where it began.

    So does training with twice that step: it is not at the edge of what works.
    """
    eigenvalue = largest_tangent_eigenvalue(network, rows, n_threads=n_threads)
    step, n_good = min(too_large / 2, 1 / eigenvalue if eigenvalue > 0 else 1.0), 0
    for _ in range(MOST_HALVINGS):
        step = float(f"{step:.1e}")
        descent = Descent(network, rows, target, step, n_threads)
        is_good = all(descent.advance() is None for _ in range(n_steps)) and not descent.has_risen()
        n_good = n_good + 1 if is_good else 0
        if n_good == 2:
            return f"step_size={step!r} is safe, it was tried for {n_steps} steps"
        step /= 2
    return "no step size is safe: scale the rows, the targets or the parameters down"
