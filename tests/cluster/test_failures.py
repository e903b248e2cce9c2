"""What dies, what is cancelled and what is wrong: all ends, or ends in one sentence, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.backends.engines import Engine, chosen_engine
from ntk_fast.cluster import on_worker, workers
from ntk_fast.cluster.run import placed
from ntk_fast.cluster.workers import Terms, why_unfit
from ntk_fast.rows.stored import RowFile
from ntk_fast.schedule.tiling import Tile

distributed = pytest.importorskip("distributed")
KERNEL = ntk.NTK(depth=2)
ROWS = np.random.default_rng(0).standard_normal((330, 4))


def test_a_worker_is_killed_on_the_way(client, tmp_path):
    killed = []

    def progress(done: int, total: int) -> None:
        if done and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    ntk.write_gram(KERNEL, ROWS, tmp_path / "K.zarr", chunk_size=16, client=client, progress=progress)
    assert killed
    np.testing.assert_array_equal(ntk.read_gram(tmp_path / "K.zarr"), KERNEL(ROWS))


def test_all_workers_are_killed_and_the_rows_are_sent_again(client):
    operator = ntk.KernelOperator(KERNEL, ROWS, client=client)
    expected = ntk.KernelOperator(KERNEL, ROWS) @ np.ones(330)
    np.testing.assert_array_equal(operator @ np.ones(330), expected)
    for process in client.run(os.getpid).values():
        os.kill(process, signal.SIGKILL)
    time.sleep(0.5)
    np.testing.assert_array_equal(operator @ np.ones(330), expected)


CLIENT = """
import numpy as np, ntk_fast as ntk, os, signal, sys
from distributed import Client
def progress(done, total):
    if done:
        os.kill(os.getpid(), signal.SIGKILL)
