"""How many threads; BLAS held to one while ours run, and given back; calls from several threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.linalg.blas  # noqa: F401  SciPy's BLAS is a second library, and there from the start
from threadpoolctl import ThreadpoolController, threadpool_limits

import ntk_fast as ntk
from ntk_fast.derivatives import forward, reverse
from ntk_fast.operator import kernel_operator
from ntk_fast.schedule import forks, threads
from ntk_fast.schedule.threads import available_cores, choose_n_threads, limited_blas, single_threaded_blas

KERNELS = ntk.NTK(3), ntk.NNGP(2, bias_variance=0.1), ntk.ArcCosine(0), ntk.NTK(20, "abs")


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 6))


def blas_threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]


def test_the_number_of_threads_is_the_arguments_then_the_environments_then_the_processors(monkeypatch):
    for variable in ("NTK_FAST_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    assert choose_n_threads(None) == available_cores() <= len(os.sched_getaffinity(0))
    for text, expected in (
        ("7", 7),
        (" 2,4", 2),
        ("", available_cores()),
        ("0", available_cores()),
        ("x", available_cores()),
    ):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert choose_n_threads(None) == expected, text
    monkeypatch.setenv("NTK_FAST_NUM_THREADS", " 3 ")
    assert choose_n_threads(None) == 3
    assert choose_n_threads(np.int32(5)) == 5


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", "2 3", "²"])
def test_a_variable_that_is_no_number_of_threads_is_refused(value, monkeypatch):
    monkeypatch.setenv("NTK_FAST_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"NTK_FAST_NUM_THREADS must be a whole number >= 1; got '{value}'"):
        ntk.NTK(1)(rows(3))


def test_blas_has_one_thread_inside_and_what_it_had_before_outside():
    with threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        with single_threaded_blas(), single_threaded_blas():
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def test_the_least_of_several_limits_holds():
    with threadpool_limits(4, user_api="blas"):
        before = blas_threads()
        with limited_blas(3):
            assert set(blas_threads()) == {3}
            with limited_blas(2), limited_blas(100):
                assert set(blas_threads()) == {2}
            assert set(blas_threads()) == {3}
        assert blas_threads() == before
        with limited_blas(100):
            assert blas_threads() == before, "more than there were are not given"


@pytest.mark.parametrize(
    "fit",
    [
        lambda X, n_threads: ntk.NTKRegressor(ridge=0.1, solver="cholesky", n_threads=n_threads).fit(
            X, X[:, 0], report=seen
        ),
        lambda X, n_threads: ntk.NTKRegressor(ridge="loo", solver="cholesky", n_threads=n_threads).fit(
            X, X[:, 0], report=seen
        ),
        lambda X, n_threads: ntk.NTKRegressor(ridge=0.1, solver="nystroem", n_threads=n_threads).fit(
            X, X[:, 0], report=seen
        ),
        lambda X, n_threads: ntk.GradientFlowRegressor(n_threads=n_threads).fit(X, X[:, 0], report=seen),
        lambda X, n_threads: ntk.NTKGaussianProcessRegressor(fitted=(), solver="cholesky", n_threads=n_threads).fit(
            X, X[:, 0], report=seen
        ),
        lambda X, n_threads: ntk.NTKGaussianProcessRegressor(fitted=(), solver="fitc", n_threads=n_threads).fit(
            X, X[:, 0], report=seen
        ),
        lambda X, n_threads: ntk.NTKGaussianProcessClassifier(fitted=(), n_threads=n_threads).fit(
            X, X[:, 0] > 0, report=seen
        ),
    ],
)
def test_the_number_of_threads_reaches_lapack(fit, monkeypatch):
    """And the kernel's matrices."""
    asked = []
    choose = threads.choose_n_threads
    for module in (sys.modules["ntk_fast.gram"], kernel_operator, forward, reverse):
        monkeypatch.setattr(module, "choose_n_threads", lambda number: asked.append(number) or choose(number))
    stages.clear()
    with threadpool_limits(4, user_api="blas"):
        fit(rows(300), 2)
    assert set(asked) == {2}
    inside = {what: numbers for what, numbers in stages.items() if what != "Gram matrix" and "Iteration" not in what}
    assert inside
    assert all(max(numbers) <= 2 for numbers in inside.values()), inside


stages: dict[str, list[int]] = {}


def seen(stage: str, share: float | None) -> None:
    stages.setdefault(stage, []).extend(blas_threads())


def test_blas_gets_its_threads_back_after_an_error():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), single_threaded_blas():
        raise ZeroDivisionError
    assert blas_threads() == before


def test_blas_stays_at_one_thread_until_the_last_of_several_users_is_done():
    with threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        inside, leave = threading.Barrier(3), [threading.Event(), threading.Event()]

        def use(event: threading.Event) -> None:
            with single_threaded_blas():
                inside.wait()
                event.wait()

        users = [threading.Thread(target=use, args=(event,)) for event in leave]
        for user in users:
            user.start()
        inside.wait()
        seen = []
        for user, event in zip(users, leave, strict=True):
            seen.append(blas_threads())
            event.set()
            user.join()
        assert set(seen[0] + seen[1]) == {1}
        assert blas_threads() == before


