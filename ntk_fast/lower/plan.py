"""A network as the few steps that everything is computed with: the recursion over layers, once.

Node 0 is the rows, S = x.x' and T = 0; each step makes the next node. With q = S(x, x), q' = S(x', x') and (u, v)
Gaussian of covariance (q, q', S),

    Mix         S = sum_k w_k S_k + b             T = sum_k w_k T_k + (S, if the layer's parameters are trained)
    Map         S = E[sigma(u) sigma(v)]          T = T E[sigma'(u) sigma'(v)]
    Normalise   S = S / sqrt(q q')                T = T / sqrt(q q')
    Multiply    S = prod_k S_k                    T = sum_k T_k prod_{j != k} S_j
    Promote     S = T                             T = 0

(Yang 2020; Eqs. 1 and 6 are Mix, Map, Mix with w = 1, b = 0). What a network may not be is refused here, by the place
of the layer, before any work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntk_fast.layers.activation import ActivationLayer
    from ntk_fast.layers.layer import Layer

#: Layers within layers. A description deeper than this is a mistake, and would exhaust the stack.
MOST_NESTED = 100


@dataclass(frozen=True)
class Mix:
    """Dense layers, sums, concatenations; adjoining ones are one."""

    sources: tuple[int, ...]
    weights: tuple[Fraction, ...]
    bias: Fraction
    adds_own: bool

    @property
    def has_shares(self) -> bool:
        """Whether there is more than one thing to mix, in shares that each row has of its own."""
        return len(self.sources) > 1 or self.bias != 0


@dataclass(frozen=True)
class Map:
    """An activation."""

    source: int
    activation: ActivationLayer
    place: str = field(default="", compare=False)  # of the layer, for sentences


@dataclass(frozen=True)
class Normalise:
    """LayerNorm."""

    source: int


@dataclass(frozen=True)
class Multiply:
    """A product of branches."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class Promote:
    """The tangent as a covariance: a factor of a product of kernels."""

    source: int


Step = Mix | Map | Normalise | Multiply | Promote


@dataclass(frozen=True)
class Plan:
    """The steps of a network, in the order in which they can be computed; the last one's node is the output."""

    steps: tuple[Step, ...]

    def sources(self, step: Step) -> tuple[int, ...]:
        return step.sources if isinstance(step, Mix | Multiply) else (step.source,)


@dataclass(frozen=True)
class LoweredLayer:
    """A layer and the node that holds its output, for tables."""

    layer: Layer
    level: int  # how many layers it lies in
    node: int


@dataclass(frozen=True)
class Node:
    """Where a layer's output is, and what the next layer must know of it."""

    index: int
    is_gaussian: bool  # an activation's dual is an expectation over Gaussians
    is_centred: bool  # of mean zero over the random parameters that precede it
    gain: Fraction | float  # E[sigma(z)^2] of the activation whose output this is, else 1: for He scaling
    origins: frozenset[int]  # the Dense layers, or the rows (0), that its units are made of, one by one


#: The rows themselves: numbers, and no Gaussians.
ROWS = Node(0, is_gaussian=False, is_centred=False, gain=1, origins=frozenset({0}))


