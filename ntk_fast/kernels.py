"""The kernels: what each one is, as a recursion over layers. Computing with them is the business of `gram`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.activations import Activation, activation_of
from ntk_fast.backends import choose_backend
from ntk_fast.duals import Dual, PiecewiseLinear, RectifiedSquare, Step
from ntk_fast.gram import gram
from ntk_fast.recursion import Recursion, plain, scaled
from ntk_fast.rows import measure
from ntk_fast.tiling import Progress
from ntk_fast.validation import (
    check_dtype,
    check_rows,
    check_variances,
    check_whole_number,
    is_one_row,
    refuse_overflow,
)


class Kernel:
    """What all kernels share: they are called on rows, give their diagonal, and their profile.

    Kernels are immutable; they compare, hash and pickle by their parameters.
    """

    @property
    def recursion(self) -> Recursion:
        """The kernel's layers, as every backend computes them."""
        return _recursion_of(self)

    def _layers(self) -> Recursion:
        raise NotImplementedError

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

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1).diag([[3.0, 4.0]])
        array([25.])
        """
        values = check_rows(X, "X", None if dtype is None else check_dtype(dtype))
        _, _, square_norm, excess = measure(values, "X", self.recursion, choose_backend(backend))
        diagonal = plain(self.recursion.diagonal(square_norm, excess))
        root = float(np.sqrt(diagonal.max(initial=0.0)))
        refuse_overflow(root, root, values.dtype)
        return diagonal.astype(values.dtype, copy=False)

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
        ValueError
            If a cosine lies outside [-1, 1] or is NaN.

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1).profile([1.0, 0.0, -1.0])  # Eq. 6
        array([1.        , 0.15915494, 0.        ])
        """
        cosine = np.asarray(cosine, dtype=np.float64)
        outside = ~(np.abs(cosine) <= 1)
        if outside.any():
            raise ValueError(f"cosine must lie in [-1, 1]; got {cosine[outside].flat[0]}.")
        unit = scaled(np.ones(1), np.zeros(1, dtype=np.int64))
        recursion = self.recursion
        parameters = recursion.row_parameters(unit)
        flat = cosine.reshape(1, -1)
        chord = np.sqrt(0.5 - 0.5 * np.abs(flat))
        values = recursion.value(chord, flat < 0, parameters, parameters) * plain(recursion.variance(unit))
        return values.reshape(cosine.shape)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn asks for them: an estimator's are then ``kernel__depth`` etc.

        There is no ``set_params``: kernels are immutable, and estimators of this package take a new one instead.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def __sklearn_clone__(self) -> Kernel:
        return self

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]
            if field.name in ("depth", "order") or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


#: Names the weight variances that keep the diagonal of Sigma at every depth.
HE = "he"


@lru_cache(maxsize=1024)
def _recursion_of(kernel: Kernel) -> Recursion:
    return kernel._layers()


@dataclass(frozen=True, repr=False)
class ArcCosine(Kernel):
    """The arc-cosine kernel of order n: the infinite-width limit of hidden units max(0, z)^n with unit variances.

    ``E[h(w.x) h(w.x')]`` over w ~ N(0, 1), h(z) = z^n where z > 0; order 1, depth 1 is Eq. 1. Cho & Saul (2009) define
    their k_n as twice this expectation; deeper, the kernel is applied to itself as they do in their section 2.3, each
    layer with its factor 1/2. ``ArcCosine(order=1, depth=L)`` is ``NNGP(depth=L)``.

    Parameters
    ----------
    order : {0, 1, 2}, default 1
    depth : int >= 1, default 1
        Number of hidden layers.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> ntk.ArcCosine(order=0)([[1.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]])  # (pi - angle) / (2 pi)
    array([[0.25, 0.5 ]])
    """

    order: int = 1
    depth: int = 1

    def __post_init__(self) -> None:
        order = check_whole_number(self.order, "order", 0)
        if order > 2:
            raise ValueError(f"order must be 0, 1 or 2; got {order}.")
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "depth", check_whole_number(self.depth, "depth", 1))

    def _layers(self) -> Recursion:
        dual: Dual = (Step(), PiecewiseLinear(Fraction(1, 2), 0.5, 0.5), RectifiedSquare())[self.order]
        n = self.depth + 1
        return Recursion(dual, self.depth, (1.0,) * n, (0.0,) * n, has_tangent=False)


