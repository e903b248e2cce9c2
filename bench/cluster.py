"""A cluster of two workers of one thread each, on loopback, against one process of two threads; and what dies there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import ntk_fast as ntk
from bench.data import mnist
from bench.measure import Timing, in_turn
from bench.targets import Row, Setting, megabytes, normal_rows, target
from ntk_fast import layers
from ntk_fast.backends.engines import chosen_engine
from ntk_fast.cluster.remote import Remote
from ntk_fast.schedule.tiling import Tile
from ntk_fast.solvers import ConjugateGradient

KERNEL = ntk.NTK(3)
N_WORKER_KILLS, N_CLIENT_KILLS, N_SCHEDULER_KILLS = 20, 5, 5


@contextmanager
def workers(n: int = 2) -> Iterator[Any]:
    """Yield a client of so many local workers of one thread."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        yield client


def _share(what: str, one: Timing, many: Timing, least: float) -> Row:
    """The speed of the workers, as a share of that of one process."""
    absolute = f"{one.best:.3g} / {many.best:.3g} s"
    return Row(f"{what}: speed of two workers / of two threads", one.best / many.best, least, False, absolute,
               one.median / many.median)  # fmt: skip


@target("cluster")
def matrices(setting: Setting) -> Iterator[Row]:
    """write_gram into Zarr, of rows and of images."""
    n, n_images = (6000, 60) if setting.quick else (20_000, 160)
    net = layers.Sequential(
        layers.Input(12, 12, 1),
        *(layer for _ in range(5) for layer in (layers.Conv((3, 3), weight_variance="he"), layers.Relu())),
        layers.GlobalAveragePool(),
        layers.Dense(),
    )
    cases: list[tuple[str, Any, np.ndarray, float]] = [
        (f"write_gram, n = {n}, p = 64, depth 3, .zarr", KERNEL, normal_rows(n, 64), 0.85),
        (f"write_gram, {n_images} images of 12 x 12, 5 convolutions", ntk.NTK(network=net),
         np.random.default_rng(0).random((n_images, 144)), 0.9),
    ]  # fmt: skip
    with workers() as client, tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder).absolute() / "K.zarr"
        for what, kernel, X, least in cases:

            def run(kernel: Any = kernel, X: np.ndarray = X, **options: Any) -> None:
                ntk.write_gram(kernel, X, path, **options)
                shutil.rmtree(path)
                os.sync()

            functions: dict[str, Callable[[], object]] = {
                "one": lambda run=run: run(n_threads=2),
                "many": lambda run=run: run(client=client),
            }
            t = in_turn(functions, 2 if setting.quick else 3)
            yield _share(what, t["one"], t["many"], least)


