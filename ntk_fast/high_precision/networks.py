"""A network as a tree, walked on the plain covariances of one pair of rows."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
from mpmath import mpf

from ntk_fast import layers
from ntk_fast.high_precision.expectations import expectations
from ntk_fast.kernels import Kernel
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.validation import check_finite_number, check_whole_number

#: Digits carried beyond those asked for.
GUARD_DIGITS = 30


class Pair(NamedTuple):
    """S and T at some layer: of each row of a pair with itself, and of the two."""

    q: Any
    q_other: Any
    covariance: Any
    t: Any
    t_other: Any
    tangent: Any


def exact_value(kernel: Kernel, x: Iterable[Any], y: Iterable[Any], digits: int = 50) -> Any:
    """Return ``kernel(x, y)`` of two rows, in arithmetic of many digits.

    Parameters
    ----------
    kernel : ArcCosine, NNGP or NTK
    x, y : sequences of n_features floats
        Taken as the exact numbers that they are.
    digits : int, default 50
        Decimal digits of the arithmetic. The result has nearly all of them right, for equal rows about half: there the
        cosine's last digit is the square of the angle's. Activations without a closed form are integrated to 30 at
        most, for some seconds where variances are large; functions of your own in float64, with corners at 0 at most,
        or to 30 if they are straight between corners.

    Returns
    -------
    mpmath.mpf

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or a number is not finite.

    Examples
    --------
    >>> import ntk_fast as ntk
    >>> mpmath.nstr(exact_value(ntk.NTK(depth=1), [1.0, 0.0], [0.0, 1.0]), 30)  # Eq. 6: 1 / (2 pi)
    '0.159154943091895335768883763373'
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be an ntk_fast.ArcCosine, NNGP or NTK; got a {type(kernel).__name__}.")
    digits = check_whole_number(digits, "digits", 1)
    x, y = (_exact_row(row, name) for row, name in ((x, "x"), (y, "y")))
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same number of features; got {len(x)} and {len(y)}.")
    with mpmath.workdps(digits + GUARD_DIGITS):
        squares = [_number(_dot(a, b)) for a, b in ((x, x), (y, y), (x, y))]
        pair = _walk(kernel.network, Pair(*squares, *[mpf(0)] * 3), [None])
        return pair.tangent if kernel.has_tangent else pair.covariance


def _exact_row(row: Any, name: str) -> list[Fraction]:
    try:
        numbers = [float(number) for number in row]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a sequence of n_features real numbers; got {row!r:.80}.") from None
    return [Fraction(check_finite_number(number, f"{name}[{k}]")) for k, number in enumerate(numbers)]


def _dot(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def _number(value: Fraction) -> Any:
    return mpf(value.numerator) / value.denominator


def _scaled(pair: Pair, factor: Any) -> Pair:
    return Pair(*(factor * part for part in pair))


def _added(pairs: list[Pair]) -> Pair:
    return Pair(*(mpmath.fsum(parts) for parts in zip(*pairs, strict=True)))


def _walk(layer: layers.Layer, pair: Pair, last: list[ActivationLayer | None]) -> Pair:
    """Return a layer's output. `last[0]`: the activation just before, for He scaling, which divides by its gain."""
    if isinstance(layer, ActivationLayer):
        last[0] = layer
        return _activated(layer, pair)
    if isinstance(layer, layers.Sequential):
        for part in layer.layers:
            pair = _walk(part, pair, last)
        return pair
    if isinstance(layer, layers.Identity):
        return pair
    before, last[0] = last[0], None
    if isinstance(layer, layers.Dense):
        if layer.weight_variance == "he":
            weight = mpf(1) if before is None else 1 / expectations(before, mpf(1), mpf(1), mpf(1))[0]
        else:
            weight = mpf(layer.weight_variance)
        bias = mpf(layer.bias_variance)
        covariances = [weight * part + bias for part in pair[:3]]
        added = covariances if layer.trained else [mpf(0)] * 3
        return Pair(*covariances, *(weight * part + own for part, own in zip(pair[3:], added, strict=True)))
    if isinstance(layer, layers.Tangent):
        return Pair(*pair[3:], *[mpf(0)] * 3)
    if isinstance(layer, layers.LayerNorm):
        roots = [mpmath.sqrt(part) for part in (pair.q, pair.q_other)]
        inverse = [1 / root if root else mpf(0) for root in roots]
        x, y = inverse
        factors = (x * x, y * y, x * y) * 2
        return Pair(*(factor * part for factor, part in zip(factors, pair, strict=True)))
    if isinstance(layer, layers.Residual):
        return _added([pair, _walk(layers.Sequential(*layer.layers), pair, [before])])
    branches = [_walk(branch, pair, [before]) for branch in getattr(layer, "branches", ())]
    if isinstance(layer, layers.Sum):
        return _added(branches)
    if isinstance(layer, layers.Concatenate):
        shares = [mpf(share) for share in layer.shares or (1,) * len(branches)]
        return _added([_scaled(branch, share / sum(shares)) for branch, share in zip(branches, shares, strict=True)])
    if not isinstance(layer, layers.Product):
        raise TypeError(f"kernel must be one of rows; its network has a layer of images, {layer!r}.")
    first, *others = branches
    for other in others:
        covariances = [a * b for a, b in zip(first[:3], other[:3], strict=True)]
        tangents = [t * b + u * a for a, b, t, u in zip(first[:3], other[:3], first[3:], other[3:], strict=True)]
        first = Pair(*covariances, *tangents)
    return first


def _activated(layer: ActivationLayer, pair: Pair) -> Pair:
    q, q_other, covariance = pair[:3]
    expected = [expectations(layer, *each) for each in ((q, q, q), (q_other,) * 3, (q, q_other, covariance))]
    values, slopes = zip(*expected, strict=True)
    return Pair(*values, *(slope * part for slope, part in zip(slopes, pair[3:], strict=True)))