rows = np.random.default_rng(0).standard_normal((330, 4))
ntk.write_gram(ntk.NTK(depth=2), rows, sys.argv[2], chunk_size=16, client=Client(sys.argv[1]), progress=progress)
"""


def test_the_client_is_killed_and_one_machine_goes_on(cluster, tmp_path):
    path = tmp_path / "K.zarr"
    command = [sys.executable, "-c", CLIENT, cluster.scheduler_address, str(path)]
    assert subprocess.run(command, timeout=100).returncode == -signal.SIGKILL
    done = []
    ntk.write_gram(KERNEL, ROWS, path, chunk_size=16, resume=True, progress=lambda *now: done.append(now[0]))
    assert done[0] > 0, "what was written is kept"
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(ROWS))


def test_ctrl_c_leaves_workers_usable_and_the_store_resumable(client, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    path = tmp_path / "K.zarr"
    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(KERNEL, ROWS, path, chunk_size=16, client=client, progress=interrupt)
    ntk.write_gram(KERNEL, ROWS, path, chunk_size=16, client=client, resume=True)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(ROWS))


def test_the_scheduler_knows_few_tasks_at_a_time(client, tmp_path):
    known = []

    def count(done: int, total: int) -> None:
        known.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

    ntk.write_gram(KERNEL, ROWS, tmp_path / "K.zarr", chunk_size=8, client=client, progress=count)
    assert max(known) < 40, "861 blocks, on two threads"


def test_a_worker_keeps_to_the_threads_of_the_environment(monkeypatch):
    monkeypatch.setenv("NTK_FAST_NUM_THREADS", "2")
    on_worker._turns.cache_clear()
    at_once, most, lock = 0, 0, threading.Lock()

    def take_part() -> None:
        nonlocal at_once, most
        with on_worker._taking_part("a run"):
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.05)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=take_part) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    on_worker._turns.cache_clear()
    assert most == 2


def test_bad_rows_are_refused_in_one_sentence_and_leave_nothing(client, tmp_path):
    bad = ROWS.copy()
    bad[100, 2] = np.nan
    with pytest.raises(ValueError, match=r"X.*must be finite"):
        ntk.write_gram(KERNEL, bad, tmp_path / "K.zarr", client=client)
    assert not list(tmp_path.iterdir())


def test_errors_come_with_their_block_and_keep_their_kind():
    block = {3: Tile(0, 8, 16, 24)}
    error = placed(OSError(28, "No space left", "K.zarr"), block)
    assert isinstance(error, OSError)
    assert error.errno == 28
    assert str(placed(ValueError("It is so."), block)) == "It is so (in the block of rows 0:8 and columns 16:24)."


def test_bad_clients(client, cluster, tmp_path):
    def write(given, path="K.zarr", X=ROWS, **options):
        ntk.write_gram(KERNEL, X, tmp_path / path, client=given, **options)

    with pytest.raises(TypeError, match=r"client must be a dask.distributed.Client; got 'tcp://"):
        write("tcp://127.0.0.1:8786")
    with pytest.raises(ValueError, match=r"must end in .zarr where several machines write"):
        write(client, "K.npy")
    with pytest.raises(FileNotFoundError, match="X: there is no file"):
        write(client, X=tmp_path / "rows.npy")
    with pytest.raises(ValueError, match="'cholesky'"):
        ntk.NTKRegressor(solver="cholesky").fit(ROWS, ROWS[:, 0], client=client)
    with pytest.raises(ValueError, match="client needs n_leading"):
        ntk.spectrum.gram_eigenvalues(KERNEL, ROWS, client=client)
    with pytest.raises(TypeError, match="cannot be pickled"):
        __import__("pickle").dumps(ntk.KernelOperator(KERNEL, ROWS, client=client))
    closed = distributed.Client(cluster.scheduler_address, set_as_default=False)
    closed.close()
    with pytest.raises(ValueError, match="client is closed"):
        write(closed)
    assert not list(tmp_path.iterdir())


def test_no_workers(tmp_path):
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as empty,
        distributed.Client(empty, set_as_default=False) as client,
        pytest.raises(ValueError, match="client has no workers: start some"),
    ):
        ntk.KernelOperator(KERNEL, ROWS, client=client)


def test_a_scheduler_that_is_gone(tmp_path):
    cluster = distributed.LocalCluster(n_workers=1, dashboard_address=":0", processes=False)
    client = distributed.Client(cluster.scheduler_address, timeout=5, set_as_default=False)
    cluster.close()
    start = time.monotonic()
    with pytest.raises((ConnectionError, ValueError), match=r"does not answer|closed"):
        ntk.KernelOperator(KERNEL, ROWS, client=client)
    assert time.monotonic() - start < 30
    client.close()


def test_workers_that_are_not_fit(client, tmp_path, monkeypatch):
    import cloudpickle

    kernel = cloudpickle.dumps(KERNEL)
    engine = chosen_engine()
    assert why_unfit(Terms(engine, kernel)) is None
    assert "cannot compute with the client's engine" in why_unfit(Terms(Engine("cython", "avx9000"), kernel))
    assert "cannot load the kernel (ModuleNotFoundError" in why_unfit(Terms(engine, b"cnot_there\nf\n."))
    elsewhere = RowFile(str(tmp_path / "rows.npy"), 100)
    assert "does not see the rows" in why_unfit(Terms(engine, kernel, (elsewhere,)))
    probe = (str(tmp_path / "probe"), b"words")
    assert "does not see the folder of the store" in why_unfit(Terms(engine, kernel, (), probe))
    monkeypatch.setattr(workers, "__version__", "9.9.9")
    with pytest.raises(ValueError, match=r"Worker.* tcp://.* has ntk_fast .*, and the client 9.9.9"):
        ntk.KernelOperator(KERNEL, ROWS, client=client)
    monkeypatch.setattr(workers, "VERSION", "__import__('not_there')")
    with pytest.raises(ValueError, match=r"Workers tcp://.* cannot import ntk_fast: install version"):
        ntk.KernelOperator(KERNEL, ROWS, client=client)


def test_a_kernel_with_a_function_that_workers_cannot_load(client, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("import numpy as np\ndef bend(z):\n    return np.arctan(z)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    net = layers.Sequential(layers.Dense(), layers.Activation(only_here.bend), layers.Dense())
    with pytest.raises(ValueError, match=r"cannot load the kernel .*only_here"):
        ntk.KernelOperator(ntk.NTK(network=net), ROWS, client=client)


def test_the_command_line(cluster, tmp_path, capsys):
    from ntk_fast.cli import main

    address = cluster.scheduler_address
    np.save(tmp_path / "rows.npy", ROWS)
    rows, out = str(tmp_path / "rows.npy"), str(tmp_path / "K.zarr")
    assert main(["gram", rows, "--out", out, "--depth", "2", "--scheduler", address]) == 0
    assert "2 workers with 2 threads" in capsys.readouterr().out
    np.testing.assert_array_equal(ntk.read_gram(out), KERNEL(ROWS))
    assert main(["gram", rows, "--out", str(tmp_path / "K.npy"), "--scheduler", address]) == 2
    assert "--out must name a .zarr store where a cluster writes" in capsys.readouterr().err
    np.save(tmp_path / "targets.npy", ROWS.sum(axis=1))
    model, predictions = str(tmp_path / "model.ntk"), str(tmp_path / "predictions.npy")
    fit = ["fit", rows, "--target-file", str(tmp_path / "targets.npy"), "--model", model, "--ridge", "0.1"]
    assert main([*fit, "--scheduler", address]) == 0
    assert main(["predict", model, rows, "--out", predictions, "--scheduler", address]) == 0
    np.testing.assert_array_equal(np.load(predictions), ntk.load_model(model).predict(ROWS))
    assert main([*fit, "--force", "--solver", "cholesky", "--scheduler", address]) == 2
    capsys.readouterr()
    assert main(["gram", rows, "--out", out, "--force", "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "does not answer" in capsys.readouterr().err
