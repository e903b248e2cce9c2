"""The profile of a kernel at complex cosines: analytic but for cuts outside of [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.caller import warn_caller
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import RectifiedMonomial, Sign, Step
from ntk_fast.layers.expanded import AccuracyWarning
from ntk_fast.layers.relu import PiecewiseLinear, sine_minus_angle_cosine
from ntk_fast.lower.program import ABSENT
from ntk_fast.spectrum.power_series import TERMS
from ntk_fast.spectrum.unit_rows import UnitRows

Complexes = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class _State:
    """S and T over q at complex cosines, and what of them is not linear in the rows' cosine."""

    beyond: Complexes  # S / q - 1
    bent: Complexes
    theta: Complexes
    bent_theta: Complexes


def continued(unit: UnitRows, beyond: Complexes) -> tuple[Complexes, Complexes]:
    """Return S or T over q of unit rows at complex cosines z; above a cut, their imaginary part is +0.

    `beyond` is z - 1, which has the digits that z has lost near 1. Returned too is what of the value is not linear in
    z, which an activation that is nearly linear, or a large bias, makes much smaller: it is carried from node to node
    on its own, so that no digit of it is lost.
    """
    zero = np.zeros_like(beyond)
    state = _State(beyond, zero, zero, zero)
    registers = {0: state}
    for instruction in unit.instructions.instructions:
        sources = [registers[k] for k in instruction.sources]
        if instruction.promotes:
            share = unit.share(instruction.shares[0])
            state = _State(share * sources[0].theta - 1, share * sources[0].bent_theta, zero, zero)
        elif instruction.is_product:
            state = _product(sources)
        else:
            if instruction.map != ABSENT:
                activation = unit.instructions.maps[instruction.map].step.activation
                sources = [_mapped(activation, unit.variances[instruction.map], sources[0])]
            shares = [unit.share(plane) for plane in instruction.shares]
            parts = [
                sum((share * getattr(source, name) for share, source in zip(shares, sources, strict=True)), zero)
                for name in ("beyond", "bent", "theta", "bent_theta")
            ]
            if instruction.adds_own:
                parts[2] = parts[2] + (1 + parts[0])
                parts[3] = parts[3] + parts[1]
            state = _State(*parts)
        registers[instruction.destination] = state
    return (state.theta, state.bent_theta) if unit.has_tangent else (1 + state.beyond, state.bent)


def _mapped(activation: ActivationLayer, variance: float, state: _State) -> _State:
    excess, slope_excess = _continued_map(activation, variance)(state.beyond)
    return _State(
        state.beyond + excess,
        state.bent + excess,
        (1 + slope_excess) * state.theta,
        state.bent_theta + slope_excess * state.theta,
    )


def _product(sources: list[_State]) -> _State:
    state = sources[0]
    for other in sources[1:]:
        beyond = state.beyond + other.beyond + state.beyond * other.beyond
        theta = state.theta * (1 + other.beyond) + other.theta * (1 + state.beyond)
        state = _State(beyond, beyond, theta, theta)  # a product is not linear
    return state


def _continued_map(activation: ActivationLayer, variance: float) -> Callable[[Complexes], tuple[Complexes, Complexes]]:
    """A map's cosine less its argument, and its slope less 1, as functions of a complex cosine less 1."""

    def piecewise_linear(beyond: Complexes) -> tuple[Complexes, Complexes]:
        assert isinstance(activation, PiecewiseLinear)
        angle = _angle(beyond)
        excess: Any = 2 * activation.fold * sine_minus_angle_cosine(angle)
        return excess, -2 * activation.fold * angle / np.pi

    def step(beyond: Complexes) -> tuple[Complexes, Complexes]:
        return -_angle(beyond) / np.pi - beyond, np.full_like(beyond, -1)

    def sign(beyond: Complexes) -> tuple[Complexes, Complexes]:
        return -2 * _angle(beyond) / np.pi - beyond, np.full_like(beyond, -1)

    def rectified_square(beyond: Complexes) -> tuple[Complexes, Complexes]:
        angle, cosine = _angle(beyond), 1 + beyond
        total = 3 * np.sin(angle) * cosine + (np.pi - angle) * (1 + 2 * cosine**2)
        slope = 4 / (3 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine)
        return total / (3 * np.pi) - cosine, slope - 1

    def smooth(beyond: Complexes) -> tuple[Complexes, Complexes]:
        assert series is not None
        cosine = 1 + beyond
        value = slope = np.zeros_like(cosine)
        for coefficient in series[::-1]:
            slope = slope * cosine + value
            value = value * cosine + coefficient
        return value - cosine, slope - 1

    if isinstance(activation, PiecewiseLinear):
        return piecewise_linear
    known = {Step(): step, Sign(): sign, RectifiedMonomial(2): rectified_square}
    if activation in known:
        return known[activation]
    series = activation.cosine_series(variance, TERMS[-1])
    if series is None:
        raise ValueError(f"kernel has an activation that sphere_eigenvalues does not know: {activation!r}.")
    terms = np.arange(len(series)) * series
    cut = float(terms[-len(terms) // 2 :].sum() / max(terms.sum(), 1e-300))
    if cut > 1e-12:
        warn_caller(
            f"{activation!r} has kinks, or is steep at variance {variance:.3g}: of its derivative's dual a share of "
            f"{cut:.1g} lies beyond {len(series)} terms, and eigenvalues are right to about that only.",
            AccuracyWarning,
            severity=cut,
        )
    return smooth


def _angle(beyond: Complexes) -> Any:
    """The arc cosine of 1 + `beyond`."""
    chord = np.sqrt(np.negative(beyond) * 0.5)  # in this order: above the right cut the imaginary part has to be -0
    return np.where(np.abs(beyond) < 1, 2 * np.arcsin(chord), np.arccos(1 + beyond))
