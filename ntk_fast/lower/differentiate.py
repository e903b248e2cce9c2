"""Instructions and their derivatives, in NumPy, on arrays of pairs: the forward mode of `evaluate`.

The state is a pair's m, p, its tangent, and their derivatives by each parameter. A map's output moves with its input's
cosine, by D, and with the variances of the two rows: these are differences along log q, of the map itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.pair_state import cosine_of, place
from ntk_fast.lower.program import ABSENT, WHOLE, Instruction, PlacedMap
from ntk_fast.lower.row_derivatives import FORWARD_WEIGHTS, STEP, WEIGHTS

#: The same on either side of 0 apart, to the third order: D of parallel rows has a corner where variances are equal.
CORNER_WEIGHTS = {-3: -1 / 6, -2: 3 / 4, -1: -3 / 2, 1: 3 / 2, 2: -3 / 4, 3: 1 / 6}

#: Of an angle below which D moves with nothing: the cosine's own derivatives go with the square of the sine.
LEAST_SINE = 1e-100


@dataclass(frozen=True, eq=False)
class MovedRows:
    """Row parameters of one side, (n_planes, ...), their derivatives, and the maps' parameters at shifted variances."""

    parameters: Reals
    shares_dot: Reals  # (n_parameters, n_shares, ...)
    log_variance_dot: Reals  # (n_parameters, n_maps, ...)
    shifted: Sequence[dict[int, Reals] | None]  # per map: k to the parameters at log q + k step; None: has none
    steps: Sequence[Reals | None]  # per map: these steps


@dataclass(frozen=True, eq=False)
class _Moving:
    m: Reals
    p: Reals
    tangent: Reals
    cosine_dot: Reals  # (n_parameters, ...)
    tangent_dot: Reals


def differentiate(
    instructions: Sequence[Instruction],
    maps: Sequence[PlacedMap],
    m: Reals,
    p: Reals,
    x: MovedRows,
    y: MovedRows,
    has_tangent: bool,
) -> tuple[Reals, Reals]:
    """Return what `evaluate` returns and its derivatives, (n_parameters, ...)."""
    zero = np.zeros((len(x.shares_dot), *m.shape))
    registers = {0: _Moving(m, p, np.zeros_like(m), zero, zero)}
    state = registers[0]
    for instruction in instructions:
        sources = [registers[k] for k in instruction.sources]
        if instruction.is_product:
            state = _product(sources)
        elif instruction.promotes:
            state = _promoted(sources[0], instruction.shares[0], x, y)
        else:
            if instruction.map != ABSENT:
                sources = [_mapped(maps[instruction.map], instruction.map, sources[0], x, y)]
            state = _mixed(instruction, sources, x, y)
        registers[instruction.destination] = state
    if has_tangent:
        return state.tangent, state.tangent_dot
    return cosine_of(state.m, state.p), state.cosine_dot


def _mapped(placed: PlacedMap, index: int, state: _Moving, x: MovedRows, y: MovedRows) -> _Moving:
    own = slice(placed.first, placed.first + placed.count)
    activation = placed.activation
    mapped = activation.map_pairs
    m, p, derivative = mapped(state.m, state.p, x.parameters[own], y.parameters[own])
    cosine_dot = _slope(activation, state, derivative) * state.cosine_dot
    derivative_dot = _bend(placed, state, x, y, x.steps[index], y.steps[index]) * state.cosine_dot
    x_shifted, y_shifted, x_step, y_step = x.shifted[index], y.shifted[index], x.steps[index], y.steps[index]
    if x_shifted is not None and y_shifted is not None and x_step is not None and y_step is not None:

        def along(weights: dict[int, float], columns: Callable[[int], Reals]) -> tuple[Reals, Reals]:
            """Return the derivatives of cosine and D as x moves by its steps, and y as it is told."""
            cosine, slope = np.zeros_like(m), np.zeros_like(m)
            for k, weight in weights.items():
                m_k, p_k, slope_k = mapped(state.m, state.p, x_shifted[k], columns(k))
                cosine += weight * np.where(p < m, p_k, -m_k)  # weights add up to 0; the nearer side has the digits
                slope += weight * slope_k
            return cosine, slope

        # both together first: of nearly equal rows either alone is large beside what is left of the two
        together = y.log_variance_dot[:, index] / y_step
        alone = x.log_variance_dot[:, index] / x_step - together
        weights = WEIGHTS if activation.map_kind != "corners" else CORNER_WEIGHTS
        for moved, (cosine, slope) in (
            (together, along(WEIGHTS, lambda k: y_shifted[k])),
            (alone, along(weights, lambda k: y.parameters[own])),
        ):
            cosine_dot = cosine_dot + cosine * moved
            derivative_dot = derivative_dot + slope * moved
    tangent_dot = derivative * state.tangent_dot + derivative_dot * state.tangent
    return _Moving(m, p, derivative * state.tangent, cosine_dot, tangent_dot)


def _slope(activation: ActivationLayer, state: _Moving, derivative: Reals) -> Reals:
    """Return d cosine' / d cosine: D, but of what jumps at 0, whose cosine' is linear in the angle and whose D is 0."""
    if activation.homogeneity != 0:
        return derivative
    right = np.ones(1)
    at_right_angle, _, _ = activation.map_pairs(right, right, np.empty((0, 1)), np.empty((0, 1)))
    sine = np.sqrt(state.m * state.p)
    return np.where(sine > LEAST_SINE, 2 / np.pi * at_right_angle / np.where(sine > LEAST_SINE, sine, 1.0), 0.0)


