"""For ReLU: how many units change sides in training, where does the error come from, and do Eqs. 8 and 9 hold?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.finite import Network, linearization_error, train
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.schedule.tiling import Progress
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, root_mean_square
from ntk_fast.theory.lazy_training import N_FEATURES, N_STEPS, Task
from ntk_fast.theory.picture import COLOURS, law_line, log_log

SEED = 3
MEASURES = (
    "units that switch",
    "expected from their distance",
    "error",
    "error of units that switch",
    "error of the others",
    "Eqs. 8-9 fail as printed",
    "Eqs. 8-9 fail as corrected",
)

Reals = NDArray[np.float64]


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    widths = [2**power for power in range(6, 11 if quick else 15)]
    n_networks = 4 if quick else 8
    task = Task.draw(rng)
    steps = Counter(progress, len(widths) * n_networks)
    values = np.empty((len(MEASURES), len(widths), n_networks))
    for place, width in enumerate(widths):
        for trial in range(n_networks):
            before = Network.initialize(N_FEATURES, width, rng=rng, antisymmetric=True)
            after = train(before, task.rows, task.y, n_steps=N_STEPS, linear=False, record_every=N_STEPS).network
            values[:, place, trial] = _measures(before, after, task.test)
            steps.step()
    spread = np.sqrt((values**2).mean(axis=2))
    laws = {name: fit_power_law(widths, line) for name, line in zip(MEASURES[:5], spread, strict=False)}
    return Outcome(
        _claims(laws, spread),
        ("quantity", "width", "root_mean_square", "standard_error"),
        [
            (name, width, float(spread[i, j]), float(values[i, j].std() / np.sqrt(n_networks)))
            for i, name in enumerate(MEASURES)
            for j, width in enumerate(widths)
        ],
        2,
        lambda figure: _draw(figure, widths, spread, laws),
        f"The networks of the lazy-training experiment on test rows, {n_networks} of each width. Left: the fraction of "
        "units whose pre-activation has changed sides; dashed, what is expected of standard normal pre-activations "
        "and steps of that length without a preferred direction. Right: the error, and its parts.",
    )


def _measures(before: Network, after: Network, rows: Reals) -> tuple[float, ...]:
    error = linearization_error(before, after, rows)
    moved = np.linalg.norm(after.weights.hidden[0] - before.weights.hidden[0], axis=1)
    return (
        float(error.switched.mean()),
        # a standard normal z changes sides when it moves by dz with probability |dz| / sqrt(2 pi) (small dz), and dz =
        # |x| |dw| times a cosine of mean size sqrt(2 / (pi p)), if dw has no preferred direction
        float(np.mean(moved)) / np.pi / np.sqrt(N_FEATURES),
        root_mean_square(error.exact),
        root_mean_square(error.error_switched),
        root_mean_square(error.error_unswitched),
        float(error.eq_8_printed_failures.mean()),
        float(error.eq_8_corrected_failures.mean()),
    )


def _claims(laws: dict[str, PowerLaw], spread: Reals) -> list[Claim]:
    switching = laws[MEASURES[0]]
    share = spread[3, -1] / spread[2, -1]
    return [
        Claim(
            "Section 2",
            "sign(w_i.x) = sign(w_i(0).x) for most i",
            "If |theta - theta(0)| is not too big, most units keep the sign of their pre-activation.",
            f"{spread[0, 0]:.1%} switch at the smallest width, {spread[0, -1]:.2%} at the largest: as width to the "
            f"power {switching}.",
            abs(switching.exponent + 0.5) < 0.1,
        ),
        Claim(
            "Eqs. 8 and 9",
            "sigma(w.x) - sigma(w(0).x) = (w - w(0)).x if w.x > 0, 0 if w.x <= 0",
            "A unit that is active changes as its pre-activation does; one that is not does not change.",
            f"As printed it fails for {spread[5, 0]:.1%} of units at the smallest width, {spread[5, -1]:.2%} at the "
            f"largest: those that switch. Corrected, for {spread[6].max():.0%}.",
            bool(spread[6].max() == 0) and bool(np.allclose(spread[5], spread[0])),
            "It holds if w.x and w(0).x are on the same side: both > 0, or both <= 0.",
        ),
        Claim(
            "Section 2",
            "sigma(w_i.x) - sigma(w_i(0).x) <= |x| |w_i - w_i(0)|",
            "For units that do not switch, the argument for smooth activations can be repeated.",
            f"Their part of the error falls as width to the power {laws[MEASURES[4]]}, that of the units that switch "
            f"as {laws[MEASURES[3]]}; at the largest width the latter is {share:.0%} of the error.",
            laws[MEASURES[4]].exponent < -0.5,
        ),
    ]


def _draw(figure: Any, widths: list[int], spread: Reals, laws: dict[str, PowerLaw]) -> None:
    left, right = figure.subplots(1, 2)
    law_line(left, widths, spread[0], laws[MEASURES[0]], COLOURS[0], MEASURES[0])
    left.plot(widths, spread[1], "--", color=COLOURS[1], label=MEASURES[1])
    log_log(left, "fraction of units", "Sign switches", widths=widths)
    for i, colour in zip((2, 3, 4), COLOURS, strict=False):
        law_line(right, widths, spread[i], laws[MEASURES[i]], colour, MEASURES[i])
    log_log(right, "root-mean-square error", "Where the error comes from", widths=widths)


EXPERIMENT = Experiment(
    "sign-switches",
    "Sign switches of ReLU units",
    "How many units change sides in training, where does the error come from, and do Eqs. 8 and 9 hold?",
    measure,
)
