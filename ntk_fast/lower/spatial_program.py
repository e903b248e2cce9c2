"""What tiles execute on a pair of images: steps on the states of all pairs of positions that the output needs.

A pair of positions, i of one image and i' of the other, has the state of a pair of rows, m = 1 - cosine, p = 1 + cosine
and t = T / sqrt(q q'), with the variances q at i and q' at i'. Per node there is one state for each pair of
`SpatialProgram.pairs`; the nodes are numbered as in the plan, and there is one step for each but node 0.

    ArrangeStep     the state of the images themselves
    PointStep       an `Instruction` of the programs on rows, at every pair of positions on its own
    ConvolveStep    sums over the taps d of a filter, the same d on both sides
    GatherStep      sums over positions on both sides independently: pools and attention

What they need to know of an image lies in the planes of `Rows.parameters`, (n_planes, n_images): of plane k of a step,
position i of the grid that it is said to have lies in row ``first + k * n_positions + i``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ntk_fast.layers.cornered import CORNER_PLANES
from ntk_fast.layers.window import Grid, Window
from ntk_fast.lazy import lazy
from ntk_fast.lower.positions import Pairs, n_positions
from ntk_fast.lower.program import Instruction, PairMap
from ntk_fast.lower.wide_series import has_series

#: What maps count for: two corners, any that is no table, and a tail; pairs rarely take more terms of an expansion.
TERMS_OF_CORNERS, TERMS_OF_CURVED, TERMS_OF_TAIL, MOST_TERMS_TAKEN = 75, 10, 75, 100


@dataclass(frozen=True, eq=False)
class ArrangeStep:
    """Pixels as they are: units u = (channels of the row at i) * inverse(i).

    m = |u - u'|^2 / 2, p = |u + u'|^2 / 2 and t = 0; to both come 1/2 for each of the two whose inverse is 0: a pixel
    of zeros has m = p = 1 with any other.
    """

    shape: tuple[int, ...]  # positions along each dimension, channels
    inverse: int  # first row of its one plane, on its own grid


@dataclass(frozen=True, eq=False)
class PointStep:
    """An instruction whose destination and sources are nodes, and whose planes are counted from `first`.

    Its planes lie on the grid of the node. A source without positions, in a product, is the same at all of them.
    """

    instruction: Instruction
    map: PairMap | None  # with `first_parameter` counted from `first`, too
    first: int
    n_planes: int


@dataclass(frozen=True, eq=False)
class ConvolveStep:
    """With r_d(i) = root(position that tap d sees) * inverse(i), 0 where it sees none, and tau:

        gap = sum_d (r_d - r_d')^2 / 2 + (tau - tau')^2 / 2
        m'  = sum_d r_d r_d' m_d + gap      p' = sum_d r_d r_d' p_d + 2 tau tau' + gap
        t'  = sum_d r_d r_d' t_d + (the cosine, if `adds_own`)

    Each image has sum_d r_d^2 + tau^2 = 1, so that gap = 1 - sum_d r_d r_d' - tau tau', and nothing cancels. A tap that
    is outside on one side alone still counts in the gap. Where a patch is blank, r = 0 and tau = 1.
    """

    source: int
    window: Window
    adds_own: bool
    root: int  # on the grid of the source
    inverse: int  # on that of the output, as is ...
    tau: int


@dataclass(frozen=True, eq=False)
class GatherStep:
    """With weights alpha of the source's positions, whose absolute values add up to 1 (or are all 0), and mu:

        mu_xy = sum_a sum_b |alpha_a alpha_b'| m_ab      nu_xy = sum_a sum_b |alpha_a alpha_b'| p_ab

    with m and p exchanged where the weights' signs differ. Of an image with itself and i = i', mu_xy is its mu. Then

        g = sqrt((1 - mu) (1 - mu'))
        h = (mu + mu') / 2 + (mu - mu')^2 / (sqrt(1 - mu) + sqrt(1 - mu'))^2 / 2 = 1 - g
        m' = max(mu_xy - h, 0) / g        p' = max(nu_xy - h, 0) / g        t' = sum_a sum_b alpha_a alpha_b' t_ab / g

    and m' = p' = 1, t' = 0 where g = 0. The subtraction leaves an error of about 1e-16 mu / g, so m' is held to what
    the distance of the two sums is at most, with the taps of both windows one by one:

        m' <= (sum_a d_a)^2 / (2 g) <= n_taps sum_a d_a^2 / (2 g)
        d_a^2 = (|alpha_a| - |alpha_a'|)^2 + 2 |alpha_a alpha_a'| m_aa

    and p' likewise with p_aa: 0 to the last digit for windows that are scaled copies of each other. Equal images have
    m' = 0 exactly if mu was summed as mu_xy is. Windows that are near, and not equal, lose digits of their distance all
    the same, 1e-16 mu / sqrt(m') of it: see `near_images`. Those whose taps are far apart and whose m' is below its
    rounding are equal, as parts of blank images are that have moved within the window.

    A pool: alpha_a = root(a) * inverse(i), for the positions a that the window of i sees. Attention: planes of alpha.
    """

    source: int
    window: Window | None  # None: attention, every position sees all
    root: int  # a pool's, on the grid of the source; attention's n_positions planes of alpha, one for each a
    inverse: int  # a pool's, on the grid of the output; attention: none, -1
    mu: int  # on the grid of the output


SpatialStep = ArrangeStep | PointStep | ConvolveStep | GatherStep


@dataclass(frozen=True, eq=False)
class SpatialProgram:
    """A kernel of images, compiled for one dtype and one number of pieces of its tables."""

    shape: tuple[int, ...]  # of an image: positions along each dimension, channels
    steps: tuple[SpatialStep, ...]
    grids: tuple[Grid, ...]  # of each node
    pairs: Pairs  # of each node: which pairs of positions the output needs
    row_pairs: Pairs  # the same for an image with itself: see `Pairs.of_rows`
    n_parameters: int  # planes of an image
    has_tangent: bool  # an entry is scale scale' t, else scale scale' cosine
    dtype: np.dtype  # what tiles compute in

    @property
    def carries_tangent(self) -> bool:
        """Whether tangents are computed: they may be a factor of a covariance."""
        return self.has_tangent or any(isinstance(step, PointStep) and step.instruction.promotes for step in self.steps)

    @property
    def n_corners(self) -> int:
        """How many maps are of corners away from 0, which tiles have in float64 alone."""
        maps = [step.map for step in self.steps if isinstance(step, PointStep) and step.map is not None]
        return sum(pair_map.kind == "corners" for pair_map in maps)

    @lazy
    def cost(self) -> int:
        """How many terms an entry has: one for each tap of a filter at each pair of positions; maps count for more."""
        return sum(
            self.n_terms_of_pair(step) * planes.n_pairs
            for step, planes in zip(self.steps, self.pairs.of_nodes[1:], strict=True)
            if planes is not None
        )

    @lazy
    def bounded(self) -> frozenset[int]:
        """Pools and attention with activations behind them, whose m is held to the distance of windows tap by tap."""
        behind: set[int] = set()
        for node in range(len(self.steps), 0, -1):
            step = self.steps[node - 1]
            if node in behind or (isinstance(step, PointStep) and step.map is not None):
                behind |= set(sources_of(step))
        return frozenset(node for node in behind if node and isinstance(self.steps[node - 1], GatherStep))

    @lazy
    def watched(self) -> frozenset[int]:
        """Those of them before which all is known in twice the digits: near windows can be computed again.

        An angle has a square root of the rounding of what they subtract; see `near_images`.
        """
        return frozenset(
            node for node in self.bounded if all(_is_exact(self.steps[k - 1]) for k in self._before({node}))
        )

    @lazy
    def before_watched(self) -> frozenset[int]:
        """Watched nodes, and all that they are made of."""
        return self._before(self.watched)

    def _before(self, nodes: Iterable[int]) -> frozenset[int]:
        found = set(nodes)
        for node in range(len(self.steps), 0, -1):
            if node in found:
                found |= set(sources_of(self.steps[node - 1])) - {0}
        return frozenset(found)

    def n_terms_of_pair(self, step: SpatialStep) -> int:
        """How many of them are a step's at one pair of positions."""
        match step:
            case ConvolveStep(window=window):
                return window.n_taps
            case GatherStep(source, window):
                return 2 * n_positions(self.grids[source]) if window is None else window.n_taps**2
            case PointStep(map=PairMap() as pair_map):
                return _terms_of(pair_map)
            case _:
                return 1


def _terms_of(pair_map: PairMap) -> int:
    """Return how many terms of a filter cost about what a map does, as measured in C."""
    match pair_map.kind:
        case "fold" | "table":
            return 1
        case "corners":
            n_corners = pair_map.n_parameters // CORNER_PLANES
            return TERMS_OF_CORNERS * n_corners * (n_corners if pair_map.parity == 0 else (n_corners + 1) // 2)
        case "polynomial":
            n_terms = min(pair_map.n_parameters, MOST_TERMS_TAKEN)
            return TERMS_OF_CURVED + n_terms + (TERMS_OF_TAIL if pair_map.activation.has_tail else 0)
        case _:
            return TERMS_OF_CURVED


def sources_of(step: SpatialStep) -> tuple[int, ...]:
    """Return the nodes that a step takes."""
    match step:
        case ArrangeStep():
            return ()
        case PointStep(instruction):
            return instruction.sources
        case _:
            return (step.source,)


def _is_exact(step: SpatialStep) -> bool:
    return not isinstance(step, PointStep) or (
        not step.instruction.promotes
        and (step.map is None or step.map.activation.homogeneity is not None or has_series(step.map))
    )
