"""A kernel's network as a table: its layers, what each does to S and T, and how tiles will compute it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.branches import Concatenate, Product, Residual, Sum
from ntk_fast.layers.dense import Dense
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.layer_norm import LayerNorm
from ntk_fast.layers.tangent import Tangent
from ntk_fast.lower.compile import compile_program, norm_range, promised
from ntk_fast.lower.instructions import instructions_of
from ntk_fast.lower.plan import ROWS, Builder, Plan, plan_of
from ntk_fast.lower.program import Program
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.scaled import Scaled

#: Layers that are shown of a deep network: so many at either end.
SHOWN = 20

#: Nanoseconds of an entry on one core with AVX-512, float64, by the kind of a map; a mix; a profile with 64 features.
COSTS = {"fold": 1.2, "table": 1.5, "exponential": 2.0, "gaussian": 1.5, "erf": 3.0, "gelu": 4.0, "sine": 4.0}
MIX_COST, TERM_COST, PROFILE_COST = 0.5, 0.15, 2.5


def describe_network(network: Layer, has_tangent: bool, pieces: int) -> str:
    """Return the table; `pieces`: of the backend's tables, 0 if it has none."""
    builder = Builder()
    output = network.lower(builder, ROWS)
    unit = RowValues(builder.steps, Scaled.of(np.ones(1)))
    rows = [("layer", "S", "T", "S(x, x)")]
    for lowered in builder.lowered:
        layer = lowered.layer
        text = "  " * (lowered.level - 1) + (layer.name if _holds_layers(layer) else repr(layer))
        rows.append((text, *_rules(layer), f"{unit.variance(lowered.node).plain()[0]:.4g}"))
    if not builder.lowered:
        rows.append((repr(network), *_rules(network), f"{unit.variance(output.index).plain()[0]:.4g}"))
    if len(rows) > 2 * SHOWN + 2:
        rows[SHOWN + 1 : -SHOWN] = [(f"... {len(rows) - 1 - 2 * SHOWN} more", "", "", "")]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    what = "T, its Neural Tangent Kernel" if has_tangent else "S, its Gaussian process"
    lines += ["", f"S(x, x) is that of a row of norm 1. The kernel is {what}."]
    plan = plan_of(network)
    for title, squares in (("rows of equal norm", [1.0, 1.0]), ("other rows", [0.25, 4.0])):
        lines.append(f"{title}: {_path(plan, has_tangent, pieces, squares)}")
    return "\n".join(lines)


def _holds_layers(layer: Layer) -> bool:
    return any(isinstance(getattr(layer, name, None), tuple) for name in ("layers", "branches"))


def _rules(layer: Layer) -> tuple[str, str]:
    """What a layer does to S and to T."""
    match layer:
        case Dense(weight, bias, trained):
            scaled = "v" if isinstance(weight, str) else f"{weight:g}"
            rule = f"{scaled} S" + (f" + {bias:g}" if bias else "")
            return rule, f"{scaled} T" + (" + new S" if trained else "")
        case ActivationLayer():
            return layer.formula, "T E[s'(u) s'(v)]"
        case LayerNorm():
            return "S / sqrt(q q')", "T / sqrt(q q')"
        case Tangent():
            return "T", "0"
        case Product():
            return "product of the branches' S", "sum of T_k times the others' S"
        case Concatenate():
            return "mean of the branches' S, by share", "likewise"
        case Sum() | Residual():
            return "sum of the branches' S", "sum of the branches' T"
        case _:
            return "", ""


def _path(plan: Plan, has_tangent: bool, pieces: int, squares: list[float]) -> str:
    """How tiles compute it, for rows of some squared norms."""
    dtype = np.dtype(np.float64)
    try:
        program = compile_program(plan, has_tangent, dtype, pieces, norm_range(Scaled.of(np.array(squares))))
    except ValueError as error:
        return f"refused at these norms: {error}"
    accuracy = f"errors up to {promised(instructions_of(plan), dtype):.0e} of sqrt(K(x, x) K(y, y)) in float64"
    nanoseconds = _cost(program)
    share = f"about {nanoseconds:.3g} ns an entry and core, {1e-9 * nanoseconds * 1e8 / 2:.2g} s for 10 000 rows"
    if program.profile is not None:
        return f"one table of {len(program.profile.coefficients)} terms; {share}; {accuracy}"
    kinds = Counter(_named(program, index) for index in range(len(program.maps)))
    maps = ", ".join(f"{count} x {name}" for name, count in kinds.items())
    steps = f"{len(program.instructions)} instructions" + (f" with {maps}" if maps else "")
    return f"{steps}, {program.n_parameters} numbers a row; {share}; {accuracy}"


def _named(program: Program, index: int) -> str:
    part = program.maps[index]
    return f"polynomial of {part.n_parameters - 3} terms" if part.kind == "polynomial" else part.kind


def _cost(program: Program) -> float:
    if program.profile is not None:
        return PROFILE_COST
    maps = sum(COSTS[part.kind] if part.kind in COSTS else TERM_COST * part.n_parameters for part in program.maps)
    return PROFILE_COST + maps + MIX_COST * len(program.instructions)
