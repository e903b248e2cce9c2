"""Products with a Gram matrix that need not be formed: its tiles are multiplied in the cache, and forgotten."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from ntk_fast.backends import choose_backend
from ntk_fast.backends.engines import chosen_engine
from ntk_fast.caller import warns_once
from ntk_fast.gram import are_same, check_both, image_shape
from ntk_fast.kernels import Kernel
from ntk_fast.operator.factor import Factor, FactorOnThreads, PreparedFactor, padded
from ntk_fast.operator.kept import KeptFactor, fits
from ntk_fast.rows.stored import opened
from ntk_fast.schedule.threads import choose_n_threads
from ntk_fast.validation import as_array, check_flag, check_not_negative, refuse_masked

#: What can be multiplied.
VECTORS = "a vector of real numbers, or several"


class KernelOperator(LinearOperator):
    """The Gram matrix ``K[i, j] = kernel(X[i], Y[j])``, plus ``ridge`` times the identity, as a linear operator.

    A product computes the entries anew, tile by tile, and keeps none: it costs about as much time as forming the matrix
    once, and no memory beyond the vectors. Several columns at once share the entries. A symmetric matrix (no `Y`, or
    one that is `X`) has each pair of rows computed once. Products are the same to the last bit for every number of
    threads.

    Of networks on images and sequences, whose entries cost up to a million times as much, the first product keeps the
    matrix if it takes at most half of the free memory, and others are of what is kept; the operator's ``repr`` says so.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    X : array-like of shape (n, n_features)
        Real, finite rows, kept and not copied where possible: do not change them while the operator is in use.
    Y : array-like of shape (m, n_features), optional
        None, or the same memory: the rows of `X`.
    ridge : float >= 0, default 0.0
        Added to the diagonal; only without `Y`.
    dtype : float32 or float64, optional
        Of the entries and the products. By default float32 if all rows are float32, else float64. Vectors are converted
        to it; sums over tiles are float64.
    backend : {"cython", "numba", "numpy"}, optional
        As in :func:`ntk_fast.gram`.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.
    client : dask.distributed.Client, optional
        Its workers multiply, each with as many threads as it has (`n_threads` is for one machine). Arrays are sent to
        each worker once; the path of a .npy file or a .zarr array is opened there, and a `dask.array` never comes here.
        Products are the same to the last bit for any workers, also if one of them dies. See docs/cluster.md.
    keep : bool, optional
        Whether the first product keeps the matrix, n m numbers of the dtype. By default as above.

    Attributes
    ----------
    shape : (n, n) or (n, m)
    dtype : numpy.dtype
    keep : bool
    kernel, ridge : as given

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or an entry would overflow the dtype; for vectors that are complex or of another
        length, and for products that overflow the dtype; if workers of `client` are not fit for it, or are to keep.
    ConnectionError
        If the scheduler of `client` does not answer, or has had no workers for a minute.
    MemoryError
        At the first product, if the matrix is to be kept and does not fit in the free memory.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> from scipy.sparse.linalg import cg
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> A = ntk.KernelOperator(ntk.NTK(depth=2), X, ridge=0.1)
    >>> weights, info = cg(A, np.ones(100), rtol=1e-10)
    >>> bool(np.allclose(A @ weights, 1.0))
    True
    """

    @warns_once
    def __init__(
        self,
        kernel: Kernel,
        X: ArrayLike,
        Y: ArrayLike | None = None,
        *,
        ridge: float = 0.0,
        dtype: Any = None,
        backend: str | None = None,
        n_threads: int | None = None,
        client: Any = None,
        keep: bool | None = None,
    ) -> None:
        self.kernel = kernel
        self.ridge = check_not_negative(ridge, "ridge")
        Y = None if are_same(X, Y) else Y
        if Y is not None and self.ridge:
            raise ValueError(f"ridge must be 0 where Y is given: there is no diagonal to add it to; got {ridge!r}.")
        shape = image_shape(kernel)
        threads = choose_n_threads(n_threads)
        wanted = None if keep is None else check_flag(keep, "keep")
        if client is None:
            X, Y = opened(X, "X"), None if Y is None else opened(Y, "Y")
            chosen = choose_backend(backend)
            x_values, y_values = check_both(X, Y, dtype, shape)
            prepared = PreparedFactor.of(kernel, x_values, y_values, chosen)
            self.keep = fits(prepared) if wanted is None else wanted
            self._factor: Factor = (KeptFactor if self.keep else FactorOnThreads)(prepared, threads)
            options = (self.ridge, x_values.dtype, backend, n_threads, self.keep)
            self._arguments: tuple[Any, ...] = (kernel, x_values, y_values, *options)
        else:
            from ntk_fast.cluster.products import FactorOnWorkers

            if wanted:
                raise ValueError("keep must be False, or left out, where client is given: workers keep no entries.")
            self.keep = False
            engine = chosen_engine(backend)
            self._factor = FactorOnWorkers.of(client, engine, kernel, X, Y, dtype)
            self._arguments = ()
        super().__init__(self._factor.dtype, self._factor.shape)

    @warns_once
    def diagonal(self) -> NDArray[np.floating]:
        """Return the diagonal, ridge included, without computing anything else; only without `Y`.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If the operator has a `Y`.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.KernelOperator(ntk.NTK(depth=1), [[3.0, 4.0], [0.0, 1.0]], ridge=0.5).diagonal()
        array([25.5,  1.5])
        """
        if self._factor.diagonal is None:
            raise ValueError("diagonal needs a symmetric operator: one without Y.")
        return (self._factor.diagonal + self.ridge).astype(self.dtype)

    def __repr__(self) -> str:
        size = math.prod(self.shape) * self.dtype.itemsize
        kept = f" that keeps its matrix of {size / 1e6:.3g} MB" if self.keep else ""
        return f"{super().__repr__()[:-1]}{kept}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._arguments:
            raise TypeError("An operator with a client cannot be pickled or copied: its rows are on the workers.")
        return _operator, self._arguments

    def dot(self, x: Any) -> Any:
        """Return the product with a vector, several, or another operator, as ``@`` does.

        Parameters
        ----------
        x : array-like of shape (n,) or (n, k), or LinearOperator

        Returns
        -------
        ndarray of shape (n,) or (n, k), or LinearOperator

        Raises
        ------
        TypeError, ValueError
            If the vectors are complex, masked or of another length, or a product overflows the dtype.

        Examples
        --------
        >>> import numpy as np
        >>> import ntk_fast as ntk
        >>> A = ntk.KernelOperator(ntk.NTK(depth=1), np.eye(2))
        >>> A.dot([1.0, 1.0]).round(4)  # 1 + 1 / (2 pi)
        array([1.1592, 1.1592])
        """
        refuse_masked(x, "vectors")  # SciPy takes what the mask hides
        return super().dot(x)

    def _rdot(self, x: Any) -> Any:
        refuse_masked(x, "vectors")
        return super()._rdot(x)

    def _adjoint(self) -> KernelOperator:
        """Return the transpose, which keeps no rows of its own."""
        if self._factor.diagonal is not None:
            return self
        transposed = object.__new__(type(self))
        transposed.__dict__.update(self.__dict__)
        transposed._factor, transposed.shape = self._factor.transposed(), self.shape[::-1]
        if self._arguments:
            kernel, x_values, y_values, *others = self._arguments
            transposed._arguments = (kernel, y_values, x_values, *others)
        return transposed

    _transpose = _adjoint

    def _rmatvec(self, v: NDArray[Any]) -> NDArray[np.floating]:
        return self._adjoint()._matvec(v)

    def _rmatmat(self, V: NDArray[Any]) -> NDArray[np.floating]:
        return self._adjoint()._matmat(V)

    def _matvec(self, v: Any) -> NDArray[np.floating]:
        """Return products with vectors in the last axis, from SciPy 1.18 on many of them, or with a column."""
        v = as_array(v, "vectors", VECTORS)
        n_rows, n_inner = self.shape
        if v.ndim and v.shape[-1] == n_inner:
            columns = v.reshape(math.prod(v.shape[:-1]), n_inner).T
            return self._product(columns).T.reshape(*v.shape[:-1], n_rows)
        if v.shape == (n_inner, 1):
            return self._product(v)
        raise ValueError(f"dimension mismatch: the vectors of {self.shape} need {n_inner} numbers; got {v.shape}.")

    def _matmat(self, V: Any) -> NDArray[np.floating]:
        """Return products with matrices in the last two axes, of which SciPy passes many from 1.18 on."""
        V = V.toarray() if issparse(V) else as_array(V, "vectors", VECTORS)
        n_rows, n_inner = self.shape
        if V.ndim < 2 or V.shape[-2] != n_inner:
            raise ValueError(f"dimension mismatch: a factor of {self.shape} needs {n_inner} rows; got {V.shape}.")
        if V.ndim == 2:
            return self._product(V)
        columns = np.moveaxis(V, -2, 0)
        product = self._product(columns.reshape(n_inner, math.prod(columns.shape[1:])))
        return np.moveaxis(product.reshape(n_rows, *columns.shape[1:]), 0, -2)

    @warns_once
    def _product(self, V: NDArray[Any]) -> NDArray[np.floating]:
        """Return the Gram matrix times the columns of V, a matrix with as many rows as it has columns."""
        if V.dtype.kind not in "fiub":
            raise TypeError(f"Vectors must hold real numbers; got dtype {V.dtype}.")
        V = V.astype(np.float64, copy=False)
        shifts = self._shifts(V)
        vectors = padded(V.shape[1], len(V), self.dtype)
        np.ldexp(V.T, -shifts[:, None], out=vectors[:, : len(V)], casting="same_kind")
        sums = self._factor.multiply(vectors)
        if self._factor.diagonal is not None:
            sums += (self._factor.diagonal + self.ridge) * vectors[:, : len(V)]
        with np.errstate(over="ignore"):
            product = np.ascontiguousarray(np.ldexp(sums, shifts[:, None]).T, dtype=self.dtype)
        if np.isinf(product).any() and np.isfinite(V).all():
            advice = "scale the vectors" if self.dtype == np.float64 else "pass dtype='float64'"
            raise ValueError(f"A product with vectors up to {np.abs(V).max():.3g} overflows {self.dtype}: {advice}.")
        return product

    def _shifts(self, V: NDArray[np.float64]) -> NDArray[np.intc]:
        """Return for each column the least power of two to divide it by so that it fits, and every sum on the way."""
        entry = self._factor.largest + self.ridge
        sizes = np.abs(V).max(axis=0, initial=0.0)
        exponents = np.frexp(sizes)[1] + max(0, math.frexp(entry)[1] + math.frexp(len(V))[1])
        excess = np.maximum(exponents - (np.finfo(self.dtype).maxexp - 1), 0)
        return np.where(np.isfinite(sizes), excess, 0).astype(np.intc)


def _operator(
    kernel: Kernel,
    x_values: NDArray[np.floating],
    y_values: NDArray[np.floating] | None,
    ridge: float,
    dtype: np.dtype,
    backend: str | None,
    n_threads: int | None,
    keep: bool,
) -> KernelOperator:
    """Rebuild a pickled or copied operator: prepared rows and tables belong to a processor, their source does not."""
    options: dict[str, Any] = {"dtype": dtype, "backend": backend, "n_threads": n_threads, "keep": keep}
    return KernelOperator(kernel, x_values, y_values, ridge=ridge, **options)
