"""Eigenvalues of K / n on data, and how fast they fall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import eigsh

from ntk_fast import lapack
from ntk_fast.gram import check_kernel
from ntk_fast.kernels import Kernel
from ntk_fast.operator import KernelOperator
from ntk_fast.power_law import PowerLaw, fit_power_law
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.validation import as_array, check_whole_number


def gram_eigenvalues(
    kernel: Kernel,
    X: ArrayLike,
    n_leading: int | None = None,
    *,
    backend: str | None = None,
    n_threads: int | None = None,
    client: Any = None,
) -> NDArray[np.float64]:
    """Return the eigenvalues of K / n, largest first: estimates of those of the kernel's integral operator.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    X : array-like of shape (n, n_features)
    n_leading : int from 1 to n - 1, optional
        None: all, from the whole matrix. Else only the largest ones, by Lanczos iteration with products that never form
        the matrix: memory for about 2 n_leading vectors.
    backend, n_threads
        As in :func:`ntk_fast.gram`.
    client : dask.distributed.Client, optional
        As in :class:`ntk_fast.KernelOperator`; only with `n_leading`.

    Returns
    -------
    ndarray of float64 of shape (n,) or (n_leading,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> X = np.random.default_rng(0).standard_normal((200, 3))
    >>> leading = ntk.spectrum.gram_eigenvalues(ntk.NTK(depth=2), X, n_leading=4)
    >>> bool(np.allclose(leading, ntk.spectrum.gram_eigenvalues(ntk.NTK(depth=2), X)[:4]))
    True
    """
    check_kernel(kernel)
    options: dict[str, Any] = {"dtype": np.float64, "backend": backend, "n_threads": n_threads}
    if n_leading is None:
        if client is not None:
            raise ValueError("client needs n_leading: all eigenvalues take the whole matrix, in one machine's memory.")
        matrix = np.asarray(kernel(X, **options), dtype=np.float64)
        with limited_blas(n_threads):
            return lapack.eigh_in_place(matrix, vectors=False)[::-1] / max(len(matrix), 1)
    count = check_whole_number(n_leading, "n_leading", 1)
    operator = KernelOperator(kernel, X, **options, client=client)
    n = operator.shape[0]
    if count >= n:
        raise ValueError(f"n_leading must be from 1 to n - 1 = {n - 1}; got {count}: None gives all eigenvalues.")
    start = np.random.default_rng(0).standard_normal(n)  # fixed: the same bits every time
    if not operator.diagonal().any():  # a kernel of zeros
        return np.zeros(count)
    return np.sort(eigsh(operator, k=count, which="LA", v0=start, return_eigenvectors=False))[::-1] / n


def decay_exponent(eigenvalues: ArrayLike, first: int = 1, last: int | None = None) -> PowerLaw:
    """Fit ``lambda_i = amplitude * i**exponent`` to eigenvalues `first` to `last` in order, counted from 1.

    Parameters
    ----------
    eigenvalues : array-like of shape (n,)
        In any order; those fitted must be positive.
    first, last : int
        By default all. Leave out the first few, which do not follow the law yet, and those of rank near n, which are
        those of K / n and not of the operator.

    Returns
    -------
    PowerLaw
        With the exponent's uncertainty.

    Raises
    ------
    ValueError
        If the range holds fewer than two eigenvalues, or one that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from ntk_fast import spectrum
    >>> print(spectrum.decay_exponent(np.arange(1, 50) ** -1.5))
    -1.500 +- 0.000
    """
    values = as_array(eigenvalues, "eigenvalues", "a vector of real numbers")
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise ValueError(f"eigenvalues must be a vector of real numbers; got shape {values.shape} of {values.dtype}.")
    values = np.sort(values.astype(np.float64))[::-1]
    start = check_whole_number(first, "first", 1)
    stop = len(values) if last is None else check_whole_number(last, "last", start + 1)
    if stop > len(values) or stop <= start:
        raise ValueError(
            f"first and last must name at least two of the {len(values)} eigenvalues; got {start} to {stop}."
        )
    return fit_power_law(np.arange(start, stop + 1), values[start - 1 : stop])
