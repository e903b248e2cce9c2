"""A network as the few steps that everything is computed with.

Node 0 is the rows, S = x.x' and T = 0; each step makes the next node. With q = S(x, x), q' = S(x', x') and (u, v)
Gaussian of covariance (q, q', S),

    Mix         S = sum_k w_k S_k + b             T = sum_k w_k T_k + (S, if the layer's parameters are trained)
    Map         S = E[sigma(u) sigma(v)]          T = T E[sigma'(u) sigma'(v)]
    Normalise   S = S / sqrt(q q')                T = T / sqrt(q q')
    Multiply    S = prod_k S_k                    T = sum_k T_k prod_{j != k} S_j
    Promote     S = T                             T = 0

(Yang 2020; Eqs. 1 and 6 are Mix, Map, Mix with w = 1, b = 0). Images and sequences have a covariance for every position
i of x and i' of x'; the steps above act on each, and others on several (Arora 2019, Novak 2019, Hron 2020):

    Arrange     S[i, i'] = x_i . x'_i'                                    T = 0
    Convolve    S[i, i'] = w sum_d S[i + d, i' + d] + b                   T likewise, and S as in Mix
    Pool        S[i, i'] = w sum_{d, d'} S[i + d, i' + d']                T likewise
    Attend      S = G S G'^T, G = zeta(scale S(x, x)), a matrix           T = G T G'^T
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.window import Grid, Window
from ntk_fast.lazy import lazy


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
    """A product of branches; one without positions is the same at all of them."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class Promote:
    """The tangent as a covariance: a factor of a product of kernels."""

    source: int


@dataclass(frozen=True)
class Arrange:
    """Rows as numbers at positions: channels last."""

    source: int
    shape: tuple[int, ...]  # positions along each dimension, channels


@dataclass(frozen=True)
class Convolve:
    """A convolution, or Flatten; w is the weight over the number of taps."""

    source: int
    window: Window
    weight: Fraction
    bias: Fraction
    adds_own: bool


@dataclass(frozen=True)
class Pool:
    """A pool."""

    source: int
    window: Window
    weight: Fraction


@dataclass(frozen=True)
class Attend:
    """Sums over all positions, by weights that each row makes of its own covariances."""

    source: int
    zeta: str
    scale: Fraction


Step = Mix | Map | Normalise | Multiply | Promote | Arrange | Convolve | Pool | Attend


@dataclass(frozen=True)
class Plan:
    """The steps of a network, in the order in which they can be computed; the last one's node is the output."""

    steps: tuple[Step, ...]

    def sources(self, step: Step) -> tuple[int, ...]:
        return step.sources if isinstance(step, Mix | Multiply) else (step.source,)

    @lazy
    def shape(self) -> tuple[int, ...] | None:
        """What each row is arranged as, (height, width, channels) or (length, channels); None if it is not."""
        return next((step.shape for step in self.steps if isinstance(step, Arrange)), None)

    @lazy
    def grids(self) -> tuple[Grid, ...]:
        """The positions of each node; () where there are none."""
        grids: list[Grid] = [()]
        for step in self.steps:
            match step:
                case Arrange(shape=shape):
                    grids.append(shape[:-1])
                case Convolve(window=window) | Pool(window=window):
                    grids.append(window.output)
                case _:
                    grids.append(max((grids[source] for source in self.sources(step)), key=len))
        return tuple(grids)


def refuse_images(plan: Plan, what: str) -> None:
    """Refuse a network that begins with Input where rows without positions are needed."""
    if plan.shape is not None:
        raise ValueError(
            f"network: {what} for networks on rows, not for one on images or sequences (with Input), which has "
            "Gram matrices, a diagonal, and what is made of these."
        )


def joined(steps: list[Step], output: int) -> tuple[Step, ...]:
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
    return tuple(renumbered(merged[k - 1], number) for k in kept)


def renumbered(step: Step, number: dict[int, int]) -> Step:
    """Return a step with other numbers of its sources."""
    if isinstance(step, Mix | Multiply):
        return replace(step, sources=tuple(number[k] for k in step.sources))
    return replace(step, source=number[step.source])
