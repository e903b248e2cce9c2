"""The variances of a kernel's network as a vector of parameters, and what each of them does to the network's plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.compensated import Reals
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.layers.dense import with_variances
from ntk_fast.lazy import lazy
from ntk_fast.lower.plan import plan_of, variances_of
from ntk_fast.lower.row_derivatives import LogWeights, row_derivatives
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import UNIT
from ntk_fast.lower.steps import Mix

VARIANCES = ("weight_variance", "bias_variance")


@dataclass(frozen=True)
class VarianceParameters:
    """The variances of a kernel's network as a vector of logarithms, theta, and back.

    A variance of zero stays zero: it is no parameter. An :class:`ArcCosine` kernel has none.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
        Where theta starts from.
    per_layer : bool
        False: one parameter for all weight variances and one for all bias variances, each the geometric mean of those
        that are not zero; moving it multiplies them all. True: one parameter per Dense.
    fitted : sequence of {"weight_variance", "bias_variance"}
        Which variances are parameters.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> parameters = VarianceParameters(ntk.NTK(depth=2, weight_variance=(1, 2, 2), bias_variance=0.1), False)
    >>> np.exp(parameters.theta).round(3)
    array([1.587, 0.1  ])
    >>> parameters.kernel_at(parameters.theta + np.log([2, 1]))
    NTK(depth=2, weight_variance=(2.0, 4.0, 4.0), bias_variance=0.1)
    """

    kernel: Kernel
    per_layer: bool
    fitted: tuple[str, ...] = VARIANCES

    @property
    def _variances(self) -> dict[str, tuple[float, ...]]:
        """Of each Dense."""
        return dict(zip(VARIANCES, self.kernel.variances, strict=True))  # type: ignore[attr-defined]

    @lazy
    def groups(self) -> list[tuple[str, NDArray[np.intp]]]:
        """Each parameter's variance, and the layers that share it."""
        result = []
        for name in self.fitted if isinstance(self.kernel, NTK | NNGP) else ():
            layers = np.flatnonzero(self._variances[name])
            if len(layers):
                result += [(name, part) for part in (np.split(layers, len(layers)) if self.per_layer else [layers])]
        return result

    @property
    def names(self) -> list[str]:
        """Of the parameters: ``weight_variance``, or ``weight_variance[0]`` where each layer has its own."""
        return [
            name if len(layers) > 1 or not self.per_layer else f"{name}[{layers[0]}]" for name, layers in self.groups
        ]

    @property
    def theta(self) -> Reals:
        """The logarithms, (n_parameters,)."""
        return np.array([np.log(np.take(self._variances[name], layers)).mean() for name, layers in self.groups])

    def at(self, theta: ArrayLike) -> VarianceParameters:
        """Return the same parameters of the kernel with these logarithms.

        Parameters
        ----------
        theta : array-like of shape (n_parameters,)

        Returns
        -------
        VarianceParameters
        """
        moved = replace(self, kernel=self.kernel_at(theta))
        if self._directions_are_constant:
            vars(moved)["directions"] = self.directions
        return moved

    def kernel_at(self, theta: ArrayLike) -> Kernel:
        """Return the kernel with these logarithms.

        Parameters
        ----------
        theta : array-like of shape (n_parameters,)

        Returns
        -------
        The kernel
        """
        if not self.groups:
            return self.kernel
        changes = {name: np.array(values) for name, values in self._variances.items()}
        for (name, layers), old, new in zip(self.groups, self.theta, np.asarray(theta), strict=True):
            changes[name][layers] *= np.exp(new - old)
        return self.kernel.with_variances(*(values.tolist() for values in changes.values()))  # type: ignore[attr-defined]

    @lazy
    def directions(self) -> list[LogWeights]:
        """What each parameter does to the weights of the plan's mixes."""
        result = []
        for name, layers in self.groups:
            plans = {}
            for exponent in self._exponents:
                moved = {key: np.array(values) for key, values in self._variances.items()}
                moved[name][layers] *= 2.0**exponent
                network = with_variances(self.kernel.network, *(values.tolist() for values in moved.values()))
                plans[exponent] = plan_of.__wrapped__(network)
            result.append(LogWeights.between(self.kernel.plan, plans))
        return result

    @property
    def _n_merged(self) -> int:
        """How many Dense layers may be merged into others: those that are not trained."""
        trained = sum(isinstance(step, Mix) and step.adds_own for step in self.kernel.plan.steps)
        return len(self._variances["weight_variance"]) - trained

    @lazy
    def _directions_are_constant(self) -> bool:
        """Whether every weight and bias of the plan is a power of a variance: logarithms of these are linear."""
        return bool(self.groups) and not self._n_merged

    @property
    def _exponents(self) -> tuple[int, ...]:
        """Powers of two, as many as the degree of a plan's weights in a variance: merged layers multiply theirs."""
        merged = self._n_merged
        return (-1, 1) if merged <= 1 else tuple(k for k in range(-merged - 1, merged + 2) if k)

    @lazy
    def powers(self) -> Reals | None:
        """The power of each parameter that the kernel is proportional to; None where it is more than a product."""
        if not isinstance(self.kernel, NTK | NNGP) or any(self.kernel.variances[1]):
            return None if any(bias for _, bias in variances_of(self.kernel.network)) else np.zeros(0)
        unit = RowParameters(self.kernel.plan, UNIT)
        if unit.instructions.planes or any(slot.step.activation.homogeneity is None for slot in unit.instructions.maps):
            return None
        return 2 * row_derivatives(self.kernel.plan, unit, self.directions).log_scale[:, 0]
