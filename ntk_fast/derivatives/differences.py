"""Derivatives by differences of whole kernels: by parameters of activations, and by all of a kernel on images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ntk_fast.compensated import Reals
from ntk_fast.derivatives.log_parameters import LogParameters
from ntk_fast.kernels import Kernel
from ntk_fast.schedule.tiling import Progress

#: A central difference: sum of WEIGHTS[k] f(k STEP) over STEP is f' to the fourth order.
STEP = 2.0**-8
WEIGHTS = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}

Value = TypeVar("Value", float, Reals)


def difference(
    parameters: LogParameters, place: int, value: Callable[[Kernel, Progress | None], Value], progress: Progress | None
) -> Value:
    """Return the derivative, by one entry of theta, of what is computed of a kernel, which is called four times.

    Of the fourth order: relative errors are near 1e-11, and some 500 times those of the kernel where these are larger.
    What several layers share moves by so much less, as K is a polynomial of a higher degree in it.
    """
    theta, step = parameters.theta, STEP / parameters.degrees[place]

    def at(number: int, k: int) -> Value:
        moved = theta.copy()
        moved[place] += k * step
        kernel = parameters.kernel_at(moved)
        if progress is None:
            return value(kernel, None)
        return value(kernel, lambda done, total: progress(number * total + done, len(WEIGHTS) * total))

    return sum(weight / step * at(number, k) for number, (k, weight) in enumerate(WEIGHTS.items()))  # type: ignore[return-value]
