"""The same kernels from an independent implementation: see data/README.md for where the numbers come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from described_networks import network_of

import ntk_fast as ntk

VALUES = np.load(Path(__file__).parent / "data" / "neural_tangents.npz")
NETWORKS = json.loads(str(VALUES["meta"]))
ACTIVATIONS = {"relu": "relu", "leaky": ntk.leaky_relu(0.1), "abs": "abs"}

#: Errors of that implementation, over sqrt(K(x, x) K(y, y)): of ordinary pairs; a layer of parallel rows' NTK.
ORDINARY_ERROR, PARALLEL_ERROR = 2e-15, 8e-9


def kernel_of(network: dict, kind: type) -> ntk.NNGP | ntk.NTK:
    depth, n_features = network["L"], VALUES["X"].shape[1]
    weights = (network["W0"] ** 2 / n_features, *(network["W"] ** 2,) * depth)
    return kind(depth, ACTIVATIONS[network["act"]], weight_variance=weights, bias_variance=(network["b"] or 0.0) ** 2)


@pytest.mark.parametrize("kind", [ntk.NNGP, ntk.NTK])
@pytest.mark.parametrize("name", NETWORKS)
def test_matrices_equal_those_of_neural_tangents(name, kind, backend):
    kernel = kernel_of(NETWORKS[name], kind)
    X, Y = VALUES["X"], VALUES["Y"]
    for rows, K, suffix in ((X, kernel(X, backend=backend), "XX"), (Y, kernel(X, Y, backend=backend), "XY")):
        expected = VALUES[f"{name}/{kind.__name__.lower()}/{suffix}"]
        scale = np.sqrt(np.outer(kernel.diag(X), kernel.diag(rows)))
        norms = np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(rows, axis=1))
        parallel = np.abs(X @ rows.T) / norms > 1 - 1e-12
        assert parallel.sum() == (16 if suffix == "XX" else 3)
        error = np.abs(K - expected) / scale
        assert error[~parallel].max() <= ORDINARY_ERROR
        assert error[parallel].max() <= (PARALLEL_ERROR * kernel.depth if kind is ntk.NTK else ORDINARY_ERROR)


NETWORK_VALUES = np.load(Path(__file__).parent / "data" / "neural_tangents_networks.npz")
DESCRIBED = {
    name: network["layers"]
    for name, network in json.loads(str(NETWORK_VALUES["meta"])).items()
    if network["inputs"] == "rows"
}


@pytest.mark.parametrize("kind", [ntk.NNGP, ntk.NTK])
@pytest.mark.parametrize("name", DESCRIBED)
def test_any_networks_matrices_equal_those_of_neural_tangents(name, kind):
    X, Y = NETWORK_VALUES["rows/X"], NETWORK_VALUES["rows/Y"]
    kernel = kind(network=network_of(DESCRIBED[name], X.shape[1]))
    backends = ntk.available_backends()
    backend = backends[list(DESCRIBED).index(name) % len(backends)]
    for rows, K, suffix in ((X, kernel(X, backend=backend), "XX"), (Y, kernel(X, Y, backend=backend), "XY")):
        error = np.abs(K - NETWORK_VALUES[f"{name}/{kind.__name__.lower()}/{suffix}"])
        error /= np.sqrt(np.outer(kernel.diag(X), kernel.diag(rows)))
        same = np.eye(len(X), dtype=bool) if suffix == "XX" else np.zeros(K.shape, dtype=bool)
        assert error[~same].max() <= 1e-11
        assert error[same].max(initial=0) <= 3e-8  # its own error
