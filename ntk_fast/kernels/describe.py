"""A kernel's network as a table: its layers, what each does to S and T, and how tiles will compute it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ntk_fast.backends.base import Backend, ImageBackend
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.attention import Attention
from ntk_fast.layers.branches import Concatenate, Product, Residual, Sum
from ntk_fast.layers.conv import Conv
from ntk_fast.layers.dense import Dense
from ntk_fast.layers.flatten import Flatten
from ntk_fast.layers.hermite_map import HermiteMap
from ntk_fast.layers.input import Input
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.layer_norm import LayerNorm
from ntk_fast.layers.pool import AveragePool, GlobalAveragePool, GlobalSumPool, SumPool
from ntk_fast.layers.tangent import Tangent
from ntk_fast.layers.window import shown
from ntk_fast.lower.accuracy import promised
from ntk_fast.lower.compile import compile_program
from ntk_fast.lower.instructions import instructions_of
from ntk_fast.lower.near_images import seconds_of_pair
from ntk_fast.lower.plan import ROWS, Builder, plan_of
from ntk_fast.lower.positions import Pairs
from ntk_fast.lower.program import Program
from ntk_fast.lower.row_forms import RowValues
from ntk_fast.lower.row_parameters import RowParameters, norm_range
from ntk_fast.lower.scaled import UNIT, Scaled
from ntk_fast.lower.spatial_compile import compile_spatial
from ntk_fast.lower.steps import Map, Plan

#: Layers that are shown of a deep network: so many at either end.
SHOWN = 20

#: Nanoseconds of an entry on one core with AVX-512, float64, by the kind of a map; a mix; a profile with 64 features.
COSTS = {
    "fold": 1.2,
    "table": 1.5,
    "exponential": 2.0,
    "gaussian": 1.5,
    "erf": 3.0,
    "gelu": 4.0,
    "sine": 4.0,
    "corners": 100.0,
}
MIX_COST, TERM_COST, PROFILE_COST = 0.5, 0.15, 2.5


def describe_network(network: Layer, has_tangent: bool, backend: Backend) -> str:
    """Return the table, and how a backend computes it."""
    plan = plan_of(network)
    builder = Builder()
    output = network.lower(builder, ROWS)
    if plan.shape is None:
        unit = RowValues(builder.steps, UNIT)
        names: tuple[str, ...] = ("S(x, x)",)

        def numbers(node: int) -> tuple[str, ...]:
            return (f"{unit.variance(node).plain()[0]:.4g}",)

    else:
        names, pairs = ("positions", "pairs"), Pairs.behind_output(builder.steps, output.index)

        def numbers(node: int) -> tuple[str, ...]:
            grid, planes = builder.steps.grids[node], pairs.of_nodes[node]
            return shown(grid) if grid else "-", str(planes.n_pairs) if planes else "-"

    rows = [("layer", "S", "T", *names)]
    for lowered in builder.lowered:
        layer = lowered.layer
        text = "  " * (lowered.level - 1) + (layer.name if _holds_layers(layer) else repr(layer))
        step = builder.steps.steps[lowered.node - 1] if lowered.node else None
        does = step.activation if isinstance(step, Map) and isinstance(layer, ActivationLayer) else layer
        rows.append((text, *_rules(does), *numbers(lowered.node)))
    if not builder.lowered:
        rows.append((repr(network), *_rules(network), *numbers(output.index)))
    if len(rows) > 2 * SHOWN + 2:
        rows[SHOWN + 1 : -SHOWN] = [(f"... {len(rows) - 1 - 2 * SHOWN} more", *("",) * (len(rows[0]) - 1))]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    what = "T, its Neural Tangent Kernel" if has_tangent else "S, its Gaussian process"
    if plan.shape is not None:
        return "\n".join([*lines, "", f"The kernel is {what}.", *_image_path(plan, has_tangent, backend)])
    lines += ["", f"S(x, x) is that of a row of norm 1. The kernel is {what}."]
    for title, squares in (("rows of equal norm", [1.0, 1.0]), ("other rows", [0.25, 4.0])):
        lines.append(f"{title}: {_path(plan, has_tangent, backend.pieces(np.dtype(np.float64)), squares)}")
    return "\n".join(lines)


def _image_path(plan: Plan, has_tangent: bool, backend: Backend) -> list[str]:
    """How tiles compute it, and what Gram matrices cost."""
    dtype = np.dtype(np.float64)
    program = compile_spatial(plan, has_tangent, dtype, backend.pieces(dtype), UNIT)
    assert isinstance(backend, ImageBackend)
    seconds = backend.seconds_per_term * program.cost
    lines = [
        f"images of shape {shown(program.shape)}, channels last; an entry takes {program.pairs.count} pairs of "
        f"positions of all layers and {program.cost} terms",
        f"on {backend.name}: about {_duration(seconds)} an entry and core",
    ]
    near = seconds_of_pair(program)
    if near:
        lines.append(
            f"nearly equal images, from which pools would take digits: about {_duration(near)} a pair and core"
        )
    for n in (1000, 10_000):
        lines.append(
            f"{n} images: {_duration(seconds * n * (n + 1) / 2)} on one core, {8e-6 * n * n:.0f} MB in float64 for the "
            f"matrix and {8e-6 * n * program.n_parameters:.0f} MB for what is known of each image"
        )
    return lines


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= 2 * size or unit == "ms":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError


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
        case Input():
            return "x_i . x'_i'", "0"
        case Conv(_, _, _, weight, bias, _, trained):
            scaled = "v" if isinstance(weight, str) else f"{weight:g}"
            rule = f"{scaled} mean over taps of S" + (f" + {bias:g}" if bias else "")
            return rule, f"{scaled} mean over taps of T" + (" + new S" if trained else "")
        case SumPool() | GlobalSumPool():
            return "sum over both windows", "likewise"
        case AveragePool() | GlobalAveragePool():
            return "mean over both windows", "likewise"
        case Flatten():
            return "mean over equal positions", "likewise"
        case Attention(scaling):
            return (
                ("v G S G' + b", "v G T G' + 2 new S - b") if scaling == "d^-1" else ("v c^2 s S + b", "see Attention")
            )
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
    instructions = instructions_of(plan)
    there = RowParameters(plan, Scaled.of(np.array(squares)))
    reached = [slot.step.activation.accuracy(there.variance(index)) for index, slot in enumerate(instructions.maps)]
    accuracy = (
        f"errors up to {max(promised(instructions, dtype), *reached, 0.0):.0e} of sqrt(K(x, x) K(y, y)) in float64"
    )
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
    if not isinstance(part.activation, HermiteMap) or part.kind != "polynomial":
        return part.kind
    n_terms = part.n_parameters - part.activation.n_before
    return f"polynomial of {n_terms} terms" + (" and a tail" if part.tail is not None else "")


def _cost(program: Program) -> float:
    if program.profile is not None:
        return PROFILE_COST
    maps = sum(COSTS[part.kind] if part.kind in COSTS else TERM_COST * part.n_parameters for part in program.maps)
    return PROFILE_COST + maps + MIX_COST * len(program.instructions)
