"""Rows on which kernels lose digits: nearly parallel and nearly opposite pairs, copies, extreme norms, zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import ntk_fast as ntk
from ntk_fast.kernels import Kernel
from ntk_fast.layers.names import activation_named as activation_of

Rows = NDArray[np.floating]

ACTIVATIONS = ("relu", "abs", ntk.leaky_relu(), ntk.leaky_relu(0.999), ntk.leaky_relu(-0.999), ntk.leaky_relu(-3.0))

#: Norms for which the square of the kernel's root diagonal stays in range.
LARGEST_NORMS = {np.dtype(np.float64): 1e150, np.dtype(np.float32): 1e18}
#: Relative distances of nearly parallel rows.
DISTANCES = 10.0 ** -np.arange(1, 13)
#: Sizes of the noise on rows with a common offset.
NOISES = (1.0, 1e-1, 1e-3, 1e-5, 1e-8, 1e-12)


def degree(kernel: Kernel) -> int:
    """The power of a row's norm with which the kernel grows."""
    return kernel.order**kernel.depth if isinstance(kernel, ntk.ArcCosine) else 1


def _unit(rng: np.random.Generator, *shape: int) -> Rows:
    direction = rng.standard_normal(shape)
    return direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def adversarial_pairs(n_features: int, dtype: np.dtype, homogeneity: int = 1) -> tuple[Rows, Rows]:
    """Return a few rows X, and many rows Y that stand in a difficult relation to the first of them."""
    rng = np.random.default_rng(n_features)
    row, other = _unit(rng, 2, n_features) * [[0.7], [1.3]]
    near = row + np.linalg.norm(row) * DISTANCES[:, None] * _unit(rng, len(DISTANCES), n_features)
    copies = row * np.array([1.0, 2.0, 3.0, 1 / 3, 0.1])[:, None]
    largest = LARGEST_NORMS[dtype] ** (1 / max(homogeneity, 1))
    extreme = np.concatenate([largest * near[::4], largest * copies[:1], near[1::4] / largest, copies[:1] / largest])
    ordinary = rng.standard_normal((4, n_features))
    X = np.stack([row, other / largest, largest * near[7], np.zeros(n_features)])
    Y = np.concatenate([near, -near, copies, -copies, extreme, -extreme, ordinary, np.zeros((1, n_features))])
    return X.astype(dtype), Y.astype(dtype)


def near_pairs(n_features: int, dtype: np.dtype) -> tuple[Rows, Rows]:
    """Return one row, and a handful near to it, near to its negative, and elsewhere: for kernels of great depth."""
    rng = np.random.default_rng(n_features)
    row = _unit(rng, 1, n_features)
    near = row + DISTANCES[1:8:2, None] * _unit(rng, 4, n_features)
    Y = np.concatenate([row, 3 * row, -row, near, -near[1:3], _unit(rng, 2, n_features)])
    return row.astype(dtype), Y.astype(dtype)


def correlated_rows(n_features: int, noise: float, dtype: np.dtype) -> Rows:
    """Return rows that are all nearly parallel: a common offset plus noise; a few of them negated."""
    rng = np.random.default_rng(n_features)
    rows = 3 * _unit(rng, n_features) + noise * rng.standard_normal((5, n_features))
    rows[3:] *= -1
    return rows.astype(dtype)


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> Any:
    """Draw numbers log-uniformly, each end with a chance of one in eight."""
    uniform = np.clip(rng.uniform(-1 / 6, 7 / 6, size), 0, 1)
    return np.exp(np.log(low) + uniform * np.log(high / low))


def biased_kernel(rng: np.random.Generator) -> Kernel:
    """Return a network of any depth to 30 with biases of any size, each layer with its own or all with one."""
    depth = round(log_uniform(rng, 1, 30))
    bias = log_uniform(rng, 1e-6, 1e6, depth + 1) * (rng.random(depth + 1) < 0.7)
    activation = activation_of(ACTIVATIONS[rng.integers(len(ACTIVATIONS))])
    return (ntk.NTK, ntk.NNGP)[rng.integers(2)](
        depth,
        activation,
        weight_variance=log_uniform(rng, 0.1, 10.0) ** (1 / depth) / float(activation.gain),  # float32 holds the result
        bias_variance=bias if rng.random() < 0.5 else log_uniform(rng, 1e-6, 1e6),
    )


def rows_of_any_norm(rng: np.random.Generator, dtype: np.dtype) -> tuple[Rows, Rows]:
    """Return two rows X of norms from 1e-12 to 1e12, and Y: copies and near copies of one, negated ones, others."""
    n_features = round(log_uniform(rng, 1, 64))
    directions, norms = _unit(rng, 3, n_features), log_uniform(rng, 1e-12, 1e12, 3)
    near = directions[0] + log_uniform(rng, 1e-9, 1e-1) * _unit(rng, n_features)
    X = directions[:2] * norms[:2, None]
    Y = np.stack(
        [X[0], -X[0], X[1], directions[2] * norms[2], norms[2] * directions[0], norms[0] * near, -norms[2] * near]
    )
    return X.astype(dtype), Y.astype(dtype)
