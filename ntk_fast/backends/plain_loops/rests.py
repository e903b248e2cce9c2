"""What rounding takes from m, kept from layer to layer: of programs in which many layers are nearly linear.

Elsewhere layers contract, and forget their rounding errors. Here the sides of pairs go through an activation and a mix
once more, and replace what `maps.fold` and `tile.mix` made of them; rows ODD and EVEN hold them meanwhile.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from ntk_fast.backends.plain_loops.state import CHORD, EVEN, M_REST, ODD, RUN, SCRATCH, M, P
from ntk_fast.backends.plain_loops.tables import inlined

#: No contraction: rounding errors are to be known. Said, as Numba otherwise takes it from whoever calls.
exactly = njit(nogil=True, cache=True, fastmath=False, error_model="numpy")


@njit(inline="always")
def sum_and_rest(a: Any, b: Any) -> Any:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@inlined
def keep_sides(state: Any, n: Any) -> None:
    """Before an activation."""
    n = min(n, RUN)
    for j in range(n):
        state[ODD * RUN + j], state[EVEN * RUN + j] = state[M * RUN + j], state[P * RUN + j]


@exactly
def fold_again(state: Any, n: Any, linear: Any, share: Any) -> None:
    """After `fold`, which leaves chords in row CHORD and R in row SCRATCH."""
    n = min(n, RUN)
    lesser, is_linear = min(linear, share), linear >= share
    for j in range(n):
        m, p, rest = state[ODD * RUN + j], state[EVEN * RUN + j], state[M_REST * RUN + j]
        nearer, opposite = min(m, p), p < m
        bent = state[CHORD * RUN + j] * (0.5 * nearer) * state[SCRATCH * RUN + j]
        back = lesser * ((m - p) + bent) - rest
        far_step = back if is_linear else back - bent
        total, lost = sum_and_rest(nearer, far_step if opposite else rest - share * bent)
        stays = opposite and is_linear
        state[M * RUN + j] = 2.0 - total if stays else total
        state[P * RUN + j] = total if stays else 2.0 - total
        state[M_REST * RUN + j] = -lost if stays else lost


@exactly
def mix_again(row: Any, share: Any, row_bias: Any, share_of_bias: Any, state: Any, n: Any) -> None:
    """Before `mix`, into the rows that `put_sides` takes them from after it."""
    n = min(n, RUN)
    for j in range(n):
        m, p, rest = state[M * RUN + j], state[P * RUN + j], state[M_REST * RUN + j]
        step, bias_step = row - share[j], row_bias - share_of_bias[j]
        rho, tau = row * share[j], row_bias * share_of_bias[j]
        gap = 0.5 * (step * step + bias_step * bias_step)
        lost = tau + gap
        added, is_most = tau + lost, lost < 0.5
        total_m, lost_m = sum_and_rest(m, (gap - lost * m) + rho * rest)
        total_p, lost_p = sum_and_rest(p, (added - lost * p) - rho * rest)
        new_m, new_p = total_m if is_most else rho * m + gap, total_p if is_most else rho * p + added
        m_rest, p_rest = lost_m if is_most else rho * rest, lost_p if is_most else -rho * rest
        stays = p < m and new_p < new_m
        state[ODD * RUN + j] = 2.0 - new_p if stays else new_m
        state[EVEN * RUN + j] = new_p if stays else 2.0 - new_m
        state[M_REST * RUN + j] = -p_rest if stays else m_rest


@inlined
def put_sides(state: Any, n: Any) -> None:
    """After a mix."""
    n = min(n, RUN)
    for j in range(n):
        state[M * RUN + j], state[P * RUN + j] = state[ODD * RUN + j], state[EVEN * RUN + j]


@inlined
def forget_rest(state: Any, n: Any) -> None:
    """After whatever keeps none."""
    n = min(n, RUN)
    for j in range(n):
        state[M_REST * RUN + j] = 0.0
