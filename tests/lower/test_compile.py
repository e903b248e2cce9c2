"""Compiled tables hold the functions that they were compiled from; what no table can hold is computed in steps."""

from __future__ import annotations

import numpy as np
import pytest
from registry import DEEP_KERNELS, ENGINES, KERNELS, tolerance

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.backends import choose_backend
from ntk_fast.lower.chord_functions import profile_of
from ntk_fast.lower.compile import compile_program
from ntk_fast.lower.row_parameters import RowParameters, norm_range
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.tables import look_up

#: Where a table is looked at: everywhere, and crowded towards chord 0.
CHORDS = np.concatenate([[0.0], np.geomspace(1e-12, np.sqrt(0.5), 300), np.linspace(0, np.sqrt(0.5), 300)])
EQUAL, UNEQUAL = Scaled.of(np.array([2.0, 2.0])), Scaled.of(np.array([0.5, 3.0]))


def pieces_in_use(dtype: np.dtype) -> list[int]:
    """The numbers of pieces that this machine's engines ask for."""
    pieces = set()
    for engine in ENGINES:
        with engine.selected() as backend:
            pieces.add(choose_backend(backend).pieces(dtype))
    return sorted(pieces - {0})


@pytest.mark.parametrize("opposite", [False, True], ids=["cosine >= 0", "cosine < 0"])
def test_profiles_are_the_functions_that_they_stand_for(kernel, dtype, opposite):
    there = np.full(CHORDS.shape, opposite)
    for pieces in pieces_in_use(dtype):
        program = compile_program(kernel.plan, kernel.has_tangent, dtype, pieces, norm_range(EQUAL))
        if program.profile is None:
            continue
        rows = RowParameters(kernel.plan, norm_range(EQUAL))
        raw = profile_of(rows.instructions, rows.placed(dtype), 0, kernel.has_tangent)
        exact = raw(CHORDS, there) / raw(np.zeros(1), np.zeros(1, dtype=bool))
        values = look_up(program.profile, CHORDS, there, two_sided=True)
        assert np.abs(values - exact).max() <= tolerance(kernel, dtype)


def test_tables_are_aligned_and_of_the_dtype(dtype):
    for kernel in (ntk.NTK(3), ntk.NNGP(2, "abs"), ntk.NTK(5, "leaky_relu")):
        for pieces in pieces_in_use(dtype):
            table = compile_program(kernel.plan, kernel.has_tangent, dtype, pieces, norm_range(UNEQUAL)).profile
            assert table is not None
            assert table.coefficients.dtype == dtype
            assert table.coefficients.flags.c_contiguous
            assert table.coefficients.ctypes.data % 64 == 0
            assert np.isfinite(table.coefficients).all()


@pytest.mark.parametrize("name", [name for name in DEEP_KERNELS if "bias" not in name and "1000" not in name])
def test_without_bias_depth_is_free(name, dtype):
    """A network of 300 layers costs a polynomial, not 300 steps."""
    kernel = DEEP_KERNELS[name]
    program = compile_program(kernel.plan, kernel.has_tangent, dtype, pieces_in_use(dtype)[-1], norm_range(UNEQUAL))
    assert program.profile is not None
    assert len(program.profile.coefficients) <= 40


HOMOGENEOUS = layers.Sequential(
    layers.Dense(2.0), layers.Residual(layers.Relu(), layers.Dense(0.5)), layers.Relu(), layers.Dense()
)
NORMALISED = layers.Sequential(layers.LayerNorm(), layers.Dense(1.0, 0.1), layers.Gelu(), layers.Dense(1.0, 0.2))
BIASED = layers.Sequential(layers.Dense(1.0, 0.1), layers.Gelu(), layers.Dense(1.0, 0.2))


@pytest.mark.parametrize(
    ("network", "norms", "expected"),
    [
        (HOMOGENEOUS, UNEQUAL, True),
        (NORMALISED, UNEQUAL, True),
        (BIASED, EQUAL, True),
        (BIASED, UNEQUAL, False),
        (ntk.NTK(3, bias_variance=0.1).network, EQUAL, True),
        (ntk.NTK(3, bias_variance=0.1).network, UNEQUAL, False),
    ],
)
def test_profiles_exist_where_rows_do_not_matter(network, norms, expected):
    kernel = ntk.NTK(network=network)
    program = compile_program(kernel.plan, True, np.dtype(np.float64), 8, norm_range(norms))
    assert (program.profile is not None) is expected


@pytest.mark.parametrize("network", [HOMOGENEOUS, NORMALISED, BIASED])
def test_on_rows_of_equal_norm_table_and_steps_agree(network, backend):
    kernel, rng = ntk.NTK(network=network), np.random.default_rng(0)
    X = rng.standard_normal((20, 4))
    X /= np.linalg.norm(X, axis=1)[:, None]
    other = np.concatenate([X, [2 * X[0]]])  # a row of another norm: now in steps
    assert kernel(X, backend=backend) == pytest.approx(kernel(other, backend=backend)[:20, :20], rel=1e-12, abs=1e-13)


def test_tables_are_kept_by_what_they_depend_on():
    dtype = np.dtype(np.float64)
    first, second = (
        compile_program(kernel.plan, True, dtype, 8, norm_range(UNEQUAL))
        for kernel in (ntk.NTK(7), ntk.NTK(7, weight_variance=2.5))
    )
    assert first.profile is second.profile


@pytest.mark.parametrize(
    "slope", [sign * (1 + step * 10.0**-k) for sign in (1, -1) for step in (1, -1) for k in (2, 5, 8)]
)
def test_nearly_linear_and_nearly_even_activations_keep_the_promise(slope, dtype, backend):
    """Tables that cannot resolve what happens in the last 1e-5 of the angles are not used."""
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [-1.0, 1e-5]]).astype(dtype)
    for kernel in (ntk.NNGP(5, layers.LeakyRelu(slope)), ntk.NTK(3, layers.LeakyRelu(slope))):
        exact = kernel(X.astype(np.float64), X.astype(np.float64), backend="numpy")
        scale = np.sqrt(np.diag(exact)[:, None] * np.diag(exact))
        errors = np.abs(kernel(X, X.copy(), backend=backend) - exact) / scale
        assert errors.max() <= 1.5 * tolerance(kernel, dtype)


def test_kernels_of_the_registry_compile_for_rows_of_all_norms(kernel, dtype):
    norms = norm_range(Scaled.of(np.array([0.0, 1e-300, 1.0, 1e300])))
    program = compile_program(kernel.plan, kernel.has_tangent, dtype, 8, norms)
    assert program.profile is not None or program.instructions
    assert KERNELS


@pytest.mark.parametrize(
    "inner",
    [
        layers.Residual(layers.Tanh()),
        layers.Residual(layers.LayerNorm()),
        layers.Residual(layers.Relu()),
        layers.Residual(),
        layers.Sum(layers.Identity(), layers.Identity()),
        layers.Product(layers.Identity(), layers.Relu()),
    ],
    ids=repr,
)
def test_branches_that_are_not_independent_are_refused_by_their_place(inner):
    """h + tanh(h) has terms that the sum of two covariances leaves out."""
    with pytest.raises(ValueError, match=r"network: layer 2 of 3, .*independent|at most one branch"):
        ntk.NTK(network=layers.Sequential(layers.Dense(), inner, layers.Dense()))
