"""Where a network meets its units: the dense layers that see the rows, and whether one makes the output."""

from __future__ import annotations

from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.layers import Concatenate, Conv, Dense, Input, LayerNorm, Product, Sequential, Sum
from ntk_fast.layers.layer import Layer
from ntk_fast.lower.plan import variances_of


def on_rows(kernel: Kernel) -> list[int] | None:
    """Return which of a kernel's dense layers see the rows, so that their weights may take the rows' unit.

    None where rows go elsewhere too, and for a kernel without variances.
    """
    return _on_rows(kernel.network, 0) if isinstance(kernel, NTK | NNGP) else None


def _on_rows(layer: Layer, first: int) -> list[int] | None:
    """Return those of a layer whose first dense layer has the number `first`."""
    match layer:
        case Dense() | Conv():
            return [first]
        case LayerNorm():
            return []  # no unit goes further
        case Sequential() if layer.layers:
            inner = [part for part in layer.layers[:2] if not isinstance(part, Input)]
            return _on_rows(inner[0], first) if inner else None
        case Sum() | Product() | Concatenate():
            found: list[int] = []
            for branch in layer.branches:
                some = _on_rows(branch, first)
                if some is None:
                    return None
                found += some
                first += len(variances_of(branch))
            return found
    return None


def ends_in_dense(kernel: Kernel) -> bool:
    """Whether a dense layer, the last one, makes the output, so that its variances may take the targets' unit."""
    if not isinstance(kernel, NTK | NNGP):
        return False
    layer: Layer = kernel.network
    while isinstance(layer, Sequential) and layer.layers:
        layer = layer.layers[-1]
    return isinstance(layer, Dense)
