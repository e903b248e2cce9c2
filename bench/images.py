"""Convolutional networks: what a pair of positions costs in each layer, beside a layer of the dense engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.model_selection import StratifiedKFold

import ntk_fast as ntk
from bench.data import digits, mnist
from bench.measure import Timing, in_turn, peak_memory
from bench.targets import Row, Setting, at_most, faster, normal_rows, target
from ntk_fast import layers
from ntk_fast.backends import available_backends, choose_backend
from ntk_fast.backends.base import GramTask, ImageBackend
from ntk_fast.gram import fill_gram, prepare
from ntk_fast.kernels import Kernel
from ntk_fast.layers.layer import Layer
from ntk_fast.lower.spatial_program import ConvolveStep, SpatialProgram

CIFAR, DIGIT, MNIST = (32, 32, 3), (8, 8, 1), (28, 28, 1)
BIAS = 0.1
#: Rows on each side of the dense engine's matrix whose layer is the unit.
N_OF_UNIT = 1500
#: Of the README's table: see `costs`.
SIZES, CORES = (1_000, 10_000), (2, 32)


class Entries:
    """Fills the matrix of a few images with as many as a vector has lanes; they are prepared beforehand."""

    def __init__(
        self, kernel: Kernel, x: np.ndarray, y: np.ndarray, *, backend: str | None = None, n_threads: int = 1
    ) -> None:
        self._backend, self._n_threads = choose_backend(backend), n_threads
        left, right, program = prepare(kernel, x, y, self._backend)
        self.out = np.empty((len(x), len(y)), dtype=x.dtype)
        self._task = GramTask(program, left, right, self.out)
        self.program = program

    def __call__(self) -> None:
        fill_gram(self._task, self._backend, self._n_threads)

    @property
    def n_layer_pairs(self) -> int:
        """Convolutions times the pairs of positions that the plan has of each."""
        program = self.program
        assert isinstance(program, SpatialProgram)
        return sum(
            planes.n_pairs
            for step, planes in zip(program.steps, program.pairs.of_nodes[1:], strict=True)
            if isinstance(step, ConvolveStep) and step.window.output and planes is not None
        )

    def seconds(self, timing: float) -> float:
        """Of a layer and a pair of positions of one entry."""
        return timing / self.out.size / self.n_layer_pairs


def n_lanes(kernel: Kernel, dtype: type, backend: str | None = None) -> int:
    """How many images of y a vector takes."""
    chosen = choose_backend(backend)
    assert isinstance(chosen, ImageBackend)
    _, _, program = prepare(kernel, np.ones((1, int(np.prod(kernel.plan.shape or ()))), dtype), None, chosen)
    assert isinstance(program, SpatialProgram)
    return chosen.image_block(program)[1]


def random_entries(kernel: Kernel, dtype: type, n_left: int, n_vectors: int = 1, **options: object) -> Entries:
    """Of random images."""
    n_features = int(np.prod(kernel.plan.shape or ()))
    y = normal_rows(n_vectors * n_lanes(kernel, dtype, options.get("backend")), n_features, seed=1)  # type: ignore[arg-type]
    return Entries(kernel, normal_rows(n_left, n_features).astype(dtype), y.astype(dtype), **options)  # type: ignore[arg-type]


def dense(depth: int, dtype: type) -> Callable[[], object]:
    rows = normal_rows(N_OF_UNIT, 64).astype(dtype)
    others, out = normal_rows(N_OF_UNIT, 64, seed=1).astype(dtype), np.empty((N_OF_UNIT, N_OF_UNIT), dtype)
    kernel = ntk.NTK(depth, bias_variance=BIAS)
    return lambda: kernel(rows, others, out=out, n_threads=1)


def unit(t: dict[str, Timing], dtype: type, of: str = "best") -> float:
    """Seconds of one more dense layer with bias, an entry."""
    deep, shallow = (getattr(t[f"dense {depth} {dtype.__name__}"], of) for depth in (30, 10))
    return float(deep - shallow) / 20 / N_OF_UNIT**2


def pooled_late(pool: bool) -> Kernel:
    """Five convolutions, perhaps a pool of 2 x 2, then Flatten."""
    hidden: list[Layer] = [layers.Conv(3, bias_variance=BIAS), layers.Relu()]
    end = [layers.AveragePool(2)] if pool else []
    return ntk.NTK(network=layers.Sequential(layers.Input(*CIFAR), *hidden * 5, *end, layers.Flatten(), layers.Dense()))


@target("images")
def layers_and_pairs(setting: Setting) -> Iterator[Row]:
    """Time / (convolutions x pairs of positions) / the dense engine's layer with bias, one thread, the same dtype."""
    deep = ntk.NTK(network=layers.cntk(11, CIFAR, bias_variance=BIAS))
    flat = ntk.NTK(network=layers.cntk(21, CIFAR, pooling=None, bias_variance=BIAS))
    myrtle = ntk.NTK(network=layers.myrtle(5, CIFAR, bias_variance=BIAS))
    cases = {
        "11 convolutions, GAP, 32 x 32 x 3, float32": (random_entries(deep, np.float32, 1), np.float32, 1.1),
        "the same in float64": (random_entries(deep, np.float64, 1), np.float64, 1.2),
        "21 convolutions, Flatten, float32": (random_entries(flat, np.float32, 16, 4), np.float32, 1.4),
        "Myrtle-5, float32": (random_entries(myrtle, np.float32, 1, 2), np.float32, 1.5),
    }
    functions: dict[str, Callable[[], object]] = {
        f"dense {depth} {dtype.__name__}": dense(depth, dtype)
        for depth in (10, 30)
        for dtype in (np.float32, np.float64)
    }
    t = in_turn(functions | {name: entries for name, (entries, _, _) in cases.items()}, 2 if setting.quick else 5)
    for name, (entries, dtype, bound) in cases.items():
        best, median = entries.seconds(t[name].best), entries.seconds(t[name].median)
        entry = t[name].best / entries.out.size
        absolute = f"{best * 1e9:.2f} / {unit(t, dtype) * 1e9:.2f} ns; {entry * 1e3:.3g} ms an entry"
        what = f"{name}: layer and pair / dense layer"
        yield Row(what, best / unit(t, dtype), bound, True, absolute, median / unit(t, dtype, "median"))


