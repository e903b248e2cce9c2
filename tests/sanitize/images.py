"""Runs images through an extension that was built under the sanitizers; run by backends/test_csrc.py, not on its own.

    images.py EXTENSION SEED N_NETWORKS

Networks, images and how many of them are drawn, for each instruction set and type; what runs is printed. Memory that
tiles work in, and what they are given, is exactly as large as promised.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np


def load(extension: str) -> None:
    """Put an extension in the place of the package's own."""
    spec = importlib.util.spec_from_file_location("ntk_fast.backends._tile", extension)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[spec.name] = module


def main(extension: str, seed: int, n_networks: int) -> None:
    load(extension)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from drawn_images import OTHERS, RELU_LIKE, drawn_images, drawn_network

    import ntk_fast as ntk
    from ntk_fast.backends import cython_images
    from ntk_fast.backends.engines import available_engines

    cython_images.without_losses = lambda *_: None  # NumPy's part, which is slow, is not what is asked here
    engines = [engine for engine in available_engines() if engine.backend == "cython"]
    for k in range(n_networks):
        rng = np.random.default_rng([seed, k])
        grid = rng.integers(1, 10, 2) if rng.random() < 0.7 else rng.integers(1, 40, 1)
        shape = (*grid.tolist(), int(rng.integers(1, 4)))
        activations = RELU_LIKE if rng.random() < 0.5 else (*RELU_LIKE, *OTHERS)
        network = drawn_network(rng, shape, activations, n_blocks=int(rng.integers(1, 4)))
        kind, dtype = (choices[int(rng.integers(2))] for choices in ((ntk.NTK, ntk.NNGP), (np.float32, np.float64)))
        engine = engines[k % len(engines)]
        print(engine.instruction_set, dtype.__name__, kind.__name__, network, flush=True)
        X, Y = (drawn_images(rng, shape, int(rng.integers(1, 20))).astype(dtype) for _ in range(2))
        kernel = kind(network=network)
        with engine.selected() as backend, np.errstate(all="ignore"), suppress(ValueError):  # numbers out of range
            kernel(X, backend=backend, n_threads=1)
            kernel(X, Y, backend=backend, n_threads=1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
