"""From a plan to instructions on registers, and what they need to know of each row.

An activation that only one dense layer uses is one instruction with it; a LayerNorm is none, since the state of a pair
is normalised anyway. Registers are used again as soon as nothing needs them, so a chain of any depth takes two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ntk_fast.lower.program import ABSENT, MOST_SOURCES, WHOLE, Instruction
from ntk_fast.lower.steps import Map, Mix, Multiply, Normalise, Plan, Promote, refuse_images


@dataclass(frozen=True)
class SharePlanes:
    """Planes of a mix's shares: those of its sources, then, if it has one, of its bias. Or of sqrt(q / T(x, x))."""

    node: int
    step: Mix | Promote
    first: int
    count: int


@dataclass(frozen=True)
class MeanPlanes:
    """Planes of an activation's spread and mean, where its map leaves the mean to a mix; `node` is its input."""

    node: int
    step: Map
    first: int
    count: int = 2


@dataclass(frozen=True)
class MapSlot:
    """An activation where it stands: the variance at `node` is what its parameters depend on."""

    node: int
    step: Map


@dataclass(frozen=True)
class Instructions:
    """A plan's instructions. `planes` come first among the row parameters, the maps' own follow."""

    instructions: tuple[Instruction, ...]
    planes: tuple[SharePlanes | MeanPlanes, ...]
    maps: tuple[MapSlot, ...]
    n_registers: int

    @property
    def n_shares(self) -> int:
        """How many planes the shares take."""
        return sum(part.count for part in self.planes)


class _Registers:
    """Which register holds a node, and which are free."""

    def __init__(self, uses: list[int]) -> None:
        self._uses = uses
        self._register = {0: 0}
        self._free: list[int] = []
        self.n_registers = 1

    def of(self, node: int) -> int:
        return self._register[node]

    def release(self, node: int) -> None:
        self._uses[node] -= 1
        if not self._uses[node]:
            self._free.append(self._register.pop(node))

    def take(self, node: int) -> int:
        if not self._free:
            self._free.append(self.n_registers)
            self.n_registers += 1
        self._register[node] = self._free.pop()
        return self._register[node]


@lru_cache(maxsize=256)
def instructions_of(plan: Plan) -> Instructions:
    """Return the instructions of a plan."""
    refuse_images(plan, "this is")
    alias = list(range(len(plan.steps) + 1))  # a LayerNorm's node is its source
    uses = [0] * (len(plan.steps) + 1)
    for node, step in enumerate(plan.steps, start=1):
        if isinstance(step, Normalise):
            alias[node] = alias[step.source]
            continue
        for source in plan.sources(step):
            uses[alias[source]] += 1
    fused = set()
    for step in plan.steps:
        if isinstance(step, Mix) and len(step.sources) == 1:
            source = alias[step.sources[0]]
            before = plan.steps[source - 1] if source else None
            if isinstance(before, Map) and uses[source] == 1 and not before.activation.separates_mean:
                fused.add(source)
    output = alias[len(plan.steps)]
    uses[output] += 1
    registers = _Registers(uses)
    instructions: list[Instruction] = []
    planes: list[SharePlanes | MeanPlanes] = []
    maps: list[MapSlot] = []
    n_shares = 0

    def emit(node: int, sources: tuple[int, ...], shares: tuple[int, ...], **options: object) -> None:
        held = tuple(registers.of(source) for source in sources)
        for source in sources:
            registers.release(source)
        instructions.append(Instruction(registers.take(node), held, shares, **options))  # type: ignore[arg-type]

    for node, step in enumerate(plan.steps, start=1):
        match step:
            case Map(source):
                if node in fused:
                    continue
                maps.append(MapSlot(source, step))
                if not step.activation.separates_mean:
                    emit(node, (alias[source],), (WHOLE,), map=len(maps) - 1)
                    continue
                planes.append(MeanPlanes(source, step, n_shares))
                emit(node, (alias[source],), (n_shares,), bias=n_shares + 1, map=len(maps) - 1)
                n_shares += 2
            case Promote(source):
                planes.append(SharePlanes(node, step, n_shares, 1))
                emit(node, (alias[source],), (n_shares,), promotes=True)
                n_shares += 1
            case Multiply(sources):
                emit(node, tuple(alias[k] for k in sources), (), is_product=True)
            case Mix(sources, _, bias, adds_own):
                if len(sources) > MOST_SOURCES:
                    raise ValueError(f"network: a sum or concatenation must have at most {MOST_SOURCES} branches.")
                tau, map_index = ABSENT, ABSENT
                shares: tuple[int, ...] = (WHOLE,)
                if step.has_shares:
                    count = len(sources) + (bias != 0)
                    planes.append(SharePlanes(node, step, n_shares, count))
                    shares = tuple(range(n_shares, n_shares + len(sources)))
                    tau = n_shares + len(sources) if bias else ABSENT
                    n_shares += count
                held = tuple(alias[k] for k in sources)
                if len(sources) == 1 and held[0] in fused:
                    inner = plan.steps[held[0] - 1]
                    assert isinstance(inner, Map)
                    maps.append(MapSlot(inner.source, inner))
                    map_index, held = len(maps) - 1, (alias[inner.source],)
                emit(node, held, shares, bias=tau, map=map_index, adds_own=adds_own)
    return Instructions(tuple(instructions), tuple(planes), tuple(maps), registers.n_registers)
