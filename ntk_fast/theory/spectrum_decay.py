"""How does the spectrum decay, is no eigenvalue zero, and what is it to universality?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.kernels import NTK, ArcCosine, Kernel
from ntk_fast.power_law import PowerLaw
from ntk_fast.schedule.tiling import Progress
from ntk_fast.solvers.cholesky import CholeskyFactor, gram_matrix
from ntk_fast.spectrum import SphereSpectrum, decay_exponent, gram_eigenvalues, sphere_eigenvalues
from ntk_fast.theory.experiment import Claim, Counter, Experiment, Outcome, root_mean_square, unit_rows
from ntk_fast.theory.picture import COLOURS, log_log

SEED = 4
SHOWN = {"depth 1": NTK(1), "depth 1, bias": NTK(1, bias_variance=0.1), "depth 2": NTK(2), "depth 3": NTK(3)}
DIMENSIONS = (3, 5, 10)
MAX_DEGREE, FITTED = 40, (100, 400)
#: Of K / n: the dimension, and the eigenvalues by rank that are fitted.
N_FEATURES, RANKS = 3, (20, 300)

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class _Data:
    """Eigenvalues of K / n on rows of several distributions."""

    spectra: dict[str, Reals]
    exact: Reals

    def laws(self) -> dict[str, PowerLaw]:
        return {name: decay_exponent(values, *RANKS) for name, values in self.spectra.items()}


def measure(quick: bool, progress: Progress) -> Outcome:
    rng = np.random.default_rng(SEED)
    n = 1200 if quick else 3000
    sizes = [2**power for power in range(6, 11 if quick else 13)]
    steps = Counter(progress, len(SHOWN) + 2 * len(DIMENSIONS) + 3 + len(sizes))
    by_degree = {}
    for name, kernel in SHOWN.items():
        by_degree[name] = sphere_eigenvalues(kernel, N_FEATURES, MAX_DEGREE)
        steps.step()
    laws = {}
    for p in DIMENSIONS:
        for depth in (1, 3):
            laws[p, depth] = sphere_eigenvalues(NTK(depth), p, FITTED[1]).decay(*FITTED)
            steps.step()
    data = _data(rng, n, steps)
    fits: dict[str, list[float]] = {name: [] for name in SHOWN}
    for size in sizes:
        rows, held_out = unit_rows(rng, size, N_FEATURES), unit_rows(rng, 1000, N_FEATURES)
        for name, kernel in SHOWN.items():
            fits[name].append(_error_on_odd_target(kernel, rows, held_out))
        steps.step()
    table: list[tuple[str, int, float]] = [
        (f"eigenvalue by degree, {name}, p = {N_FEATURES}", degree, float(value))
        for name, spectrum in by_degree.items()
        for degree, value in enumerate(spectrum.eigenvalues)
    ]
    table += [(f"exponent by degree, depth {depth}", p, law.exponent) for (p, depth), law in laws.items()]
    table += [
        (f"eigenvalue of K / n, {name}", rank, float(value))
        for name, values in data.spectra.items()
        for rank, value in enumerate(values[: RANKS[1]], 1)
    ]
    table += [
        (f"error on a target of degree 3, {name}", size, value)
        for name, values in fits.items()
        for size, value in zip(sizes, values, strict=True)
    ]
    return Outcome(
        _claims(by_degree, laws, data, fits, sizes),
        ("quantity", "degree_p_rank_or_n", "value"),
        table,
        3,
        lambda figure: _draw(figure, by_degree, data, sizes, fits),
        f"Left: exact eigenvalues on the sphere of R^{N_FEATURES} by degree; at depth 1 without bias those of odd "
        f"degrees above 1 are zero, and not shown. Middle: eigenvalues of K / n by rank, n = {n}, depth 3, on three "
        "distributions. Right: the error of kernel interpolation of a harmonic of degree 3, over its size.",
    )


def _data(rng: np.random.Generator, n: int, steps: Counter) -> _Data:
    normal = rng.standard_normal((n, N_FEATURES))
    centres = 2 * rng.standard_normal((10, N_FEATURES))
    distributions = {
        "uniform on the sphere": unit_rows(rng, n, N_FEATURES),
        "normal": normal,
        "mixture of 10 normals": centres[rng.integers(10, size=n)] + 0.5 * rng.standard_normal((n, N_FEATURES)),
    }
    spectra = {}
    for name, rows in distributions.items():
        spectra[name] = gram_eigenvalues(NTK(3), rows)[: RANKS[1]]
        steps.step()
    return _Data(spectra, sphere_eigenvalues(NTK(3), N_FEATURES, MAX_DEGREE).listed(RANKS[1]))


def _error_on_odd_target(kernel: Kernel, rows: Reals, held_out: Reals) -> float:
    """Interpolate the harmonic (5 z^3 - 3 z) / 2, of degree 3; return the error on other rows over its size."""

    def target(points: Reals) -> Reals:
        return (5 * points[:, 2] ** 3 - 3 * points[:, 2]) / 2

    matrix: Reals = gram_matrix(kernel, rows)
    ridge = 1e-9 * float(matrix.diagonal().mean())
    coefficients = CholeskyFactor.in_place(matrix, ridge).solve(target(rows)[:, None])[:, 0]
    fitted: Reals = np.asarray(kernel(held_out, rows) @ coefficients, dtype=np.float64)
    return root_mean_square(fitted - target(held_out)) / root_mean_square(target(held_out))


def _dot_product_error() -> float:
    """How far kernels of unit rows are from their profile at the rows' dot products, relative to the largest entry."""
    rows = unit_rows(np.random.default_rng(SEED), 50, N_FEATURES)
    cosines = np.clip(rows @ rows.T, -1, 1)
    np.fill_diagonal(cosines, 1.0)
    errors = [np.abs(kernel(rows) - kernel.profile(cosines)).max() / kernel.profile(1.0) for kernel in (NTK(1), NTK(3))]
    return float(max(errors))


