"""Kernels of networks on images at 50 digits, straight from the equations: covariances of positions in dictionaries.

Written for itself: nothing of it is shared with the package but the descriptions and, of activations that are not
straight, the expectations that `ntk_fast.high_precision` has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import mpf

from ntk_fast import layers
from ntk_fast.high_precision.expectations import expectations
from ntk_fast.layers.activation import ActivationLayer

DIGITS = 50

Position = tuple[int, ...]
Covariances = dict[tuple[int, Position, int, Position], tuple[mpf, mpf]]


class Field(NamedTuple):
    """S and T between all positions of two images, 0 and 1, and of each with itself."""

    grid: tuple[int, ...]
    values: Covariances

    def positions(self) -> list[Position]:
        return list(itertools.product(*map(range, self.grid)))

    def at(self, a: int, i: Position, b: int, j: Position) -> tuple[mpf, mpf]:
        return self.values.get((a, i, b, j), (mpf(0), mpf(0)))


def _all(grid: tuple[int, ...], value: Callable[[int, Position, int, Position], tuple[mpf, mpf]]) -> Field:
    positions = list(itertools.product(*map(range, grid)))
    keys = [(a, i, b, j) for a, b in ((0, 0), (1, 1), (0, 1)) for i in positions for j in positions]
    values = {key: value(*key) for key in keys}
    values |= {(b, j, a, i): pair for (a, i, b, j), pair in values.items()}
    return Field(grid, values)


def exact_entry(network: layers.Layer, x: np.ndarray, y: np.ndarray, has_tangent: bool) -> tuple[mpf, mpf]:
    """Return K(x, y), and sqrt(K(x, x) K(y, y))."""
    with mpmath.workdps(DIGITS):
        images = [np.vectorize(mpf, otypes=[object])(np.asarray(image, dtype=np.float64)) for image in (x, y)]
        field = _apply(network, Field((), {}), images)
        part = 1 if has_tangent else 0
        ends = [
            field.at(a, *end, b, *end)[part] for a, b in ((0, 1), (0, 0), (1, 1)) for end in [((0,) * len(field.grid),)]
        ]
        return ends[0], mpmath.sqrt(ends[1] * ends[2])


def _apply(layer: layers.Layer, field: Field, images: list[np.ndarray]) -> Field:
    match layer:
        case layers.Sequential(parts):
            for part in parts:
                field = _apply(part, field, images)
            return field
        case layers.Identity():
            return field
        case layers.Input(shape):
            return _all(shape[:-1], lambda a, i, b, j: (sum(images[a][i] * images[b][j]), mpf(0)))
        case layers.Dense(weight, bias, trained):
            return _all(field.grid, lambda *key: _affine(field.at(*key), mpf(weight), mpf(bias), trained))
        case layers.Conv():
            return _convolved(layer, field)
        case layers.AveragePool() | layers.SumPool():
            return _pooled(layer, field)
        case layers.GlobalAveragePool() | layers.GlobalSumPool():
            n = 1 if isinstance(layer, layers.GlobalSumPool) else len(field.positions())
            return _summed(field, lambda i, j: True, mpf(1) / n**2)
        case layers.Flatten():
            return _summed(field, lambda i, j: i == j, mpf(1) / len(field.positions()))
        case layers.Residual(parts):
            return _joined([field, _apply(layers.Sequential(*parts), field, images)], [1, 1])
        case layers.Sum(branches):
            return _joined([_apply(branch, field, images) for branch in branches], [1] * len(branches))
        case layers.Concatenate(branches, shares):
            weights = [mpf(share) for share in shares or (1,) * len(branches)]
            fields = [_apply(branch, field, images) for branch in branches]
            return _joined(fields, [weight / sum(weights) for weight in weights])
        case layers.Product(branches):
            first, *others = [_apply(branch, field, images) for branch in branches]
            for other in others:
                first = _multiplied(first, other)
            return first
        case layers.Tangent():
            return _all(field.grid, lambda *key: (field.at(*key)[1], mpf(0)))
        case layers.Attention():
            return _attended(layer, field)
        case layers.LayerNorm():
            return _all(field.grid, lambda *key: _normalised(field, key))
        case layers.Relu() | layers.LeakyRelu() | layers.Abs():
            right, left = {layers.Relu: (1, 0), layers.Abs: (1, -1)}.get(type(layer), (1, getattr(layer, "slope", 0)))
            return _all(field.grid, lambda *key: _folded(field, key, (right + left) / mpf(2), (right - left) / mpf(2)))
        case ActivationLayer():
            return _all(field.grid, lambda *key: _activated(layer, field, key))
    raise NotImplementedError(layer)


def _joined(fields: list[Field], weights: list[Any]) -> Field:
    def value(*key: Any) -> tuple[mpf, mpf]:
        parts = zip(*(field.at(*key) for field in fields), strict=True)
        return tuple(mpmath.fdot(weights, part) for part in parts)

    return _all(fields[0].grid, value)


def _multiplied(one: Field, other: Field) -> Field:
    def value(*key: Any) -> tuple[mpf, mpf]:
        (s, t), (own, slope) = one.at(*key), other.at(*key)
        return s * own, t * own + slope * s

    return _all(one.grid, value)


def _activated(layer: ActivationLayer, field: Field, key: Any) -> tuple[mpf, mpf]:
    """By the expectations that the oracle of networks on rows has."""
    covariance, tangent = field.at(*key)
    value, slope = expectations(layer, *_variances(field, key), covariance)
    return value, slope * tangent


def _attended(layer: layers.Attention, field: Field) -> Field:
    positions, scale = field.positions(), mpf(layer.query_key_scale)
    weight, bias, trained = mpf(layer.weight_variance), mpf(layer.bias_variance), int(layer.trained)
    if layer.scaling == "d^-0.5":

        def value(a: int, i: Position, b: int, j: Position) -> tuple[mpf, mpf]:
            covariance, tangent = field.at(a, i, b, j)
            pairs = [field.at(a, k, b, m) for k in positions for m in positions]
            squares, products = sum(s * s for s, _ in pairs), sum(s * t for s, t in pairs)
            slope = 2 * products * covariance + squares * (tangent + trained * 4 * covariance)
            return scale**2 * weight * squares * covariance + bias, scale**2 * weight * slope + trained * bias

        return _all(field.grid, value)

    def weights(image: int, i: Position) -> list[Any]:
        covariances = [scale * field.at(image, i, image, k)[0] for k in positions]
        if layer.zeta == "softmax":
            powers = [mpmath.exp(part - max(covariances)) for part in covariances]
            return [power / sum(powers) for power in powers]
        return [max(part, mpf(0)) for part in covariances] if layer.zeta == "relu" else covariances

    rows = {(image, i): weights(image, i) for image in (0, 1) for i in positions}

    def summed(a: int, i: Position, b: int, j: Position) -> tuple[mpf, mpf]:
        total = [mpf(0), mpf(0)]
        for left, k in zip(rows[a, i], positions, strict=True):
            for right, m in zip(rows[b, j], positions, strict=True):
                total = [part + left * right * own for part, own in zip(total, field.at(a, k, b, m), strict=True)]
        return weight * total[0] + bias, weight * total[1] + trained * (2 * weight * total[0] + bias)

    return _all(field.grid, summed)


def _affine(pair: tuple[mpf, mpf], weight: mpf, bias: mpf, trained: bool) -> tuple[mpf, mpf]:
    covariance = weight * pair[0] + bias
    return covariance, weight * pair[1] + (covariance if trained else 0)


def _numbers(value: Any, n: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * n


def _windows(
    grid: tuple[int, ...], sizes: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...], padding: str
) -> tuple[tuple[int, ...], Callable[[Position, Position], Position | None]]:
    """Return the positions that remain, and what a tap sees from one of them."""
    spans = [(size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True)]
    if padding == "VALID":
        output = tuple((n - span) // s + 1 for n, span, s in zip(grid, spans, strides, strict=True))
        before = [0] * len(grid)
    else:
        output = tuple(-(-n // s) for n, s in zip(grid, strides, strict=True))
        before = [
            max((m - 1) * s + span - n, 0) // 2 for m, s, span, n in zip(output, strides, spans, grid, strict=True)
        ]

    def seen(i: Position, tap: Position) -> Position | None:
        at = [s * k + step * d - b for k, d, s, step, b in zip(i, tap, strides, dilation, before, strict=True)]
        if padding == "CIRCULAR":
            at = [k % n for k, n in zip(at, grid, strict=True)]
        return tuple(at) if all(0 <= k < n for k, n in zip(at, grid, strict=True)) else None

    return output, seen


def _convolved(layer: layers.Conv, field: Field) -> Field:
    n = len(field.grid)
    sizes = _numbers(layer.filter_shape, n)
    output, seen = _windows(field.grid, sizes, _numbers(layer.strides, n), _numbers(layer.dilation, n), layer.padding)
    taps = list(itertools.product(*map(range, sizes)))

    def value(a: int, i: Position, b: int, j: Position) -> tuple[mpf, mpf]:
        pairs = [field.at(a, seen(i, tap), b, seen(j, tap)) for tap in taps]
        mean = tuple(sum(part) / len(taps) for part in zip(*pairs, strict=True))
        return _affine(mean, mpf(layer.weight_variance), mpf(layer.bias_variance), layer.trained)

    return _all(output, value)


def _pooled(layer: Any, field: Field) -> Field:
    n = len(field.grid)
    sizes = _numbers(layer.window, n)
    strides = sizes if layer.strides is None else _numbers(layer.strides, n)
    output, seen = _windows(field.grid, sizes, strides, (1,) * n, layer.padding)
    taps = list(itertools.product(*map(range, sizes)))
    weight = mpf(1) / len(taps) ** 2 if isinstance(layer, layers.AveragePool) else mpf(1)

    def value(a: int, i: Position, b: int, j: Position) -> tuple[mpf, mpf]:
        pairs = [field.at(a, seen(i, tap), b, seen(j, other)) for tap in taps for other in taps]
        return tuple(weight * sum(part) for part in zip(*pairs, strict=True))

    return _all(output, value)


def _summed(field: Field, counts: Callable[[Position, Position], bool], weight: mpf) -> Field:
    def value(a: int, i: Position, b: int, j: Position) -> tuple[mpf, mpf]:
        positions = field.positions()
        pairs = [field.at(a, k, b, m) for k in positions for m in positions if counts(k, m)]
        return tuple(weight * sum(part) for part in zip(*pairs, strict=True))

    return _all((), value)


def _variances(field: Field, key: tuple[int, Position, int, Position]) -> tuple[mpf, mpf]:
    a, i, b, j = key
    return field.at(a, i, a, i)[0], field.at(b, j, b, j)[0]


def _normalised(field: Field, key: tuple[int, Position, int, Position]) -> tuple[mpf, mpf]:
    root = mpmath.sqrt(mpmath.fprod(_variances(field, key)))
    return tuple(part / root if root else mpf(0) for part in field.at(*key))


def _folded(field: Field, key: tuple[int, Position, int, Position], alpha: mpf, beta: mpf) -> tuple[mpf, mpf]:
    """alpha z + beta |z|: E[|u v|] = (2/pi) sqrt(q q') (sin f + cos f (pi/2 - f)), f the angle; 1 - 2 f/pi of signs."""
    root = mpmath.sqrt(mpmath.fprod(_variances(field, key)))
    if not root:
        return mpf(0), mpf(0)
    covariance, tangent = field.at(*key)
    cosine = max(min(covariance / root, mpf(1)), mpf(-1))
    if key[:2] == key[2:]:
        cosine = mpf(1)
    angle = mpmath.acos(cosine)
    of_absolute = 2 / mpmath.pi * (mpmath.sin(angle) + cosine * (mpmath.pi / 2 - angle))
    of_signs = 1 - 2 * angle / mpmath.pi
    return root * (alpha**2 * cosine + beta**2 * of_absolute), tangent * (alpha**2 + beta**2 * of_signs)
