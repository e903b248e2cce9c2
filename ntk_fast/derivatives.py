"""Derivatives of Gram matrices with respect to a network's variances: what fitting these to data needs.

A likelihood's gradient is one number's derivatives: where it is compiled, one pass back through the program gives them
(`adjoint`). Elsewhere, and for whole matrices of derivatives, the program is differentiated in forward mode, tile by
tile, in NumPy (`lower.differentiate`). Either way rows know how what is taken of them moves (`lower.row_derivatives`).
Kernels without bias whose activations are homogeneous are proportional to each weight variance, and need none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntk_fast.adjoint import row_adjoints
from ntk_fast.backends import choose_backend
from ntk_fast.backends.base import Differentiator, FillTile, Tile
from ntk_fast.backends.numpy_backend import NumpyBackend
from ntk_fast.backends.numpy_chords import tile_chords
from ntk_fast.caller import on_trial, warns_once
from ntk_fast.compensated import Reals
from ntk_fast.gram import check_both, prepare
from ntk_fast.kernels import NNGP, NTK, Kernel
from ntk_fast.layers.dense import with_variances
from ntk_fast.lazy import lazy
from ntk_fast.lower.compile import RowParameters, compile_program, norm_range, row_tolerance
from ntk_fast.lower.differentiate import MovedRows, differentiate
from ntk_fast.lower.pair_state import pair_of_chord
from ntk_fast.lower.plan import plan_of, variances_of
from ntk_fast.lower.program import PlacedMap, Program
from ntk_fast.lower.reversible import reversible
from ntk_fast.lower.row_derivatives import WEIGHTS, LogWeights, row_derivatives, step_for
from ntk_fast.lower.scaled import UNIT
from ntk_fast.lower.steps import Mix
from ntk_fast.rows import Rows, measure, prepare_rows
from ntk_fast.threads import choose_n_threads, single_threaded_blas
from ntk_fast.tiling import Progress, make_tiles, run_tiles
from ntk_fast.validation import refuse_overflow

VARIANCES = ("weight_variance", "bias_variance")
#: Rows and columns of a tile: some twenty such arrays stay in a 2 MB cache.
BLOCK_ROWS, BLOCK_COLUMNS = 64, 128


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
        """Return the same parameters of the kernel with these logarithms."""
        moved = replace(self, kernel=self.kernel_at(theta))
        if self._directions_are_constant:
            vars(moved)["directions"] = self.directions
        return moved

    def kernel_at(self, theta: ArrayLike) -> Kernel:
        """Return the kernel with these logarithms."""
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


def _moved(
    parameters: VarianceParameters, rows: Rows, values: Reals, name: str, maps: Sequence[PlacedMap]
) -> tuple[MovedRows, Reals]:
    """Return how rows move, and the derivatives of the logarithms of their scales."""
    plan = parameters.kernel.plan
    own = RowParameters(plan, measure(values, name, NumpyBackend()).square_norm)
    derivatives = row_derivatives(plan, own, parameters.directions)
    tolerance = row_tolerance(np.dtype(np.float64))
    shifted: list[dict[int, Reals] | None] = []
    steps: list[Reals | None] = []
    for index, slot in enumerate(own.instructions.maps):
        activation = slot.step.activation
        if activation.homogeneity is not None:
            shifted.append(None)
            steps.append(None)
            continue
        variance, count = own.variance(index), maps[index].count
        step, several = step_for(variance), {}
        with on_trial():
            for k in WEIGHTS:
                moved = activation.row_parameters(variance * np.exp(k * step), tolerance, count)[:count]
                several[k] = np.concatenate([moved, np.zeros((count - len(moved), len(variance)))])
        shifted.append(several)
        steps.append(step)
    moved_rows = MovedRows(rows.parameters, derivatives.shares, derivatives.log_variance, shifted, steps)
    return moved_rows, derivatives.log_scale


def _cut(moved: MovedRows, part: slice, axis: int) -> MovedRows:
    """Return some rows, along the first or the last axis of a tile."""
    where = (part, None) if axis == 0 else (None, part)
    shifted = [
        None if several is None else {k: values[(slice(None), *where)] for k, values in several.items()}
        for several in moved.shifted
    ]
    return MovedRows(
        moved.parameters[(slice(None), *where)],
        moved.shares_dot[(slice(None), slice(None), *where)],
        moved.log_variance_dot[(slice(None), slice(None), *where)],
        shifted,
        [None if step is None else step[where] for step in moved.steps],
    )


@warns_once
def gram_derivatives(
    parameters: VarianceParameters, X: ArrayLike, Y: ArrayLike | None = None, *, n_threads: int | None = None
) -> Reals:
    """Return the derivatives of the Gram matrix with respect to theta.

    Parameters
    ----------
    parameters : VarianceParameters
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features), optional
        None: the rows of `X`.
    n_threads : int >= 1, optional
        As in :func:`ntk_fast.gram`.

    Returns
    -------
    ndarray of shape (n_parameters, n, n) or (n_parameters, n, m)

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> X = [[1.0, 0.0], [3.0, 4.0]]
    >>> weights = VarianceParameters(ntk.NTK(depth=2), per_layer=False)  # K is proportional to weight_variance^3
    >>> bool(np.allclose(gram_derivatives(weights, X), 3 * ntk.NTK(depth=2)(X)))
    True
    """
    kernel = parameters.kernel
    if parameters.powers is not None:
        return parameters.powers[:, None, None] * kernel(X, Y, dtype=np.float64, n_threads=n_threads)
    out: Reals | None = None

    def store(tile: Tile, values: Reals, symmetric: bool) -> None:
        assert out is not None
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        if not symmetric:
            out[:, rows, columns] = values
            return
        above = _offsets(tile) >= 0
        np.copyto(out[:, rows, columns], values, where=above)
        np.copyto(out[:, columns, rows], values.transpose(0, 2, 1), where=above.T)

    x, y = check_both(X, Y, np.float64)
    out = np.empty((len(parameters.groups), len(x), len(x if y is None else y)))
    _run(parameters, x, y, store, n_threads)
    return out


def contracted_derivatives(
    parameters: VarianceParameters,
    X: ArrayLike,
    weights: Reals,
    Y: ArrayLike | None = None,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Reals:
    """Return ``sum(weights * derivative)`` over a Gram matrix, for each parameter, storing no derivative.

    Parameters
    ----------
    parameters : VarianceParameters
    X : array-like of shape (n, n_features)
    weights : ndarray of shape (n, n) or (n, m)
        Symmetric without `Y`.
    Y : array-like of shape (m, n_features), optional
        None: the rows of `X`.
    n_threads, progress
        As in :func:`ntk_fast.gram`.

    Returns
    -------
    ndarray of shape (n_parameters,)

    Raises
    ------
    ValueError
        If the weights are not one for each entry.
    """
    kernel = parameters.kernel
    x, y = check_both(X, Y, np.float64)
    shape = len(x), len(x if y is None else y)
    if np.shape(weights) != shape:
        raise ValueError(f"weights must have shape {shape}; got {np.shape(weights)}.")
    if parameters.powers is not None:
        total = np.vdot(weights, kernel(x, y, dtype=np.float64, n_threads=n_threads, progress=progress))
        return parameters.powers * total
    in_reverse = _in_reverse(parameters, x, y, weights, n_threads, progress)
    if in_reverse is not None:
        return in_reverse
    sums: dict[Tile, Reals] = {}

    def add(tile: Tile, values: Reals, symmetric: bool) -> None:
        part = weights[tile.row_start : tile.row_stop, tile.column_start : tile.column_stop]
        if symmetric:  # an entry above the diagonal stands for its mirror image too
            part = part * (1.0 + np.sign(_offsets(tile)))
        sums[tile] = np.einsum("pij,ij->p", values, part)

    tiles = _run(parameters, x, y, add, n_threads, progress)
    return sum((sums[tile] for tile in tiles), np.zeros(len(parameters.groups)))


def _in_reverse(
    parameters: VarianceParameters,
    x_values: Reals,
    y_values: Reals | None,
    weights: Reals,
    n_threads: int | None,
    progress: Progress | None,
) -> Reals | None:
    """Return the same in one pass, whatever the number of parameters; None where that is not compiled."""
    kernel, backend, dtype = parameters.kernel, choose_backend(), np.dtype(np.float64)
    if not isinstance(backend, Differentiator):
        return None
    given = [(x_values, "X"), *([] if y_values is None else [(y_values, "Y")])]
    measured = [measure(values, name, backend) for values, name in given]
    norms = norm_range(*(part.square_norm for part in measured))
    arguments = kernel.plan, kernel.has_tangent, dtype, backend.pieces(dtype), norms
    compiled = compile_program(*arguments)  # known already where the matrix has just been computed
    program = reversible(compiled if compiled.profile is None else compile_program(*arguments, as_profile=False))
    if program is None:
        return None
    own = [RowParameters(kernel.plan, part.square_norm) for part in measured]
    rows = [prepare_rows(part, kernel.plan, program, backend, known) for part, known in zip(measured, own, strict=True)]
    largest = [float(part.root_diagonal.max(initial=0.0)) for part in rows]
    refuse_overflow(largest[0], largest[-1], dtype)
    y = None if y_values is None else rows[-1]
    sums = row_adjoints(program, rows[0], y, weights, backend, choose_n_threads(n_threads), progress)
    result = np.zeros(len(parameters.groups))
    for known, of_rows in zip(own, [sums[0] + sums[1]] if y is None else sums, strict=True):
        derivatives = row_derivatives(kernel.plan, known, parameters.directions)
        result += np.tensordot(derivatives.shares, of_rows[:-1], axes=2) + derivatives.log_scale @ of_rows[-1]
    return result


def contracted_diagonal_derivatives(parameters: VarianceParameters, X: ArrayLike, weights: Reals) -> Reals:
    """Return ``sum(weights * derivative)`` over the diagonal of the Gram matrix of `X`, for each parameter.

    Parameters
    ----------
    parameters : VarianceParameters
    X : array-like of shape (n, n_features)
    weights : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n_parameters,)
    """
    kernel = parameters.kernel
    values, _ = check_both(X, None, np.float64)
    if parameters.powers is not None:
        return parameters.powers * np.vdot(weights, kernel.diag(values))
    x, _, program = prepare(kernel, values, None, NumpyBackend())
    assert isinstance(program, Program)
    maps = [part.placed for part in program.maps]
    moved, log_scale = _moved(parameters, x, values, "X", maps)
    same = np.zeros(len(x)), np.full(len(x), 2.0)
    value, value_dot = differentiate(program.instructions, maps, *same, moved, moved, program.has_tangent)
    return (x.scale**2 * (2 * log_scale * value + value_dot)) @ weights


def _offsets(tile: Tile) -> NDArray[np.intp]:
    """Column minus row of each entry."""
    return np.arange(tile.column_start, tile.column_stop) - np.arange(tile.row_start, tile.row_stop)[:, None]


def _run(
    parameters: VarianceParameters,
    x_values: Reals,
    y_values: Reals | None,
    use: Callable[[Tile, Reals, bool], None],
    n_threads: int | None,
    progress: Progress | None = None,
) -> list[Tile]:
    """Compute the derivatives tile by tile, on several threads, and hand them to `use`."""
    x, y, program = prepare(parameters.kernel, x_values, y_values, NumpyBackend())
    assert isinstance(program, Program)
    maps = [part.placed for part in program.maps]
    x_moved, x_scale = _moved(parameters, x, x_values, "X", maps)
    other, y_moved, y_scale = x, x_moved, x_scale
    if y is not None and y_values is not None:
        other = y
        y_moved, y_scale = _moved(parameters, y, y_values, "Y", maps)
    tiles = make_tiles(len(x), len(other), symmetric=y is None, block_rows=BLOCK_ROWS, block_columns=BLOCK_COLUMNS)

    def fill(tile: Tile) -> None:
        rows, columns = slice(tile.row_start, tile.row_stop), slice(tile.column_start, tile.column_stop)
        chord, opposite = tile_chords(program.near, x, other, rows, columns)
        m, p = pair_of_chord(chord, opposite)
        value, value_dot = differentiate(
            program.instructions, maps, m, p, _cut(x_moved, rows, 0), _cut(y_moved, columns, 1), program.has_tangent
        )
        log_scale_dot = x_scale[:, rows, None] + y_scale[:, None, columns]
        use(tile, x.scale[rows, None] * other.scale[columns] * (log_scale_dot * value + value_dot), y is None)

    def make_fill() -> FillTile:
        return fill

    with single_threaded_blas():
        run_tiles(tiles, make_fill, choose_n_threads(n_threads), progress)
    return tiles
