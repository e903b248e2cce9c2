"""In which form C keeps the states of nodes: what is not needed is not kept, and what follows at once is not stored.

has_opposite    cosines may be negative: p is a part of its own; elsewhere it is 2 - m
weighed_by      one convolution reads the node, and nothing else: parts are weighed for its sums, R R' m and so on, and
                R R' cosine is kept besides; the row of its R among the parameters
is_passed_on    a convolution whose states go through alpha z + beta |z| as they come, and are not stored
"""

from __future__ import annotations

from dataclasses import dataclass

from ntk_fast.lower.spatial_program import (
    ArrangeStep,
    ConvolveStep,
    GatherStep,
    PointStep,
    SpatialProgram,
    SpatialStep,
    sources_of,
)


@dataclass(frozen=True)
class NodeForm:
    """How a node is kept; by default as m, p and t."""

    has_opposite: bool = True
    weighed_by: int = -1
    is_passed_on: bool = False

    @property
    def n_parts(self) -> int:
        """How many vectors a pair takes."""
        return 0 if self.is_passed_on else 2 + self.has_opposite + (self.weighed_by >= 0)


def plain_forms(program: SpatialProgram) -> tuple[NodeForm, ...]:
    """Return the default form of every node."""
    return (NodeForm(),) * len(program.grids)


def condensed_forms(program: SpatialProgram) -> tuple[NodeForm, ...]:
    """Return the least that the nodes of a program need."""
    readers: list[list[int]] = [[] for _ in program.grids]
    for node, step in enumerate(program.steps, start=1):
        for source in sources_of(step):
            readers[source].append(node)
    forms = [NodeForm()]
    for node, step in enumerate(program.steps, start=1):
        last = program.steps[readers[node][0] - 1] if len(readers[node]) == 1 else None
        has_opposite = not _is_positive(step, forms)
        if isinstance(step, ConvolveStep):
            forms.append(NodeForm(has_opposite, is_passed_on=_moves(step) and _is_fold(last)))
        elif isinstance(last, ConvolveStep) and _moves(last) and _is_put_once(step):
            forms.append(NodeForm(has_opposite, weighed_by=last.root))
        else:
            forms.append(NodeForm(has_opposite))
    return tuple(forms)


def _moves(step: ConvolveStep) -> bool:
    """Whether a filter moves over positions, and zeros are around them."""
    return bool(step.window.output) and not step.window.is_circular


def _is_put_once(step: SpatialStep) -> bool:
    """Whether nothing reads what has been put: a mix after a map does."""
    match step:
        case PointStep(instruction):
            return instruction.map < 0 or instruction.bias < 0
        case _:
            return isinstance(step, ArrangeStep)


def _is_fold(step: SpatialStep | None) -> bool:
    return isinstance(step, PointStep) and step.map is not None and step.map.kind == "fold"


def _is_positive(step: SpatialStep, forms: list[NodeForm]) -> bool:
    """Whether no cosine after a step is negative: alpha z + beta |z| has one sign if |beta| >= |alpha|."""
    match step:
        case PointStep(_, map=pair_map) if pair_map is not None:
            return pair_map.kind == "fold" and pair_map.constants[0] <= pair_map.constants[1]
        case GatherStep(window=None):  # attention, whose weights have signs
            return False
        case ConvolveStep() | PointStep() | GatherStep():
            return all(not forms[source].has_opposite for source in sources_of(step))
        case _:
            return False
