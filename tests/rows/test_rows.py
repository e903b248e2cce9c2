"""Prepared rows: the numbers given where that is safe, otherwise scaled by a power of two of their own."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast.backends import choose_backend
from ntk_fast.gram import compile_for, prepare_for
from ntk_fast.rows.prepared import Rows
from ntk_fast.rows.preparing import measure

KERNEL = ntk.NTK(2)


def prepared(values: np.ndarray, backend: str, kernel: ntk.NTK = KERNEL) -> Rows:
    chosen = choose_backend(backend)
    measured = measure(values, "X", chosen)
    program = compile_for(kernel, values.dtype, chosen, measured.square_norm)
    return prepare_for(program, kernel, measured, chosen)


def test_ordinary_rows_are_not_copied(dtype, backend):
    values = np.random.default_rng(0).standard_normal((20, 5)).astype(dtype)
    assert prepared(values, backend).values is values


def test_rows_whose_squares_leave_the_range_are_scaled_exactly(dtype, backend):
    values = np.random.default_rng(0).standard_normal((6, 5)).astype(dtype)
    powers = np.array([0, 1, -1, 0.5, -0.5, 0]) * (np.finfo(dtype).maxexp - 8)
    given = np.ldexp(values, powers.astype(int)[:, None])
    rows = prepared(given, backend)
    ratio = rows.values / given
    assert (np.frexp(ratio)[0] == 0.5).all()
    assert (ratio == ratio[:, :1]).all()
    squares = (rows.values.astype(np.float64) ** 2).sum(axis=1)
    assert rows.inverse_norm == pytest.approx(1 / np.sqrt(squares), rel=2 * float(np.finfo(dtype).eps))
    norms = np.linalg.norm(values.astype(np.float64), axis=1) * 2.0 ** powers.astype(int)
    expected = norms * np.sqrt(float(KERNEL.diag([[1.0]])[0]))
    assert rows.root_diagonal == pytest.approx(expected, rel=1e-14)


def test_a_row_of_zeros_has_no_direction_and_the_least_scale(dtype, backend):
    rows = prepared(np.zeros((2, 3), dtype), backend)
    assert (rows.inverse_norm == 0).all()
    assert (rows.scale == 0).all()
    assert (rows.diagonal == 0).all()


def test_layers_have_their_shares_for_each_row(dtype, backend):
    values = np.random.default_rng(0).standard_normal((7, 3)).astype(dtype)
    shares = prepared(values, backend, ntk.NTK(4, bias_variance=0.3)).parameters
    assert shares.shape == (10, 7)
    assert shares[::2] ** 2 + shares[1::2] ** 2 == pytest.approx(np.ones((5, 7)), rel=4 * float(np.finfo(dtype).eps))


def test_a_part_of_the_rows_is_those_rows(dtype, backend):
    values = np.random.default_rng(0).standard_normal((9, 3)).astype(dtype)
    kernel, part = ntk.NTK(2, "gelu", bias_variance=1.0), slice(2, 7)
    whole, alone = prepared(values, backend, kernel), prepared(values[part], backend, kernel)
    for name in ("values", "inverse_norm", "diagonal", "root_diagonal", "scale", "parameters"):
        assert np.array_equal(getattr(whole.part(part), name), getattr(alone, name)), name