class Builder:
    """Collects the steps of a network while its layers are lowered; knows at which layer it is."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._places: list[str] = []
        self.has_parameters = False
        self.lowered: list[LoweredLayer] = []
        self.variances: list[tuple[Fraction, Fraction]] = []  # of each Dense, in order: weights', bias'

    def lower(self, layer: Layer, node: Node, place: str) -> Node:
        """Lower a layer within another, named by its place: "layer 2 of 5"."""
        if len(self._places) == MOST_NESTED:
            raise ValueError(f"network must not nest layers deeper than {MOST_NESTED}.")
        self._places.append(f"{place}, {layer.name}")
        entry = len(self.lowered)
        node = layer.lower(self, node)
        self.lowered.insert(entry, LoweredLayer(layer, len(self._places), node.index))
        self._places.pop()
        return node

    def refuse(self, reason: str) -> ValueError:
        """Return the error that names the layer being lowered."""
        return ValueError(f"network: {', '.join(self._places)}: {reason}")

    def _add(self, step: Step) -> int:
        self._steps.append(step)
        return len(self._steps)

    def mix(
        self,
        nodes: Sequence[Node],
        weights: Sequence[Fraction],
        bias: Fraction = Fraction(0),
        *,
        adds_own: bool = False,
        is_dense: bool = False,
        is_gaussian: bool,
        is_centred: bool,
    ) -> Node:
        """Add a sum of nodes with weights, and a bias; `is_dense`: of all units, with weights drawn anew."""
        self.has_parameters |= is_dense
        index = self._add(Mix(tuple(node.index for node in nodes), tuple(weights), bias, adds_own))
        origins = frozenset({index}) if is_dense else frozenset().union(*(node.origins for node in nodes))
        return Node(index, is_gaussian, is_centred, 1, origins)

    def refuse_dependent(self, nodes: Sequence[Node], what: str) -> None:
        """Refuse branches that are not independent: that are made, unit by unit, of the same ones."""
        seen: frozenset[int] = frozenset()
        for node in nodes:
            if seen & node.origins:
                raise self.refuse(
                    f"the branches of a {what} must be independent: at most one may pass its input on, and what an "
                    "activation or a LayerNorm makes of it does; a Dense at the end of a branch makes it independent."
                )
            seen |= node.origins

    def map(self, node: Node, activation: ActivationLayer) -> Node:
        """Add an activation."""
        if not node.is_gaussian:
            raise self.refuse(
                "an activation needs a Dense before it: the rows as they are, what another activation made, products "
                "and concatenations of them, and sums with any of these, are not Gaussian."
            )
        step = Map(node.index, activation, ", ".join(self._places))
        return Node(self._add(step), False, activation.parity == -1, activation.gain, node.origins)

    def normalise(self, node: Node) -> Node:
        """Add a normalisation of each row's variance to 1."""
        return Node(self._add(Normalise(node.index)), node.is_gaussian, node.is_centred, 1, node.origins)

    def promote(self, node: Node) -> Node:
        """Add a node whose S is another's T: units drawn anew."""
        index = self._add(Promote(node.index))
        return Node(index, is_gaussian=False, is_centred=True, gain=1, origins=frozenset({index}))

    def multiply(self, nodes: Sequence[Node]) -> Node:
        """Add a product of independent nodes."""
        self.refuse_dependent(nodes, "product")
        step = Multiply(tuple(node.index for node in nodes))
        origins = frozenset().union(*(node.origins for node in nodes))
        return Node(self._add(step), False, any(node.is_centred for node in nodes), 1, origins)

    def plan(self, output: Node) -> Plan:
        """Return the plan, in which sums of sums are one."""
        return Plan(_joined(self._steps, output.index))

    @property
    def steps(self) -> Plan:
        """All steps so far, one by one, as `lowered` counts them."""
        return Plan(tuple(self._steps))


def _joined(steps: list[Step], output: int) -> tuple[Step, ...]:
    """Merge each mix into the mix that is its only user, and drop what nothing uses."""
    plan = Plan(tuple(steps))
    users = [0] * (len(steps) + 1)
    users[output] = 1
    for step in steps:
        for source in plan.sources(step):
            users[source] += 1
    merged: list[Step] = []
    for step in steps:
        if isinstance(step, Mix):
            terms: list[tuple[int, Fraction]] = []
            bias = step.bias
            for source, weight in zip(step.sources, step.weights, strict=True):
                inner = merged[source - 1] if source else None
                if isinstance(inner, Mix) and not inner.adds_own and users[source] == 1:
                    terms += [(k, weight * w) for k, w in zip(inner.sources, inner.weights, strict=True)]
                    bias += weight * inner.bias
                    users[source] = 0
                else:
                    terms.append((source, weight))
            step = Mix(tuple(k for k, _ in terms), tuple(w for _, w in terms), bias, step.adds_own)
        merged.append(step)
    kept = [k for k in range(1, len(merged) + 1) if users[k]]
    number = {0: 0, **{k: position for position, k in enumerate(kept, start=1)}}
    return tuple(_renumbered(merged[k - 1], number) for k in kept)


def _renumbered(step: Step, number: dict[int, int]) -> Step:
    match step:
        case Mix(sources, weights, bias, adds_own):
            return Mix(tuple(number[k] for k in sources), weights, bias, adds_own)
        case Multiply(sources):
            return Multiply(tuple(number[k] for k in sources))
        case Map(source, activation, place):
            return Map(number[source], activation, place)
        case Normalise(source):
            return Normalise(number[source])
        case Promote(source):
            return Promote(number[source])


def variances_of(network: Layer) -> list[tuple[Fraction, Fraction]]:
    """Return the variances of weights and of biases of each Dense, in order, names such as "he" as numbers."""
    builder = Builder()
    network.lower(builder, ROWS)
    return builder.variances


@lru_cache(maxsize=1024)
def plan_of(network: Layer) -> Plan:
    """Return the plan of a network on rows.

    Raises
    ------
    ValueError
        If the network is none, naming the layer and its place.
    """
    builder = Builder()
    plan = builder.plan(network.lower(builder, ROWS))
    if not builder.has_parameters:
        raise ValueError("network must have a Dense: without parameters it has no kernel.")
    return plan
