"""The demo's convolutional kernel: the digits as images, beside the dense kernel that sees them as rows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.kernels import NTK, Kernel
from ntk_fast.layers import cntk

#: Three convolutions 3 x 3 and an average over all positions, of images of 8 x 8.
N_CONVOLUTIONS, SHAPE = 3, (8, 8, 1)
KERNEL = NTK(network=cntk(N_CONVOLUTIONS, SHAPE))
#: The matrix is of as many digits as take about so long, if not of all.
SECONDS = 20.0
#: Digits by which it is known beforehand how many these are.
N_TRIAL = 48
#: Digits that the picture asks for their nearest ones, and how many of these it shows.
N_QUERIES, N_NEAREST = 8, 5

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class ConvolutionalGram:
    """The first digits, and their matrix, computed in float32."""

    n: int
    gram: Matrix
    seconds: float

    @property
    def seconds_of_entry(self) -> float:
        return self.seconds / (self.n * (self.n + 1) / 2)


def affordable(rows: Matrix, kernel: Kernel = KERNEL) -> int:
    """Return how many of the rows' matrix is computed in about `SECONDS`."""
    trial = rows[:N_TRIAL].astype(np.float32)
    kernel(trial)  # with whatever is compiled at the first call
    start = time.perf_counter()
    kernel(trial)
    seconds = (time.perf_counter() - start) / (len(trial) * (len(trial) + 1) / 2)
    return min(len(rows), max(len(trial), math.isqrt(int(2 * SECONDS / seconds))))


def convolutional_gram(rows: Matrix) -> ConvolutionalGram:
    """Compute the matrix of as many of the first rows as `affordable`."""
    n = affordable(rows)
    start = time.perf_counter()
    gram = KERNEL(rows[:n].astype(np.float32))
    return ConvolutionalGram(n, gram.astype(np.float64), time.perf_counter() - start)


def nearest(gram: Matrix, row: int, n: int) -> NDArray[np.int64]:
    """Return the others that are nearest to one, by the angle in feature space.

    Examples
    --------
    >>> nearest(np.array([[1.0, 0.5, 0.9], [0.5, 1.0, 0.0], [0.9, 0.0, 4.0]]), 0, 2)
    array([1, 2])
    """
    root = np.sqrt(gram.diagonal())
    cosines = gram[row] / (root[row] * root)
    cosines[row] = -np.inf
    return np.argsort(-cosines, kind="stable")[:n]


def told_apart(dense: Matrix, convolutional: Matrix, labels: NDArray[np.int64], n: int) -> list[int]:
    """Return digits whose nearest ones are of other classes in the dense kernel, and not in the convolutional one."""

    def n_others(gram: Matrix) -> NDArray[np.int64]:
        return np.array([(labels[nearest(gram, row, N_NEAREST)] != label).sum() for row, label in enumerate(labels)])

    return np.argsort(n_others(convolutional) - n_others(dense), kind="stable")[:n].tolist()
