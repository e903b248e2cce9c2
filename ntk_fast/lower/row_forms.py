"""What the layers make of a row alone: its variance q = S(x, x) and its tangent T(x, x) at every node.

Dense layers, sums and ReLU-type activations are linear in both, so a node's q is a linear form, with exact rational
coefficients, of few base quantities: 1, |x|^2, and one more for each thing that is not linear (the second moment of a
GELU, a LayerNorm's quotient, a product). The forms depend on the plan alone; `RowValues` evaluates them on rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ntk_fast.compensated import Reals
from ntk_fast.layers.activation import ActivationLayer
from ntk_fast.lower.scaled import Scaled
from ntk_fast.lower.steps import Map, Mix, Multiply, Normalise, Plan, Promote, refuse_images

#: A linear form: exact coefficients by base. Base 0 is 1, base 1 is |x|^2.
Form = dict[int, Fraction]

ONE, SQUARE_NORM = 0, 1


@dataclass(frozen=True, eq=False)
class Ratio:
    """A quotient of forms, 0 where the divisor is."""

    numerator: Form
    denominator: Form


@dataclass(frozen=True, eq=False)
class ProductOf:
    """A product of powers of forms."""

    factors: tuple[tuple[Form, int], ...]


@dataclass(frozen=True, eq=False)
class Moment:
    """E[sigma(z)^2], or E[sigma'(z)^2], of a variance that is a form."""

    variance: Form
    activation: ActivationLayer
    of_derivative: bool
    place: str


@dataclass(frozen=True, eq=False)
class RowForms:
    """Per node its q and its T, and the bases from number 2 on, each made of those before it."""

    variances: tuple[Form, ...]
    tangents: tuple[Form, ...]
    bases: tuple[Ratio | ProductOf | Moment, ...]


def _trimmed(number: Fraction) -> Fraction:
    """Cut an exact product back to 256 bits, before it grows without bound with the depth."""
    excess = min(number.numerator.bit_length(), number.denominator.bit_length()) - 256
    return Fraction(number.numerator >> excess, number.denominator >> excess) if excess > 0 else number


def _combined(terms: list[tuple[Form, Fraction]], constant: Fraction = Fraction(0)) -> Form:
    result: Form = {}
    for form, weight in terms:
        for base, coefficient in form.items():
            result[base] = result.get(base, Fraction(0)) + _trimmed(weight * coefficient)
    result[ONE] = result.get(ONE, Fraction(0)) + constant
    return {base: coefficient for base, coefficient in result.items() if coefficient}


@lru_cache(maxsize=256)
def row_forms(plan: Plan) -> RowForms:
    """Return the forms of a plan."""
    refuse_images(plan, "this is")
    variances: list[Form] = [{SQUARE_NORM: Fraction(1)}]
    tangents: list[Form] = [{}]
    bases: list[Ratio | ProductOf | Moment] = []

    def base(quantity: Ratio | ProductOf | Moment) -> Form:
        bases.append(quantity)
        return {len(bases) + 1: Fraction(1)}

    for step in plan.steps:
        match step:
            case Mix(sources, weights, bias, adds_own):
                variance = _combined([(variances[k], w) for k, w in zip(sources, weights, strict=True)], bias)
                tangent = _combined([(tangents[k], w) for k, w in zip(sources, weights, strict=True)])
                if adds_own:
                    tangent = _combined([(tangent, Fraction(1)), (variance, Fraction(1))])
            case Normalise(source):
                q = variances[source]
                variance = base(Ratio(q, q)) if q else {}
                tangent = base(Ratio(tangents[source], q)) if q and tangents[source] else {}
            case Promote(source):
                variance, tangent = tangents[source], {}
            case Multiply(sources):
                factors = tuple((variances[k], 1) for k in sources)
                variance = base(ProductOf(factors)) if all(variances[k] for k in sources) else {}
                terms = []
                for k in range(len(sources)):
                    one = (*factors[:k], (tangents[sources[k]], 1), *factors[k + 1 :])
                    if all(form for form, _ in one):
                        terms.append((base(ProductOf(one)), Fraction(1)))
                tangent = _combined(terms)
            case Map(source, activation, place):
                variance, tangent = _mapped(variances[source], tangents[source], activation, place, base)
        variances.append(variance)
        tangents.append(tangent)
    return RowForms(tuple(variances), tuple(tangents), tuple(bases))


def _mapped(q: Form, tangent: Form, activation: ActivationLayer, place: str, base) -> tuple[Form, Form]:  # type: ignore[no-untyped-def]
    degree = activation.homogeneity
    if degree is None:
        moments = [base(Moment(q, activation, of_derivative, place)) for of_derivative in (False, True)]
        return moments[0], base(ProductOf(((tangent, 1), (moments[1], 1)))) if tangent else {}
    if not q:
        return {}, {}
    gain, derivative_gain = Fraction(activation.gain), Fraction(activation.derivative_gain)
    if degree == 1:
        return _combined([(q, gain)]), _combined([(tangent, derivative_gain)])
    if degree == 0:  # sigma(0) = 0: a row of zeros stays one
        return _combined([(base(Ratio(q, q)), gain)]), {}
    powers = base(ProductOf(((tangent, 1), (q, degree - 1)))) if tangent else {}
    return _combined([(base(ProductOf(((q, degree),))), gain)]), _combined([(powers, derivative_gain)])


@dataclass(frozen=True, eq=False)
class StackedForms:
    """Many forms, as a column of coefficients for each base."""

    n_forms: int
    coefficients: dict[int, Scaled]  # each (n_forms, 1)

    @staticmethod
    def of(forms: Sequence[Form]) -> StackedForms:
        columns = {}
        for base in sorted({base for form in forms for base in form}):
            parts = [Scaled.of_fraction(form.get(base, Fraction(0))) for form in forms]
            fields = ([getattr(part, field.name) for part in parts] for field in dataclass_fields(Scaled))
            columns[base] = Scaled(*(np.array(values)[:, None] for values in fields))
        return StackedForms(len(forms), columns)

    def evaluate(self, bases: Sequence[Scaled], some: slice) -> Scaled:
        """Return some of them, (n_some, n), or (n_some, 1) where they are the same for all rows."""
        total: Scaled | None = None
        for base, column in self.coefficients.items():
            if column.high[some].any():
                term = column[some] if base == ONE else column[some] * bases[base]
                total = term if total is None else total + term
        return Scaled.of(np.zeros((len(range(*some.indices(self.n_forms))), 1))) if total is None else total


@lru_cache(maxsize=256)
def share_forms(plan: Plan) -> tuple[StackedForms, StackedForms, NDArray[np.intp]]:
    """Return what sources and biases of the mixes that have shares contribute to q, those q, and which is whose."""
    variances = row_forms(plan).variances
    parts: list[Form] = []
    wholes: list[Form] = []
    whose: list[int] = []
    for node, step in enumerate(plan.steps, start=1):
        if isinstance(step, Mix) and step.has_shares:
            for source, weight in zip(step.sources, step.weights, strict=True):
                parts.append(_combined([(variances[source], weight)]))
            if step.bias:
                parts.append({ONE: step.bias})
        elif isinstance(step, Promote):  # a tangent in the place of a covariance: the old q over the new one
            parts.append(variances[step.source])
        if len(parts) > len(whose):
            whose += [len(wholes)] * (len(parts) - len(whose))
            wholes.append(variances[node])
    return StackedForms.of(parts), StackedForms.of(wholes), np.array(whose, dtype=np.intp)


def moment_of(variance: Scaled, moments: Callable[[Reals], Reals], place: str) -> Scaled:
    """Return a moment of an activation at a place, or refuse variances for which it is out of range."""
    plain = variance.plain()
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(moments(plain))
    bad = ~np.isfinite(values) | ~np.isfinite(plain)
    if bad.any():
        raise ValueError(
            f"network: {place}: a second moment is out of float64's range where the variance before it is "
            f"{plain[bad].flat[0]:.3g}; scale the rows or the weight variances down."
        )
    return Scaled.of(values)


#: Of the shares that are computed at once, which stay in a second-level cache.
NUMBERS_AT_A_TIME = 1 << 14
#: Exact coefficients as numbers: the same ones come again in every block of rows.
scaled_fraction = lru_cache(maxsize=1 << 14)(Scaled.of_fraction)


class RowValues:
    """The forms of a plan on rows of given squared norms."""

    def __init__(self, plan: Plan, square_norm: Scaled) -> None:
        self.square_norm = square_norm
        self._plan = plan
        self._forms = row_forms(plan)
        one = Scaled.of(np.ones_like(square_norm.high))
        self._bases = [one, square_norm]
        self._variances: dict[int, Scaled] = {}
        for quantity in self._forms.bases:
            self._bases.append(self._base(quantity))

    def _base(self, quantity: Ratio | ProductOf | Moment) -> Scaled:
        match quantity:
            case Ratio(numerator, denominator):
                return self._evaluate(numerator) / self._evaluate(denominator)
            case ProductOf(factors):
                first, *others = (self._evaluate(form) ** power for form, power in factors)
                for other in others:
                    first = first * other
                return first
            case Moment(form, activation, of_derivative, place):
                moments = activation.derivative_second_moment if of_derivative else activation.second_moment
                return moment_of(self._evaluate(form), moments, place)

    def _evaluate(self, form: Form) -> Scaled:
        total: Scaled | None = None
        for base, coefficient in form.items():
            term = self._bases[base] if coefficient == 1 else scaled_fraction(coefficient) * self._bases[base]
            total = term if total is None else total + term
        return Scaled.of(np.zeros_like(self._bases[ONE].high)) if total is None else total

    @property
    def output_variance(self) -> Scaled:
        """S(x, x) at the output."""
        return self._evaluate(self._forms.variances[-1])

    def diagonal(self, has_tangent: bool) -> Scaled:
        """K(x, x): T at the output, or S."""
        return self._evaluate((self._forms.tangents if has_tangent else self._forms.variances)[-1])

    def variance(self, node: int) -> Scaled:
        """Return q of each row at a node."""
        if node not in self._variances:
            self._variances[node] = self._evaluate(self._forms.variances[node])
        return self._variances[node]

    def tangent(self, node: int) -> Scaled:
        """Return T(x, x) of each row at a node."""
        return self._evaluate(self._forms.tangents[node])

    def shares(self) -> Reals:
        """Return the roots of what sources and bias of each mix that has shares contribute to q: (n_shares, n).

        Mix by mix, and zeros where q is. They are computed many at a time: of few rows it is the calls that cost.
        """
        parts, wholes, whose = share_forms(self._plan)
        n_rows = len(self.square_norm.high)
        result = np.empty((parts.n_forms, n_rows))
        at_a_time = max(1, NUMBERS_AT_A_TIME // max(1, n_rows))
        for first in range(0, len(result), at_a_time):
            some = slice(first, first + at_a_time)
            theirs = whose[some] - whose[first]
            whole = wholes.evaluate(self._bases, slice(whose[first], whose[first] + theirs[-1] + 1))
            result[some] = (parts.evaluate(self._bases, some) / whole[theirs]).root().plain()
        return result

    def mean_shares(self, node: int, activation: ActivationLayer) -> Reals:
        """Return the roots of what an activation's spread, and its mean, contribute to its second moment: (2, n)."""
        return self.mean_shares_of(self.variance(node).plain(), activation)

    @staticmethod
    def mean_shares_of(variance: Reals, activation: ActivationLayer) -> Reals:
        """Return the same for given variances before the activation."""
        moment = activation.second_moment(variance)
        positive = np.where(moment > 0, moment, 1.0)
        return np.stack(
            [np.sqrt(activation.centred_moment(variance) / positive), activation.mean(variance) / np.sqrt(positive)]
        )
