"""Prints elementary_coefficients.h: the polynomials of elementary.h, by Chebyshev interpolation at 40 digits.

asin x = x + x^3 A(x^2)         0 <= x^2 <= 1/2
(2/pi) (sin f - f cos f) = x^3 B(x^2)  with f = 2 asin x, likewise
exp r - 1 = r + r^2 E(r)        |r| <= log(2) / 2

python csrc/elementary_coefficients.py > csrc/elementary_coefficients.h
"""

from collections.abc import Callable

import mpmath
from mpmath import mpf

#: The relative error in the result that is left to the polynomial: an eighth of a unit in the last place.
TOLERANCE = {"f64": 2.0**-56, "f32": 2.0**-27}
#: Checked at this many points.
N_CHECKS = 200


def asin_rest(y: mpf) -> mpf:
    if y < mpf(10) ** -12:
        return mpf(1) / 6 + mpf(3) / 40 * y
    x = mpmath.sqrt(y)
    return (mpmath.asin(x) - x) / (y * x)


def fold_bend(y: mpf) -> mpf:
    if y < mpf(10) ** -12:
        return (mpf(16) / 3 + mpf(8) / 5 * y) / mpmath.pi
    x = mpmath.sqrt(y)
    angle = 2 * mpmath.asin(x)
    return 2 * (mpmath.sin(angle) - angle * mpmath.cos(angle)) / (mpmath.pi * y * x)


def exp_rest(r: mpf) -> mpf:
    if abs(r) < mpf(10) ** -12:
        return mpf(1) / 2 + r / 6
    return (mpmath.expm1(r) - r) / (r * r)


def powers(function: Callable[[mpf], mpf], low: mpf, high: mpf, degree: int) -> list[mpf]:
    """Coefficients, lowest first, of the polynomial that interpolates at Chebyshev's nodes."""
    n = degree + 1
    nodes = [(low + high) / 2 + (high - low) / 2 * mpmath.cos(mpmath.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    matrix = mpmath.matrix(n, n)
    for i, node in enumerate(nodes):
        for k in range(n):
            matrix[i, k] = node**k
    return list(mpmath.lu_solve(matrix, mpmath.matrix([function(node) for node in nodes])))


def shortest(
    function: Callable[[mpf], mpf], low: mpf, high: mpf, share: Callable[[mpf], mpf], tolerance: float
) -> list[mpf]:
    """The polynomial of least degree whose error, times its share of the result, is within the tolerance."""
    points = [low + (high - low) * k / N_CHECKS for k in range(N_CHECKS + 1)]
    degree = 1
    while True:
        found = powers(function, low, high, degree)
        errors = (abs(mpmath.polyval(found[::-1], point) - function(point)) * share(point) for point in points)
        if max(errors) < tolerance:
            return found
        degree += 1


@mpmath.workdps(40)
def header() -> str:
    """The text of elementary_coefficients.h."""
    half_log = mpmath.log(2) / 2
    lines = ["/* Made by elementary_coefficients.py: lowest power first. */", ""]
    for branch, name in (("#if REAL_IS_FLOAT", "f32"), ("#else", "f64")):
        lines.append(branch)
        for array, function, low, high, share in (
            ("ASIN_REST", asin_rest, mpf(0), mpf(1) / 2, lambda y: y),
            ("FOLD_BEND", fold_bend, mpf(0), mpf(1) / 2, lambda y: 1 / fold_bend(y)),
            ("EXP_REST", exp_rest, -half_log, half_log, abs),
        ):
            found = shortest(function, low, high, share, TOLERANCE[name])
            # as doubles: the compiler rounds those of float once more
            lines.append(f"static const real {array}[] = {{")
            lines += [f"    (real){float(coefficient).hex()}," for coefficient in found]
            lines.append("};")
    return "\n".join([*lines, "#endif", ""])


if __name__ == "__main__":
    print(header(), end="")
