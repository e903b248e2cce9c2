"""What a result must not depend on, to the last bit: threads, tiles, the order of rows, and where it is written."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from adversarial import adversarial_pairs, correlated_rows
from registry import ENGINES

import ntk_fast as ntk
from ntk_fast.backends import available_backends, choose_backend
from ntk_fast.backends.base import GramTask
from ntk_fast.gram import prepare
from ntk_fast.schedule.tiling import make_tiles, run_tiles

KERNELS = {
    "profile": ntk.NTK(3),
    "deep profile": ntk.NTK(40),
    "layered": ntk.NTK(3, bias_variance=0.1),
    "layered order 0": ntk.ArcCosine(0, 3),
}
every_entry = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())


def mixed_rows(n: int, dtype: np.dtype) -> np.ndarray:
    """Ordinary, nearly parallel, opposite, huge, tiny and zero rows, shuffled."""
    rng = np.random.default_rng(0)
    parts = [*adversarial_pairs(6, dtype), correlated_rows(6, 1e-6, dtype)]
    rows = np.concatenate([*parts, rng.standard_normal((n - sum(map(len, parts)), 6))]).astype(dtype)
    return rng.permutation(rows)


@every_entry
def test_results_are_the_same_for_every_number_of_threads(kernel, dtype, backend):
    X = mixed_rows(300 if backend == "numpy" else 1200, dtype)  # several tiles
    one = kernel(X, backend=backend, n_threads=1), kernel(X, X[:211], backend=backend, n_threads=1)
    for n_threads in (2, 3, 7):
        assert np.array_equal(kernel(X, backend=backend, n_threads=n_threads), one[0])
        assert np.array_equal(kernel(X, X[:211], backend=backend, n_threads=n_threads), one[1])


compiled = pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine.backend != "numpy"], ids=str)


@pytest.mark.skipif("cython" not in available_backends(), reason="its scratch memory")
@pytest.mark.parametrize("instruction_set", [engine.instruction_set for engine in ENGINES if engine.instruction_set])
@pytest.mark.parametrize("n", [1, 5, 33, 90])
def test_results_do_not_depend_on_what_was_in_memory(n, instruction_set, dtype, monkeypatch):
    """Zeros, huge numbers or NaN in tiles' scratch memory: where columns do not fill a group, the rest is not read."""
    from ntk_fast.backends.cython_backend import CythonBackend

    monkeypatch.setenv("NTK_FAST_ISA", instruction_set)
    prepare_task, results = CythonBackend._prepare, []
    X, Y = mixed_rows(90, dtype)[:n], mixed_rows(90, dtype)[::-1]
    tanh = ntk.NTK(2, "tanh", bias_variance=0.1)
    for poison in (0x00, 0x7F, 0xFF):

        def poisoned(self, task, poison=poison):
            functions, program, scratch = prepare_task(self, task)
            scratch[:] = poison
            return functions, program, scratch

        monkeypatch.setattr(CythonBackend, "_prepare", poisoned)
        found = []
        for kernel in (*KERNELS.values(), tanh):
            rows, others = (X, Y) if kernel is not tanh else (np.clip(X, -1, 1), np.clip(Y, -1, 1))
            found += [kernel(rows, backend="cython"), kernel(others, rows, backend="cython")]
            found.append(ntk.KernelOperator(kernel, rows, backend="cython") @ np.ones((n, 3)))
            found.append(ntk.KernelOperator(kernel, others, rows, backend="cython") @ np.ones(n))
        results.append(found)
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


@compiled
@every_entry
@pytest.mark.parametrize(("block_rows", "block_columns"), [(1, 1), (7, 13), (64, 24), (130, 200)])
def test_results_do_not_depend_on_the_tiles(kernel, block_rows, block_columns, dtype, backend):
    X = mixed_rows(150, dtype)
    Y = X[:101]
    chosen = choose_backend(backend)
    for other in (None, Y):
        x, y, program = prepare(kernel, X, other, chosen)
        out = np.full((len(X), len(X if other is None else other)), np.nan, dtype)
        task = GramTask(program, x, y, out)
        tiles = make_tiles(
            *out.shape, symmetric=other is None, block_rows=block_rows, block_columns=block_columns, offset=3
        )
        run_tiles(tiles, partial(chosen.fill_tile, task), 2)
        assert np.array_equal(out, kernel(X, other, backend=backend))


@compiled
@every_entry
def test_permuted_rows_give_the_permuted_matrix(kernel, dtype, backend):
    X = mixed_rows(300, dtype)
    order = np.random.default_rng(1).permutation(300)
    K = kernel(X, backend=backend)
    assert np.array_equal(kernel(X[order], backend=backend), K[np.ix_(order, order)])
    assert np.array_equal(kernel(X[order], X[:100], backend=backend), kernel(X, X[:100], backend=backend)[order])


@compiled
@every_entry
def test_the_symmetric_matrix_is_the_rectangular_one_off_the_diagonal(kernel, dtype, backend):
    X = mixed_rows(300, dtype)
    symmetric, rectangular = kernel(X, backend=backend), kernel(X, X, backend=backend)
    off = ~np.eye(300, dtype=bool)
    assert np.array_equal(symmetric, symmetric.T)
    assert np.array_equal(rectangular, rectangular.T)
    assert np.array_equal(symmetric[off], rectangular[off])


@compiled
@every_entry
def test_an_entry_depends_on_its_two_rows_alone(kernel, dtype, backend):
    X = mixed_rows(90, dtype)
    K = kernel(X, X, backend=backend)
    for i, j in [(0, 1), (17, 63), (89, 0), (44, 44)]:
        assert np.array_equal(kernel(X[i : i + 1], X[j : j + 1], backend=backend), K[i : i + 1, j : j + 1])


@compiled
@pytest.mark.parametrize("offset", [0, 1, 3, 5])
@pytest.mark.parametrize("n", [97, 1500])
def test_results_do_not_depend_on_where_rows_and_result_lie(offset, n, dtype, backend):
    """1500: large enough to be stored past the caches, which needs aligned addresses."""
    X = mixed_rows(n, dtype)
    expected = KERNELS["profile"](X, backend=backend)
    shifted = np.empty(X.size + offset, dtype)[offset:].reshape(X.shape)
    shifted[:] = X
    out = np.empty(n * n + offset, dtype)[offset:].reshape(n, n)
    assert np.array_equal(KERNELS["profile"](shifted, out=out, backend=backend), expected)
