"""Which linear approximation predicts a trained network better: the fixed hidden layer, or the NTK?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.finite import KernelFlow, Network, train
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.schedule.tiling import Progress
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, root_mean_square, unit_rows
from ntk_fast.theory.picture import COLOURS, law_line, log_log

SEED = 5
N_ROWS, N_TEST, N_FEATURES, N_STEPS = 60, 200, 8, 400
MEASURES = (
    "NTK approximation",
    "fixed hidden layer, same steps",
    "fixed hidden layer, trained to the end",
)

Reals = NDArray[np.float64]


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    widths = [2**power for power in range(6, 11 if quick else 14)]
    n_networks = 4 if quick else 8
    rows, test = unit_rows(rng, N_ROWS, N_FEATURES), unit_rows(rng, N_TEST, N_FEATURES)
    y, truth = _target(rows), _target(test)
    steps = Counter(progress, len(widths) * n_networks + 1)
    values = np.empty((len(MEASURES), len(widths), n_networks))
    for place, width in enumerate(widths):
        for trial in range(n_networks):
            network = Network.initialize(N_FEATURES, width, rng=rng, antisymmetric=True)
            training = train(network, rows, y, n_steps=N_STEPS, X_test=test, record_every=N_STEPS)
            fixed = KernelFlow(
                network.empirical_nngp(rows), y, network(rows),
                test_kernel=network.empirical_nngp(test, rows), initial_test=network(test),
            )  # fmt: skip
            trained = training.test_outputs[-1]
            values[:, place, trial] = (
                training.linear_test_error[-1],
                root_mean_square(fixed.test_outputs(training.times[-1], training.step_size) - trained),
                root_mean_square(fixed.test_outputs(np.inf) - trained),
            )
            steps.step()
    spread = np.sqrt((values**2).mean(axis=2))
    ranks = _ranks(rng)
    steps.step()
    law = fit_power_law(widths, spread[0])
    return Outcome(
        _claims(spread, law, widths, ranks),
        ("quantity", "width", "root_mean_square", "standard_error"),
        [
            (name, width, float(spread[i, j]), float(values[i, j].std() / np.sqrt(n_networks)))
            for i, name in enumerate(MEASURES)
            for j, width in enumerate(widths)
        ],
        2,
        lambda figure: _draw(figure, widths, spread, law, trained, fixed, training.linear_test_outputs, truth),
        f"ReLU networks of depth 1 trained on {N_ROWS} rows in {N_FEATURES} dimensions. Left: how far both "
        f"approximations of the same network are from it on {N_TEST} test rows, root mean square over {n_networks} "
        "networks. Right: their outputs against those of the trained network, for one network of the largest width.",
    )


def _target(rows: Reals) -> Reals:
    return np.sin(4 * rows[:, 0]) + 3 * rows[:, 1] * rows[:, 2] + rows[:, 3]


def _ranks(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return d, d + d p, and the ranks of the two empirical kernels on more rows than that."""
    width = 20
    network = Network.initialize(N_FEATURES, width, rng=rng)
    rows = rng.standard_normal((2 * network.n_parameters, N_FEATURES))
    first, second = (
        int(np.linalg.matrix_rank(kernel(rows), hermitian=True))
        for kernel in (network.empirical_nngp, network.empirical_ntk)
    )
    return width, network.n_parameters, first, second


def _claims(spread: Reals, law: PowerLaw, widths: list[int], ranks: tuple[int, int, int, int]) -> list[Claim]:
    width, n_parameters, first, second = ranks
    factor = spread[1:].min(axis=0) / spread[0]
    return [
        Claim(
            "Section 2",
            "|f - [beta.sigma(W(0) x) + correction]| < |f - beta.sigma(W(0) x)|, both over sqrt d",
            "The NTK approximation is more predictive of an actual neural network than the fixed hidden layer.",
            f"Its error is {factor[0]:.1f} times smaller at width {widths[0]}, {factor[-1]:.0f} times at width "
            f"{widths[-1]}. It falls as width to the power {law}, to {spread[0, -1]:.3f}; that of the fixed "
            f"hidden layer is {spread[1, -1]:.2f} there after the same steps, {spread[2, -1]:.2f} trained to the end.",
            bool(np.all(factor > 1)) and law.exponent < -0.3,
        ),
        Claim(
            "Section 2",
            "rank of sum_i sigma sigma' = d; of the tangent kernel, up to d + d p",
            "For a finite d it is also more expressive: d + d p learnable parameters, and not d.",
            f"Ranks of the two empirical kernels for d = {width}, p = {N_FEATURES}: {first} and {second} "
            f"(parameters: {width} and {n_parameters}; ReLU loses d, as w_i.df/dw_i = beta_i df/dbeta_i).",
            first <= width < second <= n_parameters,
        ),
    ]


def _draw(
    figure: Any,
    widths: list[int],
    spread: Reals,
    law: PowerLaw,
    trained: Reals,
    fixed: KernelFlow,
    linear: Reals | None,
    truth: Reals,
) -> None:
    assert linear is not None
    left, right = figure.subplots(1, 2)
    law_line(left, widths, spread[0], law, COLOURS[0], MEASURES[0])
    for i in (1, 2):
        left.plot(widths, spread[i], "o-", color=COLOURS[i], label=MEASURES[i])
    log_log(left, "distance from the trained network", "Two approximations of the same network", widths=widths)
    right.plot(trained, linear[-1], ".", color=COLOURS[0], label=MEASURES[0])
    right.plot(trained, fixed.test_outputs(np.inf), ".", color=COLOURS[2], label=MEASURES[2])
    ends = [min(truth.min(), trained.min()), max(truth.max(), trained.max())]
    right.plot(ends, ends, color="black", linewidth=1)
    right.set(xlabel="output of the trained network", ylabel="output of the approximation", title="Test rows")
    right.legend(frameon=False)


EXPERIMENT = Experiment(
    "two-approximations",
    "The two linear approximations",
    "Which one predicts a trained network better: the fixed hidden layer, or the NTK?",
    measure,
)
