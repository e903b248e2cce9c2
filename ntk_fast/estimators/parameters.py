"""Parameters that several estimators share, checked when they are fitted, as scikit-learn does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Self, TypeVar, cast

from sklearn.base import BaseEstimator

from ntk_fast.kernels import NNGP, Kernel
from ntk_fast.schedule.threads import limited_blas
from ntk_fast.solvers.base import Report, silent

#: What `kernel=None` means, for rows whose mean squared norm is 1. Of NTK and NNGP of depths 1 to 5 and bias variances
#: 0 to 3 none was better by more than 0.01 of R2 on six regressions, and none by more than 0.3 % on 17 classifications.
DEFAULT_KERNEL = NNGP(depth=3, weight_variance="he", bias_variance=0.5)


class KernelParameters(BaseEstimator):
    """`get_params` and `set_params` that reach into `kernel`, the default one too, although kernels are immutable.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> model = ntk.NTKRegressor().set_params(kernel__depth=2, kernel__bias_variance=0.0)
    >>> model.kernel
    NNGP(depth=2, weight_variance='he')
    """

    kernel: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, with `deep` those of the kernel too, as ``kernel__depth`` etc.

        Parameters
        ----------
        deep : bool, default True

        Returns
        -------
        dict
        """
        parameters = super().get_params(deep)
        if deep and self.kernel is None:
            parameters |= {f"kernel__{name}": value for name, value in DEFAULT_KERNEL.get_params().items()}
        return parameters

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``kernel__depth=2`` puts another kernel in the place of the one that is there.

        Returns
        -------
        The estimator itself.

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        TypeError, ValueError
            If the kernel does not take the value.
        """
        kernel = params.get("kernel", self.kernel)
        kernel = DEFAULT_KERNEL if kernel is None else kernel
        if not isinstance(kernel, Kernel):
            super().set_params(**params)
            return self
        super().set_params(**with_kernel_changed(params, kernel))
        return self


def with_kernel_changed(params: dict[str, Any], kernel: Kernel) -> dict[str, Any]:
    """Return parameters with those of names ``kernel__...`` put into `kernel`, which takes their place."""
    prefix = "kernel__"
    inner = {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
    outer = {name: value for name, value in params.items() if not name.startswith(prefix)}
    return {**outer, "kernel": kernel.with_parameters(**inner)} if inner else outer


Method = TypeVar("Method", bound=Callable[..., Any])


def within_its_threads(method: Method) -> Method:
    """Hold BLAS to an estimator's `n_threads` while one of its methods runs."""

    @wraps(method)
    def limited(self: Any, *arguments: Any, **options: Any) -> Any:
        with limited_blas(self.n_threads):
            return method(self, *arguments, **options)

    return cast(Method, limited)


def choose_kernel(kernel: Any) -> Kernel:
    """Return the kernel given, or the default."""
    if kernel is None:
        return DEFAULT_KERNEL
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an ArcCosine, NNGP or NTK; got {kernel!r} of type {type(kernel).__name__}.")
    return kernel


def choose_report(report: Any) -> Report:
    """Return the report given, or one that says nothing."""
    if report is None:
        return silent
    if not callable(report):
        raise TypeError(f"report must be a function of (stage, share of it done); got a {type(report).__name__}.")
    return report
