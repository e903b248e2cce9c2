"""Predictions that are sums of kernels: f(x) = sum_i kernel(x, row_i) coefficients_i, whatever the number of x."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.kernels import Kernel
from ntk_fast.operator import KernelOperator
from ntk_fast.schedule.tiling import ranges

#: Rows that are prepared at a time.
ROWS_AT_A_TIME = 1 << 16


def kernel_expansion(
    kernel: Kernel,
    X: NDArray[np.floating],
    rows: NDArray[np.floating],
    coefficients: NDArray[np.floating],
    n_threads: int | None = None,
    client: Any = None,
) -> NDArray[np.float64]:
    """Return f of the rows of X, (m, n_targets), without ever having their kernel matrix."""
    if client is not None:  # all at once: the other rows are sent once
        return np.asarray(KernelOperator(kernel, X, rows, dtype=np.float64, client=client) @ coefficients, np.float64)
    values = np.empty((len(X), coefficients.shape[1]))
    for block in ranges(len(X), ROWS_AT_A_TIME):
        operator = KernelOperator(kernel, X[block], rows, dtype=np.float64, n_threads=n_threads, keep=False)
        values[block] = operator @ coefficients
    return values
