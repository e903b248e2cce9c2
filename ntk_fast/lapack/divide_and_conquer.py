"""Eigenvalues and eigenvectors of a symmetric tridiagonal matrix by divide and conquer (Cuppen, 1981).

A matrix is cut into two smaller ones and a correction of rank one. With the halves' eigenvalues d and the first and
last components of their eigenvectors the whole is, in the basis of these eigenvectors, diag(d) + rho z z^T, whose
eigenvalues are the roots of 1 + rho sum_i z_i^2 / (d_i - x): one between each two neighbours of d. What barely couples
is taken out first (deflation); eigenvectors are those of the nearby matrix of which the roots found are exact (Gu &
Eisenstat, "A divide-and-conquer algorithm for the symmetric tridiagonal eigenproblem", 1995), and so orthogonal.

Small matrices, and each root, are LAPACK's (dstedc, dlaed4), and so are the tolerances (dlaed2). What LAPACK does in
one call that cannot be stopped, for minutes, is here a loop over some roots at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ntk_fast.lapack.products import Tick, add_product
from ntk_fast.lapack.routines import Reals, call_checked
from ntk_fast.schedule.tiling import ranges

#: Up to so many rows a matrix is not cut.
LARGEST_LEAF = 512
#: Roots whose eigenvectors are formed at a time.
ROOTS = 128
#: The largest relative error of a rounded number.
ROUNDING = 2.0**-53

Indices = NDArray[np.intp]


def tridiagonal_eigh(diagonal: Reals, beside: Reals, tick: Tick, *, vectors: bool = True) -> tuple[Reals, Reals]:
    """Return the eigenvalues, increasing, and the eigenvectors, in rows, or their first and last components only.

    The matrix must be of a size around 1.
    """
    n = len(diagonal)
    rows = np.zeros((n, n if vectors else 2))
    return _solve(diagonal.copy(), beside, rows, vectors, tick), rows


def _solve(diagonal: Reals, beside: Reals, rows: Reals, whole: bool, tick: Tick) -> Reals:
    """Write the eigenvectors, whole or their ends, to rows of zeros; returns the eigenvalues."""
    n = len(diagonal)
    if n <= LARGEST_LEAF:
        values, vectors = _solve_leaf(diagonal, beside)
        rows[...] = vectors if whole else vectors[:, [0, -1]]
        tick()
        return values
    cut = n // 2
    coupling = float(beside[cut - 1])
    diagonal[cut - 1 : cut + 1] -= abs(coupling)
    upper, lower = slice(0, cut), slice(cut, n)
    halves = [
        _solve(
            diagonal[half], beside[half.start : half.stop - 1], rows[half, half] if whole else rows[half], whole, tick
        )
        for half in (upper, lower)
    ]
    middle = cut if whole else 1
    last, first = rows[upper, middle - 1 if whole else 1].copy(), rows[lower, middle if whole else 0].copy()
    if not whole:
        rows[upper, 1] = rows[lower, 0] = 0.0
    z = np.concatenate([last, np.copysign(1.0, coupling) * first]) / np.sqrt(2)  # of unit length: rho takes the 2
    return _merge(np.concatenate(halves), z, 2 * abs(coupling), middle, rows, tick)


def _solve_leaf(diagonal: Reals, beside: Reals) -> tuple[Reals, Reals]:
    """Return the eigenvalues and eigenvectors of a small matrix."""
    n = len(diagonal)
    values, beside, vectors = diagonal.copy(), np.append(beside, 0.0), np.empty((n, n))
    work, whole = np.empty(1 + 4 * n + n * n), np.empty(3 + 5 * n, dtype=np.intc)
    if call_checked("dstedc", b"I", n, values, beside, vectors, n, work, len(work), whole, len(whole)):
        raise RuntimeError("the eigenvalues of the matrix could not be computed: dstedc did not converge")
    return values, vectors


def _merge(d: Reals, z: Reals, rho: float, middle: int, rows: Reals, tick: Tick) -> Reals:
    """Replace the eigenvectors of both halves by those of the whole; returns its eigenvalues.

    d, z : eigenvalues and couplings of the upper half, then the lower; `rows` of the upper half are zero from column
    `middle` on, of the lower one before it.
    """
    order = np.argsort(d, kind="stable")
    kept = _deflate(d, z, rho, order, rows, tick)
    dropped = np.setdiff1d(order, kept, assume_unique=True)
    roots = Roots.of(d[kept], z[kept], rho, tick)
    values = np.concatenate([roots.values, d[dropped]])
    places = np.empty(len(values), dtype=np.intp)
    places[np.argsort(values, kind="stable")] = np.arange(len(values))
    halves = []
    for columns in (slice(0, middle), slice(middle, None)):
        nonzero = np.flatnonzero([row.any() for row in rows[kept, columns]])  # a rotation fills both halves
        halves.append((columns, nonzero, rows[kept[nonzero], columns]))
        tick()
    rows[places[len(kept) :]] = rows[dropped]
    for some in ranges(len(kept), ROOTS):
        weights = roots.eigenvectors(some)
        combined = np.zeros((len(weights), rows.shape[1]))
        for columns, nonzero, half in halves:
            add_product(combined[:, columns], np.ascontiguousarray(weights[:, nonzero]), half, tick=tick)
        rows[places[some]] = combined
    return np.sort(values)


def _deflate(d: Reals, z: Reals, rho: float, order: Indices, rows: Reals, tick: Tick) -> Indices:
    """Decouple what couples by no more than rounding; returns what is left, by increasing d.

    An entry is decoupled if its z is small, or if its d is so near to another one's that rotating both makes it so.
    """
    tolerance = 8 * ROUNDING * max(np.abs(d).max(), np.abs(z).max())
    kept: list[int] = []
    last = -1
    for i in order[rho * np.abs(z[order]) > tolerance].tolist():
        if last >= 0:
            size = np.hypot(z[i], z[last])
            c, s, gap = z[i] / size, -z[last] / size, d[i] - d[last]
            if abs(gap * c * s) <= tolerance:
                z[i], z[last] = size, 0.0
                rows[last], rows[i] = c * rows[last] + s * rows[i], c * rows[i] - s * rows[last]
                d[last], d[i] = d[last] * c**2 + d[i] * s**2, d[last] * s**2 + d[i] * c**2
                tick()
            else:
                kept.append(last)
        last = i
    return np.array(kept + [last] * (last >= 0), dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Roots:
    """The eigenvalues of diag(d) + rho z z^T, each by its distance from the nearest d, and its eigenvectors.

    The distances of all d from a root are exact to the last digits, which those of the rounded root would not be.
    """

    poles: Reals  # (k,): d, increasing
    nearest: Indices  # (k,): of each root, which pole is
    distances: Reals  # (k,): of each root, that pole minus the root
    couplings: Reals  # (k,): z of which the roots are exact

    @property
    def values(self) -> Reals:
        return self.poles[self.nearest] - self.distances

    @classmethod
    def of(cls, d: Reals, z: Reals, rho: float, tick: Tick) -> Roots:
        k = len(d)
        nearest, distances = np.arange(k), np.zeros(k)
        size = float(np.linalg.norm(z))
        unit, weight, root, delta = z / (size or 1.0), rho * size**2, np.empty(1), np.empty(k)
        for j in range(k):
            if call_checked("dlaed4", k, j + 1, d, unit, delta, weight, root):
                raise RuntimeError("the eigenvalues of the matrix could not be computed: dlaed4 did not converge")
            if k <= 2:  # whose `delta` is something else
                delta = d - root
            if j + 1 < k and abs(delta[j + 1]) < abs(delta[j]):
                nearest[j] = j + 1
            distances[j] = delta[nearest[j]]
            tick()
        roots = cls(d, nearest, distances, z)
        # z_i^2 is, up to a constant, the product of all distances from d_i to roots over those to other poles (Loewner)
        squares = np.ones(k)
        for some in ranges(k, ROOTS):
            others = d - d[some, None]
            np.fill_diagonal(others[:, some], -1.0)
            squares *= (roots.distances_from_poles(some) / others).prod(axis=0)
            tick()
        return cls(d, nearest, distances, np.copysign(np.sqrt(np.abs(squares)), z))

    def distances_from_poles(self, some: slice) -> Reals:
        """Return all poles minus each of some roots."""
        return (self.poles - self.poles[self.nearest[some], None]) + self.distances[some, None]

    def eigenvectors(self, some: slice) -> Reals:
        """Return those of some roots, in rows."""
        vectors = self.couplings / self.distances_from_poles(some)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
