"""Do empirical kernels converge to Eqs. 1 and 6, how fast, and does term (0) vanish?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ntk_fast.finite import KernelConvergence, Network, kernel_convergence
from ntk_fast.kernels import NNGP, NTK
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, unit_rows
from ntk_fast.theory.picture import COLOURS, law_line, log_log, width_axis
from ntk_fast.tiling import Progress

N_ROWS, N_FEATURES = 12, 6
KERNELS = (NTK(1), NTK(3), NNGP(1), NNGP(3))
SEED = 0


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    rows = unit_rows(rng, N_ROWS, N_FEATURES)
    widths = [2**power for power in range(6, 10 if quick else 12)]
    n_networks = 40 if quick else 100
    term_widths = [2**power for power in range(4, 10 if quick else 14, 2)]
    n_terms = 1000
    steps = Counter(progress, len(KERNELS) * len(widths) * n_networks + len(term_widths))
    results = [
        kernel_convergence(
            kernel, rows, widths, n_networks=n_networks, rng=rng, progress=lambda done, total: steps.step()
        )
        for kernel in KERNELS
    ]
    ratios, errors = [], []
    for width in term_widths:
        ratio, error = _term_zero(rng, width, n_terms)
        ratios.append(ratio)
        errors.append(error)
        steps.step()
    antisymmetric = max(
        float(np.abs(Network.initialize(N_FEATURES, 512, depth, rng=rng, antisymmetric=True)(rows)).max())
        for depth in (1, 3)
    )
    table: list[tuple[str, int, float, float]] = [
        (f"deviation of {kernel}", width, float(deviation), float(np.std(spread) / np.sqrt(n_networks)))
        for kernel, result in zip(KERNELS, results, strict=True)
        for width, deviation, spread in zip(widths, result.root_mean_square, result.deviations, strict=True)
    ]
    table += [
        ("variance of term (0) over Eq. 1", width, ratio, error)
        for width, ratio, error in zip(term_widths, ratios, errors, strict=True)
    ]
    return Outcome(
        _claims(results, ratios, errors, term_widths[-1], antisymmetric),
        ("quantity", "width", "value", "standard_error"),
        table,
        2,
        lambda figure: _draw(figure, results, term_widths, ratios, errors),
        f"Left: relative deviation of empirical kernels from their limit, root mean square over {n_networks} networks; "
        "the lines are fitted power laws. Right: the variance of term (0) over the value that Eq. 1 gives, with two "
        "standard errors: it stays at 1.",
    )


def _term_zero(rng: np.random.Generator, width: int, n_networks: int) -> tuple[float, float]:
    """Return the variance of term (0) at a unit row over Eq. 1's 1/2, and its standard error."""
    row = np.eye(1, N_FEATURES)
    squares = [
        Network.initialize(N_FEATURES, width, rng=rng).linearize().term_zero(row)[0] ** 2 for _ in range(n_networks)
    ]
    exact = float(NNGP(1).diag(row)[0])
    return float(np.mean(squares)) / exact, float(np.std(squares)) / np.sqrt(n_networks) / exact


def _claims(
    results: list[KernelConvergence], ratios: list[float], errors: list[float], width: int, antisymmetric: float
) -> list[Claim]:
    laws = {repr(kernel): result.law for kernel, result in zip(KERNELS, results, strict=True)}
    within = {name: abs(law.exponent + 0.5) <= 0.1 for name, law in laws.items()}
    p, d = N_FEATURES, 20
    counts = {depth: Network.initialize(p, d, depth, rng=0).tangent_features(np.eye(1, p)).shape[1] for depth in (1, 3)}
    return [
        Claim(
            "Eq. 6",
            "As the width grows, the inner product of tangent vectors converges to the NTK.",
            f"Deviation falls as width to the power {laws[repr(NTK(1))]} (expected -1/2).",
            within[repr(NTK(1))],
        ),
        Claim(
            "Eq. 1",
            "The features of the last hidden layer converge to the arc-cosine kernel.",
            f"Deviation falls as width to the power {laws[repr(NNGP(1))]}.",
            within[repr(NNGP(1))],
        ),
        Claim(
            "Property 3",
            "With several hidden layers the limit is a recursive application of the kernel.",
            f"Three layers: exponents {laws[repr(NTK(3))]} (NTK) and {laws[repr(NNGP(3))]} (NNGP).",
            within[repr(NTK(3))] and within[repr(NNGP(3))],
        ),
        Claim(
            "Section 1",
            "The linear model has d + d p parameters, and d + d p + (L - 1) d^2 with L hidden layers.",
            f"Length of a tangent vector for p = {p}, d = {d}: {counts[1]} at depth 1, {counts[3]} at depth 3.",
            counts == {1: d + d * p, 3: d + d * p + 2 * d**2},
        ),
        Claim(
            "Section 1.1, term (0) of Eq. 4",
            "As the width grows, term (0) vanishes, because parameters cancel in pairs.",
            f"At width {width} its variance is {ratios[-1]:.2f} +- {errors[-1]:.2f} of Eq. 1's. "
            f"Antisymmetric networks: at most {antisymmetric:.0e}, depths 1 and 3.",
            abs(ratios[-1] - 1) < 4 * errors[-1] and antisymmetric < 1e-12,
            "It converges to a Gaussian process with the kernel of Eq. 1. It is zero where parameters do come in pairs "
            "(w, beta), (w, -beta): under an antisymmetric initialisation.",
        ),
    ]


def _draw(
    figure: Any, results: list[KernelConvergence], widths: list[int], ratios: list[float], errors: list[float]
) -> None:
    left, right = figure.subplots(1, 2)
    for kernel, result, colour in zip(KERNELS, results, COLOURS, strict=False):
        law_line(left, result.widths, result.root_mean_square, result.law, colour, repr(kernel))
    log_log(left, "relative deviation from the limit", "Empirical kernels against width", widths=results[0].widths)
    right.errorbar(widths, ratios, 2 * np.array(errors), fmt="o-", color=COLOURS[0], capsize=3, label="standard normal")
    right.axhline(1, color="black", linestyle="--", linewidth=1, label="Gaussian process of Eq. 1")
    right.axhline(0, color=COLOURS[1], label="antisymmetric")
    right.set(ylabel="variance over Eq. 1", title="Term (0) does not vanish")
    width_axis(right, widths)
    right.set_ylim(-0.1, 1.6)
    right.legend(frameon=False)


EXPERIMENT = Experiment(
    "kernel-convergence",
    "Kernels of finite networks",
    "Do the kernels of finite networks converge to Eqs. 1 and 6, how fast, and does term (0) vanish?",
    measure,
)
