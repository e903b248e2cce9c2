"""What is fitted of a kernel as a vector of logarithms, and what the variances among it do to the network's plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.compensated import Reals
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.dense import with_variances
from ntk_fast.layers.names import activation_named
from ntk_fast.layers.nested_parameters import SEPARATOR, nested
from ntk_fast.lazy import lazy
from ntk_fast.lower.plan import plan_of, variances_of
from ntk_fast.lower.row_derivatives import LogWeights, row_derivatives
from ntk_fast.lower.row_parameters import RowParameters
from ntk_fast.lower.scaled import UNIT
from ntk_fast.lower.steps import Mix

VARIANCES = ("weight_variance", "bias_variance")


def activation_parameters(kernel: Kernel) -> dict[str, float]:
    """Return the parameters of a kernel's activations that are real numbers, by the names of its `get_params`.

    Those of a sum or a product of kernels are by the names of its network's: ``network__0__1__slope``.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> activation_parameters(ntk.NTK(depth=2, activation=ntk.layers.LeakyRelu(0.1)))
    {'activation__slope': 0.1}
    """
    own = kernel.get_params(deep=False)  # of a sum or a product its network, which stays when variances move
    every = nested({name: activation_named(value) if name == "activation" else value for name, value in own.items()})
    owners = {name: every.get(name.rpartition(SEPARATOR)[0]) for name in every}
    return {
        name: value
        for name, value in every.items()
        if isinstance(owners[name], ActivationLayer) and isinstance(value, float)
    }


@dataclass(frozen=True)
class LogParameters:
    """Variances of a kernel's network, and parameters of its activations, as a vector of logarithms, theta, and back.

    Of a parameter of an activation it is the logarithm of the magnitude: the sign stays. What is zero stays zero: it is
    no parameter. An :class:`ArcCosine` kernel has none.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
        Where theta starts from.
    per_layer : bool
        False: one parameter for all weight variances and one for all bias variances, each the geometric mean of those
        that are not zero; moving it multiplies them all. True: one parameter per Dense.
    fitted : sequence of str
        What is in theta: "weight_variance", "bias_variance", and names out of `activation_parameters`. Variances come
        first.

    Examples
    --------
    >>> import numpy as np
    >>> import ntk_fast as ntk
    >>> parameters = LogParameters(ntk.NTK(depth=2, weight_variance=(1, 2, 2), bias_variance=0.1), False)
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
    def activations(self) -> dict[str, float]:
        """The parameters of activations among theta, by name."""
        own = activation_parameters(self.kernel)
        return {name: own[name] for name in self.fitted if own.get(name)}

    @lazy
    def groups(self) -> list[tuple[str, NDArray[np.intp]]]:
        """Each variance's name, and the layers that share it."""
        result = []
        for name in VARIANCES if isinstance(self.kernel, NTK | NNGP) else ():
            if name not in self.fitted:
                continue
            layers = np.flatnonzero(self._variances[name])
            if len(layers):
                result += [(name, part) for part in (np.split(layers, len(layers)) if self.per_layer else [layers])]
        return result

    @property
    def n_formulas(self) -> int:
        """How many entries of theta, from the first, have derivatives by formulas: variances of networks on rows."""
        return 0 if self.kernel.plan.shape is not None else len(self.groups)

    @property
    def degrees(self) -> list[int]:
        """The degree of the kernel in what each entry of theta multiplies, or so: an amplitude's square counts."""
        depth = getattr(self.kernel, "depth", None) or 1  # of a kernel given by its depth, all activations are one
        return [*(len(layers) for _, layers in self.groups), *(2 * depth for _ in self.activations)]

    @property
    def names(self) -> list[str]:
        """Of the parameters: ``weight_variance``, or ``weight_variance[0]`` where each layer has its own."""
        variances = [
            name if len(layers) > 1 or not self.per_layer else f"{name}[{layers[0]}]" for name, layers in self.groups
        ]
        return [*variances, *self.activations]

    @property
    def theta(self) -> Reals:
        """The logarithms, (n_parameters,)."""
        variances = [np.log(np.take(self._variances[name], layers)).mean() for name, layers in self.groups]
        return np.array([*variances, *(np.log(abs(value)) for value in self.activations.values())], dtype=np.float64)

    def at(self, theta: ArrayLike) -> LogParameters:
        """Return the same parameters of the kernel with these logarithms.

        Parameters
        ----------
        theta : array-like of shape (n_parameters,)

        Returns
        -------
        LogParameters
        """
        moved = replace(self, kernel=self.kernel_at(theta))
        if self._directions_are_constant and not self.activations:
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
        factors, n_variances = np.exp(np.asarray(theta) - self.theta), len(self.groups)
        kernel = self.kernel
        if self.groups:
            changes = {name: np.array(values) for name, values in self._variances.items()}
            for (name, layers), factor in zip(self.groups, factors[:n_variances], strict=True):
                changes[name][layers] *= factor
            kernel = kernel.with_variances(*(values.tolist() for values in changes.values()))  # type: ignore[attr-defined]
        if self.activations:
            moved = zip(self.activations.items(), factors[n_variances:], strict=True)
            kernel = kernel.with_parameters(**{name: float(value * factor) for (name, value), factor in moved})
        return kernel

    @lazy
    def directions(self) -> list[LogWeights]:
        """What each variance does to the weights of the plan's mixes."""
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
        """The power of each variance that the kernel is proportional to; None where it is more than a product."""
        if self.kernel.plan.shape is not None:
            return None
        if not isinstance(self.kernel, NTK | NNGP) or any(self.kernel.variances[1]):
            return None if any(bias for _, bias in variances_of(self.kernel.network)) else np.zeros(0)
        unit = RowParameters(self.kernel.plan, UNIT)
        if unit.instructions.planes or any(slot.step.activation.homogeneity is None for slot in unit.instructions.maps):
            return None
        return 2 * row_derivatives(self.kernel.plan, unit, self.directions).log_scale[:, 0]