def test_calls_leave_the_setting_of_blas_as_they_found_it(backend):
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        ntk.NTK(3)(rows(300), backend=backend)
        assert blas_threads() == before


def test_calls_from_several_threads_at_once_are_correct(backend):
    before = blas_threads()
    X = [rows(90 + 40 * i, seed=i) for i in range(8)]
    calls = [(kernel, x) for x in X for kernel in KERNELS]
    expected = [kernel(x, backend=backend, n_threads=1) for kernel, x in calls]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda call: call[0](call[1], backend=backend, n_threads=2), calls))
    for got, right in zip(results, expected, strict=True):
        assert np.array_equal(got, right)
    assert blas_threads() == before


def _gram_in_child(connection, backend: str) -> None:
    connection.send(ntk.NTK(3)(rows(300), backend=backend, n_threads=2))


def test_a_forked_child_computes_after_its_parent_has(backend):
    expected = ntk.NTK(3)(rows(300), backend=backend, n_threads=2)
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_gram_in_child, args=(sender, backend), daemon=True)
    child.start()
    assert receiver.poll(60), "the child hangs"
    assert np.array_equal(receiver.recv(), expected)
    child.join(10)
    assert child.exitcode == 0


def _blas_threads_in_child(connection) -> None:
    connection.send((blas_threads(), ntk.NTK(3)(rows(100), backend="numpy", n_threads=2)))


@pytest.mark.parametrize(("limit", "expected"), [(1, 2), (2, 1)])
def test_a_child_forked_while_another_thread_holds_blas(limit, expected, monkeypatch):
    """It waits for no lock whose holder is not there: with threads of BLAS at work its own stays at one."""
    monkeypatch.setattr(forks, "PATIENCE", 0.1)
    matrix = ntk.NTK(3)(rows(100), backend="numpy", n_threads=2)
    with threadpool_limits(2, user_api="blas"):
        inside, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with limited_blas(limit), threads._blas_limit.lock:
                inside.set()
                leave.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        inside.wait()
        fork = multiprocessing.get_context("fork")
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=_blas_threads_in_child, args=(sender,), daemon=True)
        child.start()
        leave.set()
        holder.join()
        assert receiver.poll(60), "the child hangs"
        found, computed = receiver.recv()
        child.join(10)
    assert set(found) == {expected}
    assert np.array_equal(computed, matrix)


FORKS_WHILE_FITTING = """
import multiprocessing, sys, threading
import numpy as np
import ntk_fast as ntk
from threadpoolctl import threadpool_info, threadpool_limits

rng = np.random.default_rng(int(sys.argv[2]))
X = rng.standard_normal((700, 10))
y = X[:, 0] + np.sin(X[:, 1])
model = {
    "cholesky": ntk.NTKRegressor(), "nystroem": ntk.NTKRegressor(solver="nystroem", ridge=0.1),
    "cg": ntk.NTKRegressor(solver="cg", ridge=0.1),
}[sys.argv[1]]
model.n_threads = 2
kernel = ntk.NTK(2, bias_variance=0.1)
expected = kernel(X[:50], backend="numpy")
stop = threading.Event()
fits = []

def fit():
    while not stop.is_set():
        fits.append(model.fit(X, y))

def compute():
    sys.exit(0 if np.array_equal(kernel(X[:50], backend="numpy"), expected) else 1)

fork = multiprocessing.get_context("fork")
with threadpool_limits(2, user_api="blas"):
    thread = threading.Thread(target=fit)
    thread.start()
    for _ in range(12):
        stop.wait(rng.uniform(0.001, 0.05))
        child = fork.Process(target=compute)
        child.start()
        child.join()
        assert child.exitcode == 0
    stop.set()
    thread.join()
    assert fits
    assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {2}
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="a fork waits only where it sees BLAS's threads")
@pytest.mark.parametrize("model", ["cholesky", "nystroem", "cg"])
def test_forks_while_another_thread_fits(model):
    """Neither the fit nor the fork nor the child hangs, and BLAS has its threads back afterwards."""
    seed = np.random.default_rng().integers(2**31)
    command = [sys.executable, "-c", FORKS_WHILE_FITTING, model, str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, (seed, result.stderr)


def test_joblibs_processes_compute_the_same():
    X = rows(200)
    jobs = [joblib.delayed(kernel)(X, n_threads=1) for kernel in KERNELS]
    for kernel, result in zip(KERNELS, joblib.Parallel(n_jobs=2, backend="loky")(jobs), strict=True):
        assert np.array_equal(result, kernel(X))


def test_no_thread_outlives_a_call(backend):
    before = threading.active_count()
    ntk.NTK(3)(rows(600), backend=backend, n_threads=4)
    assert threading.active_count() == before
