"""Programs of every kind in tiles against their reference in NumPy, on the pairs that lose digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.backends import available_backends, choose_backend
from ntk_fast.backends.base import GramTask
from ntk_fast.gram import prepare
from ntk_fast.kernels import Kernel
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.layer import Layer
from ntk_fast.lower.program import ABSENT, WHOLE, Instruction, PairMap, Program
from ntk_fast.lower.tails import tail_of
from ntk_fast.rows.prepared import Rows
from ntk_fast.schedule.tiling import Tile

#: Errors of an entry over sqrt(K(x, x) K(y, y)).
TOLERANCES = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 1e-6}
FOLD_TOLERANCES = {np.dtype(np.float64): 2e-15, np.dtype(np.float32): 5e-7}
#: Of near pairs' distances.
DISTANCES = np.array([1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-12])

#: One or more of every kind of map.
ACTIVATIONS: dict[str, ActivationLayer] = {
    "relu": layers.Relu(),
    "nearly linear": layers.LeakyRelu(0.999),
    "nearly abs": layers.LeakyRelu(-0.999),
    "abs": layers.Abs(),
    "step": layers.Step(),
    "sign": layers.Sign(),
    "rectified square": layers.RectifiedMonomial(2),
    "cube": layers.Monomial(3),
    "exponential": layers.Exp(rate=0.2),
    "rbf": layers.Rbf(0.3),
    "gaussian": layers.Gaussian(),
    "erf": layers.Erf(),
    "sigmoid-like": layers.SigmoidLike(),
    "gelu": layers.Gelu(),
    "sine": layers.Sin(phase=0.4),
    "odd sine": layers.Sin(),
    "cosine": layers.Cos(),
    "polynomial": layers.Polynomial((0.2, 1.0, -0.5, 0.3)),
    "odd polynomial": layers.Hermite(5),
    "even polynomial": layers.Hermite(4),
    "silu": layers.Silu(),
    "tanh": layers.Tanh(),
    "elu": layers.Elu(0.5),
    "even kink": layers.Activation(np.abs, np.sign),
}


def difficult_rows(rng: np.random.Generator, dtype: np.dtype) -> NDArray[np.floating]:
    """Ordinary rows of any norm, duplicates, multiples, negatives, near pairs of both signs, and a row of zeros."""
    n_features = int(np.exp(rng.uniform(0, np.log(65))))
    ordinary = rng.normal(size=(17, n_features)) * np.exp(rng.uniform(-3, 1, size=(17, 1)))
    row = ordinary[0]
    moved = DISTANCES[:, None] * rng.normal(size=(len(DISTANCES), n_features)) * np.abs(row).max()
    scaled = row * (1 + DISTANCES[:, None])
    rows = np.concatenate([ordinary, [row, -row, 2 * row, np.zeros(n_features)], row + moved, -row - moved, scaled])
    return rows.astype(dtype)


def normalised_error(kernel: Kernel, X: NDArray[np.floating], K: NDArray[np.floating]) -> float:
    """The largest error of a matrix over the roots of the exact diagonal, which it is not compared on."""
    exact = kernel(X.astype(np.float64), backend="numpy")
    scale = np.sqrt(np.abs(exact.diagonal()))
    error = np.abs(K - exact)
    np.fill_diagonal(error, 0)
    bounds = np.outer(scale, scale)
    assert not error[bounds == 0].any()
    return float((error[bounds > 0] / bounds[bounds > 0]).max())


def chain(activation: Layer) -> Layer:
    return layers.Sequential(layers.Dense(0.5, 0.1), activation, layers.Dense(1.0, 0.1))


def followed_by_relu(activation: Layer) -> Layer:
    return layers.Sequential(chain(activation), layers.Relu(), layers.Dense(2.0, 0.01))


def residual(activation: Layer) -> Layer:
    block = layers.Residual(activation, layers.Dense(1.0, 0.05))
    return layers.Sequential(layers.Dense(0.3), block, block, layers.Dense(0.5))


def product(activation: Layer) -> Layer:
    branches = layers.Product(chain(activation), layers.Sequential(layers.Dense(0.2, 0.3), layers.Relu()))
    return layers.Sequential(branches, layers.Dense())


SHAPES = [chain, residual, product]


@pytest.mark.parametrize("activation", [layers.Monomial(16), layers.RectifiedMonomial(20)], ids=repr)
def test_monomials_of_high_degree_have_tables(activation, dtype, engine):
    """Their slopes, as large as half the degree, are right to as many digits as others."""
    X = np.random.default_rng(0).normal(size=(12, 3))
    X[1:3] = -X[0], X[0] * (1 + 1e-9)
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(dtype)
    network = layers.Sequential(layers.Dense(0.5, 0.1), activation, layers.Dense("he", 0.1))
    for kernel in (ntk.NTK(network=network), ntk.NNGP(network=network)):
        for rows in (X, X * dtype.type(1.5) ** np.arange(-1, 2).repeat(4)[:, None].astype(dtype)):
            with engine.selected() as backend:
                assert normalised_error(kernel, rows, kernel(rows, backend=backend)) <= TOLERANCES[dtype]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(name, shape, id=f"{name}-{shape.__name__}")
        for k, name in enumerate(ACTIVATIONS)
        for shape in (followed_by_relu, SHAPES[k % len(SHAPES)])
    ],
)
def test_every_kind_agrees_with_its_reference(name, shape, dtype, engine):
    if engine.backend == "numpy":
        pytest.skip("the reference itself")
    activation = ACTIVATIONS[name]
    if dtype == np.float32 and activation.homogeneity == 0 and shape is not chain:
        pytest.skip("after a step, an infinite slope, the rounding of float32 shares shows in later layers")
    seed = sum(map(ord, name + shape.__name__))
    rng = np.random.default_rng(seed)
    X = difficult_rows(rng, dtype)
    tolerances = FOLD_TOLERANCES if activation.map_kind == "fold" else TOLERANCES
    for kernel in (ntk.NTK(network=shape(activation)), ntk.NNGP(network=shape(activation))):
        with engine.selected() as backend:
            K = kernel(X, backend=backend)
            values = np.stack([K @ np.ones(len(X), dtype), ntk.KernelOperator(kernel, X) @ np.ones(len(X), dtype)])
        assert np.array_equal(K, K.T)
        assert normalised_error(kernel, X, K) <= tolerances[dtype], kernel
        assert np.allclose(*values, rtol=0, atol=100 * np.finfo(dtype).eps * np.abs(K).sum(axis=1).max())


# programs made by hand, whose shares and parameters no network explains


def random_shares(rng: np.random.Generator, n_shares: int, n_rows: int, dtype: np.dtype) -> NDArray[np.floating]:
    """Shares whose squares add up to 1, each from 1e-12 to 1."""
    squares = np.exp(rng.uniform(np.log(1e-12), 0, size=(n_shares, n_rows)))
    return np.sqrt(squares / squares.sum(axis=0)).astype(dtype)


def random_program(rng: np.random.Generator, n_rows: int, dtype: np.dtype, pieces: int) -> tuple[Program, NDArray]:
    """Instructions on four registers, and parameters of rows."""
    instructions, planes, maps = [], [], []
    n_planes = 0

    def add(parameters: NDArray) -> int:
        nonlocal n_planes
        planes.append(parameters.astype(dtype))
        n_planes += len(parameters)
        return n_planes - len(parameters)

    names = [name for name in ACTIVATIONS if ACTIVATIONS[name].map_kind != "table"]
    for step in range(int(rng.integers(1, 9))):
        destination, n_sources = int(rng.integers(4)), int(rng.choice([1, 1, 2, 3, 5]))
        sources = tuple(int(source) for source in rng.integers(4 if step else 1, size=n_sources))
        if n_sources > 1 and rng.random() < 0.3:
            instructions.append(Instruction(destination, sources, (), is_product=True))
            continue
        has_bias = bool(rng.integers(2)) or n_sources == 1
        first = add(random_shares(rng, n_sources + has_bias, n_rows, dtype))
        shares, bias = tuple(range(first, first + n_sources)), first + n_sources if has_bias else ABSENT
        if n_sources == 1 and rng.random() < 0.3:
            shares, bias = (WHOLE,), ABSENT
        index = ABSENT
        if n_sources == 1 and rng.random() < 0.7:
            activation = ACTIVATIONS[str(rng.choice(names))]
            own = activation.row_parameters(np.exp(rng.uniform(-2, 0.5, size=n_rows)), float(np.finfo(dtype).eps))
            index, place = len(maps), add(own)
            constants = activation.map_constants
            tail = tail_of(pieces, dtype) if activation.has_tail else None
            kind, parity = activation.map_kind, activation.parity
            maps.append(PairMap(activation, kind, place, len(own), parity, constants, tail=tail))
        instructions.append(Instruction(destination, sources, shares, bias, index, bool(rng.integers(2))))
    # registers that no instruction has stored yet must not be read
    instructions[:0] = [Instruction(register, (0,), (WHOLE,)) for register in range(1, 4)]
    parameters = np.concatenate([np.empty((0, n_rows), dtype), *planes])
    program = Program(
        tuple(instructions),
        tuple(maps),
        n_registers=4,
        n_parameters=n_planes,
        has_tangent=bool(rng.integers(2)),
        profile=None,
        near=0.1,
        near_exact=1e-3,
        dtype=np.dtype(dtype),
        cost=len(instructions),
        counts=tuple(part.n_parameters for part in maps),
        tabulated=frozenset(),
    )
    return program, parameters


def rows_of(values: NDArray[np.floating], parameters: NDArray[np.floating]) -> Rows:
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    inverse = np.where(norms > 0, 1 / np.where(norms > 0, norms, 1), 0).astype(values.dtype)
    ones = np.ones(len(values))
    return Rows(values, inverse, ones, ones, ones, np.ascontiguousarray(parameters))


def fill(backend: str, program: Program, x: Rows, y: Rows) -> NDArray[np.floating]:
    """A rectangular matrix, in one tile or a few."""
    chosen = choose_backend(backend)
    out = np.full((len(x), len(y)), np.nan, dtype=x.values.dtype)
    fill_tile = chosen.fill_tile(GramTask(program, x, y, out))
    _, columns = chosen.block_shape(x.values.shape[1], x.values.dtype, program.n_parameters)
    for start in range(0, len(y), columns):
        fill_tile(Tile(0, len(x), start, min(start + columns, len(y))))
    return out


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_agree_with_their_reference(seed, dtype, engine):
    if engine.backend == "numpy":
        pytest.skip("the reference itself")
    rng = np.random.default_rng(seed)
    values = difficult_rows(rng, dtype)
    with engine.selected() as backend:
        program, parameters = random_program(rng, len(values), dtype, choose_backend(backend).pieces(dtype))
        rows = rows_of(values, parameters)
        K = fill(backend, program, rows, rows)
    exact_rows = rows_of(values.astype(np.float64), parameters.astype(np.float64))
    exact = fill("numpy", program, exact_rows, exact_rows)
    error = np.abs(K - exact).max() / max(1.0, float(np.abs(exact).max()))
    assert error <= TOLERANCES[dtype], program.instructions


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_entry_does_not_depend_on_its_company(name, dtype, engine):
    """Whatever rows share a vector, a group or a tile: the same to the last bit."""
    if engine.backend != "cython":
        pytest.skip("a compiler's choice of vectors is its own")
    rng = np.random.default_rng(len(name))
    X = difficult_rows(rng, dtype) / 8
    with engine.selected() as backend:
        x, _, program = prepare(ntk.NTK(network=residual(ACTIVATIONS[name])), X, None, choose_backend(backend))
        whole = fill(backend, program, x, x)
        for start, stop in ((0, 1), (5, 23), (11, len(X))):
            rows, columns = slice(start, stop), slice(start // 2, stop)
            part = fill(backend, program, x.part(rows), x.part(columns))
            assert np.array_equal(part, whole[rows, columns])


@pytest.mark.skipif("cython" not in available_backends(), reason="no compiled backend")
def test_hundreds_of_parameters_leave_room_for_columns(dtype):
    """Tiles stay large enough to be worth a call, however many terms an activation takes."""
    backend = choose_backend("cython")
    shapes = [backend.block_shape(64, dtype, n_parameters) for n_parameters in (0, 10, 1000, 100_000)]
    assert all(rows * columns >= 1024 * 16 for rows, columns in shapes)
    assert sorted(shapes, reverse=True) == shapes


@pytest.mark.skipif("cython" not in available_backends(), reason="no compiled backend")
def test_programs_without_tables_or_rows_are_filled(dtype):
    """No instruction reads what is not there: one step, no parameters, one row."""
    program, _ = random_program(np.random.default_rng(0), 1, dtype, choose_backend("cython").pieces(dtype))
    program = replace(
        program, instructions=(Instruction(0, (0,), (WHOLE,), adds_own=True),), maps=(), n_parameters=0, n_registers=1
    )
    rows = rows_of(np.ones((1, 3), dtype), np.empty((0, 1), dtype))
    assert np.abs(fill("cython", program, rows, rows) - 1).max() <= np.finfo(dtype).eps


def test_differences_of_large_row_parameters_keep_their_digits_in_float32(engine):
    """RBF and sines of rows in large units: exp(-(u - u')^2 / 2) with u and u' about 1000."""
    if engine.backend == "numpy":
        pytest.skip("the reference itself")
    rng = np.random.default_rng(0)
    X = np.float32(1000) * np.abs(rng.normal(size=(1, 5)))
    X = (X / np.linalg.norm(X) * (1 + np.exp(rng.uniform(-12, -6, size=(40, 1))))).astype(np.float32)
    for activation in (layers.Rbf(5e5), layers.Sin(frequency=1000.0), layers.Cos(frequency=1000.0)):
        kernel = ntk.NNGP(network=layers.Sequential(layers.Dense(), activation, layers.Dense()))
        with engine.selected() as backend:
            K = kernel(X, backend=backend)
        assert normalised_error(kernel, X, K) <= TOLERANCES[np.dtype(np.float32)], kernel
