"""The profile compiler: from a recursion to the short tables that the compiled tiles evaluate.

Without bias a kernel of any depth is |x| |x'| times one function of the angle, its profile. In the chord that function
is analytic on each half, cosine >= 0 and cosine < 0, so a few Chebyshev terms on a few pieces give it to the last bit,
and an entry costs one square root and a polynomial however deep the network is. Deep profiles crowd near chord 0; the
change of variable position = chord * scale / (1 + stretch * chord) spreads them out.

With bias and rows of unequal norm there is no such function: then one layer's dual is compiled, and a tile applies it
layer by layer. Both are an `Entry`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.duals import Truths
from ntk_fast.recursion import Recursion, RowParameters
from ntk_fast.tables import LARGEST_CHORD, OfChord, as_powers, count_terms, evaluate, fit, scale_of


@dataclass(frozen=True)
class Accuracy:
    """What a dtype's tables aim at. `cosine` and `chord`: the errors that arrive, from 64 features and from rows."""

    coefficient: float  # a Chebyshev term below this is left out
    largest_degree: int
    cosine: float
    chord: float
    entry: float  # the share of an entry's error that cosine and chord may cause
    table: float  # ... and the share that tables may
    grows: bool  # whether these shares grow with log2(depth)

    def growth(self, depth: int) -> float:
        return max(1.0, float(np.log2(depth))) if self.grows else 1.0


ACCURACY = {
    np.dtype(np.float64): Accuracy(2.5e-16, 47, cosine=6e-16, chord=1e-16, entry=1.5e-15, table=1.5e-15, grows=True),
    np.dtype(np.float32): Accuracy(1e-8, 23, cosine=1.2e-7, chord=6e-8, entry=2.5e-7, table=3.5e-7, grows=False),
}

#: A bias so small that it takes nothing away, yet every layer rounds: that is where most rounding errors add up.
SMALL_SHARE = 1e-6

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
    is_accurate: bool  # whether the tables are right within their share of an entry's error


def homogeneous_profile(recursion: Recursion, bias_share: float = 0.0) -> OfChord:
    """Return kappa(chord, opposite) with kappa = 1 at chord 0, of the recursion without its biases.

    Or with others, which have the same share in every layer's variance; then the chord is that of Sigma_0.
    """
    at_one = sum((1 - bias_share) ** layer for layer in range(recursion.depth + 1)) if recursion.has_tangent else 1

    def profile(chord: Reals, opposite: Truths) -> Reals:
        shape, dtype = (recursion.depth + 1, 1), chord.dtype
        rho, tau = np.full(shape, np.sqrt(1 - bias_share), dtype), np.full(shape, np.sqrt(bias_share), dtype)
        rho[0], tau[0] = 1, 0
        rows = RowParameters(rho, tau)
        flat = recursion.value(chord.reshape(1, -1), opposite.reshape(1, -1), rows, rows)
        return flat.reshape(chord.shape) / at_one

    return profile


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
    budget = accuracy.entry * accuracy.growth(recursion.depth)
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


@dataclass(frozen=True)
class _TabulatedDual:
    """One layer's dual as the tables of an entry give it, in their dtype."""

    entry: Entry
    gain: Fraction
    order: int

    @property
    def offset(self) -> float:
        return self.entry.value_offset

    @property
    def leads(self) -> tuple[float, float]:
        return self.entry.value_leads

    @property
    def rest_power(self) -> int:
        return self.entry.value_power

    @property
    def slope_offset(self) -> float:
        return self.entry.slope_offset

    def rest(self, chord: Reals, opposite: Truths) -> Reals:
        return evaluate(self.entry.value, chord, opposite, self.entry.scale, 0.0) * chord**self.rest_power

    def slope_rest(self, chord: Reals, opposite: Truths) -> Reals:
        return evaluate(self.entry.slope, chord, opposite, self.entry.scale, 0.0) * chord


#: Where tables are looked at: everywhere, and crowded towards cosine 1 and -1. Of nearly linear or nearly even layers a
#: profile turns at chords far smaller than a piece, where Chebyshev terms may look as if they had converged.
_CHECKED = np.concatenate(
    [[0.0], np.geomspace(1e-12, LARGEST_CHORD, 500, endpoint=False), np.linspace(0, np.sqrt(0.5), 300)[1:]]
)


def _is_accurate(entry: Entry, recursion: Recursion) -> bool:
    """Whether what an entry's tables give is the recursion, within their share of the error."""
    dtype = entry.value.dtype
    chord = np.concatenate([_CHECKED, _CHECKED]).astype(dtype)
    opposite = np.repeat([False, True], len(_CHECKED))
    error = 0.0
    for share in (0.0,) if recursion.is_homogeneous else (0.0, SMALL_SHARE):
        expected = homogeneous_profile(recursion, share)(chord.astype(np.float64), opposite)
        if entry.n_layers:
            tabulated = _TabulatedDual(entry, recursion.dual.gain, recursion.dual.order)
            got = homogeneous_profile(replace(recursion, dual=tabulated), share)(chord, opposite)
        else:
            got = evaluate(entry.value, chord, opposite, entry.scale, entry.stretch)
        error = max(error, float(np.abs(got - expected).max()))
    accuracy = ACCURACY[dtype]
    return error <= accuracy.table * accuracy.growth(recursion.depth)


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
        fits = fit(profile, half, stretches, accuracy.largest_degree)
        candidates = [
            (count_terms(series, tolerance), stretch) for series, stretch in zip(fits, stretches, strict=True)
        ]
        for n_terms, stretch in sorted(candidates):
            if n_terms > accuracy.largest_degree:
                break
            value = as_powers(fits[stretches.index(stretch)], n_terms, dtype)
            entry = Entry(
                n_layers=0,
                has_tangent=False,
                value_power=0,
                value_leads=(0.0, 0.0),
                value_offset=0.0,
                slope_offset=0.0,
                value=value,
                slope=value[:0],
                stretch=stretch,
                scale=scale_of(half, stretch),
                near=near,
                near_exact=near_exact,
                is_accurate=True,
            )
            if _is_accurate(entry, recursion):
                return entry
    dual = recursion.dual

    def value_quotient(chord: Reals, opposite: Truths) -> Reals:
        return dual.rest(chord, opposite) / chord**dual.rest_power

    def slope_quotient(chord: Reals, opposite: Truths) -> Reals:
        return dual.slope_rest(chord, opposite) / chord

    tables = []
    for function in (value_quotient, slope_quotient) if recursion.has_tangent else (value_quotient,):
        (coefficients,) = fit(function, half, (0.0,), accuracy.largest_degree)
        tables.append(as_powers(coefficients, count_terms(coefficients, accuracy.coefficient), dtype))
    entry = Entry(
        n_layers=recursion.depth,
        has_tangent=recursion.has_tangent,
        value_power=dual.rest_power,
        value_leads=dual.leads,
        value_offset=dual.offset,
        slope_offset=dual.slope_offset if recursion.has_tangent else 0.0,
        value=tables[0],
        slope=tables[-1] if recursion.has_tangent else tables[0][:0],
        stretch=0.0,
        scale=scale_of(half, 0.0),
        near=near,
        near_exact=near_exact,
        is_accurate=True,
    )
    return replace(entry, is_accurate=_is_accurate(entry, recursion))
