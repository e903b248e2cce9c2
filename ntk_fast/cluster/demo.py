"""make demo-cluster: the digits on two local workers, one of which is killed on the way; the same bits at the end.

Run it as ``python -m ntk_fast.cluster.demo``.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

import ntk_fast as ntk

KERNEL = ntk.NTK(depth=3, bias_variance=0.1)
CHUNK_SIZE = 64  # small, so that it takes a while: 841 files


def main() -> None:
    from distributed import Client, LocalCluster
    from sklearn.datasets import load_digits

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it tells of the worker that is gone, and at length
    rows = load_digits().data / 16
    alone = KERNEL(rows)
    print(f"{len(rows)} handwritten digits, {KERNEL}")
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        processes: dict[str, int] = client.run(os.getpid)
        print(f"two workers, processes {' and '.join(map(str, processes.values()))}")
        killed: list[int] = []

        def progress(done: int, total: int) -> None:
            if done > total / 4 and not killed:
                killed.append(next(iter(processes.values())))
                os.kill(killed[0], signal.SIGKILL)
                print(f"killed process {killed[0]} at {done / total:.0%}; the other goes on")

        path = Path(folder) / "K.zarr"
        start = time.perf_counter()
        ntk.write_gram(KERNEL, rows, path, chunk_size=CHUNK_SIZE, client=client, progress=progress)
        print(f"written in {time.perf_counter() - start:.1f} s: ", end="")
        print("the same bits as alone" if (ntk.read_gram(path) == alone).all() else "OTHER BITS than alone")
        product = ntk.KernelOperator(KERNEL, rows, client=client) @ np.ones(len(rows))
        same = (product == ntk.KernelOperator(KERNEL, rows) @ np.ones(len(rows))).all()
        print("a product on the workers: " + ("the same bits as alone" if same else "OTHER BITS than alone"))


if __name__ == "__main__":
    main()
