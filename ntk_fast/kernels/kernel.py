"""What all kernels share: they are called on rows, added and multiplied, and have parameters."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.backends import choose_backend
from ntk_fast.backends.numpy_backend import NumpyBackend
from ntk_fast.caller import warns_once
from ntk_fast.gram import gram
from ntk_fast.kernels.algebra import NetworkKernel, constant, multiple, product_of, sum_of
from ntk_fast.kernels.combination import Combination, check_operand
from ntk_fast.kernels.describe import describe_network
from ntk_fast.layers.nested_parameters import nested, with_nested
from ntk_fast.lazy import lazy
from ntk_fast.lower.chord_functions import profile_of
from ntk_fast.lower.limit import Limit
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import UNIT
from ntk_fast.rows.preparing import diagonal_of, measure
from ntk_fast.schedule.tiling import Progress
from ntk_fast.validation import (
    check_dtype,
    check_reals,
    check_rows,
    is_one_row,
    refuse_overflow,
    warn_of_underflow,
)


class Kernel(Limit):
    """What all kernels share: they are called on rows, give their diagonal, and their profile.

    Kernels are immutable; they compare, hash and pickle by their parameters.

    Kernels on the same rows are added and multiplied, with each other and with numbers >= 0: ``a + b``, ``a * b``,
    ``a + 0.1``, ``2.0 * a``. The result is the NTK of a network, or its NNGP if no NTK takes part, and as exact.
    Its parameters are those of what it was made of, `k1` left and `k2` right of the sign: ``k1__depth``, ``k2``.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> kernel = ntk.NTK(depth=1) + 0.5 * ntk.NNGP(depth=3, weight_variance="he")
    >>> kernel([[3.0, 4.0]])
    array([[37.5]])
    """

    #: Of a sum or a product: how it was written. Kernels that are equal may be written differently.
    _combination: Combination | None = None

    @property
    def title(self) -> str:
        """What progress calls it: "Depth 3", or "Network"."""
        depth = getattr(self, "depth", None)
        return "Network" if depth is None else f"Depth {depth}"

    @lazy
    def is_zero(self) -> bool:
        """Whether the kernel is 0 for all rows: a layer without weights, and no bias in it or after it."""
        n_features = 1 if self.plan.shape is None else math.prod(self.plan.shape)
        backend = NumpyBackend() if self.plan.shape is None else choose_backend()
        ones = measure(np.ones((1, n_features)), "X", backend, self.plan.shape)
        return bool(diagonal_of(self.plan, ones, self.has_tangent, backend).is_zero.all())

    def __call__(
        self,
        X: ArrayLike,
        Y: ArrayLike | None = None,
        *,
        out: NDArray[Any] | None = None,
        dtype: Any = None,
        backend: str | None = None,
        n_threads: int | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Return the Gram matrix ``K[i, j] = kernel(X[i], Y[j])``: see :func:`ntk_fast.gram` for the arguments.

        Of two single rows, 1-D arrays of shape (n_features,), it returns the one value, a float: this is how
        scikit-learn's ``pairwise_kernels``, ``KernelPCA`` and others call a kernel. Matrices are a thousand times
        faster: :class:`ntk_fast.GaussianProcessKernel` makes scikit-learn pass these.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> round(ntk.NTK(depth=1)([3.0, 4.0], [4.0, -3.0]), 6)
        3.978874
        """
        if Y is not None and out is None and is_one_row(X) and is_one_row(Y):
            x, y = np.asarray(X)[None], np.asarray(Y)[None]
            return float(gram(self, x, y, dtype=dtype, backend=backend, n_threads=n_threads, progress=progress)[0, 0])
        return gram(self, X, Y, out=out, dtype=dtype, backend=backend, n_threads=n_threads, progress=progress)

    @warns_once
    def diag(self, X: ArrayLike, *, dtype: Any = None, backend: str | None = None) -> NDArray[np.floating]:
        """Return the diagonal ``kernel(x, x)`` of each row, in O(n n_features), right to about the last bit.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        dtype : float32 or float64, optional
            By default float32 for float32 rows, else float64.
        backend : str, optional
            As in :func:`ntk_fast.gram`.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or a value would overflow its dtype.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1).diag([[3.0, 4.0]])
        array([25.])
        """
        shape = self.plan.shape
        chosen = choose_backend(backend)
        values = check_rows(X, "X", None if dtype is None else check_dtype(dtype), shape)
        rows = measure(values, "X", chosen, shape)
        diagonal = diagonal_of(self.plan, rows, self.has_tangent, chosen).plain()
        root = float(np.sqrt(diagonal.max(initial=0.0)))
        refuse_overflow(root, root, values.dtype)
        if rows.inverse_norm.any():
            warn_of_underflow(self, root, root, values.dtype)
        return diagonal.astype(values.dtype, copy=False)

    @warns_once
    def profile(self, cosine: ArrayLike) -> NDArray[np.float64]:
        """Return the kernel of two unit rows as a function of the cosine between them.

        Parameters
        ----------
        cosine : array-like of any shape
            From -1 to 1.

        Returns
        -------
        ndarray of float64, of the same shape

        Raises
        ------
        TypeError, ValueError
            If a cosine is no real number or masked, lies outside [-1, 1] or is NaN, or the kernel of unit rows
            overflows float64.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1).profile([1.0, 0.0, -1.0])  # Eq. 6
        array([1.        , 0.15915494, 0.        ])
        """
        cosine = check_reals(cosine, "cosine", "a number from -1 to 1, or an array of them")
        outside = ~(np.abs(cosine) <= 1)
        if outside.any():
            raise ValueError(f"cosine must lie in [-1, 1]; got {cosine[outside].flat[0]}.")
        unit = RowParameters(self.plan, UNIT)
        root = float(unit.values.diagonal(self.has_tangent).root().plain()[0])
        refuse_overflow(root, root, np.dtype(np.float64), what="profile", remedy="lower the variances or the depth")
        warn_of_underflow(self, root, root, np.dtype(np.float64))
        function = profile_of(unit.instructions, unit.placed(np.dtype(np.float64)), 0, self.has_tangent)
        chord = np.sqrt(0.5 - 0.5 * np.abs(cosine))
        return np.asarray(function(chord, cosine < 0) * unit.values.output_variance.plain()[0])

    def __add__(self, other: Any) -> Kernel:
        """Return the sum with a kernel or with a number >= 0: see the class."""
        if isinstance(other, Kernel):
            return self._combined(operator.add, self, other, sum_of([self._network_kernel, other._network_kernel]))
        value = check_operand(other, "a summand")
        return self._combined(operator.add, self, value, sum_of([self._network_kernel, constant(value)]))

    def __radd__(self, other: Any) -> Kernel:
        if isinstance(other, int) and other == 0:  # where `sum` starts
            return self
        value = check_operand(other, "a summand")
        return self._combined(operator.add, value, self, sum_of([constant(value), self._network_kernel]))

    def __mul__(self, other: Any) -> Kernel:
        """Return the product with a kernel or with a number >= 0: see the class."""
        if isinstance(other, Kernel):
            return self._combined(operator.mul, self, other, product_of([self._network_kernel, other._network_kernel]))
        value = check_operand(other, "a factor")
        return self._combined(operator.mul, self, value, multiple(value, self._network_kernel))

    def __rmul__(self, other: Any) -> Kernel:
        value = check_operand(other, "a factor")
        return self._combined(operator.mul, value, self, multiple(value, self._network_kernel))

    #: NumPy's numbers leave sums and products to the kernel.
    __array_ufunc__ = None

    @property
    def _network_kernel(self) -> NetworkKernel:
        return NetworkKernel(self.network, self.has_tangent)

    @staticmethod
    def _from_network(found: NetworkKernel) -> Kernel:
        """Return a network's T as an NTK, its S as an NNGP."""
        raise NotImplementedError

    def _combined(self, operation: Callable[[Any, Any], Any], k1: Any, k2: Any, found: NetworkKernel) -> Kernel:
        kernel = self._from_network(found)
        object.__setattr__(kernel, "_combination", Combination(operation, k1, k2))
        return kernel

    @warns_once
    def describe(self) -> None:
        """Print the network layer by layer, what each does, and how the kernel will be computed.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1, weight_variance="he").describe()  # doctest: +ELLIPSIS
        layer ... S ... T ... S(x, x)
        ...
        """
        backend = choose_backend()
        print(describe_network(self.network, self.has_tangent, backend))

    @property
    def _parameters(self) -> dict[str, Any]:
        """What the kernel is made with."""
        raise NotImplementedError

    @property
    def _named(self) -> dict[str, Any]:
        """Those of them that are names, as what they name: it may have parameters, too."""
        return {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn asks for them: an estimator's are then ``kernel__depth`` etc.

        Parameters
        ----------
        deep : bool, default True
            Whether parameters of parameters are among them: of a sum or a product those of what it was made of, of
            another network those of its layers, by their places from 0.

        Returns
        -------
        dict

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> kernel = ntk.NTK(depth=2) + 0.1
        >>> {name: value for name, value in kernel.get_params().items() if name.startswith("k")}
        {'k1': NTK(depth=2), 'k1__depth': 2, 'k1__activation': 'relu', 'k1__weight_variance': 1.0, \
'k1__bias_variance': 0.0, 'k2': 0.1}
        """
        if not deep:
            return self._parameters
        if self._combination is None:
            return {**nested({**self._parameters, **self._named}), **self._parameters}
        return {**self._parameters, **nested(self._combination.parameters)}

    def set_params(self, **params: Any) -> Self:
        """Raise: kernels are immutable. Estimators of this package take a new one instead; see `with_parameters`.

        Raises
        ------
        TypeError
            Always, and says what to do.
        """
        raise TypeError(
            f"{type(self).__name__} cannot be changed: pass other kernels, in a grid {{'kernel': [NTK(1), NTK(2)]}}, "
            "or ntk_fast.GaussianProcessKernel(kernel), whose parameters can be set."
        )

    def with_parameters(self, **changes: Any) -> Kernel:
        """Return the same kernel with other values of some of its parameters, by the names of `get_params`.

        Parameters
        ----------
        **changes
            Values by name.

        Returns
        -------
        The kernel; another sum or product of one.

        Raises
        ------
        TypeError, ValueError
            If there is no parameter of that name, or it does not take the value.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=2, bias_variance=0.1).with_parameters(depth=5)
        NTK(depth=5, bias_variance=0.1)
        >>> (ntk.NTK(2) + ntk.NNGP(1)).with_parameters(k2__depth=3) == ntk.NTK(2) + ntk.NNGP(3)
        True
        """
        made, own = self._combination, self._parameters
        if made is None:
            return type(self)(**with_nested({**own, **self._named}, changes, self))
        changed = with_nested({**own, **made.parameters}, changes, self)
        of_network = {name: changed.pop(name) for name in own}
        if of_network == own:
            return made.with_parameters(**changed)
        if changed != made.parameters:
            raise ValueError("network says it all: k1 and k2 must not be changed beside it.")
        return type(self)(**of_network)

    def __sklearn_clone__(self) -> Kernel:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._parameters.items())})"
