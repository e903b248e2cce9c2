"""Pairs of positions: which are needed, how they are numbered, and what windows see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ntk_fast.layers import AveragePool, Conv, Dense, Flatten, GlobalAveragePool, Input, Relu, Sequential
from ntk_fast.layers.window import OUTSIDE, Window, seen_positions
from ntk_fast.lower.plan import plan_of
from ntk_fast.lower.positions import Pairs, PlaneSet, offsets_behind
from ntk_fast.lower.steps import Convolve, Pool


def counts(*middle, shape=(32, 32, 3)):
    plan = plan_of(Sequential(Input(*shape), *middle, Dense()))
    return [planes.n_pairs for planes in Pairs.behind_output(plan).of_nodes if planes is not None]


def test_only_what_the_output_sees():
    assert counts(Conv(3), Relu(), Flatten())[0] == 32**2
    assert counts(Conv(3), Relu(), AveragePool(2), Flatten())[0] == 32**2 + 4 * 32 * 31 + 4 * 31**2
    assert counts(Conv(3), Relu(), GlobalAveragePool())[0] == 32**4
    assert counts(Conv(3, strides=2), Relu(), GlobalAveragePool(), shape=(8, 8, 1))[:2] == [
        sum((8 - abs(2 * a)) * (8 - abs(2 * b)) for a in range(-3, 4) for b in range(-3, 4)),
        4**4,
    ]


def test_pairs_are_numbered_plane_by_plane():
    planes = PlaneSet((3, 4), np.array([(-1, 2), (0, 0), (2, -3)]))
    assert planes.starts.tolist() == [0, 4, 16, 17]
    assert (planes.pairs(planes.left, planes.right) == np.arange(17)).all()
    left, right = (np.array(np.unravel_index(part, (3, 4))) for part in (planes.left, planes.right))
    assert (left - right == np.repeat(planes.offsets, [4, 12, 1], axis=0).T).all()
    assert planes.pairs(np.array([0, 1, OUTSIDE]), np.array([1, OUTSIDE, 0])).tolist() == [OUTSIDE] * 3


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
@pytest.mark.parametrize("kind", [Convolve, Pool])
def test_offsets_behind_are_those_of_what_windows_see(padding, kind):
    grid = (6, 4)
    window = Window.padded(grid, (2, 3), (2, 1), (1, 1) if kind is Pool else (2, 1), padding)
    step = kind(1, window, 1, 0, False) if kind is Convolve else kind(1, window, 1)
    seen = seen_positions(window)
    outputs = list(itertools.product(*map(range, window.output)))
    taps = range(window.n_taps)
    needed: dict[tuple[int, ...], set] = {}
    for (a, i), (b, j) in itertools.product(enumerate(outputs), repeat=2):
        offset = tuple(np.subtract(i, j).tolist())
        for d, e in itertools.product(taps, taps) if kind is Pool else zip(taps, taps, strict=True):
            if seen[d, a] != OUTSIDE and seen[e, b] != OUTSIDE:
                at = [np.unravel_index(seen[tap, k], grid) for tap, k in ((d, a), (e, b))]
                needed.setdefault(offset, set()).add(tuple(np.subtract(*at).tolist()))
    for offset, behind in needed.items():
        found = offsets_behind(step, offset, grid)
        assert found >= behind
        if padding != "CIRCULAR":
            assert len(found) <= len(behind) + (2 if kind is Pool else 0) * len(behind)


def test_windows_see_what_xla_pads():
    window = Window.padded((5,), (2,), (2,), (1,), "SAME")
    assert window.output == (3,)
    assert seen_positions(window).T.tolist() == [[0, 1], [2, 3], [4, OUTSIDE]]
    window = Window.padded((4,), (3,), (1,), (1,), "CIRCULAR")
    assert seen_positions(window).T.tolist() == [[3, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 0]]
