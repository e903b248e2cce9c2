"""Full-batch gradient descent on a finite network, with the linear model of Eq. 3 trained alongside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.finite.descent import SAFE_STEPS, Descent, largest_tangent_eigenvalue, safe_step
from ntk_fast.finite.graph import Weights
from ntk_fast.finite.network import Network
from ntk_fast.finite.products import Reals
from ntk_fast.finite.propagation import Propagation
from ntk_fast.schedule.threads import choose_n_threads
from ntk_fast.schedule.tiling import Progress
from ntk_fast.validation import check_flag, check_positive, check_vector, check_whole_number

N_RECORDS = 100


@dataclass(eq=False)
class Training:
    """A trained network, and the history of its training; one entry, or row, per record.

    Attributes
    ----------
    initial, network : Network
        Before and after.
    y : ndarray of shape (n,)
        What it was trained on.
    step_size : float
    steps : ndarray of shape (n_records,)
        Gradient steps taken; 0 first.
    loss : ndarray of shape (n_records,)
        ``|f - y|^2 / 2``.
    distance : ndarray of shape (n_records,)
        ``|theta - theta(0)|``.
    unit_distance_mean, unit_distance_max : ndarray of shape (n_records,)
        Of ``|w_i - w_i(0)|`` over all hidden units of all trained layers.
    switched : ndarray of shape (n_records,)
        The fraction of pre-activations of the training rows that lie on the other side of zero than at first.
    outputs, test_outputs : ndarray of shape (n_records, n) or (n_records, m)
        The network on the training and the test rows; without test rows m is 0.
    linear_outputs, linear_test_outputs : ndarray, likewise
        The linear model after the same steps; None if it was not trained.
    """

    initial: Network
    network: Network
    y: Reals
    step_size: float
    steps: NDArray[np.int64]
    loss: Reals
    distance: Reals
    unit_distance_mean: Reals
    unit_distance_max: Reals
    switched: Reals
    outputs: Reals
    test_outputs: Reals
    linear_outputs: Reals | None
    linear_test_outputs: Reals | None

    @property
    def times(self) -> Reals:
        """Steps times step size: the time of the gradient flow that training follows."""
        return self.steps.astype(np.float64) * self.step_size

    @property
    def linear_loss(self) -> Reals:
        """The linear model's loss, per record."""
        return 0.5 * ((self._linear(self.linear_outputs) - self.y) ** 2).sum(axis=1)

    @property
    def linear_error(self) -> Reals:
        """Root-mean-square difference between network and linear model on the training rows, per record."""
        return _root_mean_square(self.outputs - self._linear(self.linear_outputs))

    @property
    def linear_test_error(self) -> Reals:
        """The same on the test rows."""
        if not self.test_outputs.shape[1]:
            raise ValueError("there are no test rows: pass X_test.")
        return _root_mean_square(self.test_outputs - self._linear(self.linear_test_outputs))

    def _linear(self, outputs: Reals | None) -> Reals:
        if outputs is None:
            raise ValueError("the linear model was not trained: pass linear=True.")
        return outputs


class TrainingDiverged(RuntimeError):
    """Gradient descent diverged: the step size is too large. `training` holds the history so far."""

    def __init__(self, message: str, training: Training) -> None:
        super().__init__(message)
        self.training = training

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainingDiverged, (str(self), self.training)


def _root_mean_square(differences: Reals) -> Reals:
    root: Reals = np.sqrt((differences**2).mean(axis=1))
    return root


@dataclass(eq=False)
class _Linear:
    """The linear model's outputs: gradient descent on its parameters, seen through its kernel."""

    kernel: Reals
    test_kernel: Reals
    y: Reals
    outputs: Reals
    test_outputs: Reals

    def step(self, step_size: float) -> None:
        pull = step_size * (self.y - self.outputs)
        self.outputs = self.outputs + self.kernel @ pull
        self.test_outputs = self.test_outputs + self.test_kernel @ pull