@target("images")
def blank_images_and_pools(setting: Setting) -> Iterator[Row]:
    """Images of MNIST against random ones; a pool before Flatten against none. One thread."""
    rows, _ = mnist()
    functions: dict[str, Callable[[], object]] = {}
    for name, bias in (("with bias", BIAS), ("no bias", 0.0)):
        kernel = ntk.NTK(network=layers.cntk(5, MNIST, bias_variance=bias))
        n = n_lanes(kernel, np.float32)
        functions[f"random, {name}"] = random_entries(kernel, np.float32, 1)
        some = rows[:: len(rows) // (n + 1)].astype(np.float32)
        functions[f"MNIST, {name}"] = Entries(kernel, some[:1], some[1 : n + 1])
    functions["pool"] = random_entries(pooled_late(True), np.float32, 4, 4)
    functions["no pool"] = random_entries(pooled_late(False), np.float32, 4, 4)
    t = in_turn(functions, 2 if setting.quick else 5)
    for name in ("with bias", "no bias"):
        what = f"images of MNIST / random ones, 5 convolutions, GAP, {name}"
        yield at_most(what, t[f"MNIST, {name}"], t[f"random, {name}"], 1.8)
    yield at_most("a pool of 2 x 2 before Flatten / none", t["pool"], t["no pool"], 15)


@target("images")
def matrices(setting: Setting) -> Iterator[Row]:
    """Whole calls on small images, two threads unless it says otherwise; and the other backends."""
    kernel = ntk.NTK(network=layers.cntk(1, DIGIT))
    X, Y = (normal_rows(256, 64, seed=seed).astype(np.float32) for seed in (0, 1))
    t = in_turn(
        {
            "symmetric": lambda: kernel(X, n_threads=2),
            "rectangular": lambda: kernel(X, Y, n_threads=2),
            "one thread": lambda: kernel(X, Y, n_threads=1),
        },
        2 if setting.quick else 7,
    )
    yield at_most("symmetric / rectangular, 256 images of 8 x 8", t["symmetric"], t["rectangular"], 0.56)
    yield faster("1 thread / 2 threads", t["one thread"], t["rectangular"], 1.9)
    kernel = ntk.NTK(network=layers.cntk(3, DIGIT))
    for dtype in (np.float32, np.float64):
        name = dtype.__name__
        rows = normal_rows(4, 64).astype(dtype), normal_rows(32, 64, seed=1).astype(dtype)
        functions: dict[str, Callable[[], object]] = {"C": Entries(kernel, *rows)}
        if "numba" in available_backends():
            functions["Numba"] = Entries(kernel, *rows, backend="numba")
        t = in_turn(functions, 3 if setting.quick else 7)
        t |= in_turn({"NumPy": Entries(kernel, *rows, backend="numpy")}, setting.reference_rounds)
        if "Numba" in t:
            yield at_most(f"Numba / C, 3 convolutions, GAP, 8 x 8, {name}", t["Numba"], t["C"], 3)
        yield faster(f"NumPy reference / C, {name}", t["NumPy"], t["C"], 20)


@target("images")
def memory_and_digits(setting: Setting) -> Iterator[Row]:
    """Scratch memory of a thread at 32 x 32 with GAP; the matrix of all digits."""
    setup = (
        "import numpy as np, ntk_fast as ntk\n"
        "from ntk_fast import layers\n"
        f"kernel = ntk.NTK(network=layers.cntk(2, {CIFAR}, bias_variance=0.1))\n"
        f"X = np.random.default_rng(0).standard_normal((3, {np.prod(CIFAR)})).astype(np.float32)\n"
        "small = ntk.NTK(network=layers.cntk(2, (4, 4, 3), bias_variance=0.1))\n"
        "small(X[:, :48])"
    )
    extra = peak_memory(setup, "kernel(X, n_threads=1)") / 1e6
    yield Row("scratch memory, 32 x 32 GAP, MB a thread", extra, 32, True)
    if not setting.quick:
        X, _ = digits()
        kernel = ntk.NTK(network=layers.cntk(3, DIGIT))
        start = time.perf_counter()
        kernel(X.astype(np.float32))
        yield Row("Gram matrix of 1797 digits, 3 convolutions, GAP, float32, s", time.perf_counter() - start, 8, True)


@target("images")
def accuracy(setting: Setting) -> Iterator[Row]:
    """Five stratified folds; the ridge by leave-one-out within each training part."""
    if setting.quick:
        return
    X, y = digits()
    right, seconds = accuracy_of(ntk.NTK(network=layers.cntk(3, DIGIT)), X, y)
    what = "1797 digits, 3 convolutions, GAP, float32: percent right"
    yield Row(what, right, 99.4, False, f"dense 99.05; {seconds:.0f} s")
    X, y = mnist()
    right, seconds = accuracy_of(ntk.NTK(network=of_mnist()), X, y)
    yield Row("5000 images of MNIST, 5 convolutions, Flatten: percent right", right, 96.36, False, f"{seconds:.0f} s")


def of_mnist() -> layers.Sequential:
    """Five convolutions, and all positions side by side."""
    return layers.cntk(5, MNIST, pooling=None)


def accuracy_of(kernel: Kernel, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the percentage right in five stratified folds, and the seconds that the matrix of all images took."""
    start = time.perf_counter()
    K = kernel(X.astype(np.float32)).astype(np.float64)
    seconds = time.perf_counter() - start
    right = 0
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        targets = np.where(y[train][:, None] == np.unique(y), 1.0, -1.0)
        values, vectors = np.linalg.eigh(K[np.ix_(train, train)])
        rotated, squares = vectors.T @ targets, vectors**2
        errors = {}
        for ridge in np.geomspace(1e-7, 1e-1, 25) * values.mean():
            weights = 1 / (np.maximum(values, 0) + ridge)
            coefficients = vectors @ (weights[:, None] * rotated)
            errors[ridge] = np.square(coefficients / (squares @ weights)[:, None]).sum()  # of images left out, in turn
        weights = 1 / (np.maximum(values, 0) + min(errors, key=lambda ridge: errors[ridge]))
        scores = K[np.ix_(test, train)] @ (vectors @ (weights[:, None] * rotated))
        right += int((np.unique(y)[scores.argmax(axis=1)] == y[test]).sum())
    return 100 * right / len(y), seconds


def costs() -> str:
    """Return the table of the README: what an entry costs, and how long n images take, in Markdown.

    By processor time of one thread, so that it does not matter what else the machine does.
    """
    cases = {
        "3 convolutions, GAP, 8 x 8": (layers.cntk(3, DIGIT), 8, 8),
        "5 convolutions, Flatten, 28 x 28": (layers.cntk(5, MNIST, pooling=None), 16, 8),
        "21 convolutions, Flatten, 32 x 32 x 3": (layers.cntk(21, CIFAR, pooling=None), 16, 4),
        "Myrtle-5, 32 x 32 x 3": (layers.myrtle(5, CIFAR), 2, 2),
        "11 convolutions, GAP, 32 x 32 x 3": (layers.cntk(11, CIFAR), 1, 1),
    }
    heads = [f"{n} images, {cores} cores" for n in SIZES for cores in CORES]
    lines = ["| float32 | an entry, one core | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    for name, (network, n_left, n_vectors) in cases.items():
        entries = random_entries(ntk.NTK(network=network), np.float32, n_left, n_vectors)
        runs = []
        for _ in range(4):
            start = time.process_time()
            entries()
            runs.append(time.process_time() - start)
        seconds = min(runs) / entries.out.size
        times = [duration(seconds * n * n / 2 / cores) for n in SIZES for cores in CORES]
        lines.append(f"| {name} | {1e3 * seconds:.2g} ms | " + " | ".join(times) + " |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Examples
    --------
    >>> duration(0.5), duration(100), duration(9000), duration(1e6)
    ('0.5 s', '1.7 min', '2.5 h', '12 days')
    """
    for size, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {name}"
    return f"{seconds:.2g} s"
