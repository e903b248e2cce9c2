"""Parameters of Gaussian processes, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.derivatives import VARIANCES, activation_parameters
from ntk_fast.estimators.marginal_likelihood import Model
from ntk_fast.estimators.network_ends import ends_in_dense, on_rows
from ntk_fast.estimators.scaling import ColumnScaling, TargetScaling, check_scale_columns
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.solvers.nystroem import number_of_centres
from ntk_fast.validation import as_array, check_whole_number

SOLVERS = ("auto", "cholesky", "fitc")
#: With solver="auto": a fit of so many takes some ten minutes.
MOST_ROWS_TO_FACTORISE = 10_000
#: Of targets, their mean square, where variances in their units are fitted.
EXTREME_SIZES = (1e-100, 1e100)


def check_fitted(fitted: Any, kernels: Sequence[Kernel], others: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of what is to be fitted: of the kernels, the same of each, and `others`."""
    if not isinstance(fitted, Iterable):
        raise TypeError(f"fitted must be a sequence of names; got {fitted!r}.")
    names = (fitted,) if isinstance(fitted, str) else tuple(fitted)
    allowed = (*VARIANCES, *others, *activation_parameters(kernels[0]))
    for name in names:
        if name not in allowed:
            raise ValueError(f"fitted must hold names out of {', '.join(map(repr, allowed))}; got {name!r}.")
    return names


def check_noise(noise: Any, n_rows: int) -> NDArray[np.float64]:
    """Return the noise of each row."""
    accepted = "a number >= 0, or one for each row"
    values = as_array(noise, "noise_variance", accepted)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"noise_variance must be {accepted}; got an array of dtype {values.dtype}.")
    if values.shape != (n_rows,):
        raise ValueError(f"noise_variance must be {accepted}; got shape {values.shape} for {n_rows} rows.")
    wrong = np.flatnonzero(~((values >= 0) & (values < np.inf)))
    if len(wrong):
        raise ValueError(f"noise_variance must be {accepted}; got {values[wrong[0]]} for row {wrong[0]}.")
    return values.astype(np.float64)


def at_depth(kernel: Kernel, depth: Any) -> Kernel:
    """Return the same kernel with another number of layers, further ones like its last."""
    depth = check_whole_number(depth, "depths", 1)
    if not isinstance(kernel, NTK | NNGP):
        return kernel.with_parameters(depth=depth)
    if kernel.depth is None:
        raise ValueError("depths must be None where the kernel is given by its network.")
    changes = {
        name: (layers + layers[-1:] * depth)[: depth + 1]
        for name, layers in zip(("weight_variance", "bias_variance"), kernel.variances, strict=True)
    }
    return kernel.with_parameters(depth=depth, **changes)


def depths_of(kernel: Kernel, depths: Any) -> list[Kernel]:
    """Return the kernel at each of the depths; as it is if there are none to compare."""
    if depths is None:
        return [kernel]
    if not isinstance(depths, Iterable):
        raise TypeError(f"depths must be a sequence of whole numbers >= 1, or None; got {depths!r}.")
    kernels = [at_depth(kernel, depth) for depth in depths]
    if not kernels:
        raise ValueError("depths must hold at least one depth; got none.")
    return kernels


def scaling_of_columns(scale_columns: Any, rows: NDArray[np.floating], is_default: bool) -> ColumnScaling:
    """Return what to do with columns: where nothing is said, the default kernel has them scaled, and others not."""
    chosen = check_scale_columns(scale_columns)
    if chosen == "auto":
        chosen = "deviation" if is_default else None
    return ColumnScaling() if chosen is None else ColumnScaling.of(rows, by=chosen)


def with_unit_of_rows(columns: ColumnScaling, rows: NDArray[np.floating], model: Model) -> tuple[ColumnScaling, float]:
    """Return what to do with columns, and the squared norm that is the unit of what is left.

    That unit goes into the weights of layers that see the rows; where there are none, and all is fitted, into columns.
    """
    square = mean_square_norm(columns.apply(rows))
    if on_rows(model.kernel) is not None:
        return columns, square
    if not model.fits_all or isinstance(columns.spread, np.ndarray):
        return columns, 1.0
    return ColumnScaling(0.0, np.full(rows.shape[1], square**0.5)), 1.0


def scaling_of_targets(
    targets: NDArray[np.float64], normalize: bool | None, model: Model
) -> tuple[TargetScaling, float]:
    """Return what is done to targets, and the square that is their unit where something is fitted."""
    fits = bool(model.names)
    scaling = TargetScaling.of(targets) if normalize or (fits and normalize is None) else TargetScaling()
    if not fits or normalize:
        return scaling, 1.0
    with np.errstate(over="ignore", under="ignore"):
        square = float((np.asarray(TargetScaling.of(targets, centre=normalize is None).scale) ** 2).mean())
    low, high = EXTREME_SIZES
    if not low <= square <= high:
        raise ValueError(
            f"y has a mean square of {square:.3g}, and must have one from {low:g} to {high:g} to fit variances: "
            "scale it, or pass normalize_y=True."
        )
    if ends_in_dense(model.kernel):
        return TargetScaling(scaling.mean), square
    # of a prior without variances nothing can be brought to the targets' unit
    return TargetScaling(scaling.mean, square**0.5 if model.fits_all else 1.0), 1.0


def mean_square_norm(rows: NDArray[np.floating]) -> float:
    """Return the mean squared norm of the rows; 1 where they are all zero, or it is out of range."""
    largest = float(np.abs(rows).max(initial=0.0))
    if not largest:
        return 1.0
    square = largest * largest * float(((rows / largest) ** 2).sum(axis=1, dtype=np.float64).mean())
    return square if 0 < square < np.inf else 1.0


def choose_process_solver(solver: Any, n_centres: Any, n_rows: int) -> tuple[str, int]:
    """Return the name of the solver to use, and the number of centres that it would take."""
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))}; got {solver!r}.")
    number = number_of_centres(None if n_centres is None else check_whole_number(n_centres, "n_centres", 1), n_rows)
    if solver == "auto":
        solver = "cholesky" if n_rows <= MOST_ROWS_TO_FACTORISE else "fitc"
    return solver, number
