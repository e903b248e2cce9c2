"""Workers of a cluster have the bits of one machine, whatever they are given and however many they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.solvers import ConjugateGradient, Nystroem

da = pytest.importorskip("dask.array")
KERNEL = ntk.NTK(depth=3, bias_variance=0.1)


def drawn_rows(n: int, p: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, p)) * generator.uniform(0.1, 10, (n, 1))


def rows_as(kind: str, rows: np.ndarray, folder) -> object:
    if kind == "path":
        np.save(folder / "rows.npy", rows)
        return folder / "rows.npy"
    return da.from_array(rows, chunks=(37, 2)) if kind == "dask.array" else rows


@pytest.mark.parametrize("kind", ["array", "path", "dask.array"])
def test_a_matrix_on_disk(client, tmp_path, kind):
    rows = drawn_rows(150, 5)
    done = []
    ntk.write_gram(
        KERNEL,
        rows_as(kind, rows, tmp_path),
        tmp_path / "K.zarr",
        chunk_size=32,
        client=client,
        progress=lambda *now: done.append(now),
    )
    np.testing.assert_array_equal(ntk.read_gram(tmp_path / "K.zarr"), KERNEL(rows))
    assert done[0][0] == 0
    assert done[-1][0] == done[-1][1]
    assert done == sorted(done)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")], "nothing is left behind"


@pytest.mark.parametrize("triangle", ["both", "upper"])
def test_a_finished_matrix_is_known_on_one_machine_and_a_begun_one_is_finished_there(client, tmp_path, triangle):
    rows, path = drawn_rows(90, 4).astype("f4"), tmp_path / "K.zarr"
    options = {"chunk_size": 16, "triangle": triangle, "resume": True}

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done:
            raise Enough

    with pytest.raises(Enough):
        ntk.write_gram(KERNEL, rows, path, client=client, progress=stop, **options)
    before = []
    ntk.write_gram(KERNEL, rows, path, progress=lambda done, total: before.append(done), **options)
    np.testing.assert_array_equal(ntk.read_gram(path), KERNEL(rows))
    ntk.write_gram(KERNEL, rows, path, client=client, **options)


def test_a_rectangular_matrix(client, tmp_path):
    x, y = drawn_rows(70, 3), drawn_rows(45, 3, seed=1)
    ntk.write_gram(KERNEL, x, tmp_path / "K.zarr", y, chunk_size=16, client=client)
    np.testing.assert_array_equal(ntk.read_gram(tmp_path / "K.zarr"), KERNEL(x, y))


def test_a_kernel_of_images(client, tmp_path):
    kernel = ntk.NTK(
        network=layers.Sequential(
            layers.Input(5, 5, 1), layers.Conv((3, 3)), layers.Relu(), layers.GlobalAveragePool(), layers.Dense()
        )
    )
    images = np.random.default_rng(0).random((40, 5, 5, 1))
    ntk.write_gram(kernel, images, tmp_path / "K.zarr", chunk_size=16, client=client)
    np.testing.assert_array_equal(ntk.read_gram(tmp_path / "K.zarr"), kernel(images))
    one, many = ntk.KernelOperator(kernel, images, keep=False), ntk.KernelOperator(kernel, images, client=client)
    np.testing.assert_array_equal(one @ np.ones(40), many @ np.ones(40))


@pytest.mark.parametrize("kind", ["array", "path", "dask.array"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_products(client, tmp_path, kind, dtype):
    rows = drawn_rows(1500, 6).astype(dtype)
    vectors = np.random.default_rng(2).standard_normal((1500, 3))
    one = ntk.KernelOperator(KERNEL, rows, ridge=0.5)
    many = ntk.KernelOperator(KERNEL, rows_as(kind, rows, tmp_path), ridge=0.5, client=client)
    assert isinstance(many, LinearOperator)
    assert many.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(one @ vectors, many @ vectors)
    np.testing.assert_array_equal(one @ vectors[:, 0], many @ vectors[:, 0])
    np.testing.assert_array_equal(one.diagonal(), many.diagonal())
    assert many.T is many


def test_products_with_other_rows_and_their_transpose(client):
    x, y = drawn_rows(1300, 4), drawn_rows(700, 4, seed=1)
    one, many = ntk.KernelOperator(KERNEL, x, y), ntk.KernelOperator(KERNEL, x, y, client=client)
    for vectors, pair in ((np.ones((700, 2)), (one, many)), (np.ones((1300, 2)), (one.T, many.T))):
        np.testing.assert_array_equal(pair[0] @ vectors, pair[1] @ vectors)
    np.testing.assert_allclose(many @ np.ones(700), KERNEL(x, y) @ np.ones(700), rtol=1e-12)


@pytest.mark.parametrize("solver", [ConjugateGradient(rank=30, tolerance=0.1), Nystroem(n_centres=30, tolerance=0.1)])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_solvers(client, solver, is_weighted):
    rows = drawn_rows(500, 4)
    targets = np.sin(rows[:, :2])
    weights = np.random.default_rng(3).uniform(0.5, 2, 500) if is_weighted else None
    options = {"ridge": 10.0, "weights": weights, "leave_one_out": True}
    one, many = (solver.solve(KERNEL, rows, targets, client=each, **options) for each in (None, client))
    np.testing.assert_array_equal(one.residuals, many.residuals)
    np.testing.assert_array_equal(one.coefficients, many.coefficients)
    np.testing.assert_array_equal(one.leave_one_out, many.leave_one_out)


def test_eigenvalues(client):
    rows = drawn_rows(400, 3)
    one, many = (ntk.spectrum.gram_eigenvalues(KERNEL, rows, n_leading=5, client=each) for each in (None, client))
    np.testing.assert_array_equal(one, many)


def test_models(client):
    clone = pytest.importorskip("sklearn.base").clone
    rows = drawn_rows(300, 4)
    targets, labels = rows[:, 0] + rows[:, 1], (rows[:, 0] > 0).astype(int)
    for kind, y in ((ntk.NTKRegressor, targets), (ntk.NTKClassifier, labels)):
        for solver in ("cg", "nystroem"):
            model = kind(solver=solver, ridge=0.1, tolerance=0.01, random_state=0)
            one, many = (clone(model).fit(rows, y, client=each) for each in (None, client))
            np.testing.assert_array_equal(one.dual_coef_, many.dual_coef_)
            np.testing.assert_array_equal(one.predict(rows), many.predict(rows, client=client))
    np.testing.assert_array_equal(one.predict_proba(rows), many.predict_proba(rows, client=client))
    np.testing.assert_array_equal(one.decision_function(rows), many.decision_function(rows, client=client))
    assert ntk.NTKRegressor(ridge=0.1, tolerance=0.01, random_state=0).fit(rows, targets, client=client).solver_ == "cg"


def test_any_number_of_workers(cluster, client):
    """1, 2 and 3: the same iterations, the same coefficients, to the last bit."""
    rows = drawn_rows(1200, 4)
    targets = np.sin(rows[:, :1])
    solver, found = ConjugateGradient(rank=30, tolerance=0.1), []
    try:
        for n_workers in (2, 3, 1):
            cluster.scale(n_workers)
            client.wait_for_workers(n_workers, timeout=60)
            found.append(solver.solve(KERNEL, rows, targets, ridge=10.0, client=client))
    finally:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
    for solution in found[1:]:
        assert solution.n_iterations == found[0].n_iterations
        np.testing.assert_array_equal(solution.coefficients, found[0].coefficients)
