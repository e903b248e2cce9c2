"""Networks on images and sequences against an independent implementation: see data/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from described_networks import image_network_of

import ntk_fast as ntk

FILES = {
    name: np.load(Path(__file__).parent / "data" / f"neural_tangents_{name}.npz") for name in ("networks", "attention")
}
CASES = {
    name: (file, network)
    for file, values in FILES.items()
    for name, network in json.loads(str(values["meta"])).items()
    if network["inputs"] != "rows"
}


@pytest.mark.parametrize("kind", [ntk.NNGP, ntk.NTK])
@pytest.mark.parametrize("name", CASES)
def test_matrices_equal_those_of_neural_tangents(name, kind):
    file, network = CASES[name]
    values, inputs = FILES[file], network["inputs"]
    X, Y = values[f"{inputs}/X"], values[f"{inputs}/Y"]
    kernel = kind(network=image_network_of(network["layers"], X.shape[1:]))
    tolerance = 1e-9 if file == "attention" or "layernorm" in str(network["layers"]) else 1e-10
    for rows, K, suffix in ((X, kernel(X), "XX"), (Y, kernel(X, Y), "XY")):
        expected = values[f"{name}/{kind.__name__.lower()}/{suffix}"]
        error = np.abs(K - expected) / np.sqrt(np.outer(kernel.diag(X), kernel.diag(rows)))
        same = np.eye(len(X), dtype=bool) if suffix == "XX" else np.zeros(K.shape, dtype=bool)
        assert error[~same].max() <= tolerance
        assert error[same].max(initial=0) <= 3e-8  # its own error
