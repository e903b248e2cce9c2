"""Does training stay near the initialisation, and does the network follow its linearisation and the kernel?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.finite import KernelFlow, Network, Training, train
from ntk_fast.kernels import NTK
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.schedule.tiling import Progress
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, root_mean_square, unit_rows
from ntk_fast.theory.picture import COLOURS, law_line, log_log, width_axis

SEED = 2
N_ROWS, N_TEST, N_FEATURES, N_STEPS = 30, 100, 5, 300
KERNEL = NTK(1)
MEASURES = (
    "distance",
    "largest distance of a unit",
    "mean distance of a unit",
    "error of the linearisation",
    "error of the kernel's gradient flow",
    "sign switches",
)

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Rows on the sphere, and a smooth function of them."""

    rows: Reals
    y: Reals
    test: Reals

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Task:
        rows, test = unit_rows(rng, N_ROWS, N_FEATURES), unit_rows(rng, N_TEST, N_FEATURES)
        return cls(rows, np.sin(3 * rows[:, 0]) + 2 * rows[:, 1] * rows[:, 2], test)

    def flow(self) -> KernelFlow:
        return KernelFlow(KERNEL(self.rows), self.y, test_kernel=KERNEL(self.test, self.rows))


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    widths = [2**power for power in range(6, 11 if quick else 15)]
    n_networks = 4 if quick else 8
    task = Task.draw(rng)
    flow = task.flow()
    steps = Counter(progress, len(widths) * n_networks)
    values = np.empty((len(MEASURES), len(widths), n_networks))
    shown: dict[int, Training] = {}
    for place, width in enumerate(widths):
        for trial in range(n_networks):
            network = Network.initialize(N_FEATURES, width, rng=rng, antisymmetric=True)
            training = train(network, task.rows, task.y, n_steps=N_STEPS, X_test=task.test)
            values[:, place, trial] = _measures(training, flow)
            if trial == 0:
                shown[width] = training
            steps.step()
    spread = np.sqrt((values**2).mean(axis=2))
    laws = {name: fit_power_law(widths, line) for name, line in zip(MEASURES, spread, strict=True)}
    loss = max(float(training.loss[-1] / training.loss[0]) for training in shown.values())
    return Outcome(
        _claims(laws, dict(zip(MEASURES, spread, strict=True)), loss),
        ("quantity", "width", "root_mean_square", "standard_error"),
        [
            (name, width, float(spread[i, j]), float(values[i, j].std() / np.sqrt(n_networks)))
            for i, name in enumerate(MEASURES)
            for j, width in enumerate(widths)
        ],
        3,
        lambda figure: _draw(figure, widths, spread, laws, shown, flow),
        f"ReLU, depth 1, {N_ROWS} rows in {N_FEATURES} dimensions, {N_STEPS} steps of gradient descent on all "
        f"parameters, antisymmetric initialisation, root mean squares over {n_networks} networks. Left: the output at "
        "one test row while training. Middle: distances from the initialisation. Right: errors on test rows after "
        "training.",
    )


def _measures(training: Training, flow: KernelFlow) -> tuple[float, ...]:
    """The network's numbers at the end, in the order of `MEASURES`."""
    followed = flow.test_outputs(float(training.times[-1]))
    return (
        float(training.distance[-1]),
        float(training.unit_distance_max[-1]),
        float(training.unit_distance_mean[-1]),
        float(training.linear_test_error[-1]),
        root_mean_square(training.test_outputs[-1] - followed),
        float(training.switched[-1]),
    )


def _claims(laws: dict[str, PowerLaw], spread: dict[str, Reals], loss: float) -> list[Claim]:
    distance, error, followed = (laws[MEASURES[i]] for i in (0, 3, 4))
    return [
        Claim(
            "Section 2, end",
            "|theta - theta(0)| <= O(sqrt d)",
            "Networks trained with gradient descent do not move further than O(sqrt(d)).",
            f"|theta - theta(0)| is {spread['distance'].min():.2f} to {spread['distance'].max():.2f} at all widths "
            f"(exponent {distance}): O(1). One unit moves with exponent {laws[MEASURES[2]]} (mean) or "
            f"{laws[MEASURES[1]]} (largest). The loss falls to {loss:.1%} or less.",
            abs(distance.exponent) < 0.1 and laws[MEASURES[2]].exponent < -0.4,
        ),
        Claim(
            "Eq. 7 and its extension to ReLU",
            "|f - lin| = O(1/sqrt d) after training",
            "If we stay that close, the linearisation becomes better and better as d grows.",
            f"Its error after training falls as width to the power {error} (the bound's rate is -1/2).",
            error.exponent < -0.4,
        ),
        Claim(
            "Section 1.1",
            "df/dt = -K_NTK (f - y)",
            "The network is a kernel machine as d grows: it follows the gradient flow of Eq. 6.",
            f"The difference on test rows falls as width to the power {followed}, to "
            f"{spread[MEASURES[4]][-1]:.3f} at the largest width.",
            followed.exponent < -0.3,
        ),
    ]


def _draw(
    figure: Any,
    widths: list[int],
    spread: Reals,
    laws: dict[str, PowerLaw],
    shown: dict[int, Training],
    flow: KernelFlow,
) -> None:
    left, middle, right = figure.subplots(1, 3)
    for width, colour in zip((widths[0], widths[len(widths) // 2], widths[-1]), COLOURS, strict=False):
        training = shown[width]
        assert training.linear_test_outputs is not None
        left.plot(training.times, training.test_outputs[:, 0], color=colour, label=f"network, width {width}")
        left.plot(training.times, training.linear_test_outputs[:, 0], "--", color=colour, label="its linearisation")
    times = np.linspace(0, max(training.times[-1] for training in shown.values()), 200)
    left.plot(times, [flow.test_outputs(t)[0] for t in times], ":", color="black", label="kernel's gradient flow")
    left.set(xlabel="steps times step size", ylabel="output", title="One test row while training")
    left.legend(frameon=False)
    for i, colour in zip((0, 1, 2), COLOURS, strict=False):
        law_line(middle, widths, spread[i], laws[MEASURES[i]], colour, MEASURES[i])
    log_log(middle, "distance from the initialisation", "Distance", widths=widths)
    for i, colour in zip((3, 4), COLOURS, strict=False):
        law_line(right, widths, spread[i], laws[MEASURES[i]], colour, MEASURES[i])
    log_log(right, "root-mean-square error, test rows", "Error after training", widths=widths)
    width_axis(right, widths)


EXPERIMENT = Experiment(
    "lazy-training",
    "Lazy training",
    "Does training stay near the initialisation, and does the network follow its linearisation and the kernel?",
    measure,
)
