"""The profile compiler: from a recursion to the short tables that the compiled tiles evaluate.

Without bias a kernel of any depth is |x| |x'| times one function of the angle, its profile. In the chord that function
is analytic on each half, cosine >= 0 and cosine < 0, so a few Chebyshev terms on a few pieces give it to the last bit,
and an entry costs one square root and a polynomial however deep the network is. Deep profiles crowd near chord 0; the
change of variable position = chord * scale / (1 + stretch * chord) spreads them out.

With bias and rows of unequal norm there is no such function: then one layer's dual is compiled, and a tile applies it
layer by layer. Both are an `Entry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from ntk_fast.compensated import Reals, product
from ntk_fast.duals import Truths
from ntk_fast.recursion import Recursion, RowParameters

#: Just above sqrt(1/2), the largest chord: rounding must not carry a cosine of 0 into a piece that does not exist.
LARGEST_CHORD = float(np.sqrt(0.5) * (1 + 1e-6))


@dataclass(frozen=True)
class Accuracy:
    """What a dtype's tables aim at. `cosine` and `chord`: the errors that arrive, from 64 features and from rows."""

    coefficient: float  # a Chebyshev term below this is left out
    largest_degree: int
    cosine: float
    chord: float
    entry: float  # the share of an entry's error that cosine and chord may cause


ACCURACY = {
    np.dtype(np.float64): Accuracy(coefficient=2.5e-16, largest_degree=47, cosine=6e-16, chord=1e-16, entry=1.5e-15),
    np.dtype(np.float32): Accuracy(coefficient=1e-8, largest_degree=23, cosine=1.2e-7, chord=6e-8, entry=2.5e-7),
}