def _bend(
    placed: PlacedMap, state: _Moving, x: MovedRows, y: MovedRows, x_step: Reals | None, y_step: Reals | None
) -> Reals:
    """Return dD / d cosine: by a formula of the activation, or by differences along the angle, in which D is smooth."""
    activation, own = placed.activation, slice(placed.first, placed.first + placed.count)
    known: Callable[[Reals, Reals], Reals] | None = activation.second_derivative
    if known is not None:
        return known(state.m, state.p)
    if x_step is None or y_step is None:  # of the angle alone, by powers of its cosine up to the degree
        step = np.full_like(state.m, STEP / max(1, activation.homogeneity or 1))
    else:
        step = np.minimum(x_step, y_step)
    nearer, opposite = np.minimum(state.m, state.p), state.p < state.m
    half = np.arcsin(np.sqrt(0.5 * nearer))
    total = np.zeros_like(nearer)
    # after a kink D is a function of the angle's absolute value
    ahead = (half < -0.5 * min(WEIGHTS) * step) & activation.has_kink
    stencils: list[tuple[dict[int, float], NDArray[np.bool_]]] = [(WEIGHTS, ~ahead)]
    if ahead.any():
        stencils.append((FORWARD_WEIGHTS, ahead))
    for weights, applies in stencils:
        for k, weight in weights.items():
            moved = 2 * np.sin(half + 0.5 * k * step) ** 2
            m, p = np.where(opposite, 2 - moved, moved), np.where(opposite, moved, 2 - moved)
            slope = activation.map_pairs(m, p, x.parameters[own], y.parameters[own])[2]
            total += np.where(applies, weight / step * slope, 0.0)
    sine = np.sin(2 * half)
    safe = np.where(sine > LEAST_SINE, sine, 1.0)
    return np.where(sine > LEAST_SINE, np.where(opposite, total, -total) / safe, 0.0)


def _mixed(instruction: Instruction, sources: list[_Moving], x: MovedRows, y: MovedRows) -> _Moving:
    if instruction.shares == (WHOLE,) and instruction.bias == ABSENT:
        (source,) = sources
        if not instruction.adds_own:
            return source
        return _Moving(
            source.m,
            source.p,
            source.tangent + cosine_of(source.m, source.p),
            source.cosine_dot,
            source.tangent_dot + source.cosine_dot,
        )
    zero = np.zeros_like(sources[0].m)
    m = p = tangent = zero
    m_dot, tangent_dot = np.zeros_like(sources[0].cosine_dot), np.zeros_like(sources[0].cosine_dot)
    planes = [*instruction.shares, *([instruction.bias] if instruction.bias != ABSENT else [])]
    for plane in planes:
        r_x, r_y = x.parameters[plane], y.parameters[plane]
        dot_x, dot_y = x.shares_dot[:, plane], y.shares_dot[:, plane]
        step = r_x - r_y
        m, p = m + 0.5 * step**2, p + 0.5 * step**2
        m_dot = m_dot + step * (dot_x - dot_y)
    for plane, source in zip(instruction.shares, sources, strict=True):
        r_x, r_y = x.parameters[plane], y.parameters[plane]
        share = r_x * r_y
        share_dot = x.shares_dot[:, plane] * r_y + r_x * y.shares_dot[:, plane]
        m, p, tangent = m + share * source.m, p + share * source.p, tangent + share * source.tangent
        m_dot = m_dot + share_dot * source.m - share * source.cosine_dot
        tangent_dot = tangent_dot + share_dot * source.tangent + share * source.tangent_dot
    if instruction.bias != ABSENT:
        p = p + 2 * x.parameters[instruction.bias] * y.parameters[instruction.bias]
    if instruction.adds_own:
        tangent, tangent_dot = tangent + cosine_of(m, p), tangent_dot - m_dot
    return _Moving(m, p, tangent, -m_dot, tangent_dot)


def _promoted(state: _Moving, plane: int, x: MovedRows, y: MovedRows) -> _Moving:
    share = x.parameters[plane] * y.parameters[plane]
    share_dot = x.shares_dot[:, plane] * y.parameters[plane] + x.parameters[plane] * y.shares_dot[:, plane]
    cosine, zero = share * state.tangent, np.zeros_like(state.tangent)
    cosine_dot = share_dot * state.tangent + share * state.tangent_dot
    return _Moving(np.maximum(1 - cosine, 0), np.maximum(1 + cosine, 0), zero, cosine_dot, np.zeros_like(cosine_dot))


def _product(sources: list[_Moving]) -> _Moving:
    state = sources[0]
    for other in sources[1:]:
        a, b = cosine_of(state.m, state.p), cosine_of(other.m, other.p)
        u, v = np.minimum(state.m, state.p), np.minimum(other.m, other.p)
        state = _Moving(
            *place(u + (1 - u) * v, (state.p < state.m) != (other.p < other.m)),
            state.tangent * b + other.tangent * a,
            state.cosine_dot * b + a * other.cosine_dot,
            state.tangent_dot * b
            + state.tangent * other.cosine_dot
            + other.tangent_dot * a
            + other.tangent * state.cosine_dot,
        )
    return state
