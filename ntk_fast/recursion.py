"""The layer recursion of Sigma and Theta: the mathematics of every kernel here, once.

With v, b the variances of weights and biases and q = Sigma(x, x) (Eqs. 1 and 6 are depth 1, v = 1, b = 0):

    Sigma_0 = v_0 x.x' + b_0
    Sigma_l = v_l gain sqrt(q q') kappa(angle) + b_l          Theta_0 = Sigma_0
    Theta_l = Sigma_l + v_l gain kappa'(angle) Theta_{l-1}    angle, q, q' of layer l - 1

Everything is kept relative to sqrt(q q'), so no depth over- or underflows. Each row contributes, per layer, the two
numbers rho = sqrt(v_l gain q_{l-1} / q_l) and tau = sqrt(b_l / q_l), rho^2 + tau^2 = 1, and

    1 - cosine_l = rho rho' (1 - kappa) + (1 - rho rho' - tau tau'),
    1 - rho rho' - tau tau' = (rho tau' - tau rho')^2 / (1 + rho rho' + tau tau'),

in which every term is positive: nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals, two_product, two_sum
from ntk_fast.duals import Dual, Truths, complement, slope_complement

#: A positive number as mantissa * 2**exponent, for what may lie outside the range of float64.
Scaled = tuple[NDArray[np.float64], NDArray[np.int64]]


def scaled(mantissa: Any, exponent: Any) -> Scaled:
    """Bring the mantissa into [1/2, 1)."""
    fraction, shift = np.frexp(mantissa)
    return fraction, exponent + shift.astype(np.int64)


def scaled_fraction(number: Fraction) -> Scaled:
    exponent = number.numerator.bit_length() - number.denominator.bit_length()
    power = Fraction(2) ** exponent
    return scaled(np.float64(float(number / power)), np.int64(exponent))


def plain(number: Scaled) -> NDArray[np.float64]:
    """Return the float64, infinite or zero where it is out of range."""
    mantissa, exponent = number
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(mantissa, np.clip(exponent, -5000, 5000).astype(np.int32))


def square_root(number: Scaled) -> Scaled:
    mantissa, exponent = number
    odd = exponent & 1
    return np.sqrt(np.where(odd, 2 * mantissa, mantissa)), (exponent - odd) >> 1


def _add(a: Scaled, b: Scaled) -> Scaled:
    """Sum of two non-negative numbers; a zero mantissa counts as zero whatever its exponent."""
    top = np.where(b[0] == 0, a[1], np.where(a[0] == 0, b[1], np.maximum(a[1], b[1])))
    shift = [np.clip(exponent - top, -2000, 0).astype(np.int32) for exponent in (a[1], b[1])]
    return scaled(np.ldexp(a[0], shift[0]) + np.ldexp(b[0], shift[1]), top)


def _multiply(a: Scaled, b: Scaled) -> Scaled:
    return scaled(a[0] * b[0], a[1] + b[1])


def _trimmed(number: Fraction) -> Fraction:
    """Cut an exact product back to 256 bits, before it grows without bound with the depth."""
    excess = min(number.numerator.bit_length(), number.denominator.bit_length()) - 256
    return Fraction(number.numerator >> excess, number.denominator >> excess) if excess > 0 else number


@dataclass(frozen=True)
class RowParameters:
    """What the recursion needs to know of each row: see the module."""

    rho: Reals  # (depth + 1, n)
    tau: Reals  # (depth + 1, n)


@dataclass(frozen=True)
class Recursion:
    """A kernel's layers: the dual they share, and the variances of each."""

    dual: Dual
    depth: int
    weight_variances: tuple[float, ...]  # depth + 1 of them
    bias_variances: tuple[float, ...]
    has_tangent: bool

    @property
    def is_homogeneous(self) -> bool:
        """Whether the kernel is a product of functions of the norms and of the cosine."""
        return not any(self.bias_variances)

    @cached_property
    def _affine(self) -> list[tuple[Fraction, Fraction]]:
        """Per layer l, the exact (slope, offset) with q_l = slope |x|^2 + offset; last, those of the diagonal."""
        variance = (Fraction(self.weight_variances[0]), Fraction(self.bias_variances[0]))
        diagonal = variance
        result = [variance]
        for weight, bias in zip(self.weight_variances[1:], self.bias_variances[1:], strict=True):
            factor = Fraction(weight) * self.dual.gain
            slope, offset = (_trimmed(factor * part) for part in variance)
            variance = (slope, offset + Fraction(bias))
            diagonal = (
                (_trimmed(variance[0] + factor * diagonal[0]), _trimmed(variance[1] + factor * diagonal[1]))
                if self.has_tangent
                else variance
            )
            result.append(variance)
        return [*result, diagonal]

    def _evaluate(self, affine: tuple[Fraction, Fraction], square_norm: Scaled) -> Scaled:
        slope, offset = (scaled_fraction(part) for part in affine)
        return _add(_multiply(slope, square_norm), offset)

    def variance(self, square_norm: Scaled, excess: Reals | float = 0.0) -> Scaled:
        """Return q of the last layer, Sigma_L(x, x), of rows with |x|^2 = square_norm * (1 + excess).

        The excess is less than a rounding error; it counts where the norm is raised to high powers (order 2).
        """
        if self.dual.order == 1:
            return self._evaluate(self._affine[-2], square_norm)
        if self.dual.order == 0:  # h(z) = 1 where z > 0, which is nowhere for a zero row
            gain = scaled_fraction(self.dual.gain)
            return np.where(square_norm[0] > 0, gain[0], 0.0), gain[1] + np.zeros_like(square_norm[1])
        variance = square_norm
        for _ in range(self.depth):
            square, error = two_product(variance[0], variance[0])
            tripled, error_of_tripled = two_product(square, 3 * np.ones_like(square))
            with np.errstate(invalid="ignore"):
                excess = 2 * excess + np.where(square > 0, error / square + error_of_tripled / tripled, 0.0)
            variance = scaled(tripled, 2 * variance[1] - 1)  # 3/2 q^2
        return scaled(variance[0] * (1 + excess), variance[1])

    def diagonal(self, square_norm: Scaled, excess: Reals | float = 0.0) -> Scaled:
        """Return K(x, x) of rows with |x|^2 = square_norm * (1 + excess)."""
        if self.dual.order == 1:
            return self._evaluate(self._affine[-1], square_norm)
        return self.variance(square_norm, excess)

    def row_parameters(self, square_norm: Scaled) -> RowParameters:
        """Return rho and tau of rows of these squared norms."""
        n = len(square_norm[0])
        rho, tau = np.ones((self.depth + 1, n)), np.zeros((self.depth + 1, n))
        if not self.is_homogeneous:
            previous = square_norm
            for layer, bias in enumerate(self.bias_variances):
                factor = Fraction(self.weight_variances[layer]) * (self.dual.gain if layer else 1)
                current = self._evaluate(self._affine[layer], square_norm)
                inner = _multiply(scaled_fraction(factor), previous)
                offset = scaled_fraction(Fraction(bias))
                some = np.maximum(current[0], 0.5)  # a variance of zero: rho, tau stay 1, 0
                for share, part in ((rho, inner), (tau, offset)):
                    exponent = np.clip(part[1] - current[1], -2000, 1).astype(np.int32)
                    ratio = np.where(part[0] == 0, 0.0, np.ldexp(part[0] / some, exponent))
                    share[layer] = np.where(current[0] == 0, share[layer], np.sqrt(ratio))
                previous = current
        return RowParameters(rho, tau)

    def value(self, chord: Reals, opposite: Truths, x: RowParameters, y: RowParameters) -> Reals:
        """Return Sigma_L (or Theta_L) / sqrt(q_L q_L'). Arrays broadcast: x varies along axis 0, y along the last."""
        square = chord * chord
        decrease = np.where(opposite, 2 - 2 * square, 2 * square)  # 1 - kappa; of the rows: 1 - cosine
        theta = turn = rest = np.zeros_like(chord)
        for layer in range(self.depth + 1):
            if layer:
                decrease = complement(self.dual, chord, opposite, square)
                if self.has_tangent:
                    turn = slope_complement(self.dual, chord, opposite)
            rho_x, tau_x = x.rho[layer][:, None], x.tau[layer][:, None]
            rho_y, tau_y = y.rho[layer], y.tau[layer]
            rho, tau = rho_x * rho_y, tau_x * tau_y
            apart = (rho_x * tau_y - tau_x * rho_y) ** 2 / (1 + tau + rho)
            lost = tau + apart  # 1 - rho, with digits of its own
            keeps_most = lost < 0.5
            # what a layer takes away is rounded, not what it keeps: over many layers that would add up
            delta = np.where(keeps_most, decrease - lost * decrease, rho * decrease) + apart
            from_opposite = 2 - delta
            if layer == 0:  # 1 + cosine, likewise; where it is used rho > tau
                divisor = np.maximum(1 - tau + rho, 1)
                from_opposite = rho * 2 * square + (rho_x * tau_y + tau_x * rho_y) ** 2 / divisor
            if self.has_tangent:
                kept, sigma = rho * theta, 1 - delta
                total, error = two_sum(theta, sigma - (lost * theta + turn * kept) + rest)
                theta = np.where(keeps_most, total, kept - turn * kept + sigma)
                rest = np.where(keeps_most, error, 0)
            else:
                theta = 1 - delta
            opposite = delta > 1
            square = np.maximum(np.where(opposite, from_opposite, delta) / 2, 0)
            chord = np.sqrt(square)
        return theta