@dataclass(eq=False)
class _Recorder:
    """Measures a network in training now and then, and keeps the history."""

    initial: Network
    passes: Propagation
    test_passes: Propagation
    y: Reals
    linear: _Linear | None
    signs: list[NDArray[np.bool_]] = field(default_factory=list)
    rows: list[tuple[float, ...]] = field(default_factory=list)
    outputs: list[tuple[Reals, Reals]] = field(default_factory=list)
    linear_outputs: list[tuple[Reals, Reals]] = field(default_factory=list)

    def record(self, step: int, theta: Reals, weights: Weights) -> None:
        self.passes.forward(weights)
        signs = [self.passes.nodes[node] > 0 for node in self.passes.graph.pre_activations]
        self.signs = self.signs or signs
        changes = [np.mean(now != first) for now, first in zip(signs, self.signs, strict=True)]
        switched = np.mean(changes) if changes else 0.0
        outputs = self.passes.outputs(weights)
        self.test_passes.forward(weights)
        moved = self.initial.graph.split(theta - self.initial.parameters)
        hidden = [np.linalg.norm(matrix, axis=1) for matrix in moved.hidden if matrix is not None]
        units = np.concatenate(hidden or [np.zeros(1)])
        others = [part for part in (moved.matrices[-1], *moved.biases) if part is not None]
        distance = np.sqrt((units**2).sum() + sum((part**2).sum() for part in others))
        loss = 0.5 * ((outputs - self.y) ** 2).sum()
        self.rows.append((step, loss, distance, units.mean(), units.max(), switched))
        self.outputs.append((outputs, self.test_passes.outputs(weights)))
        if self.linear is not None:
            self.linear_outputs.append((self.linear.outputs, self.linear.test_outputs))

    def training(self, theta: Reals, step_size: float) -> Training:
        steps, loss, distance, unit_mean, unit_max, switched = np.array(self.rows).T
        outputs, test_outputs = (np.array(each) for each in zip(*self.outputs, strict=True))
        linear_outputs = linear_test_outputs = None
        if self.linear is not None:
            linear_outputs, linear_test_outputs = (np.array(each) for each in zip(*self.linear_outputs, strict=True))
        return Training(
            initial=self.initial,
            network=self.initial.with_parameters(theta),
            y=self.y,
            step_size=step_size,
            steps=steps.astype(np.int64),
            loss=loss,
            distance=distance,
            unit_distance_mean=unit_mean,
            unit_distance_max=unit_max,
            switched=switched,
            outputs=outputs,
            test_outputs=test_outputs,
            linear_outputs=linear_outputs,
            linear_test_outputs=linear_test_outputs,
        )


def train(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_steps: int = 1000,
    step_size: float | None = None,
    X_test: ArrayLike | None = None,
    linear: bool = True,
    record_every: int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Training:
    """Train all parameters by full-batch gradient descent on ``|f - y|^2 / 2``, and record what happens.

    Parameters
    ----------
    network : Network
        Any depth and activation; left as it is.
    X : array-like of shape (n, n_features)
    y : array-like of shape (n,)
    n_steps : int >= 0, default 1000
    step_size : float > 0, optional
        None: 1 over the largest eigenvalue of the empirical NTK at the start, half of where the linear model diverges.
        The network's own kernel may grow while it is trained, the more so the narrower it is and the larger `y` is: a
        smaller step is needed then, and found where training diverges.
    X_test : array-like of shape (m, n_features), optional
        Rows whose outputs are recorded too.
    linear : bool, default True
        Whether to train the linear model of Eq. 3 alongside, with the same steps; needs the n x n empirical NTK.
    record_every : int >= 1, optional
        Steps between records; None: about 100 records. The last step is always recorded.
    n_threads : int >= 1, optional
        The result is the same to the last bit for every number.
    progress : callable, optional
        Called as ``progress(steps_done, n_steps)``.

    Returns
    -------
    Training

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    TrainingDiverged
        If the loss grows a hundredfold, or a step is a thousand times as long as the vector of parameters. The error
        has the history so far as `training`, and names a step size that it has tried.

    Examples
    --------
    >>> import numpy as np
    >>> from ntk_fast import finite
    >>> network = finite.Network.initialize(n_features=2, width=1024, rng=0, antisymmetric=True)
    >>> training = finite.train(network, np.eye(2), [1.0, -1.0], n_steps=100)
    >>> bool(training.loss[-1] < 1e-6), bool(training.linear_error[-1] < 0.1)
    (True, True)
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a finite.Network; got a {type(network).__name__}.")
    threads = choose_n_threads(n_threads)
    rows = network.check_rows(X)
    target = check_vector(y, "y", len(rows))
    test = rows[:0] if X_test is None else network.check_rows(X_test, "X_test")
    n_steps = check_whole_number(n_steps, "n_steps", 0)
    every = max(1, n_steps // N_RECORDS)
    if record_every is not None:
        every = check_whole_number(record_every, "record_every", 1)
    if step_size is None:
        eigenvalue = largest_tangent_eigenvalue(network, rows, n_threads=threads)
        step = 1 / eigenvalue if eigenvalue > 0 else 1.0
    else:
        step = check_positive(step_size, "step_size")

    descent = Descent(network, rows, target, step, threads)
    alongside = None
    if check_flag(linear, "linear"):
        kernels = (network.empirical_ntk(rows, n_threads=threads), network.empirical_ntk(test, rows, n_threads=threads))
        starts = (network(rows, n_threads=threads), network(test, n_threads=threads))
        alongside = _Linear(*kernels, target, *starts)
    test_passes = Propagation(test, network.graph, threads)
    recorder = _Recorder(network, descent.passes, test_passes, target, alongside)
    recorder.record(0, descent.theta, descent.weights)
    for done in range(1, n_steps + 1):
        failure = descent.advance()
        if failure is not None:
            if recorder.rows[-1][0] < done - 1:
                recorder.record(done - 1, descent.theta, descent.weights)
            n_tried = min(n_steps, SAFE_STEPS * (done + SAFE_STEPS))
            advice = safe_step(network, rows, target, step, n_tried, threads)
            message = f"training diverged at step {done} with step_size={step:.3g}: {failure}; {advice}."
            raise TrainingDiverged(message, recorder.training(descent.theta, step))
        if alongside is not None:
            alongside.step(step)
        if done % every == 0 or done == n_steps:
            recorder.record(done, descent.theta, descent.weights)
        if progress is not None:
            progress(done, n_steps)
    return recorder.training(descent.theta, step)
