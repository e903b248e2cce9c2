"""Do empirical kernels converge to Eqs. 1 and 6, how fast, and does term (0) vanish?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ntk_fast.finite import KernelConvergence, Network, kernel_convergence
from ntk_fast.kernels import NNGP, NTK
from ntk_fast.schedule.tiling import Progress
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, unit_rows
from ntk_fast.theory.picture import COLOURS, law_line, log_log, width_axis

N_ROWS, N_FEATURES = 12, 6
KERNELS = (NTK(1), NTK(3), NNGP(1), NNGP(3))
SEED = 0
#: Of the excess kurtosis of normal numbers, times the square root of their number; those of two rows are correlated.
KURTOSIS_ERROR = 24**0.5


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    rows = unit_rows(rng, N_ROWS, N_FEATURES)
    widths = [2**power for power in range(6, 10 if quick else 12)]
    n_networks = 40 if quick else 100
    term_widths = [2**power for power in range(4, 10 if quick else 14, 2)]
    n_terms = 1000 if quick else 4000
    steps = Counter(progress, len(KERNELS) * len(widths) * n_networks + len(term_widths))
    results = [
        kernel_convergence(
            kernel, rows, widths, n_networks=n_networks, rng=rng, progress=lambda done, total: steps.step()
        )
        for kernel in KERNELS
    ]
    terms = []
    for width in term_widths:
        terms.append(_TermZero.of(rng, width, n_terms))
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
        (f"{name} of term (0)", width, value, error)
        for width, term in zip(term_widths, terms, strict=True)
        for name, value, error in (
            ("variance over Eq. 1's", term.variance, term.error),
            ("covariance of two rows over Eq. 1's", term.covariance, term.error),
            ("excess kurtosis", term.kurtosis, KURTOSIS_ERROR / np.sqrt(n_terms)),
        )
    ]
    return Outcome(
        _claims(results, terms, term_widths, n_terms, antisymmetric),
        ("quantity", "width", "value", "standard_error"),
        table,
        2,
        lambda figure: _draw(figure, results, term_widths, terms, n_terms),
        f"Left: relative deviation of empirical kernels from their limit, root mean square over {n_networks} networks; "
        "the lines are fitted power laws. Right: the variance of term (0) over the value that Eq. 1 gives, and its "
        f"excess kurtosis, 0 for a Gaussian, with two standard errors, over {n_terms} networks: it does not vanish, "
        "and becomes Gaussian.",
    )


@dataclass(frozen=True)
class _TermZero:
    """Term (0) at two unit rows, over many networks: second moments over those of Eq. 1, and the excess kurtosis."""

    variance: float
    covariance: float
    error: float  # standard error of the variance
    kurtosis: float

    @classmethod
    def of(cls, rng: np.random.Generator, width: int, n_networks: int) -> _TermZero:
        rows = np.array([[1.0, 0.0], [0.6, 0.8]])
        expected = NNGP(1)(rows)
        values = np.array(
            [Network.initialize(2, width, rng=rng).linearize().term_zero(rows) for _ in range(n_networks)]
        )
        moments = values.T @ values / n_networks / expected
        squares = values[:, 0] ** 2
        error = float(np.std(squares)) / np.sqrt(n_networks) / expected[0, 0]
        kurtosis = (values**4).mean() / (values**2).mean() ** 2 - 3
        return cls(float(moments[0, 0]), float(moments[0, 1]), error, float(kurtosis))


def _claims(
    results: list[KernelConvergence], terms: list[_TermZero], widths: list[int], n_terms: int, antisymmetric: float
) -> list[Claim]:
    laws = {repr(kernel): result.law for kernel, result in zip(KERNELS, results, strict=True)}
    within = {name: abs(law.exponent + 0.5) <= 0.1 for name, law in laws.items()}
    first, last = terms[0], terms[-1]
    kurtosis_error = KURTOSIS_ERROR / np.sqrt(n_terms)
    p, d = N_FEATURES, 20
    counts = {depth: Network.initialize(p, d, depth, rng=0).tangent_features(np.eye(1, p)).shape[1] for depth in (1, 3)}
    return [
        Claim(
            "Eq. 6",
            "k(x, x') = |x| |x'| [sin phi + 2 (pi - phi) cos phi] / (2 pi)",
            "As the width grows, the inner product of tangent vectors converges to the NTK.",
            f"Deviation falls as width to the power {laws[repr(NTK(1))]} (expected -1/2).",
            within[repr(NTK(1))],
        ),
        Claim(
            "Eq. 1",
            "k(x, x') = |x| |x'| [sin phi + (pi - phi) cos phi] / (2 pi)",
            "The features of the last hidden layer converge to the arc-cosine kernel.",
            f"Deviation falls as width to the power {laws[repr(NNGP(1))]}.",
            within[repr(NNGP(1))],
        ),
        Claim(
            "Property 3",
            "Theta_l = Sigma_l + Theta_(l-1) (pi - phi) / (2 pi), phi the angle of Sigma_(l-1)",
            "With several hidden layers the limit is a recursive application of the kernel.",
            f"Three layers: exponents {laws[repr(NTK(3))]} (NTK) and {laws[repr(NNGP(3))]} (NNGP).",
            within[repr(NTK(3))] and within[repr(NNGP(3))],
        ),
        Claim(
            "Section 1",
            "theta in R^(d + d p + (L - 1) d^2)",
            "The linear model has d + d p parameters, and d + d p + (L - 1) d^2 with L hidden layers.",
            f"Length of a tangent vector for p = {p}, d = {d}: {counts[1]} at depth 1, {counts[3]} at depth 3.",
            counts == {1: d + d * p, 3: d + d * p + 2 * d**2},
        ),
        Claim(
            "Section 1.1, term (0) of Eq. 4",
            "(1/sqrt d) sum_i beta_i(0) sigma(w_i(0).x) -> 0",
            "As the width grows, term (0) vanishes, because parameters cancel in pairs.",
            f"At width {widths[-1]} its variance is {last.variance:.2f} +- {last.error:.2f} of Eq. 1's, and the "
            f"covariance of two rows {last.covariance:.2f}; its excess kurtosis falls from {first.kurtosis:.2f} at "
            f"width {widths[0]} to {last.kurtosis:.2f} +- {kurtosis_error:.2f}. Antisymmetric networks: at most "
            f"{antisymmetric:.0e}, depths 1 and 3.",
            max(abs(last.variance - 1), abs(last.covariance - 1)) < 4 * last.error
            and abs(last.kurtosis) < 4 * kurtosis_error < first.kurtosis
            and antisymmetric < 1e-12,
            "It converges to a Gaussian process with the kernel of Eq. 1. It is zero where parameters do come in pairs "
            "(w, beta), (w, -beta): under an antisymmetric initialisation.",
        ),
    ]


def _draw(
    figure: Any, results: list[KernelConvergence], widths: list[int], terms: list[_TermZero], n_terms: int
) -> None:
    left, right = figure.subplots(1, 2)
    for kernel, result, colour in zip(KERNELS, results, COLOURS, strict=False):
        law_line(left, result.widths, result.root_mean_square, result.law, colour, repr(kernel))
    log_log(left, "relative deviation from the limit", "Empirical kernels against width", widths=results[0].widths)
    variances, kurtoses = [term.variance for term in terms], [term.kurtosis for term in terms]
    bars = {"fmt": "o-", "capsize": 3}
    errors = [2 * term.error for term in terms]
    right.errorbar(widths, variances, errors, color=COLOURS[0], label="variance over Eq. 1's", **bars)
    kurtosis_errors = np.full(len(widths), 2 * KURTOSIS_ERROR / np.sqrt(n_terms))
    right.errorbar(widths, kurtoses, kurtosis_errors, color=COLOURS[2], label="excess kurtosis", **bars)
    right.axhline(1, color="black", linestyle="--", linewidth=1, label="Gaussian process of Eq. 1")
    right.axhline(0, color=COLOURS[1], linewidth=1, label="antisymmetric: no term (0)")
    right.set(ylabel="variance, kurtosis", title="Term (0) does not vanish")
    width_axis(right, widths)
    right.set_ylim(-0.3, 1.9)
    right.legend(frameon=False, ncols=2)


EXPERIMENT = Experiment(
    "kernel-convergence",
    "Kernels of finite networks",
    "Do the kernels of finite networks converge to Eqs. 1 and 6, how fast, and does term (0) vanish?",
    measure,
)
