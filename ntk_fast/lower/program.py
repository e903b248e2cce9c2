"""What tiles execute on every pair of rows: a handful of instructions on the pair's normalised state (`pair_state`).

Register 0 holds the rows' own state. An instruction takes one register through a map (an activation) or none, mixes it
with others and with a bias, in shares that each row has of its own, and stores the state in a register:

    m' = sum_k r_k r_k' m_k + gap        gap = sum_k (r_k - r_k')^2 / 2 + (tau - tau')^2 / 2
    p' = sum_k r_k r_k' p_k + 2 tau tau' + gap
    t' = sum_k r_k r_k' D_k t_k + (the cosine, if the layer's own parameters are trained)

with sum_k r_k^2 + tau^2 = 1 for each row, so that gap = 1 - sum_k r_k r_k' - tau tau', and every term is positive:
nothing cancels. An entry of the matrix is scale scale' t (or scale scale' cosine) of the last instruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.layers.activation import ActivationLayer

#: A share that is 1 for every row.
WHOLE = -1
#: No plane, no map.
ABSENT = -1
#: Shares of the absolute value below which an activation is nearly linear, and how many such layers are few: of more
#: than 200 the rounding errors of m came to 6 times what is promised. Elsewhere layers forget them as they contract.
NEARLY_LINEAR, FEW_LAYERS = 0.02, 50
#: The sources that an instruction can have at most.
MOST_SOURCES = 64


@dataclass(frozen=True, eq=False)
class Table:
    """A univariate function of the chord as piecewise polynomials; position = chord * scale / (1 + stretch * chord)."""

    coefficients: NDArray[np.floating]  # (terms, pieces), lowest power of the offset from a piece's centre first
    stretch: float
    scale: float


@dataclass(frozen=True, eq=False)
class UnivariateMap:
    """Tables of a map that needs no row parameters: D = derivative(chord), and where the cosine is >= 0

        m' = chord**power * value(chord).

    Parity 0: two-sided tables, whose second half of pieces is cosine < 0, where m' = value(chord); p' = 2 - m'.
    Parity 1 and -1: one-sided tables, of the nearer side; odd maps exchange m' and p' where the pair is opposite.
    """

    parity: int
    power: int
    value: Table
    derivative: Table


@dataclass(frozen=True, eq=False)
class Tail:
    """What tiles need of the tail of a Hermite expansion: see `layers.hermite_tails`, whose names these are."""

    functions: tuple[
        Table, ...
    ]  # tau_0, tau_1, ...: for even n, then for odd n; one-sided, all with the same positions
    at_zero: tuple[float, ...]  # l_i(0)
    steps: tuple[float, ...]  # r / x_i
    reach: float  # r^2
    shift: float
    largest_square: float  # squared chords from here on are without


@dataclass(frozen=True, eq=False)
class CornerParts:
    """What tiles need of a function that is straight between corners: see `layers.cornered`."""

    positions: tuple[float, ...]
    slopes: tuple[float, ...]  # one more than corners, as are ...
    rises: tuple[float, ...]  # ... the values at 0 of lines, less that of the function
    bends: tuple[float, ...]  # by which slopes rise
    moment: Table  # one-sided: `lower.corner_parts.gap_moment`


@dataclass(frozen=True, eq=False)
class PlacedMap:
    """An activation and where its row parameters are."""

    activation: ActivationLayer
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class PairMap:
    """An activation where it stands: its parameters' planes, and what else its kind needs."""

    activation: ActivationLayer
    kind: str  # the activation's map_kind, or "table" where its variance is the same for all rows
    first_parameter: int = ABSENT
    n_parameters: int = 0
    parity: int = 0  # of the activation
    constants: tuple[float, ...] = ()  # what the kind needs besides; "fold": the shares (linear, fold)
    table: UnivariateMap | None = None
    tail: Tail | None = None  # of a "polynomial"
    corners: CornerParts | None = None  # of "corners"

    @property
    def placed(self) -> PlacedMap:
        """The activation and where its row parameters are."""
        return PlacedMap(self.activation, self.first_parameter, self.n_parameters)


@dataclass(frozen=True)
class Instruction:
    """See the module. A product multiplies its sources' cosines instead, and has no shares, bias or map.

    Where it promotes, the cosine becomes r r' t, with r = sqrt(q / T(x, x)) as its share, and the tangent 0.
    """

    destination: int
    sources: tuple[int, ...]
    shares: tuple[int, ...]  # planes, or WHOLE
    bias: int = ABSENT  # plane of tau
    map: int = ABSENT  # index of a PairMap, applied first; only with one source
    adds_own: bool = False
    is_product: bool = False
    promotes: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """A kernel, compiled for one dtype and one number of pieces of its tables."""

    instructions: tuple[Instruction, ...]  # none: `profile` is the kernel
    maps: tuple[PairMap, ...]
    n_registers: int
    n_parameters: int  # planes of a row
    has_tangent: bool  # an entry is scale scale' t, else scale scale' cosine
    profile: Table | None  # second half of the pieces: cosine < 0
    near: float  # squared chords of the rows below this are computed from the rows themselves ...
    near_exact: float  # ... and below this to full relative accuracy
    dtype: np.dtype  # what tiles compute in: that of the rows, or float64
    cost: int  # instructions that an entry takes; 0 for a profile
    counts: tuple[int, ...]  # row parameters of each map
    tabulated: frozenset[int]  # maps that are tables here, and take no row parameters

    @property
    def keeps_m_rest(self) -> bool:
        """Whether tiles keep what rounding takes from m: many layers are nearly linear, and would add it up."""
        return sum(part.kind == "fold" and part.constants[1] < NEARLY_LINEAR for part in self.maps) > FEW_LAYERS

    @property
    def n_corners(self) -> int:
        """How many maps are of corners away from 0, which tiles have in float64 alone."""
        return sum(part.kind == "corners" for part in self.maps)
