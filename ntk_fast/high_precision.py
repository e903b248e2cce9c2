"""The kernels to many digits, with mpmath: what every faster computation is compared with.

The definitions themselves, one pair of rows at a time, on the very floats given. No mathematics is shared with `lower`
or with the maps of `layers`: networks are walked as trees on plain covariances, expectations are textbook forms or
two-dimensional quadrature, and digits that a subtraction loses are made up for by carrying more of them. Needs mpmath,
which the package itself does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
from mpmath import mpf

from ntk_fast import layers
from ntk_fast.kernels import Kernel
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.layers.relu import PiecewiseLinear
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
        cosine's last digit is the square of the angle's. Activations without a closed form are integrated to 30.

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
        pair = _walk(kernel.network, Pair(*squares, *[mpf(0)] * 3), [mpf(1)])
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


def _walk(layer: layers.Layer, pair: Pair, gain: list[Any]) -> Pair:
    """Return a layer's output. `gain[0]`: E[sigma^2] of the activation just before, for He scaling."""
    if isinstance(layer, ActivationLayer):
        result = _activated(layer, pair)
        gain[0] = _expectations(layer, mpf(1), mpf(1), mpf(1))[0]
        return result
    if isinstance(layer, layers.Sequential):
        for part in layer.layers:
            pair = _walk(part, pair, gain)
        return pair
    if isinstance(layer, layers.Identity):
        return pair
    before, gain[0] = gain[0], mpf(1)
    if isinstance(layer, layers.Dense):
        weight = 1 / before if layer.weight_variance == "he" else mpf(layer.weight_variance)
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
    branches = [_walk(branch, pair, [before]) for branch in layer.branches]  # type: ignore[attr-defined]
    if isinstance(layer, layers.Sum):
        return _added(branches)
    if isinstance(layer, layers.Concatenate):
        shares = [mpf(share) for share in layer.shares or (1,) * len(branches)]
        return _added([_scaled(branch, share / sum(shares)) for branch, share in zip(branches, shares, strict=True)])
    assert isinstance(layer, layers.Product)
    first, *others = branches
    for other in others:
        covariances = [a * b for a, b in zip(first[:3], other[:3], strict=True)]
        tangents = [t * b + u * a for a, b, t, u in zip(first[:3], other[:3], first[3:], other[3:], strict=True)]
        first = Pair(*covariances, *tangents)
    return first


def _activated(layer: ActivationLayer, pair: Pair) -> Pair:
    q, q_other, covariance = pair[:3]
    expected = [_expectations(layer, *each) for each in ((q, q, q), (q_other,) * 3, (q, q_other, covariance))]
    values, slopes = zip(*expected, strict=True)
    return Pair(*values, *(slope * part for slope, part in zip(slopes, pair[3:], strict=True)))