def _claims(
    by_degree: dict[str, SphereSpectrum],
    laws: dict[tuple[int, int], PowerLaw],
    data: _Data,
    fits: dict[str, list[float]],
    sizes: list[int],
) -> list[Claim]:
    odd = {name: spectrum.eigenvalues[3::2] for name, spectrum in by_degree.items()}
    others = [values for name, values in odd.items() if name != "depth 1"]
    arc_cosine = sphere_eigenvalues(ArcCosine(1), N_FEATURES, MAX_DEGREE).eigenvalues[3::2]
    exponents = ", ".join(f"{law.exponent:.2f} (p = {p}, depth {depth})" for (p, depth), law in laws.items())
    data_laws = data.laws()
    measured = data.spectra["uniform on the sphere"]
    deviation = float(np.median(np.abs(measured / data.exact - 1)[: RANKS[0]]))
    expected = N_FEATURES / (N_FEATURES - 1)
    return [
        Claim(
            "Property 1",
            "k(x, x') = kappa(x . x') if |x| = |x'| = 1",
            "For rows of norm 1 the NTK is a dot-product kernel.",
            f"Kernels of random unit rows are within {_dot_product_error():.0e} of a function of their dot products, "
            "depths 1 and 3.",
            _dot_product_error() < 1e-13,
        ),
        Claim(
            "Property 2 (Geifman et al., 2020)",
            "lambda_k ~ k^-p for harmonics of degree k",
            "On the sphere of R^p the NTK's eigenvalues fall like degree^-p.",
            f"Fitted to exact eigenvalues of degrees {FITTED[0]} to {FITTED[1]}: {exponents}.",
            all(abs(law.exponent / p + 1) < 0.05 for (p, _), law in laws.items()),
        ),
        Claim(
            "Property 2",
            "lambda_i = i^-alpha, alpha > 1",
            "For most data distributions the spectrum decays as i^-alpha for some alpha > 1.",
            "Fitted to K / n, ranks "
            f"{RANKS[0]} to {RANKS[1]}: "
            + ", ".join(f"{-law.exponent:.2f} +- {law.uncertainty:.2f} ({name})" for name, law in data_laws.items())
            + f". On the sphere p / (p - 1) = {expected:.2f} is expected; its first {RANKS[0]} eigenvalues are within "
            f"{deviation:.1%} (median) of the exact ones.",
            all(law.exponent < -1 for law in data_laws.values()),
        ),
        Claim(
            "Property 4, and the same of Eq. 1",
            "lambda_k > 0 for all degrees k",
            "The NTK's function space is universally approximating, and so is that of the arc-cosine kernel.",
            f"On the sphere at depth 1 without bias, {np.sum(odd['depth 1'] == 0)} of {len(odd['depth 1'])} "
            f"eigenvalues of odd degrees above 1 are 0, of the arc-cosine kernel {np.sum(arc_cosine == 0)}; with a "
            f"bias, two or three layers, {sum(int(np.sum(values == 0)) for values in others)} are. A harmonic of "
            f"degree 3 fitted to {sizes[-1]} rows: error {fits['depth 1'][-1]:.2f} of its size at depth 1, "
            f"{fits['depth 1, bias'][-1]:.3f} with a bias, {fits['depth 2'][-1]:.3f} with two layers, "
            f"{fits['depth 3'][-1]:.3f} with three.",
            bool(np.all(odd["depth 1"] == 0) and np.all(arc_cosine == 0))
            and all(bool(np.all(values > 0)) for values in others)
            and fits["depth 1"][-1] > 0.9 > 10 * max(fits["depth 2"][-1], fits["depth 3"][-1]),
            "On the sphere neither is at depth 1 without bias: the odd parts of Eqs. 1 and 6 are linear. Both are with "
            "a bias, or with two layers or more.",
        ),
    ]


def _draw(
    figure: Any, by_degree: dict[str, SphereSpectrum], data: _Data, sizes: list[int], fits: dict[str, list[float]]
) -> None:
    left, middle, right = figure.subplots(1, 3)
    for (name, spectrum), colour in zip(by_degree.items(), COLOURS, strict=False):
        degrees = 1 + np.flatnonzero(spectrum.eigenvalues[1:])
        left.plot(degrees, spectrum.eigenvalues[degrees], "o", color=colour, label=name, markersize=3)
    degrees = np.array([4, MAX_DEGREE])
    left.plot(degrees, 0.5 * degrees ** -float(N_FEATURES), "--", color="black", label=f"degree^-{N_FEATURES}")
    log_log(left, "eigenvalue", "On the sphere, exact", x="degree")
    ranks = np.arange(1, RANKS[1] + 1)
    for ((name, values), law), colour in zip(
        zip(data.spectra.items(), data.laws().values(), strict=True), COLOURS, strict=False
    ):
        middle.plot(ranks, values, color=colour, label=f"{name}: slope {law.exponent:.2f}")
    middle.plot(ranks, data.exact, "--", color="black", linewidth=1, label="sphere, exact")
    log_log(middle, "eigenvalue of K / n", "On data, depth 3", x="rank")
    for (name, errors), colour in zip(fits.items(), COLOURS, strict=False):
        right.plot(sizes, errors, "o-", color=colour, label=name)
    log_log(right, "error over the size of the target", "A target of degree 3", x="rows fitted")


EXPERIMENT = Experiment(
    "spectrum",
    "The spectrum, and universality",
    "How does the spectrum decay, is no eigenvalue zero, and what is it to universality?",
    measure,
)