@target("cluster")
def products(setting: Setting) -> Iterator[Row]:
    """KernelOperator, conjugate gradients, and what workers receive."""
    n = 6000 if setting.quick else 20_000
    X, v = normal_rows(n, 64), normal_rows(n, 1, seed=1)[:, 0]
    with workers() as client:
        one = ntk.KernelOperator(KERNEL, X, n_threads=2)
        before = sum(client.run(received_bytes).values())
        many = ntk.KernelOperator(KERNEL, X, client=client)
        assert (one @ v == many @ v).all()
        for _ in range(19):
            many @ v
        received = sum(client.run(received_bytes).values()) - before
        least = 2 * X.nbytes
        share = (received - 20 * 2 * v.nbytes) / least
        yield Row("bytes received by 2 workers in 20 products, without vectors / rows x workers", share, 1.2, True,
                  f"{received / 1e6:.0f} MB")  # fmt: skip
        t = in_turn({"one": lambda: one @ v, "many": lambda: many @ v}, setting.rounds // 2 + 1)
        yield _share(f"KernelOperator @ v, n = {n}", t["one"], t["many"], 0.8)
    rows, labels = mnist()
    targets = np.eye(10)[labels] - 0.1
    if setting.quick:
        rows, targets = rows[::4], targets[::4]
    solver, ridge = ConjugateGradient(tolerance=1e-4), 1e-3 * float(KERNEL.diag(rows).mean())
    found = []
    for n_workers in (1, 3, 2):
        with workers(n_workers) as client:
            found.append(solver.solve(KERNEL, rows, targets, ridge, client=client))
            if n_workers == 2:
                functions: dict[str, Callable[[], object]] = {
                    "one": lambda: solver.solve(KERNEL, rows, targets, ridge, n_threads=2),
                    "many": lambda client=client: solver.solve(
                        KERNEL, rows, targets, ridge, n_threads=2, client=client
                    ),
                }
                t = in_turn(functions, 2)
    different = sum(
        float((each.coefficients != found[0].coefficients).sum()) + abs(each.n_iterations - found[0].n_iterations)
        for each in found
    )
    yield Row(f"conjugate gradients, MNIST, n = {len(rows)}: coefficients that differ for 1, 2 and 3 workers",
              different, 0, True, f"{found[0].n_iterations} iterations")  # fmt: skip
    yield _share(f"conjugate gradients, MNIST, n = {len(rows)}", t["one"], t["many"], 0.7)


def received_bytes() -> int:
    """Return what all open TCP connections of this process have received."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile, or no TCP connection
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += struct.unpack_from("Q", info, 128)[0]  # tcpi_bytes_received
    return total


class _Sleep:
    """An operation that takes two seconds."""

    def __call__(self, matrix: Any, blocks: dict[int, Tile]) -> list[None]:
        time.sleep(2.0 * len(blocks))
        return [None] * len(blocks)


def _nothing(backend: Any) -> None:
    return None


@target("cluster")
def scheduler(setting: Setting) -> Iterator[Row]:
    """What the scheduler costs, and how much it knows."""
    n_tasks = 6 if setting.quick else 16
    with workers() as client:
        remote = Remote(client, chosen_engine(), _nothing, [])
        blocks = [Tile(i, i + 1, 0, 1) for i in range(n_tasks)]
        remote.each(_Sleep(), blocks[:2], lambda block: 5.0, lambda number, result: None)
        start = time.perf_counter()
        remote.each(_Sleep(), blocks, lambda block: 5.0, lambda number, result: None)
        overhead = (time.perf_counter() - start) / n_tasks - 1
        yield Row(f"overhead of {n_tasks} tasks of 2 s on two threads, percent", 100 * overhead, 5, True)
        known: list[int] = []

        def count(done: int, total: int) -> None:
            known.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

        with tempfile.TemporaryDirectory(dir=".") as folder:
            path = Path(folder).absolute() / "K.zarr"
            n = 200 if setting.quick else 400
            ntk.write_gram(KERNEL, normal_rows(n, 8), path, chunk_size=4, client=client, progress=count)
        n_blocks = (n // 4) * (n // 4 + 1) // 2
        yield Row(f"tasks known to the scheduler at a time, of {n_blocks} blocks", max(known), 10_000, True)


class Processes:
    """A scheduler and workers as processes of the command line, each of which may be killed."""

    def __init__(self, folder: Path, n_workers: int = 2) -> None:
        self._folder, self._n_workers = folder, n_workers
        self.scheduler, self.address = self._scheduler()
        self.workers = [self._worker() for _ in range(n_workers)]

    def _start(self, command: str, *options: str) -> subprocess.Popen[str]:
        code = f"import sys; from distributed.cli.dask_{command} import main; main()"
        words = [sys.executable, "-c", code, "--no-dashboard", *options]
        return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=self._folder)

    def _scheduler(self) -> tuple[subprocess.Popen[str], str]:
        process = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(r"Scheduler at:\s*(tcp://\S+)", line):
                return process, match[1]
        raise RuntimeError("the scheduler did not start")

    def _worker(self) -> subprocess.Popen[str]:
        options = ["--nthreads", "1", "--no-nanny", "--death-timeout", "20", "--local-directory", str(self._folder)]
        code = "import sys; from distributed.cli.dask_worker import main; main()"
        words = [sys.executable, "-c", code, self.address, "--no-dashboard", *options]
        return subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self._folder)

    def replace_worker(self, number: int) -> None:
        self.workers[number].wait()
        self.workers[number] = self._worker()

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def _write_code(rows: str, path: str, address: str, chunk_size: int) -> str:
    return f"""
import ntk_fast as ntk
from distributed import Client
client = Client({address!r}, timeout=60)
client.wait_for_workers(2, timeout=60)
ntk.write_gram(ntk.NTK(3), {rows!r}, {path!r}, chunk_size={chunk_size}, resume=True, client=client)
"""


@target("cluster")
def kills(setting: Setting) -> Iterator[Row]:
    """SIGKILL at random moments: a worker, the client, the scheduler; all end with the bits of one machine."""
    n, chunk_size, rng = 1200, 24, np.random.default_rng()
    numbers = (3, 1, 1) if setting.quick else (N_WORKER_KILLS, N_CLIENT_KILLS, N_SCHEDULER_KILLS)
    with tempfile.TemporaryDirectory(dir=".") as name, ExitStack() as stack:
        folder = Path(name).absolute()
        rows, path = str(folder / "X.npy"), folder / "K.zarr"
        X = normal_rows(n, 64)
        np.save(rows, X)
        expected = KERNEL(X)
        processes = Processes(folder)
        stack.callback(lambda: processes.close())

        def start() -> subprocess.Popen[str]:
            code = _write_code(rows, str(path), processes.address, chunk_size)
            words = [sys.executable, "-c", code]
            return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

        def finish(client: subprocess.Popen[str]) -> bool:
            """Whether the client ends, and with the right bits."""
            try:
                client.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                client.kill()
                return False
            ok = client.returncode == 0 and bool((ntk.read_gram(path) == expected).all())
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(f"{path}.partial", ignore_errors=True)
            Path(f"{path}.journal").unlink(missing_ok=True)
            return ok

        def begun() -> None:
            """Return at a random moment of the writing, as its files tell it."""
            n_files = rng.uniform(0, 0.8) * (n // chunk_size) ** 2
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and sum(1 for _ in Path(f"{path}.partial/c").glob("*/*")) < n_files:
                time.sleep(0.02)

        assert finish(start())
        good = 0
        for _ in range(numbers[0]):
            client = start()
            begun()
            victim = int(rng.integers(2))
            processes.workers[victim].send_signal(signal.SIGKILL)
            processes.replace_worker(victim)
            good += finish(client)
        yield Row("runs that end with the same bits, of those with a worker killed", good, numbers[0], False)
        good = 0
        for _ in range(numbers[1]):
            client = start()
            begun()
            client.kill()
            client.wait()
            good += finish(start())
        yield Row("... with the client killed, and resumed", good, numbers[1], False)
        good = 0
        for _ in range(numbers[2]):
            client = start()
            begun()
            processes.scheduler.kill()
            client.communicate(timeout=120)
            ended = client.returncode
            processes.close()
            processes = Processes(folder)
            good += finish(start()) if ended or not path.exists() else finish(client)
        yield Row("... with the scheduler killed, and resumed", good, numbers[2], False)


@target("cluster")
def memory(setting: Setting) -> Iterator[Row]:
    """Of the client and the scheduler, over the first 50 blocks of 100 000 rows that workers open themselves."""
    n = 20_000 if setting.quick else 100_000
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        rows, path = str(folder / "X.npy"), str(folder / "K.zarr")
        np.save(rows, normal_rows(n, 64))
        processes = Processes(folder)
        try:
            before = _status(processes.scheduler.pid, "VmRSS")
            code = f"""
import numpy as np, ntk_fast as ntk, ntk_fast.operator, zarr, dask.array
import ntk_fast.cluster.writing
from distributed import Client
from bench.measure import status
client = Client({processes.address!r}, timeout=60)
client.wait_for_workers(2, timeout=60)
before = status("VmRSS")
class Enough(Exception): pass
def progress(done, total):
    if done > 50 << 20:
        raise Enough
try:
    ntk.write_gram(ntk.NTK(3), {rows!r}, {path!r}, client=client, progress=progress)
except Enough:
    pass
print(status("VmHWM") - before)
"""
            answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
            yield megabytes(f"memory of the client beyond imports, n = {n}, first 50 blocks", int(answer), 300)
            most = _status(processes.scheduler.pid, "VmHWM") - before
            yield megabytes("... of the scheduler", most, 300)
        finally:
            processes.close()


def _status(process: int, key: str) -> int:
    with open(f"/proc/{process}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024
