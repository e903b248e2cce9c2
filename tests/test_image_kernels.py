"""Networks on images and sequences: exact values, what users call, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from image_oracle import exact_entry
from scipy.sparse.linalg import aslinearoperator

import ntk_fast as ntk
from ntk_fast import layers
from ntk_fast.layers import (
    Attention,
    AveragePool,
    Conv,
    Dense,
    Flatten,
    GlobalAveragePool,
    GlobalSumPool,
    Input,
    Relu,
    Residual,
    Sequential,
    SumPool,
)
from ntk_fast.spectrum import sphere_eigenvalues

SHAPE = (3, 4, 2)


def network(*middle: layers.Layer, shape: tuple[int, ...] = SHAPE, end: layers.Layer | None = None) -> Sequential:
    return Sequential(Input(*shape), *middle, GlobalAveragePool() if end is None else end, Dense(1.3, 0.1))


def block(bias: float = 0.1, **options: object) -> tuple[layers.Layer, ...]:
    return Conv(3, weight_variance=2.0, bias_variance=bias, **options), Relu()


SMALL = network(*block(), shape=(4, 4, 1))


def difficult_images() -> dict[str, np.ndarray]:
    """Images on which kernels lose digits: equal and nearly equal ones, blank ones and blank parts, single pixels."""
    rng = np.random.default_rng(5)
    image = rng.standard_normal(SHAPE)
    half, pixel, corner = image.copy(), np.zeros(SHAPE), np.zeros(SHAPE)
    half[:, :2] = 0
    pixel[1, 2, 0] = 1.0
    corner[0, 0, 1] = 3.0
    return {
        "image": image,
        "copy": image.copy(),
        "near": image + 1e-4 * rng.standard_normal(SHAPE),
        "nearer": image + 1e-9 * rng.standard_normal(SHAPE),
        "scaled": 3 * image,
        "opposite": -image,
        "constant": np.ones(SHAPE),
        "faint constant": np.full(SHAPE, 0.3),
        "half black": half,
        "near half black": half * (1 + 1e-6 * rng.standard_normal(SHAPE)),
        "black": np.zeros(SHAPE),
        "pixel": pixel,
        "corner": corner,
        "other": rng.standard_normal(SHAPE),
    }


PAIRS = {
    "image": ("copy", "near", "nearer", "scaled", "opposite", "constant", "black", "other"),
    "half black": ("half black", "near half black", "pixel", "constant"),
    "pixel": ("pixel", "corner"),
    "constant": ("faint constant",),
}
EXACT = {
    "global": network(*block(), *block()),
    "global, no bias": network(*block(0.0), *block(0.0)),
    "flatten": network(*block(), *block(), end=Flatten()),
    "strides, dilation": network(*block(dilation=2), *block(strides=(1, 2)), end=Flatten()),
    "circular": network(*block(padding="CIRCULAR"), *block(padding="CIRCULAR", strides=(3, 2))),
    "valid": network(*block(padding="VALID"), end=Flatten()),
    "residual": network(Conv(3, bias_variance=0.1), Residual(*block(), Conv(3)), layers.LeakyRelu(0.2)),
    "layer norm": network(*block(0.0), layers.LayerNorm(), Conv(3), layers.Abs(), end=Flatten()),
}


@pytest.mark.parametrize("kind", [ntk.NNGP, ntk.NTK])
@pytest.mark.parametrize("name", EXACT)
def test_difficult_images_are_exact(name, kind):
    images, kernel = difficult_images(), kind(network=EXACT[name])
    chosen = [(x, y) for x, others in PAIRS.items() for y in others]
    offset = (list(EXACT).index(name) + (kind is ntk.NTK)) % 3
    for x, y in chosen[offset::3]:
        value, scale = exact_entry(EXACT[name], images[x], images[y], kernel.has_tangent)
        got = kernel(images[x][None], images[y][None])[0, 0]
        assert abs(got - value) <= 2e-15 * scale, (x, y)
        if y == "copy":
            assert got == pytest.approx(kernel.diag(images[x][None])[0], rel=2e-15)


#: Two pools with activations after them.
POOLED = network(*block(0.0), AveragePool(2, strides=1), *block(0.0), SumPool((1, 2)), Conv(1), Relu(), end=Flatten())


@pytest.mark.parametrize(
    "pair",
    [
        ("image", "copy"),
        ("image", "other"),
        ("half black", "half black"),
        ("half black", "pixel"),
        ("half black", "near half black"),
        ("black", "black"),
        ("constant", "faint constant"),
        ("image", "scaled"),
        ("image", "opposite"),
        ("image", "near"),
        ("image", "nearer"),
    ],
)
def test_pools_between_activations(pair):
    x, y = (difficult_images()[name] for name in pair)
    value, scale = exact_entry(POOLED, x, y, True)
    assert abs(ntk.NTK(network=POOLED)(x[None], y[None])[0, 0] - value) <= 2e-15 * scale


def hard_tanh(z: np.ndarray) -> np.ndarray:
    return np.clip(z, -1, 1)


def test_functions_with_corners_lose_no_digits():
    clipped = layers.Activation(hard_tanh, lambda z: 1.0 * (np.abs(z) < 1))
    small = layers.Sequential(layers.Input(2, 1), Conv(2, bias_variance=0.1), clipped, Flatten(), Dense())
    x = np.array([[0.7], [-2.0]])
    for distance in (1e-9, 1.0):
        y = x + distance * np.array([[0.3], [1.1]])
        value, scale = exact_entry(small, x, y, True)
        for backend in ntk.available_backends():
            assert abs(ntk.NTK(network=small)(x[None], y[None], backend=backend)[0, 0] - value) <= 1e-13 * scale
    X = np.random.default_rng(2).standard_normal((3, 2, 1)).astype(np.float32)
    for backend in ntk.available_backends():
        K = ntk.NTK(network=small)(X, backend=backend)
        assert K.dtype == np.float32
        assert np.allclose(K, ntk.NTK(network=small)(X.astype(np.float64)), rtol=1e-7)


@pytest.mark.parametrize("backend", ntk.available_backends())
def test_signs_of_float32_images_are_as_exact_as_others(backend):
    pooled = network(Conv(3, bias_variance=0.1), layers.Sign(), AveragePool(2), Conv(1), Relu())
    X = np.random.default_rng(3).standard_normal((4, *SHAPE)).astype(np.float32)
    X[1] = X[0] * (1 + 1e-4 * X[2])
    K, exact = (ntk.NTK(network=pooled)(rows, backend=backend) for rows in (X, X.astype(np.float64)))
    assert np.abs(K - exact).max() <= 1e-7 * exact.max()


def test_float32_images_give_float32_matrices():
    X = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)
    K = ntk.NTK(network=EXACT["global"])(X)
    assert K.dtype == np.float32
    assert np.allclose(K, ntk.NTK(network=EXACT["global"])(X.astype(np.float64)), rtol=1e-6)


def test_images_and_rows_are_the_same():
    X = np.random.default_rng(1).standard_normal((5, 4, 4, 1))
    kernel = ntk.NTK(network=SMALL)
    K = kernel(X)
    rows = X.reshape(5, 16)
    assert (kernel(rows) == K).all()
    assert (kernel(X.tolist()) == K).all()
    assert (kernel(np.asfortranarray(X)) == K).all()
    assert kernel(rows[0], rows[1]) == K[0, 1]
    assert (kernel.diag(X) == np.diag(K)).all()


def test_matrices_are_symmetric_and_do_not_depend_on_company_or_threads():
    X = np.random.default_rng(2).standard_normal((7, 4, 4, 1))
    kernel = ntk.NTK(network=network(*block(), AveragePool(2), *block(), shape=(4, 4, 1)))
    done = []
    K = kernel(X, n_threads=1, progress=lambda *part: done.append(part))
    assert done[-1][0] == done[-1][1] > 0
    assert (K == K.T).all()
    assert np.linalg.eigvalsh(K)[0] > 0
    assert (kernel(X, n_threads=3) == K).all()
    assert np.allclose(kernel(X, X.copy()), K, rtol=4e-15, atol=0)
    assert (kernel(X[:2], X[3:]) == K[:2, 3:]).all()
    out = np.empty((7, 7))
    assert kernel(X, out=out) is out
    assert (out == K).all()


def _interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_operators_files_and_estimators_take_images(tmp_path):
    rng = np.random.default_rng(3)
    X, kernel = rng.standard_normal((9, 4, 4, 1)), ntk.NTK(network=SMALL)
    K = kernel(X)
    operator = ntk.KernelOperator(kernel, X, ridge=0.5)
    assert np.allclose(operator @ np.eye(9), K + 0.5 * np.eye(9), rtol=1e-14)
    assert np.allclose(aslinearoperator(operator).matvec(np.ones(9)), K.sum(axis=1) + 0.5)
    path = tmp_path / "K.npy"
    ntk.write_gram(kernel, X, path)
    assert (np.load(path) == K).all()
    with pytest.raises(KeyboardInterrupt):
        ntk.write_gram(kernel, X, tmp_path / "again.npy", progress=_interrupt)
    ntk.write_gram(kernel, X, tmp_path / "again.npy", resume=True)
    assert (np.load(tmp_path / "again.npy") == K).all()
    labels = np.arange(9) % 2
    rows = (X + 2 * labels[:, None, None, None]).reshape(9, 16)
    assert ntk.NTKClassifier(kernel).fit(rows, labels).score(rows, labels) == 1


def test_sums_and_products_of_kernels_of_images_and_of_rows():
    X = np.random.default_rng(4).standard_normal((4, 4, 4, 1))
    rows = X.reshape(4, 16)
    image, dense = ntk.NTK(network=SMALL), ntk.NNGP(2, bias_variance=0.1)
    assert np.allclose((image + 0.5)(X), image(X) + 0.5, rtol=1e-14)
    assert np.allclose((2 * image + dense)(X), 2 * image(X) + dense(rows), rtol=1e-13)
    assert np.allclose((image * dense)(rows), image(X) * dense(rows), rtol=1e-13)


def test_a_network_of_one_position_is_one_on_rows():
    X = np.random.default_rng(5).standard_normal((4, 5))
    product, joined = layers.Product(Dense(0.5), Dense()), layers.Concatenate(Dense(), Relu(), shares=(0.25, 0.75))
    middle = Dense(0.5, 0.1), layers.Sum(product, Dense()), Dense(), joined, Dense(), Residual(layers.Erf(), Dense())
    for end in (Flatten(), GlobalAveragePool(), GlobalSumPool(), AveragePool(1), SumPool(1)):
        one = Sequential(Input(1, 1, 5), *middle, end, Dense())
        assert np.allclose(ntk.NTK(network=one)(X), ntk.NTK(network=Sequential(*middle, Dense()))(X), rtol=1e-13)


@pytest.mark.parametrize(
    "activation",
    [
        layers.Tanh(),
        layers.Sigmoid(),
        layers.Exp(rate=0.5),
        layers.Sign(),
        layers.Hermite(3),
        layers.Cos(),
    ],
)
def test_every_activation_is_on_equal_pixels_what_it_is_on_rows(activation):
    """Circular convolutions of constant images make every position a row."""
    rows = 0.5 * np.random.default_rng(6).standard_normal((3, 2))
    X = np.broadcast_to(rows[:, None, None], (3, 3, 3, 2))
    for circular, dense in ((Conv(3, padding="CIRCULAR", bias_variance=0.1), Dense(1.0, 0.1)),):
        for end in (Flatten(), GlobalAveragePool()):
            images = Sequential(Input(3, 3, 2), circular, activation, circular, activation, end, Dense())
            K = ntk.NTK(network=images)(X)
            expected = ntk.NTK(network=Sequential(dense, activation, dense, activation, Dense()))(rows)
            assert np.allclose(K, expected, rtol=3e-12)


def test_blank_images_have_the_value_of_the_limit():
    X = np.zeros((2, *SHAPE))
    X[1] = np.random.default_rng(7).standard_normal(SHAPE)
    continuous = (net for name, net in EXACT.items() if name != "layer norm")
    for net in (*continuous, POOLED, network(Conv(3), layers.Cos(), Attention(), layers.Erf())):
        K = ntk.NTK(network=net)(X)
        limit = ntk.NTK(network=net)(np.concatenate([1e-7 * X[1:], X[1:]]))
        assert np.isfinite(K).all()
        assert np.allclose(K, limit, rtol=1e-5, atol=1e-6 * K[1, 1])


@pytest.mark.parametrize("net", [*EXACT.values(), POOLED, network(Attention("d^-0.5", "identity"), Relu())])
def test_descriptions_are_data(net):
    assert layers.from_json(layers.to_json(net)) == net
    assert pickle.loads(pickle.dumps(net)) == net
    assert eval(repr(net), vars(layers)) == net
    assert hash(ntk.NTK(network=net)) == hash(ntk.NTK(network=pickle.loads(pickle.dumps(net))))


def test_describe_says_positions_pairs_and_what_it_costs(capsys):
    ntk.NTK(network=network(Conv(3), Relu(), AveragePool(2), shape=(32, 32, 3), end=Flatten())).describe()
    text = capsys.readouterr().out
    assert "32 x 32" in text
    assert "8836" in text  # |offset| <= 1: 32^2 + 4 x 32 x 31 + 4 x 31^2
    assert f"on {'cython' if 'cython' in ntk.available_backends() else 'numpy'}: about" in text
    assert "1000 images:" in text
    assert "nearly equal" not in text  # nothing that takes angles follows the pool
    ntk.NTK(network=POOLED).describe()
    assert "nearly equal images, from which pools would take digits: about" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((3, 4, 4), r"got shape \(3, 4, 4\)"),
        ((4, 4, 1), r"got shape \(4, 4, 1\); for one of them pass X\[None\]"),
        ((3, 15), r"images of shape \(n, 4, 4, 1\), .* rows of shape \(n, 16\); got shape \(3, 15\)"),
        ((3, 4, 4, 2), r"got shape \(3, 4, 4, 2\)"),
    ],
)
def test_a_wrong_shape_is_named_with_both(shape, part, tmp_path):
    kernel, X = ntk.NTK(network=SMALL), np.zeros(shape)
    operator, path = (lambda X: ntk.KernelOperator(kernel, X)), tmp_path / "K.npy"
    for call in (kernel, kernel.diag, operator, lambda X: ntk.write_gram(kernel, X, path)):
        with pytest.raises(ValueError, match=part):
            call(X)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: network(Conv(3), end=Relu()), "its output still has 3 x 4 positions: a Flatten"),
        (lambda: Sequential(Conv(3), Dense()), r"layer 1 of 2, Conv: there are no positions here: begin .* Input\("),
        (lambda: network(GlobalAveragePool()), "there are no positions here: it must come before Flatten and global"),
        (lambda: Sequential(Dense(), Attention()), "layer 2 of 2, Attention: there are no positions here"),
        (lambda: network(Conv(5, padding="VALID")), "a window that spans 5 x 5 does not fit on 3 x 4 positions"),
        (lambda: network(Conv(2, dilation=3, padding="VALID")), "a window that spans 4 x 4 does not fit"),
        (lambda: network(AveragePool((4, 1))), "AveragePool: a window that spans 4 x 1 does not fit"),
        (lambda: network(Conv((3,))), r"windows of \(3,\) are for 1 dimensions; there are 3 x 4 positions"),
        (lambda: network(Conv(3, strides=2, padding="CIRCULAR")), "strides must divide the positions, 3 x 4"),
        (lambda: network(Residual(Conv(3, strides=2))), "must have the same positions; got 3 x 4 and 2 x 2"),
        (lambda: Sequential(Dense(), Input(1, 1, 1)), "Input says what the rows are: it must be the first layer"),
        (lambda: network(Conv(3), end=Sequential(Flatten(), Relu())), "an activation needs a Dense, a Conv or"),
    ],
)
def test_networks_that_are_none_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        ntk.NTK(network=make())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Conv(0), "filter_shape must be a whole number >= 1; got 0"),
        (lambda: Conv(3, strides=0), "strides must be a whole number >= 1; got 0"),
        (lambda: Conv((3, 3, 3)), r"one or two of them; got \(3, 3, 3\)"),
        (lambda: Conv(3, padding="same"), "padding must be one of 'SAME', 'VALID', 'CIRCULAR'; got 'same'"),
        (lambda: Conv(3, weight_variance=-1.0), "weight_variance must be >= 0"),
        (lambda: AveragePool(2, strides=0), "strides must be a whole number >= 1; got 0"),
        (lambda: Input(3), "Input takes height, width, channels of an image"),
        (lambda: Input(3, 3, 0), "channels must be a whole number >= 1; got 0"),
        (lambda: Attention(scaling="d^-2"), r"scaling must be one of 'd\^-1', 'd\^-0.5'"),
        (lambda: Attention("d^-0.5"), r"zeta must be 'identity' with the scaling 'd\^-0.5'; got 'softmax'"),
    ],
)
def test_layers_that_are_none_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_images_that_do_not_fit_are_refused_before_any_work():
    kernel = ntk.NTK(network=network(Conv(3), Relu(), shape=(300, 300, 1)))
    with pytest.raises(MemoryError, match=r"two images of 300 x 300 positions have 8100000000 pairs .* fit"):
        kernel(np.ones((1, 300, 300, 1)))


def test_what_needs_rows_says_so():
    kernel = ntk.NTK(network=SMALL)
    for call in (lambda: kernel.profile(0.5), lambda: sphere_eigenvalues(kernel, 3, 2)):
        with pytest.raises(ValueError, match="for networks on rows, not for one on images"):
            call()