def _expectations(layer: ActivationLayer, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    """Return E[sigma(u) sigma(v)] and E[sigma'(u) sigma'(v)] for Gaussians of these variances and covariance."""
    for kind, closed_form in CLOSED_FORMS.items():
        if isinstance(layer, kind):
            return closed_form(layer, q, q_other, covariance)
    return (
        _quadrature(layer, "high_precision", q, q_other, covariance),
        _quadrature(layer, "high_precision_derivative", q, q_other, covariance),
    )


def _angle(q: Any, q_other: Any, covariance: Any) -> Any:
    """Angle of two vectors, a right one for a zero vector."""
    if not q or not q_other:
        return mpmath.pi / 2
    return mpmath.atan2(mpmath.sqrt(max(q * q_other - covariance**2, 0)), covariance)


def _half_lines(order: int, angle: Any) -> Any:
    """The arc-cosine functions, J_n of Cho & Saul (2009), Eqs. 4 to 6, over 2 pi."""
    sine, cosine, rest = mpmath.sin(angle), mpmath.cos(angle), mpmath.pi - angle
    if order == 0:
        return rest / (2 * mpmath.pi)
    if order == 1:
        return (sine + rest * cosine) / (2 * mpmath.pi)
    if order == 2:
        return (3 * sine * cosine + rest * (1 + 2 * cosine**2)) / (2 * mpmath.pi)
    if order == 3:
        return (4 * sine + 11 * sine * cosine**2 + rest * (9 * cosine + 6 * cosine**3)) / (2 * mpmath.pi)
    raise NotImplementedError(f"J_{order} is not written down here")


def _piecewise_linear(layer: PiecewiseLinear, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    """With r(z) = max(0, z) the activation is r(z) - slope r(-z): four pairs of half-lines."""
    slope = mpf(layer.negative_slope)
    angle = _angle(q, q_other, covariance)
    supplement = mpmath.pi - angle
    value = (1 + slope**2) * _half_lines(1, angle) - 2 * slope * _half_lines(1, supplement)
    derivative = (1 + slope**2) * _half_lines(0, angle) + 2 * slope * _half_lines(0, supplement)
    return mpmath.sqrt(q * q_other) * value, derivative


def _rectified(order: int) -> Callable[[Any, Any, Any, Any], tuple[Any, Any]]:
    def expectations(layer: Any, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
        n = layer.homogeneity if order < 0 else order
        angle = _angle(q, q_other, covariance)
        root = mpmath.sqrt(q * q_other)
        if not root:  # max(0, z)^n is 0 for a row of zeros, also where n is 0
            return mpf(0), mpf(0)
        value = root**n * _half_lines(n, angle)
        return value, n * n * root ** (n - 1) * _half_lines(n - 1, angle) if n else mpf(0)

    return expectations


def _sign(layer: Any, q: Any, q_other: Any, covariance: Any) -> tuple[Any, Any]:
    value = 1 - 2 * _angle(q, q_other, covariance) / mpmath.pi if q and q_other else mpf(0)
    return value, mpf(0)


def _erf(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """DESIGN: (2/pi) asin(2c / sqrt((1 + 2a)(1 + 2b))) (Williams 1997)."""
    root = mpmath.sqrt((1 + 2 * a) * (1 + 2 * b) - 4 * c * c)
    return 2 / mpmath.pi * mpmath.atan2(2 * c, root), 4 / (mpmath.pi * root)


def _gelu(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    product = (1 + a) * (1 + b)
    root = mpmath.sqrt(product - c * c)
    angle = mpmath.atan2(c, root)
    value = c / 4 + (c * angle + (c * c + a * b * root**2) / (product * root)) / (2 * mpmath.pi)
    slope = mpf(1) / 4 + angle / (2 * mpmath.pi)
    slope += c / (2 * mpmath.pi * root) * (1 / root**2 + (1 - a * b) / product + 1)
    return value, slope


def _exp(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    rate, amplitude = mpf(layer.rate), mpf(layer.amplitude)
    value = amplitude**2 * mpmath.exp(rate**2 * ((a + b) / 2 + c))
    return value, rate**2 * value


def _rbf(layer: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    gamma = mpf(layer.gamma)
    value = mpmath.exp(-gamma * (a + b - 2 * c))
    return value, 2 * gamma * value


#: Expectations in closed form by kind of activation.
CLOSED_FORMS: dict[type, Callable[[Any, Any, Any, Any], tuple[Any, Any]]] = {
    PiecewiseLinear: _piecewise_linear,
    layers.Step: _rectified(0),
    layers.RectifiedMonomial: _rectified(-1),
    layers.Sign: _sign,
    layers.Erf: _erf,
    layers.Gelu: _gelu,
    layers.Exp: _exp,
    layers.Rbf: _rbf,
}


def _quadrature(layer: Any, name: str, q: Any, q_other: Any, covariance: Any) -> Any:
    raise NotImplementedError(f"{layer!r} has no high-precision form yet")
