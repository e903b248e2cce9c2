"""What is promised of entries, and what that asks of their parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntk_fast.lower.instructions import Instructions


@dataclass(frozen=True)
class Accuracy:
    """What is promised of an entry over sqrt(K(x, x) K(y, y)), and what arrives: errors of dot products and chords."""

    relu: float
    other: float
    near: float  # the share of an entry's error that cosine and chord may cause
    cosine: float  # from 64 features
    chord: float


ACCURACY = {
    np.dtype(np.float64): Accuracy(relu=2e-15, other=1e-13, near=1.5e-15, cosine=6e-16, chord=1e-16),
    np.dtype(np.float32): Accuracy(relu=5e-7, other=1e-6, near=2.5e-7, cosine=1.2e-7, chord=6e-8),
}


def promised(plan_instructions: Instructions, dtype: np.dtype) -> float:
    """Return the error that is promised of an entry."""
    accuracy = ACCURACY[dtype]
    if any(slot.step.activation.homogeneity is None for slot in plan_instructions.maps):
        return accuracy.other
    depth = max(1.0, float(np.log2(max(1, len(plan_instructions.maps)))))
    return accuracy.relu * (depth if dtype == np.float64 else 1.0)


def row_tolerance(dtype: np.dtype) -> float:
    """Return what row parameters of maps aim at."""
    return 1e-14 if dtype == np.float64 else 3e-8
