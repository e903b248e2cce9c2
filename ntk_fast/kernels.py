"""The kernels: what each one is, as a network of layers. Computing with them is the business of `gram`."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.backends import choose_backend
from ntk_fast.backends.numpy_backend import NumpyBackend
from ntk_fast.caller import warns_once
from ntk_fast.gram import gram
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.arc_cosine import RectifiedMonomial, Step
from ntk_fast.layers.dense import Dense, with_variances
from ntk_fast.layers.kernel_algebra import NetworkKernel, constant, multiple, product_of, sum_of
from ntk_fast.layers.layer import Layer
from ntk_fast.layers.names import activation_named, name_of
from ntk_fast.layers.relu import Relu
from ntk_fast.layers.sequential import Sequential
from ntk_fast.lazy import lazy
from ntk_fast.lower.compile import RowParameters, profile_of
from ntk_fast.lower.describe import describe_network
from ntk_fast.lower.plan import plan_of, variances_of
from ntk_fast.lower.scaled import UNIT
from ntk_fast.lower.steps import Plan
from ntk_fast.nested_parameters import Combination, nested, with_nested
from ntk_fast.rows.preparing import diagonal_of, measure
from ntk_fast.schedule.tiling import Progress
from ntk_fast.validation import (
    check_dtype,
    check_not_negative,
    check_reals,
    check_rows,
    check_variances,
    check_whole_number,
    is_one_row,
    refuse_overflow,
    warn_of_underflow,
)

#: What kernels keep once it is asked for, and do not pickle.
CACHED = ("plan", "is_zero", "_hash", "variances")
#: Layers that compile within seconds.
LARGEST_DEPTH = 5000


class Kernel:
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

    #: Whether the kernel is T, the tangent's, and not S.
    has_tangent: ClassVar[bool]
    #: Of a sum or a product: how it was written. Kernels that are equal may be written differently.
    _combination: Combination | None = None

    @property
    def network(self) -> Layer:
        """The network whose limit the kernel is, as a description: see :mod:`ntk_fast.layers`."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What progress calls it: "Depth 3", or "Network"."""
        depth = getattr(self, "depth", None)
        return "Network" if depth is None else f"Depth {depth}"

    @lazy
    def plan(self) -> Plan:
        """The network's steps, as everything computes them."""
        return plan_of(self.network)

    @lazy
    def is_zero(self) -> bool:
        """Whether the kernel is 0 for all rows: a layer without weights, and no bias in it or after it."""
        n_features = 1 if self.plan.shape is None else math.prod(self.plan.shape)
        backend = NumpyBackend() if self.plan.shape is None else choose_backend(None, plan=self.plan)
        ones = measure(np.ones((1, n_features)), "X", backend, self.plan.shape)
        return bool(diagonal_of(self.plan, ones, self.has_tangent, backend).is_zero.all())

    @lazy
    def _hash(self) -> int:
        return hash((type(self).__name__, self.network))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.network == other.network

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in CACHED}

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

        Examples
        --------
        >>> import ntk_fast as ntk
        >>> ntk.NTK(depth=1).diag([[3.0, 4.0]])
        array([25.])
        """
        shape = self.plan.shape
        chosen = choose_backend(backend, plan=self.plan)
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

    def __add__(self, other: Any) -> NNGP | NTK:
        """Return the sum with a kernel or with a number >= 0: see the class."""
        if isinstance(other, Kernel):
            return _combined(operator.add, self, other, sum_of([self._pair, other._pair]))
        value = _check_number(other, "a summand")
        return _combined(operator.add, self, value, sum_of([self._pair, constant(value)]))

    def __radd__(self, other: Any) -> Kernel:
        if isinstance(other, int) and other == 0:  # where `sum` starts
            return self
        value = _check_number(other, "a summand")
        return _combined(operator.add, value, self, sum_of([constant(value), self._pair]))

    def __mul__(self, other: Any) -> NNGP | NTK:
        """Return the product with a kernel or with a number >= 0: see the class."""
        if isinstance(other, Kernel):
            return _combined(operator.mul, self, other, product_of([self._pair, other._pair]))
        value = _check_number(other, "a factor")
        return _combined(operator.mul, self, value, multiple(value, self._pair))

    def __rmul__(self, other: Any) -> NNGP | NTK:
        value = _check_number(other, "a factor")
        return _combined(operator.mul, value, self, multiple(value, self._pair))

    #: NumPy's numbers leave sums and products to the kernel.
    __array_ufunc__ = None

    @property
    def _pair(self) -> NetworkKernel:
        return NetworkKernel(self.network, self.has_tangent)

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
        backend = choose_backend(None, plan=self.plan)
        print(describe_network(self.network, self.has_tangent, backend))

    @property
    def _parameters(self) -> dict[str, Any]:
        """What the kernel is made with."""
        raise NotImplementedError

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
            return nested(self._parameters)
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
            return type(self)(**with_nested(own, changes, self))
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


def _check_number(value: Any, what: str) -> float:
    """Refuse what is no kernel and no number >= 0 in a sum or a product."""
    name = f"{what} of a kernel"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.floating, np.integer)):
        hint = ""
        if type(value).__module__.startswith("sklearn."):
            hint = "; ntk_fast.GaussianProcessKernel(kernel) can be combined with kernels of scikit-learn"
        raise TypeError(f"{name} must be a kernel of ntk_fast or a number >= 0; got a {type(value).__name__}{hint}.")
    return check_not_negative(value, name)


def _combined(operation: Callable[[Any, Any], Any], k1: Any, k2: Any, pair: NetworkKernel) -> NNGP | NTK:
    kernel = (NTK if pair.is_tangent else NNGP)(network=pair.network)
    object.__setattr__(kernel, "_combination", Combination(operation, k1, k2))
    return kernel


#: Names the weight variances that keep the diagonal of Sigma at every depth.
HE = "he"


@dataclass(frozen=True, repr=False, eq=False)
class ArcCosine(Kernel):
    """The arc-cosine kernel of order n: the infinite-width limit of hidden units max(0, z)^n with unit variances.

    ``E[h(w.x) h(w.x')]`` over w ~ N(0, 1), h(z) = z^n where z > 0; order 1, depth 1 is Eq. 1. Cho & Saul (2009) define
    their k_n as twice this expectation; deeper, the kernel is applied to itself as they do in their section 2.3, each
    layer with its factor 1/2. ``ArcCosine(order=1, depth=L)`` is ``NNGP(depth=L)``.

    Parameters
    ----------
    order : {0, 1, 2}, default 1
    depth : int from 1 to 5000, default 1
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
        object.__setattr__(self, "depth", check_whole_number(self.depth, "depth", 1, LARGEST_DEPTH))

    has_tangent: ClassVar[bool] = False

    @property
    def _parameters(self) -> dict[str, Any]:
        return {"order": self.order, "depth": self.depth}

    @lazy
    def network(self) -> Layer:
        hidden = (Step(), Relu(), RectifiedMonomial(2))[self.order]
        return Sequential(*(Dense(), hidden) * self.depth)


@dataclass(frozen=True, repr=False, eq=False)
class _NetworkKernel(Kernel):
    """A limiting kernel of a network: fully connected, by its depth, or any, by its description."""

    depth: int | None = None
    activation: str | ActivationLayer | None = None
    weight_variance: float | tuple[float, ...] | str | None = None
    bias_variance: float | tuple[float, ...] | None = None
    network: InitVar[Layer | None] = None

    def __post_init__(self, network: Layer | None) -> None:
        short = {name: getattr(self, name) for name in ("depth", "activation", "weight_variance", "bias_variance")}
        if network is not None:
            given = [name for name, value in short.items() if value is not None]
            if given:
                raise ValueError(f"network says it all: {given[0]} must not be given beside it.")
            if not isinstance(network, Layer):
                raise TypeError(f"network must be a layer of ntk_fast.layers; got a {type(network).__name__}.")
            plan_of(network)
            object.__setattr__(self, "network", network)
            return
        depth = check_whole_number(1 if self.depth is None else self.depth, "depth", 1, LARGEST_DEPTH)
        activation = activation_named("relu" if self.activation is None else self.activation)
        weights: Any = 1.0 if self.weight_variance is None else self.weight_variance
        if not (isinstance(weights, str) and weights == HE):
            weights = check_variances(weights, "weight_variance", depth, or_else=f", or {HE!r}")
        biases = check_variances(0.0 if self.bias_variance is None else self.bias_variance, "bias_variance", depth)
        each_weight = weights if isinstance(weights, tuple) else (1.0 if weights == HE else weights, *[weights] * depth)
        each_bias = biases if isinstance(biases, tuple) else (biases,) * (depth + 1)
        first, *others = (Dense(weight, bias) for weight, bias in zip(each_weight, each_bias, strict=True))
        network = Sequential(first, *(layer for dense in others for layer in (activation, dense)))
        plan_of(network)
        for name, value in (
            ("depth", depth),
            ("activation", name_of(activation)),
            ("weight_variance", weights),
            ("bias_variance", biases),
            ("network", network),
        ):
            object.__setattr__(self, name, value)

    @lazy
    def variances(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The variances of the weights, and of the biases, of each Dense of the network in order, as numbers."""
        weights, biases = zip(*variances_of(self.network), strict=True)
        return tuple(map(float, weights)), tuple(map(float, biases))

    def with_variances(self, weights: Sequence[float], biases: Sequence[float]) -> Self:
        """Return the same kernel with other variances, one of each for each Dense."""
        if self.depth is None:
            return type(self)(network=with_variances(self.network, weights, biases))
        variances = {"weight_variance": tuple(map(float, weights)), "bias_variance": tuple(map(float, biases))}
        return type(self)(**{**self._parameters, **variances})

    @property
    def _parameters(self) -> dict[str, Any]:
        names = ("network",) if self.depth is None else ("depth", "activation", "weight_variance", "bias_variance")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        defaults = {"activation": "relu", "weight_variance": 1.0, "bias_variance": 0.0}
        shown = [f"{k}={v!r}" for k, v in self._parameters.items() if k not in defaults or v != defaults[k]]
        return f"{type(self).__name__}({', '.join(shown)})"


class NNGP(_NetworkKernel):
    """The Gaussian-process kernel of an infinitely wide network at initialisation, Sigma_L (Lee et al., 2018; Eq. 1).

    ``Sigma_0 = v_0 x.x' + b_0``, ``Sigma_l = v_l E[sigma(u) sigma(v)] + b_l`` with (u, v) Gaussian of covariance
    Sigma_{l-1}.

    Parameters
    ----------
    depth : int from 1 to 5000, default 1
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

    has_tangent = False


class NTK(_NetworkKernel):
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

    has_tangent = True
