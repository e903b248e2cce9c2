"""Operators of kernels on images keep their matrix where it fits; any operator may."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers as L
from ntk_fast.backends.cython_images import ImageRun
from ntk_fast.operator import kept

NETWORK = L.Sequential(L.Input(4, 5, 1), L.Conv(3, bias_variance=0.1), L.Relu(), L.GlobalAveragePool(), L.Dense())
KERNEL = ntk.NTK(network=NETWORK)


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 20))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_columns", [None, 33])
def test_products_are_those_of_the_matrix(dtype, n_columns):
    X = images(61).astype(dtype)
    Y = None if n_columns is None else images(n_columns, 1).astype(dtype)
    ridge = 0.5 if Y is None else 0.0
    K = KERNEL(X, Y).astype(np.float64)
    K = K + ridge * np.eye(len(X)) if Y is None else K
    v = np.random.default_rng(2).standard_normal((K.shape[1], 3))
    for keep in (True, False):
        A = ntk.KernelOperator(KERNEL, X, Y, ridge=ridge, keep=keep)
        tolerance = 100 * np.finfo(dtype).eps * (np.abs(K) @ np.abs(v)).max()
        assert np.abs(A @ v - K @ v).max() <= tolerance
        w = np.random.default_rng(3).standard_normal(len(X))
        assert np.abs(A.T @ w - K.T @ w).max() <= 100 * np.finfo(dtype).eps * (np.abs(K.T) @ np.abs(w)).max()
        if Y is None:
            assert np.allclose(A.diagonal(), KERNEL.diag(X) + 0.5, rtol=1e-6)


def test_entries_are_computed_once(monkeypatch):
    count = 0
    fill_gram = kept.fill_gram

    def counted(*arguments):
        nonlocal count
        count += 1
        return fill_gram(*arguments)

    monkeypatch.setattr(kept, "fill_gram", counted)
    A = ntk.KernelOperator(KERNEL, images(40), images(30, 1))
    assert count == 0
    for _ in range(3):
        A @ np.ones(30)
        A.T @ np.ones(40)
    assert count == 1


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(n_threads):
    X, v = images(600), np.random.default_rng(1).standard_normal(600)
    product = ntk.KernelOperator(KERNEL, X, n_threads=n_threads) @ v
    assert (product == ntk.KernelOperator(KERNEL, X, n_threads=2) @ v).all()


def test_what_is_kept_by_default_and_what_is_said():
    of_images, of_rows = ntk.KernelOperator(KERNEL, images(50)), ntk.KernelOperator(ntk.NTK(depth=1), images(50))
    assert of_images.keep and not of_rows.keep
    assert repr(of_images) == "<50x50 KernelOperator with dtype=float64 that keeps its matrix of 0.02 MB>"
    assert repr(of_rows) == "<50x50 KernelOperator with dtype=float64>"
    assert ntk.KernelOperator(ntk.NTK(depth=1), images(50), keep=True).keep
    assert not ntk.KernelOperator(KERNEL, images(50), keep=False).keep


def test_what_does_not_fit_is_not_kept_and_refused_where_asked_for(monkeypatch):
    X = images(60)
    monkeypatch.setattr(kept, "available_bytes", lambda: 50_000)
    assert not ntk.KernelOperator(KERNEL, X).keep
    monkeypatch.setattr("ntk_fast.schedule.memory.SMALL_RESULT", 0)
    A = ntk.KernelOperator(KERNEL, X, keep=True)
    monkeypatch.setattr("ntk_fast.schedule.memory.available_bytes", lambda: 10_000)
    with pytest.raises(MemoryError, match=r"60 x 60 matrix to keep.*pass keep=False"):
        A @ np.ones(60)


def test_copies_keep_as_the_original_does():
    A = ntk.KernelOperator(KERNEL, images(20), keep=False)
    for other in (pickle.loads(pickle.dumps(A)), copy.deepcopy(A)):
        assert not other.keep
        assert (other @ np.ones(20) == A @ np.ones(20)).all()


def test_keep_is_true_or_false():
    with pytest.raises(TypeError, match="keep must be"):
        ntk.KernelOperator(KERNEL, images(5), keep="yes")


def test_products_of_images_that_are_not_kept_have_memory_once_a_thread(monkeypatch):
    runs = 0
    init = ImageRun.__init__

    def counted(self, functions, program, pairs):
        nonlocal runs
        runs += pairs is program.pairs
        init(self, functions, program, pairs)

    monkeypatch.setattr(ImageRun, "__init__", counted)
    A = ntk.KernelOperator(KERNEL, images(200), keep=False, backend="cython", n_threads=2)
    A @ np.ones(200)
    assert runs <= 2


def test_a_child_forked_while_another_thread_computes_the_matrix_computes_its_own(monkeypatch):
    X, v = images(20), np.ones(20)
    expected = ntk.KernelOperator(KERNEL, X, keep=True) @ v
    operator = ntk.KernelOperator(KERNEL, X, keep=True)
    inside, leave, fill_gram = threading.Event(), threading.Event(), kept.fill_gram

    def wait_in_parent(*arguments) -> None:
        if threading.current_thread() is holder:
            inside.set()
            leave.wait(120)
        fill_gram(*arguments)

    def product_in_child(connection) -> None:
        connection.send(operator @ v)

    monkeypatch.setattr(kept, "fill_gram", wait_in_parent)
    holder = threading.Thread(target=lambda: operator @ v)
    holder.start()
    inside.wait(60)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=product_in_child, args=(sender,), daemon=True)
    child.start()
    try:
        assert receiver.poll(60), "the child hangs"
        assert np.array_equal(receiver.recv(), expected)
    finally:
        child.kill()
        leave.set()
        holder.join()
