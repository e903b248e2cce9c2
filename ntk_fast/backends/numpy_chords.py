"""The chords of a tile's pairs, in NumPy: nearly parallel ones from the rows themselves."""

from __future__ import annotations

import numpy as np

from ntk_fast.compensated import Reals, two_product
from ntk_fast.lower.tables import Truths
from ntk_fast.rows.prepared import Rows

#: Nearly parallel pairs are gathered this many numbers at a time.
GATHERED_NUMBERS = 1 << 18


def square_chords_of_rows(x: Reals, y: Reals, a: Reals, b: Reals, opposite: Truths) -> Reals:
    """Squared chords of pairs of rows (inverse norms a, b) to full relative accuracy, exactly 0 for parallel rows.

    With w = x/|x| +- y/|y| and k its largest component, m = y_k x - x_k y is 0 at k, and the area
    |m ^ w| = |w_k| |x ^ y| loses nothing: each component of m is a difference of two products, taken with their
    rounding errors.
    """
    w = x * a[:, None] + y * np.where(opposite, -b, b)[:, None]
    k = np.abs(w).argmax(axis=1)[:, None]
    w_k, x_k, y_k = (np.take_along_axis(rows, k, axis=1) for rows in (w, x, y))
    (first, first_rest), (second, second_rest) = two_product(x, y_k), two_product(x_k, y)
    m = ((first - second) + (first_rest - second_rest)) * (a * b)[:, None]
    area = np.maximum((m * m).sum(axis=1) * (w * w).sum(axis=1) - (m * w).sum(axis=1) ** 2, 0)
    square_sine = np.minimum(area / w_k[:, 0] ** 2, 1)
    return square_sine / (2 + 2 * np.sqrt(1 - square_sine))


def tile_chords(near: float, x: Rows, y: Rows, rows: slice, columns: slice) -> tuple[Reals, Truths]:
    """Return the chords of a tile's pairs and which are opposite; squares below `near` are from the rows themselves."""
    x_values, y_values = x.values[rows].astype(np.float64), y.values[columns].astype(np.float64)
    cosine = (x_values @ y_values.T) * (x.inverse_norm[rows, None] * y.inverse_norm[columns])
    opposite = cosine < 0
    square = np.maximum(0.5 - 0.5 * np.abs(cosine), 0)
    near_i, near_j = np.nonzero(square < near)
    step = max(1, GATHERED_NUMBERS // x_values.shape[1])
    for k in range(0, len(near_i), step):
        i, j = near_i[k : k + step], near_j[k : k + step]
        a, b = x.inverse_norm[rows][i], y.inverse_norm[columns][j]
        square[i, j] = square_chords_of_rows(x_values[i], y_values[j], a, b, opposite[i, j])
    return np.sqrt(square), opposite
