"""Property 3: do networks of other architectures have limiting kernels, and are they those of the rules for layers?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ntk_fast.finite import KernelConvergence, kernel_convergence
from ntk_fast.kernels import NNGP, NTK
from ntk_fast.layers import Concatenate, Dense, Gelu, LayerNorm, Product, Relu, Residual, Sequential, Sigmoid
from ntk_fast.layers.layer import Layer
from ntk_fast.schedule.tiling import Progress
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, unit_rows
from ntk_fast.theory.picture import COLOURS, law_line, log_log

N_ROWS, N_FEATURES = 12, 6
#: Rows of unequal lengths: on equal ones, any kernel is a function of the angle.
LENGTHS = (0.5, 2.0)
SEED = 0
KERNELS = (NTK, NNGP)
#: How far an exponent may be from -1/2.
TOLERANCE = 0.1

FIRST, BLOCK = Dense(bias_variance=0.1), (Relu(), Dense(2.0, 0.1), Relu(), Dense(1.0, 0.1))
ARCHITECTURES: dict[str, tuple[Layer, str, str]] = {
    "GELU": (
        Sequential(FIRST, Gelu(), Dense(2.0, 0.1), Gelu(), Dense()),
        "S' = E[sigma(u) sigma(v)],  T' = T E[sigma'(u) sigma'(v)];  Dense: S' = v S + b,  T' = v T + S'",
        "Two hidden layers of an activation that is not homogeneous, with biases",
    ),
    "residual": (
        Sequential(FIRST, Residual(*BLOCK), Residual(*BLOCK), Relu(), Dense()),
        "x + f(x): S' = S + S_f,  T' = T + T_f",
        "Two residual blocks of two layers",
    ),
    "LayerNorm": (
        Sequential(FIRST, LayerNorm(), Relu(), Dense(), LayerNorm(), Gelu(), Dense()),
        "S' = S / sqrt(q q'),  T' = T / sqrt(q q'),  q = S(x, x)",
        "Two hidden layers, with LayerNorm before the activations",
    ),
    "branches": (
        Sequential(
            FIRST,
            Concatenate(Relu(), Sequential(Gelu(), Dense()), shares=(0.75, 0.25)),
            Product(Dense(), Sequential(Dense(1.0, 0.5), Sigmoid())),
            Dense(),
        ),
        "side by side: S' = sum_k a_k S_k;  product: S' = S_1 S_2,  T' = T_1 S_2 + S_1 T_2",
        "Two branches side by side, then a gate: the product of a linear branch and a sigmoid",
    ),
}


@dataclass(frozen=True)
class _Measured:
    """One architecture, and the deviations of both kernels of its networks."""

    name: str
    results: tuple[KernelConvergence, ...]  # of the kernels, in order

    @property
    def within(self) -> bool:
        return all(abs(result.law.exponent + 0.5) <= TOLERANCE for result in self.results)


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    rows = unit_rows(rng, N_ROWS, N_FEATURES) * np.geomspace(*LENGTHS, N_ROWS)[:, None]
    widths = [2**power for power in range(6, 10 if quick else 12)]
    n_networks = 40 if quick else 60
    steps = Counter(progress, len(ARCHITECTURES) * len(KERNELS) * len(widths) * n_networks)

    def converge(kernel: NTK | NNGP) -> KernelConvergence:
        return kernel_convergence(
            kernel, rows, widths, n_networks=n_networks, rng=rng, progress=lambda done, total: steps.step()
        )

    measured = [
        _Measured(name, tuple(converge(kernel(network=network)) for kernel in KERNELS))
        for name, (network, _, _) in ARCHITECTURES.items()
    ]
    return Outcome(
        [_claim(each, widths) for each in measured],
        ("architecture", "kernel", "width", "deviation", "standard_error"),
        [
            (each.name, kernel.__name__, width, float(deviation), float(np.std(spread) / np.sqrt(n_networks)))
            for each in measured
            for kernel, result in zip(KERNELS, each.results, strict=True)
            for width, deviation, spread in zip(widths, result.root_mean_square, result.deviations, strict=True)
        ],
        len(KERNELS),
        lambda figure: _draw(figure, measured),
        "Relative deviation of empirical kernels from the limit that the rules for layers give, root mean square over "
        f"{n_networks} networks of each width; the lines are fitted power laws. A kernel that was not the limit would "
        "stay away from it, and its line would bend.",
    )


def _claim(measured: _Measured, widths: list[int]) -> Claim:
    _, equation, what = ARCHITECTURES[measured.name]
    ntk, nngp = measured.results
    return Claim(
        "Property 3",
        equation,
        f"{what}: a different limiting kernel, by a rule for each layer (Yang, 2020).",
        f"Deviation falls as width to the power {ntk.law} (NTK) and {nngp.law} (NNGP), expected -1/2; at width "
        f"{widths[-1]} it is {ntk.root_mean_square[-1]:.1%} and {nngp.root_mean_square[-1]:.1%}.",
        measured.within,
    )


def _draw(figure: Any, measured: list[_Measured]) -> None:
    for place, (kernel, axes) in enumerate(zip(KERNELS, figure.subplots(1, len(KERNELS)), strict=True)):
        for each, colour in zip(measured, COLOURS, strict=False):
            result = each.results[place]
            law_line(axes, result.widths, result.root_mean_square, result.law, colour, each.name)
        title = f"Empirical {kernel.__name__} against width"
        log_log(axes, "relative deviation from the limit", title, widths=measured[0].results[place].widths)


EXPERIMENT = Experiment(
    "architectures",
    "Architectures",
    "Do networks with other activations, residual connections, LayerNorm and branches have the limits that a rule for "
    "each layer gives?",
    measure,
)
