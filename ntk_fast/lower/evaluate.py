"""Instructions executed in NumPy, on arrays of pairs: the reference for all tiles, and what tables are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ntk_fast.compensated import Reals, two_sum
from ntk_fast.layers.pair_state import cosine_of, place
from ntk_fast.lower.program import ABSENT, WHOLE, Instruction, PlacedMap


@dataclass(frozen=True, eq=False)
class State:
    """Of pairs at a node; rests are what rounding has lost, for deep chains of small decreases.

    `rest`: of the tangent; `m_rest`: of the nearer one of m and p, with the sign that it has for m.
    """

    m: Reals
    p: Reals
    tangent: Reals
    rest: Reals
    m_rest: Reals | float = 0.0


def evaluate(
    instructions: Sequence[Instruction],
    maps: Sequence[PlacedMap],
    m: Reals,
    p: Reals,
    x: Reals,
    y: Reals,
    has_tangent: bool,
) -> Reals:
    """Return T / sqrt(q q') of the last instruction, or S / sqrt(q q') without tangent.

    `m` and `p` are those of the rows; `x` and `y` the row parameters, of shapes (n_parameters, ...) that broadcast.
    """
    zero = np.zeros_like(m)
    registers = {0: State(m, p, zero, zero)}
    state = registers[0]
    for instruction in instructions:
        sources = [registers[k] for k in instruction.sources]
        if instruction.is_product:
            state = multiplied(sources)
        elif instruction.promotes:
            state = promoted(sources[0], x[instruction.shares[0]] * y[instruction.shares[0]])
        else:
            if instruction.map != ABSENT:
                sources = [mapped(maps[instruction.map], sources[0], x, y)]
            state = mixed(instruction, sources, x, y)
        registers[instruction.destination] = state
    return state.tangent + state.rest if has_tangent else cosine_of(state.m, state.p)


def mapped(placed: PlacedMap, state: State, x: Reals, y: Reals) -> State:
    """Through an activation. Theta's digits are kept by rounding what the map takes away, and not what it leaves."""
    own = slice(placed.first, placed.first + placed.count)
    m, p, m_rest, derivative, loss = placed.activation.map_with_rests(state.m, state.p, state.m_rest, x[own], y[own])
    if loss is None:
        return State(m, p, derivative * state.tangent, derivative * state.rest, m_rest)
    tangent, rest = two_sum(state.tangent, state.rest - loss * state.tangent)
    return State(m, p, tangent, rest, m_rest)


def mixed(instruction: Instruction, sources: list[State], x: Reals, y: Reals) -> State:
    """Several together, in shares that each row has of its own."""
    if instruction.shares == (WHOLE,) and instruction.bias == ABSENT:
        (source,) = sources
        if not instruction.adds_own:
            return source
        tangent, error = two_sum(source.tangent, cosine_of(source.m, source.p))
        return State(source.m, source.p, tangent, source.rest + error, source.m_rest)
    if len(sources) == 1:
        return _mixed_with_bias(instruction, sources[0], x, y)
    m = p = tangent = rest = gap = np.zeros_like(sources[0].m)
    for plane, source in zip(instruction.shares, sources, strict=True):
        share = x[plane] * y[plane]
        m, p = m + share * source.m, p + share * source.p
        tangent, rest = tangent + share * source.tangent, rest + share * source.rest
        gap = gap + 0.5 * (x[plane] - y[plane]) ** 2
    if instruction.bias != ABSENT:
        tau_x, tau_y = x[instruction.bias], y[instruction.bias]
        gap = gap + 0.5 * (tau_x - tau_y) ** 2
        p = p + 2 * tau_x * tau_y
    m, p = m + gap, p + gap
    tangent = tangent + (cosine_of(m, p) + rest) if instruction.adds_own else tangent + rest
    return State(m, p, tangent, np.zeros_like(m))


def _mixed_with_bias(instruction: Instruction, source: State, x: Reals, y: Reals) -> State:
    """One source. Where it is nearly all, what is taken from it is rounded, and not what is left; rests stay."""
    (plane,) = instruction.shares
    share, gap, tau = 1.0, 0.0, 0.0
    if plane != WHOLE:
        share, gap = x[plane] * y[plane], 0.5 * (x[plane] - y[plane]) ** 2
    if instruction.bias != ABSENT:
        tau_x, tau_y = x[instruction.bias], y[instruction.bias]
        tau, gap = tau_x * tau_y, gap + 0.5 * (tau_x - tau_y) ** 2
    lost = tau + gap  # 1 - share, with digits of its own

    def shared(part: Reals, part_rest: Reals | float, added: Reals | float) -> tuple[Reals, Reals]:
        total, rest = two_sum(part, added + (share * part_rest - lost * part))
        return np.where(lost < 0.5, total, share * part + added), np.where(lost < 0.5, rest, share * part_rest)

    m, m_rest = shared(source.m, source.m_rest, gap)
    p, p_rest = shared(source.p, -source.m_rest, tau + lost)
    opposite = p < m
    own = 0.5 * (p - m) if instruction.adds_own else np.zeros_like(m)
    tangent, rest = shared(source.tangent, source.rest, own)
    m, p = place(np.where(opposite, p, m), opposite)
    return State(m, p, tangent, rest, np.where(opposite, -p_rest, m_rest))


def promoted(state: State, share: Reals) -> State:
    """The tangent in the place of the covariance; share = sqrt(q q' / (T(x, x) T(x', x')))."""
    cosine = share * (state.tangent + state.rest)
    zero = np.zeros_like(cosine)
    return State(np.maximum(1 - cosine, 0), np.maximum(1 + cosine, 0), zero, zero)


def multiplied(sources: list[State]) -> State:
    """The product of several."""
    state = sources[0]
    for other in sources[1:]:
        u, v = np.minimum(state.m, state.p), np.minimum(other.m, other.p)
        opposite = (state.p < state.m) != (other.p < other.m)
        cosines = cosine_of(state.m, state.p), cosine_of(other.m, other.p)
        m, p = place(u + (1 - u) * v, opposite)
        tangent = (state.tangent + state.rest) * cosines[1] + (other.tangent + other.rest) * cosines[0]
        state = State(m, p, tangent, np.zeros_like(m))
    return state
