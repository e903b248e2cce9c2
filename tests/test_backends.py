"""Which backend computes: the argument, else the environment, else the fastest present."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import backends
from ntk_fast.backends import available_backends, choose_backend
from ntk_fast.backends.engines import available_engines, chosen_engine

KERNEL = ntk.NTK(2)
X = np.random.default_rng(0).standard_normal((5, 3))

needs_extension = pytest.mark.skipif("cython" not in available_backends(), reason="the extension is not built")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NTK_FAST_BACKEND", "NTK_FAST_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def forget():
    """Availability is remembered: forget it before and after a test that changes it."""

    def clear() -> None:
        for function in (backends.why_missing, backends._warn_of_fallback):
            function.cache_clear()

    clear()
    yield
    clear()


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else find_spec(name))


def test_the_fastest_present_is_the_default():
    assert choose_backend().name == available_backends()[0]


def test_the_environment_comes_before_the_fastest_and_the_argument_before_both(monkeypatch):
    monkeypatch.setenv("NTK_FAST_BACKEND", " numpy ")
    assert choose_backend().name == "numpy"
    for name in available_backends():
        assert choose_backend(name).name == name


def test_an_empty_variable_counts_as_none(monkeypatch):
    monkeypatch.setenv("NTK_FAST_BACKEND", "")
    assert choose_backend().name == available_backends()[0]


def test_an_unknown_backend_is_refused_with_those_that_exist(monkeypatch):
    present = ", ".join(map(repr, available_backends()))
    for call in (KERNEL, KERNEL.diag):
        with pytest.raises(ValueError, match=f"backend must be one of {present}; got 'cuda'"):
            call(X, backend="cuda")
    monkeypatch.setenv("NTK_FAST_BACKEND", "Cython")
    with pytest.raises(ValueError, match=f"NTK_FAST_BACKEND must be one of {present}; got 'Cython'"):
        KERNEL(X)


def test_a_backend_asked_for_by_name_is_never_replaced(monkeypatch, forget):
    without(monkeypatch, "ntk_fast.backends._tile")
    with pytest.raises(ImportError, match=r"backend 'cython' is not available: .*C compiler.*Present: .*'numpy'"):
        KERNEL(X, backend="cython")
    monkeypatch.setenv("NTK_FAST_BACKEND", "cython")
    with pytest.raises(ImportError, match="NTK_FAST_BACKEND 'cython' is not available"):
        KERNEL(X)


def test_without_the_extension_the_next_backend_computes_and_says_so_once(monkeypatch, forget):
    without(monkeypatch, "ntk_fast.backends._tile", "numba")
    assert available_backends() == ("numpy",)
    with pytest.warns(RuntimeWarning, match="ntk_fast runs on Numpy: .*C compiler") as warned:
        first, second = KERNEL(X), KERNEL(X)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert np.array_equal(first, KERNEL(X, backend="numpy"))
    assert np.array_equal(first, second)


def test_a_broken_extension_is_as_good_as_none(monkeypatch, forget, tmp_path):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (tmp_path / f"_tile{suffix}").write_bytes(b"\x7fELF, and no more of it")
    monkeypatch.setattr(backends, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "ntk_fast.backends._tile", raising=False)
    assert "cython" not in available_backends()
    with pytest.warns(
        RuntimeWarning, match=r"_tile is installed but cannot be loaded \(ImportError: .*install it again"
    ):
        assert choose_backend().name == available_backends()[0]
    with pytest.raises(ImportError, match=r"backend 'cython' is not available: .*cannot be loaded"):
        KERNEL(X, backend="cython")


@needs_extension
def test_an_instruction_set_that_is_not_here_is_refused_with_those_that_are(monkeypatch):
    from ntk_fast.backends.cython_backend import available_instruction_sets

    assert available_instruction_sets()[-1] == "baseline"
    monkeypatch.setenv("NTK_FAST_ISA", "avx1024")
    present = ", ".join(map(repr, available_instruction_sets()))
    for call in (KERNEL, KERNEL.diag):
        with pytest.raises(ValueError, match=f"NTK_FAST_ISA must be one of {present} here; got 'avx1024'"):
            call(X, backend="cython")


@needs_extension
@pytest.mark.parametrize("kernel", [KERNEL, ntk.NTK(2, bias_variance=0.1)], ids=["table", "layers"])
def test_an_operator_keeps_the_instruction_set_that_it_was_made_for(kernel, dtype, monkeypatch):
    """Its tables have as many pieces, its scratch memory as many lanes, as that one's registers."""
    engines = [engine for engine in available_engines() if engine.backend == "cython"]
    rows = np.random.default_rng(2).standard_normal((130, 9)).astype(dtype)
    vectors = np.random.default_rng(3).standard_normal((130, 3)).astype(dtype)
    for made_for in engines:
        with made_for.selected():
            operator = ntk.KernelOperator(kernel, rows, backend="cython")
            expected = operator @ vectors
        for other in engines:
            with other.selected():
                assert np.array_equal(operator @ vectors, expected)


@needs_extension
def test_every_instruction_set_is_reached_by_name():
    """Results that differ in their last bits show that different code ran."""
    rows = np.random.default_rng(1).standard_normal((200, 64))
    results = []
    for engine in available_engines():
        if engine.backend == "cython":
            with engine.selected() as backend:
                assert chosen_engine(backend) == engine
                results.append(ntk.NTK(3)(rows, backend=backend).tobytes())
    assert len(set(results)) == len(results)
