"""What only the Numba backend has: vectors of several widths, compilation, and a cache that may have no place."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from registry import tolerance

import ntk_fast as ntk
from ntk_fast.backends import why_missing

pytestmark = pytest.mark.skipif(why_missing("numba") is not None, reason="Numba is not installed")

#: Processors that every x86-64 machine of today can stand in for, but for its own (which all other tests use).
TARGETS = {"sse2": ("x86-64", ""), "avx2": ("haswell", "+avx2,+fma")}

#: Run in a process of its own, since Numba chooses its target when it is imported.
ERRORS = """
import json
import numpy as np
import ntk_fast as ntk
from ntk_fast.backends.numba_vectors import VECTOR_BYTES

rng = np.random.default_rng(0)
rows = rng.standard_normal((150, 7))
rows = np.concatenate([rows, rows[:9], -2 * rows[5:11], rows[20:30] + 1e-9 * rng.standard_normal((10, 7))])
errors = {}
for kernel in (ntk.NTK(3), ntk.NTK(100), ntk.NTK(3, bias_variance=0.1), ntk.ArcCosine(0, 3), ntk.ArcCosine(2, 3)):
    for dtype in ("float64", "float32"):
        X = rows.astype(dtype)
        root = np.sqrt(kernel.diag(X.astype(float)))
        exact = kernel(X.astype(float), backend="numpy")
        errors[f"{kernel!r} {dtype}"] = float(np.abs((kernel(X, backend="numba") - exact) / np.outer(root, root)).max())
print(json.dumps([VECTOR_BYTES, errors]))
"""


def has_avx2() -> bool:
    from llvmlite.binding import get_host_cpu_features

    return bool(get_host_cpu_features().get("avx2", False))


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="targets of x86-64")
@pytest.mark.parametrize("target", TARGETS)
def test_vectors_of_every_width_give_the_same_kernels(target):
    if target == "avx2" and not has_avx2():
        pytest.skip("the processor has no AVX2")
    name, features = TARGETS[target]
    environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    process = subprocess.run(
        [sys.executable, "-c", ERRORS], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    vector_bytes, errors = json.loads(process.stdout)
    assert vector_bytes == {"sse2": 16, "avx2": 32}[target]
    for kernel in (ntk.NTK(3), ntk.NTK(100), ntk.NTK(3, bias_variance=0.1), ntk.ArcCosine(0, 3), ntk.ArcCosine(2, 3)):
        for dtype in ("float64", "float32"):
            assert errors[f"{kernel!r} {dtype}"] <= tolerance(kernel, np.dtype(dtype)), f"{kernel!r} {dtype}"


def test_a_dtype_is_compiled_once_whatever_the_arrays_are_like(dtype):
    from ntk_fast.backends.numba_tile import compute_tile, square_norms

    kernel = ntk.NTK(2, bias_variance=0.1)
    X = np.random.default_rng(0).standard_normal((40, 6)).astype(dtype)
    expected = kernel(X, backend="numba")
    ntk.KernelOperator(kernel, X, backend="numba") @ X
    before = len(compute_tile.signatures), len(square_norms.signatures)
    read_only, apart = X.copy(), np.zeros((40, 18), dtype)[:, 3:9]
    read_only.flags.writeable = False
    apart[:] = X
    for rows in (read_only, apart, np.asfortranarray(X), X[::-1][::-1]):
        assert np.array_equal(kernel(rows, backend="numba"), expected)
    memory = np.zeros((80, 120), dtype)
    for out in (memory[::2, ::3], memory[:40, :40].T, memory[79:39:-1, 119:79:-1]):
        kernel(X, out=out, backend="numba")
        assert np.array_equal(out, expected)
    assert (len(compute_tile.signatures), len(square_norms.signatures)) == before


def test_it_compiles_where_nothing_can_be_kept(monkeypatch):
    from numba.core import caching

    from ntk_fast.backends.numba_tile import kept

    def refuse(self) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)

    def double(x):
        return 2 * x

    assert kept(double)(3) == 6


@pytest.mark.parametrize("n_features", [1, 127, 129, 255, 256, 257, 600])
def test_features_are_summed_across_blocks(n_features, dtype):
    X = np.random.default_rng(n_features).standard_normal((70, n_features)).astype(dtype)
    for kernel in (ntk.NTK(3), ntk.NTK(2, bias_variance=0.1)):
        exact = kernel(X.astype(np.float64), backend="numpy")
        root = np.sqrt(np.diagonal(exact))
        error = np.abs((kernel(X, backend="numba") - exact) / np.outer(root, root)).max()
        assert error <= tolerance(kernel, dtype) * max(1.0, math.sqrt(n_features / 64))


@pytest.mark.parametrize("n_features", [1, 64, 784, 10_000, 1_000_000])
def test_a_tile_takes_little_memory(n_features, dtype):
    from ntk_fast.backends.numba_backend import LARGEST_PACKED_BYTES, NumbaBackend
    from ntk_fast.backends.numba_kernels import PANEL_BYTES

    _, columns = NumbaBackend().block_shape(n_features, dtype)
    assert columns >= 1
    assert columns * n_features * dtype.itemsize <= max(LARGEST_PACKED_BYTES, PANEL_BYTES * n_features)


def test_squared_norms_are_right_to_the_last_bit(dtype):
    from ntk_fast.backends.numba_backend import NumbaBackend

    memory = (np.random.default_rng(0).standard_normal((50, 40)) * 10.0 ** np.arange(-20, 20)).astype(dtype)
    for n_features in (1, 7, 8, 33):
        rows = memory[:, 3 : 3 + n_features]
        exact = [float(sum(Fraction(float(value)) ** 2 for value in row)) for row in rows]
        assert np.allclose(NumbaBackend().square_norms(rows), exact, rtol=2.3e-16, atol=0)
