"""What tests and benchmarks run over: kernels, engines (a backend and, compiled, its instruction set), dtypes."""

from __future__ import annotations

import numpy as np

import ntk_fast as ntk
from ntk_fast.backends.engines import available_engines
from ntk_fast.kernels import Kernel

#: Activations of ReLU type by name.
FOLDED = ("relu", "leaky_relu", "abs")

#: Error of an entry over sqrt(K(x, x) K(y, y)): the promise, for rows of up to 64 features.
TOLERANCES = {np.dtype(np.float64): 2e-15, np.dtype(np.float32): 5e-7}


def tolerance(kernel: Kernel, dtype: np.dtype) -> float:
    """The promise for a kernel: in float64 it grows with log2(depth)."""
    growth = max(1.0, float(np.log2(kernel.depth))) if dtype == np.float64 else 1.0
    return TOLERANCES[np.dtype(dtype)] * growth


#: Units of the last place in which a diagonal may be off.
LARGEST_DIAGONAL_ULPS = 4

#: Every kernel, every activation, with and without bias, shallow and deep.
KERNELS: dict[str, Kernel] = {
    **{f"arccos{order}-{depth}": ntk.ArcCosine(order=order, depth=depth) for order in (0, 1, 2) for depth in (1, 3)},
    **{f"nngp-{activation}-{depth}": ntk.NNGP(depth, activation) for activation in FOLDED for depth in (1, 3)},
    **{f"ntk-{activation}-{depth}": ntk.NTK(depth, activation) for activation in FOLDED for depth in (1, 3)},
    "ntk-relu-10": ntk.NTK(10),
    "ntk-relu-100": ntk.NTK(100),
    "ntk-he-30": ntk.NTK(30, weight_variance=(1.0, *(2.0,) * 30)),
    "ntk-leaky-0.5-3": ntk.NTK(3, ntk.leaky_relu(0.5)),
    "nngp-bias-1": ntk.NNGP(1, bias_variance=0.1),
    "ntk-bias-1": ntk.NTK(1, bias_variance=0.1),
    "ntk-bias-3": ntk.NTK(3, bias_variance=0.1),
    "ntk-bias-10": ntk.NTK(10, bias_variance=(0.5, *(0.01,) * 10)),
    "ntk-leaky-bias-3": ntk.NTK(3, ntk.leaky_relu(0.2), weight_variance=(0.1, 1.5, 1.5, 1.5), bias_variance=0.05),
    "ntk-abs-bias-2": ntk.NTK(2, "abs", bias_variance=0.2),
    "nngp-first-bias-2": ntk.NNGP(2, bias_variance=(0.3, 0.0, 0.0)),
}

#: Where "depth is free", and where it is not: the last two go through their layers one by one.
DEEP_KERNELS: dict[str, Kernel] = {
    f"{name}-{depth}": make(depth)
    for depth in (30, 100, 1000)
    for name, make in {
        "nngp-he": lambda depth: ntk.NNGP(depth, weight_variance=(1.0, *(2.0,) * depth)),
        "ntk-he": lambda depth: ntk.NTK(depth, weight_variance=(1.0, *(2.0,) * depth)),
        "ntk-abs": lambda depth: ntk.NTK(depth, "abs"),
        "ntk-he-bias": lambda depth: ntk.NTK(depth, weight_variance=(1.0, *(2.0,) * depth), bias_variance=0.1),
        "ntk-bias": lambda depth: ntk.NTK(depth, bias_variance=0.1),
    }.items()
}

#: Every way to compute on this machine, fastest first.
ENGINES = available_engines()

DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
