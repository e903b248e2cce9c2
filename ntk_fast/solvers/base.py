"""What a solver is: something that solves (K + ridge I) coefficients = targets, exactly or on fewer centres."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ntk_fast.kernels import Kernel
from ntk_fast.schedule.tiling import SECONDS_BETWEEN_REPORTS

#: Called with what is being done and the share of it that is done, 0 to 1, or None where that cannot be known; from the
#: calling thread, about ten times a second.
Report = Callable[[str, float | None], None]

#: The largest entry of a kernel matrix lies between this and one over it: beyond, squares leave the range of float64.
LEAST_KERNEL = 1e-100


def silent(stage: str, share: float | None) -> None:
    """The report of those who want none."""


def ticks(report: Report, stage: str) -> Callable[[], None]:
    """Report a stage at once, and return what does it again, ten times a second, however often it is called."""
    report(stage, None)
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_REPORTS:
            last = now
            report(stage, None)

    return tick


@lru_cache(maxsize=1)
def convergence_warning() -> type[Warning]:
    """Return `ConvergenceWarning`: a RuntimeWarning, and scikit-learn's warning of that name where there is one."""
    bases: tuple[type[Warning], ...] = (RuntimeWarning,)
    with suppress(ImportError):
        from sklearn.exceptions import ConvergenceWarning as OfScikitLearn

        bases = (OfScikitLearn, RuntimeWarning)
    contents = {"__module__": __name__, "__doc__": "An iteration stopped before it reached its tolerance."}
    return type("ConvergenceWarning", bases, contents)


def __getattr__(name: str) -> Any:
    if name == "ConvergenceWarning":  # made when it is first used: importing scikit-learn takes longer than solving
        return convergence_warning()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, eq=False)
class Solution:
    """A predictor ``f(x) = kernel(x, rows) @ coefficients``, and how it was found."""

    rows: NDArray[np.floating]  # (n_centres, n_features): the training rows, or some of them
    coefficients: NDArray[np.floating]  # (n_centres, n_targets)
    residuals: NDArray[np.float64]  # (n_iterations + 1, n_targets): relative, before the first iteration and after each
    converged: bool = True
    #: Target minus prediction of the model fitted without the row, (n, n_targets), where that was asked for.
    leave_one_out: NDArray[np.floating] | None = None

    @property
    def n_iterations(self) -> int:
        return len(self.residuals) - 1


def without_iterations(
    rows: NDArray[np.floating],
    coefficients: NDArray[np.floating],
    leave_one_out: NDArray[np.floating] | None = None,
) -> Solution:
    """Return the solution of a direct method."""
    residuals = np.zeros((1, coefficients.shape[1]))
    return Solution(rows, np.ascontiguousarray(coefficients), residuals, leave_one_out=leave_one_out)


def power_of_two(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each column a power of two near its largest entry: dividing by it changes no bit but the exponent."""
    exponents = np.frexp(np.abs(targets).max(axis=0, initial=0.0))[1]
    return np.ldexp(1.0, np.clip(exponents, -1000, 1000))


def scaled_back(columns: NDArray[np.floating], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what was found for ``targets / scale`` in the units of the targets; raise if it overflows there."""
    with np.errstate(over="ignore"):
        result: NDArray[np.float64] = np.ascontiguousarray(columns * scale)
    if np.isinf(result).any() and np.isfinite(columns).all():
        raise ValueError(
            f"The targets reach {scale.max():.0e}, and coefficients of theirs overflow: scale the targets."
        )
    return result


def refuse_extreme(diagonal: NDArray[np.floating]) -> float:
    """Return the largest entry of a kernel matrix's diagonal; raise if solving with it would over- or underflow."""
    largest = float(diagonal.max(initial=0.0))
    if largest and not LEAST_KERNEL <= largest <= 1 / LEAST_KERNEL:
        raise ValueError(
            f"The kernel of the rows reaches {largest:.3g}, and must lie between {LEAST_KERNEL:g} and "
            f"{1 / LEAST_KERNEL:g} to solve with it: scale the rows."
        )
    return largest


def refuse_client(client: Any) -> None:
    """Raise where a method that works in the memory of one machine is given others."""
    if client is not None:
        raise ValueError(
            "client is for solvers 'cg' and 'nystroem', whose products workers share; 'cholesky' and decompositions "
            "work in the memory of one machine: choose one of the two, or leave client."
        )


class Solver(Protocol):
    """One way to solve; instances are immutable and hold its options only."""

    is_direct: ClassVar[bool]  # whether it solves without iterations, and what it says of rows left out is exact

    def solve(
        self,
        kernel: Kernel,
        rows: NDArray[np.floating],
        targets: NDArray[np.float64],
        ridge: float,
        *,
        weights: NDArray[np.float64] | None = None,
        leave_one_out: bool = False,
        n_threads: int | None = None,
        report: Report = silent,
        client: Any = None,
    ) -> Solution:
        """Fit `targets` of shape (n, n_targets) on rows of shape (n, n_features), all columns at once.

        Parameters
        ----------
        kernel : ArcCosine, NNGP or NTK
        rows : ndarray of shape (n, n_features)
        targets : ndarray of shape (n, n_targets), of float64
            All columns are solved for at once.
        ridge : float >= 0
        weights : ndarray of shape (n,), optional
            Of the rows, positive; None: ones. See `weighted`.
        leave_one_out : bool, default False
            Whether the errors of models fitted without each row are wanted, too; see `weighted`.
        n_threads : int >= 1, optional
            As in :func:`ntk_fast.gram`.
        report : callable, optional
            Called with what is being done and the share of it that is done, 0 to 1, or None where that cannot be known.
        client : dask.distributed.Client, optional
            Its workers compute the products; direct methods refuse one.

        Returns
        -------
        Solution

        Raises
        ------
        ValueError
            If K + ridge I is singular to working precision, where the method can tell.
        MemoryError
            If what the method stores does not fit in the free memory.
        """
