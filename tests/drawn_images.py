"""Networks on images and sequences, and images on which digits are lost, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ntk_fast import layers as L

RELU_LIKE: tuple[L.Layer, ...] = (L.Relu(), L.LeakyRelu(0.2), L.Abs())
#: With a closed form, or few terms where variances are near 1.
OTHERS: tuple[L.Layer, ...] = (
    L.Erf(),
    L.Gelu(),
    L.Sin(frequency=0.7, phase=0.3),
    L.Cos(),
    L.Gaussian(exponent=-0.5),
    L.Exp(rate=0.5),
    L.Rbf(0.5),
    L.Monomial(2),
    L.RectifiedMonomial(2),
    L.Polynomial((0.5, 1.0, 0.3)),
    L.Hermite(2),
    L.SigmoidLike(),
)


class Drawing:
    """A network that grows layer by layer on a grid of positions."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], activations: Sequence[L.Layer]) -> None:
        self._rng, self._activations = rng, activations
        self.grid = shape[:-1]
        self.layers: list[L.Layer] = [L.Input(*shape)]

    def _one_of(self, *choices: object) -> object:
        return choices[int(self._rng.integers(len(choices)))]

    def _affine(self) -> dict[str, float]:
        return {"weight_variance": self._one_of(0.5, 1.0, 2.0), "bias_variance": self._one_of(0.0, 0.0, 0.1, 1.0)}

    def activation(self) -> L.Layer:
        return self._one_of(*self._activations)

    def conv(self, keeps: bool = False) -> L.Conv:
        """Draw a convolution; `keeps`: the grid."""
        padding = self._one_of("SAME", "CIRCULAR") if keeps else self._one_of("SAME", "SAME", "VALID", "CIRCULAR")
        sizes = [int(self._rng.integers(1, 4)) for _ in self.grid]
        dilation, strides = (
            [self._one_of(1, 1, 2) for _ in sizes],
            [1 if keeps else self._one_of(1, 1, 2) for _ in sizes],
        )
        for k, n in enumerate(self.grid):
            if padding == "CIRCULAR" and n % strides[k]:
                strides[k] = 1
            if padding == "VALID" and (sizes[k] - 1) * dilation[k] + 1 > n:
                sizes[k] = 1
        self._pass(padding, [(size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)], strides)
        return L.Conv(tuple(sizes), tuple(strides), padding, dilation=tuple(dilation), **self._affine())

    def pool(self, keeps: bool = False) -> L.Layer:
        """Draw a pool; `keeps`: the grid."""
        kind, padding = self._one_of(L.AveragePool, L.SumPool), "SAME" if keeps else self._one_of("SAME", "VALID")
        window = [int(self._rng.integers(1, min(n, 3) + 1)) for n in self.grid]
        strides = [1 if keeps else self._one_of(1, size) for size in window]
        self._pass(padding, window, strides)
        return kind(tuple(window), tuple(strides), padding)

    def _pass(self, padding: object, spans: list[int], strides: list[int]) -> None:
        less = [span - 1 if padding == "VALID" else 0 for span in spans]
        self.grid = tuple(-(-(n - k) // s) for n, k, s in zip(self.grid, less, strides, strict=True))

    def attention(self) -> L.Attention:
        scaling, zeta = self._one_of(
            ("d^-1", "softmax"), ("d^-1", "identity"), ("d^-1", "relu"), ("d^-0.5", "identity")
        )
        return L.Attention(scaling, zeta, self._one_of(0.3, 1.0), **self._affine())

    def block(self, has_attention: bool = True) -> list[L.Layer]:
        """Draw a few layers that begin with something Gaussian."""
        plain: Callable[[], list[L.Layer]] = lambda: [self.conv(), self.activation()]  # noqa: E731
        match int(self._rng.integers(9 if has_attention else 8)):
            case 0:
                return [self.conv(), L.Residual(self.activation(), self.conv(keeps=True)), self.activation()]
            case 1:
                branches = [self.activation(), self.conv(keeps=True)], [self.pool(keeps=True), L.Dense(0.7, 0.1)]
                return [
                    L.Dense(),
                    self._one_of(L.Sum, L.Concatenate)(*(L.Sequential(*each) for each in branches)),
                    L.Dense(),
                ]
            case 2:
                return [self.conv(), L.Product(self.activation(), self.conv(keeps=True)), L.Dense(1.0, 0.1)]
            case 3:
                return [*plain(), self.pool()]
            case 4:
                return [*plain(), self.pool(), self.conv(), self.activation()]
            case 5:
                return [*plain(), L.LayerNorm()]
            case 8:
                return [self.conv(), self.attention(), self.activation()]
        return plain()


def drawn_network(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    activations: Sequence[L.Layer] = RELU_LIKE,
    n_blocks: int = 2,
    has_attention: bool = True,
) -> L.Sequential:
    """Return a network of a few blocks on images of a shape, the last of which may be a pool."""
    drawing = Drawing(rng, shape, activations)
    for _ in range(n_blocks):
        drawing.layers += drawing.block(has_attention)
    end = (L.Flatten(), L.GlobalAveragePool(), L.GlobalSumPool())[int(rng.integers(3))]
    return L.Sequential(*drawing.layers, end, L.Dense(1.3, 0.1))


def drawn_images(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> np.ndarray:
    """Return images of any scale: copies, nearly or scaled, of each other; constant, (partly) black ones, one pixel."""
    scale = 10.0 ** rng.uniform(-6, 6) if rng.random() < 0.5 else 1.0
    X = rng.standard_normal((n, *shape))
    for k in range(n):
        other = X[int(rng.integers(k))] if k else X[0]
        match int(rng.integers(10)):
            case 0:
                X[k] = other
            case 1:
                X[k] = other + 10.0 ** rng.uniform(-12, -3) * rng.standard_normal(shape)
            case 2:
                X[k] = 3 * other
            case 3:
                X[k] = rng.standard_normal()
            case 4:
                X[k, : shape[0] // 2] = 0
            case 5:
                X[k] *= rng.random(shape[:-1])[..., None] < 0.3
            case 6:
                X[k] = 0
                X[k].reshape(-1)[int(rng.integers(X[k].size)) if rng.random() < 0.8 else slice(0)] = 1
    return scale * X
