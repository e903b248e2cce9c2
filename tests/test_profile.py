"""Compiled tables hold the functions that they were compiled from."""

from __future__ import annotations

import numpy as np
import pytest
from registry import DEEP_KERNELS, ENGINES, KERNELS, tolerance

import ntk_fast as ntk
from ntk_fast.backends import choose_backend
from ntk_fast.duals import complement, slope_complement
from ntk_fast.profile import compile_entry, homogeneous_profile
from ntk_fast.tables import evaluate

#: The tables' share of the error that an entry may have.
SHARE = {np.dtype(np.float64): 0.75, np.dtype(np.float32): 0.1}

#: Where a table is looked at: everywhere, and crowded towards chord 0.
CHORDS = np.concatenate([[0.0], np.geomspace(1e-12, np.sqrt(0.5), 300), np.linspace(0, np.sqrt(0.5), 300)])


def pieces_in_use(dtype: np.dtype) -> list[int]:
    """The numbers of pieces that this machine's engines ask for."""
    pieces = set()
    for engine in ENGINES:
        with engine.selected() as backend:
            pieces.add(choose_backend(backend).pieces(dtype))
    return sorted(pieces - {0})


@pytest.mark.parametrize("opposite", [False, True], ids=["cosine >= 0", "cosine < 0"])
def test_tables_are_the_functions_that_they_stand_for(kernel, dtype, opposite):
    recursion, there = kernel.recursion, np.full(CHORDS.shape, opposite)
    allowed = SHARE[dtype] * tolerance(kernel, dtype)
    for pieces in pieces_in_use(dtype):
        entry = compile_entry(recursion, pieces, dtype)
        # Horner's scheme in more digits than the table has
        value = evaluate(entry.value.astype(np.longdouble), CHORDS, there, entry.scale, entry.stretch)
        if not entry.n_layers:
            assert np.abs(value - homogeneous_profile(recursion)(CHORDS, there)).max() <= allowed
            continue
        offset = entry.value_offset if opposite else 0.0
        value = offset + entry.value_leads[opposite] * CHORDS**2 + CHORDS**entry.value_power * value
        assert np.abs(value - complement(recursion.dual, CHORDS, there)).max() <= 2 * allowed  # values go up to 2
        if entry.has_tangent:
            slope = (entry.slope_offset if opposite else 0.0) + CHORDS * evaluate(
                entry.slope.astype(np.longdouble), CHORDS, there, entry.scale, 0.0
            )
            assert (
                np.abs(slope - slope_complement(recursion.dual, CHORDS, there)).max() <= 2 * allowed
            )  # values go up to 2


def test_tables_are_aligned_and_of_the_dtype(kernel, dtype):
    entry = compile_entry(kernel.recursion, 8, dtype)
    for table in (entry.value, entry.slope):
        assert table.dtype == dtype
        assert table.flags.c_contiguous
        assert table.size == 0 or table.ctypes.data % 64 == 0
        assert np.isfinite(table).all()


@pytest.mark.parametrize("name", [name for name in DEEP_KERNELS if "bias" not in name])
def test_without_bias_depth_is_free(name, dtype):
    """A network of 1000 layers costs a polynomial, not 1000 steps."""
    entry = compile_entry(DEEP_KERNELS[name].recursion, pieces_in_use(dtype)[-1], dtype)
    assert entry.n_layers == 0
    assert len(entry.value) <= 40


def test_with_bias_one_layer_is_compiled_and_repeated():
    for name in ("ntk-bias-3", "nngp-bias-1", "ntk-bias-10"):
        entry = compile_entry(KERNELS[name].recursion, 8, np.dtype(np.float64))
        assert entry.n_layers == KERNELS[name].depth
        assert len(entry.value) <= 20


def test_equal_kernels_share_their_tables():
    first, second = ntk.NTK(7), ntk.NTK(7, weight_variance=[1.0] * 8)
    dtype = np.dtype(np.float64)
    assert compile_entry(first.recursion, 8, dtype) is compile_entry(second.recursion, 8, dtype)
    first, second = ntk.NTK(7, bias_variance=0.1), ntk.NTK(7, weight_variance=2.0, bias_variance=[0.3] * 8)
    assert compile_entry(first.recursion, 8, dtype) is compile_entry(second.recursion, 8, dtype)
