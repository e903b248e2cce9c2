"""A kernel as data: S or T of a network, which is all that computing needs to know of it."""

from __future__ import annotations

from typing import Any, ClassVar

from ntk_fast.layers.layer import Layer
from ntk_fast.lazy import lazy
from ntk_fast.lower.plan import plan_of
from ntk_fast.lower.steps import Plan


class Limit:
    """The limit of a network; immutable: compared, hashed and pickled by the network."""

    #: What is kept once it is asked for, and not pickled.
    CACHED: ClassVar[tuple[str, ...]] = ("plan", "is_zero", "_hash", "variances")
    #: Whether it is T, the tangent's, and not S.
    has_tangent: ClassVar[bool]

    @property
    def network(self) -> Layer:
        """The network whose limit the kernel is, as a description: see :mod:`ntk_fast.layers`."""
        raise NotImplementedError

    @lazy
    def plan(self) -> Plan:
        """The network's steps, as everything computes them."""
        return plan_of(self.network)

    @property
    def is_zero(self) -> bool:
        """Whether the kernel is 0 for all rows: a layer without weights, and no bias in it or after it."""
        raise NotImplementedError

    @lazy
    def _hash(self) -> int:
        return hash((type(self).__name__, self.network))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.network == other.network

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self.CACHED}