@dataclass(frozen=True, repr=False)
class _Network(Kernel):
    """A limiting kernel of a fully connected network."""

    depth: int = 1
    activation: str | Activation = "relu"
    weight_variance: float | tuple[float, ...] | str = 1.0
    bias_variance: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        depth = check_whole_number(self.depth, "depth", 1)
        activation = activation_of(self.activation)
        named = activation.name if activation == activation_of("relu") or activation.name == "abs" else activation
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "activation", named)
        weights: Any = self.weight_variance
        if not (isinstance(weights, str) and weights == HE):
            weights = check_variances(weights, "weight_variance", depth, or_else=f", or {HE!r}")
        object.__setattr__(self, "weight_variance", weights)
        object.__setattr__(self, "bias_variance", check_variances(self.bias_variance, "bias_variance", depth))

    def _weight_variances(self, activation: Activation) -> float | tuple[float, ...]:
        if not isinstance(self.weight_variance, str):
            return self.weight_variance
        return (1.0, *(float(1 / activation.gain),) * self.depth)

    def _recursion(self, has_tangent: bool) -> Recursion:
        activation = activation_of(self.activation)
        weights, biases = (
            value if isinstance(value, tuple) else (float(value),) * (self.depth + 1)
            for value in (self._weight_variances(activation), self.bias_variance)
        )
        dual = PiecewiseLinear(activation.gain, activation.fold, activation.linear)
        return Recursion(dual, self.depth, weights, biases, has_tangent)


class NNGP(_Network):
    """The Gaussian-process kernel of an infinitely wide network at initialisation, Sigma_L (Lee et al., 2018; Eq. 1).

    ``Sigma_0 = v_0 x.x' + b_0``, ``Sigma_l = v_l E[sigma(u) sigma(v)] + b_l`` with (u, v) Gaussian of covariance
    Sigma_{l-1}.

    Parameters
    ----------
    depth : int >= 1, default 1
        Number of hidden layers L.
    activation : {"relu", "leaky_relu", "abs"} or Activation, default "relu"
        ``ntk_fast.leaky_relu(slope)`` for a slope other than 0.01.
    weight_variance : float >= 0, sequence of depth + 1, or "he", default 1.0
        Input layer first, then one per following layer. "he" is 1 in the first and ``1 / E[sigma(z)^2]`` in the others,
        ``(1, 2, 2, ...)`` for ReLU, which keeps ``Sigma_l(x, x)`` the same at every depth (He et al., 2015).
    bias_variance : float >= 0 or sequence of depth + 1, default 0.0

    Raises
    ------
    TypeError, ValueError
        If a parameter is not as above.

    Notes
    -----
    neural-tangents' ``Dense(W_std, b_std)`` is weight variance W_std^2 / n_features in the input layer, W_std^2 in the
    others, bias variance b_std^2. A zero row has kernel value 0 with every row unless there is a bias.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> ntk.NNGP(depth=2, weight_variance=(1, 2, 2), bias_variance=0.1)
    NNGP(depth=2, weight_variance=(1.0, 2.0, 2.0), bias_variance=0.1)
    >>> ntk.NNGP(depth=50, weight_variance="he").diag([[3.0, 4.0]])
    array([25.])
    """

    def _layers(self) -> Recursion:
        return self._recursion(has_tangent=False)


class NTK(_Network):
    """The Neural Tangent Kernel Theta_L (Jacot et al., 2018; Eq. 6 is depth 1).

    ``Theta_0 = Sigma_0``, ``Theta_l = Sigma_l + v_l E[sigma'(u) sigma'(v)] Theta_{l-1}``, with Sigma as in
    :class:`NNGP`, all layers and all weights trained.

    Parameters
    ----------
    depth, activation, weight_variance, bias_variance
        As for :class:`NNGP`.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> X = np.array([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    >>> ntk.NTK(depth=3)(X).round(4)
    array([[0.5   , 0.3948, 0.1714],
           [0.3948, 1.    , 0.2396],
           [0.1714, 0.2396, 2.    ]])
    """

    def _layers(self) -> Recursion:
        return self._recursion(has_tangent=True)