STRETCHES = (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


@dataclass(frozen=True, eq=False)
class Entry:
    """A kernel compiled for one dtype and one number of pieces; the arguments that every backend's tile takes."""

    n_layers: int  # 0: `value` is the whole profile, over its value at cosine 1; else one layer's dual
    has_tangent: bool  # layers: carry Theta too, with `slope`
    value_power: int  # a layer: 1 - kappa = lead * chord**2 + chord**value_power * value, plus, where the cosine is
    value_leads: tuple[float, float]  # negative (and the second lead counts),
    value_offset: float  # this
    slope_offset: float  # likewise 1 - kappa' = chord * slope, plus slope_offset
    value: NDArray[np.floating]  # (terms, pieces): lowest power first; the second half of the pieces is cosine < 0
    slope: NDArray[np.floating]
    stretch: float
    scale: float
    near: float  # squared chords below this are computed from the rows themselves ...
    near_exact: float  # ... and below this to full relative accuracy


def unit_parameters(recursion: Recursion, n: int = 1) -> RowParameters:
    """Row parameters where the norms do not matter: no bias."""
    return RowParameters(np.ones((recursion.depth + 1, n)), np.zeros((recursion.depth + 1, n)))


def homogeneous_profile(recursion: Recursion) -> Callable[[Reals, Truths], Reals]:
    """Return kappa(chord, opposite) with kappa = 1 at chord 0, of the recursion without its biases."""
    unit = unit_parameters(recursion)
    at_one = recursion.depth + 1 if recursion.has_tangent else 1

    def profile(chord: Reals, opposite: Truths) -> Reals:
        flat = recursion.value(chord.reshape(1, -1), opposite.reshape(1, -1), unit, unit)
        return flat.reshape(chord.shape) / at_one

    return profile


def _fit(
    function: Callable[[Reals, Truths], Reals], half: int, stretches: tuple[float, ...], degree: int
) -> list[Reals]:
    """Chebyshev coefficients (degree + 1, 2 * half), per stretch, of a function on equal pieces of the chord.

    Not by BLAS: its rounding errors, which differ between processors, reach the size at which terms are left out. Of
    `NNGP(1, "abs")` they made 22 terms out of 11 on a Zen 4.
    """
    n = degree + 1
    quarter_turns = np.outer(np.arange(n), 2 * np.arange(n) + 1) % (4 * n)  # reduced exactly: cos of large arguments
    cosines = np.cos(quarter_turns * np.pi / (2 * n))
    position = np.arange(half)[:, None] + 0.5 + cosines[1] / 2
    chord = np.array([position / (_scale(half, stretch) - stretch * position) for stretch in stretches])
    chord = np.concatenate([chord, chord], axis=1)
    opposite = np.zeros(chord.shape, dtype=bool)
    opposite[:, half:] = True
    weights = cosines * (2 / n)
    weights[0] /= 2
    return [product(weights, values.T) for values in function(chord, opposite)]


def _scale(half: int, stretch: float) -> float:
    return half * (1 + stretch * LARGEST_CHORD) / LARGEST_CHORD


def _n_terms(coefficients: Reals, tolerance: float) -> int:
    """Terms to keep, so that what is dropped is below the tolerance; more than there are if the tail is not."""
    sizes = np.abs(coefficients).max(axis=1)
    kept = np.flatnonzero(sizes > tolerance * max(1.0, sizes[0]))
    n_terms = int(kept[-1]) + 1 if len(kept) else 1
    return n_terms if n_terms <= len(coefficients) - 2 else len(coefficients) + 1


def _powers(coefficients: Reals, n_terms: int, dtype: np.dtype) -> NDArray[np.floating]:
    """Powers of the offset from a piece's centre, -1/2 to 1/2, as one 64-byte aligned table."""
    powers = np.zeros((n_terms, coefficients.shape[1]))
    for piece, column in enumerate(coefficients[:n_terms].T):
        row = chebyshev.cheb2poly(column)
        powers[: len(row), piece] = row * 2.0 ** np.arange(len(row))
    size = powers.size * dtype.itemsize
    buffer = np.zeros(size + 64, dtype=np.uint8)
    start = -buffer.ctypes.data % 64
    table = buffer[start : start + size].view(dtype).reshape(powers.shape)
    table[:] = powers
    return table


def _without_variances(recursion: Recursion) -> Recursion:
    """What tables depend on: of the variances, only whether there is a bias. A fit tries hundreds of them."""
    n_layers = recursion.depth + 1
    bias = 0.0 if recursion.is_homogeneous else 1.0
    return replace(recursion, weight_variances=(1.0,) * n_layers, bias_variances=(bias,) * n_layers)


def near_thresholds(recursion: Recursion, dtype: np.dtype) -> tuple[float, float]:
    """Squared chords below which the cosine's, and the plain chord's, own rounding errors would show in an entry.

    Taken from the profile without biases: a bias only makes the kernel less steep.
    """
    return _near_thresholds(_without_variances(recursion), dtype)


@lru_cache(maxsize=256)
def _near_thresholds(recursion: Recursion, dtype: np.dtype) -> tuple[float, float]:
    accuracy = ACCURACY[dtype]
    profile = homogeneous_profile(recursion)
    budget = accuracy.entry * (max(1.0, np.log2(recursion.depth)) if dtype == np.float64 else 1.0)
    chord = np.geomspace(1e-9, LARGEST_CHORD, 1000)
    near = near_exact = 0.0
    for opposite in (False, True):
        steepness = np.abs(np.gradient(profile(chord, np.full(chord.shape, opposite)), chord))
        from_cosine = chord[steepness / (4 * chord) * accuracy.cosine > budget]  # cosine = 1 - 2 chord^2
        from_chord = chord[steepness * accuracy.chord > budget]
        near = max(near, *(from_cosine[-1:] ** 2), 0.0)
        near_exact = max(near_exact, *(from_chord[-1:] ** 2), 0.0)
    # scaled copies of a row: their plain chord is nothing but rounding error
    floor = (16 * accuracy.chord) ** 2
    return near, min(near, max(near_exact, floor))


def compile_entry(recursion: Recursion, pieces: int, dtype: np.dtype) -> Entry:
    """Compile a recursion for `pieces` table columns (half of them for cosine >= 0) and a dtype.

    Without bias the whole profile is compiled if polynomials of reasonable degree can hold it; with bias, or where the
    profile has structure at too many scales (arc-cosine orders 0 and 2, deep), one layer is.
    """
    return _compile_entry(_without_variances(recursion), pieces, dtype)


@lru_cache(maxsize=256)
def _compile_entry(recursion: Recursion, pieces: int, dtype: np.dtype) -> Entry:
    accuracy = ACCURACY[dtype]
    half = pieces // 2
    profile = homogeneous_profile(recursion)
    near, near_exact = near_thresholds(recursion, dtype)
    if recursion.is_homogeneous:
        tolerance = accuracy.coefficient * max(1.0, np.log2(recursion.depth) / 2)
        stretches = tuple(stretch for stretch in STRETCHES if stretch >= recursion.depth / 200 - 1)
        fits = _fit(profile, half, stretches, accuracy.largest_degree)
        n_terms, stretch, coefficients = min(
            ((_n_terms(fit, tolerance), stretch, fit) for stretch, fit in zip(stretches, fits, strict=True)),
            key=lambda candidate: candidate[:2],
        )
        if n_terms <= accuracy.largest_degree:
            value = _powers(coefficients, n_terms, dtype)
            return Entry(
                0, False, 0, (0.0, 0.0), 0.0, 0.0, value, value[:0], stretch, _scale(half, stretch), near, near_exact
            )
    dual = recursion.dual

    def value_quotient(chord: Reals, opposite: Truths) -> Reals:
        return dual.rest(chord, opposite) / chord**dual.rest_power

    def slope_quotient(chord: Reals, opposite: Truths) -> Reals:
        return dual.slope_rest(chord, opposite) / chord

    tables = []
    for function in (value_quotient, slope_quotient) if recursion.has_tangent else (value_quotient,):
        (coefficients,) = _fit(function, half, (0.0,), accuracy.largest_degree)
        tables.append(_powers(coefficients, _n_terms(coefficients, accuracy.coefficient), dtype))
    return Entry(
        n_layers=recursion.depth,
        has_tangent=recursion.has_tangent,
        value_power=dual.rest_power,
        value_leads=dual.leads,
        value_offset=dual.offset,
        slope_offset=dual.slope_offset if recursion.has_tangent else 0.0,
        value=tables[0],
        slope=tables[-1] if recursion.has_tangent else tables[0][:0],
        stretch=0.0,
        scale=_scale(half, 0.0),
        near=near,
        near_exact=near_exact,
    )
