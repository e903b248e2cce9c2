"""Units of columns and of targets, and what is left of them."""

from __future__ import annotations

import numpy as np
import pytest

from ntk_fast.estimators import scaling as scaling_module
from ntk_fast.estimators.scaling import SPREADS, ColumnScaling, TargetScaling


def draw(seed, n=50, p=4):
    generator = np.random.default_rng(seed)
    units, offsets = 10 ** generator.uniform(-150, 150, p), generator.uniform(-100, 100, p)
    return generator, generator.standard_normal((n, p)), units, offsets


@pytest.mark.parametrize("seed", range(5))
def test_units_of_columns_do_not_matter(seed, monkeypatch):
    _, rows, units, offsets = draw(seed)
    plain = ColumnScaling.of(rows).apply(rows)
    assert (plain**2).sum(axis=1).mean() == pytest.approx(1)
    other = (rows + offsets) * units
    np.testing.assert_allclose(ColumnScaling.of(other).apply(other), plain, atol=1e-12)
    monkeypatch.setattr(scaling_module, "ROWS_AT_A_TIME", 7)
    np.testing.assert_allclose(ColumnScaling.of(other).apply(other), plain, atol=1e-12)
    exact = ColumnScaling.of(rows * 2.0**70).apply(rows * 2.0**70)
    np.testing.assert_array_equal(exact, ColumnScaling.of(rows).apply(rows))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("constant", [0.0, 3e30, -1e-30, 0.1])
def test_constant_columns_count_for_nothing(constant, dtype):
    generator, rows, _, _ = draw(0)
    noise = 1 + 4 * np.finfo(dtype).eps * generator.standard_normal(50)
    both = np.column_stack([rows, constant * noise]).astype(dtype)
    scaled = ColumnScaling.of(both).apply(both)
    assert scaled.dtype == dtype
    np.testing.assert_array_equal(scaled[:, :-1], ColumnScaling.of(both[:, :-1]).apply(both[:, :-1]))
    both[:, -1] += 1  # not in other rows either
    assert not ColumnScaling.of(both * 0 + 1).apply(both).any()


@pytest.mark.parametrize("unit", [1e-315, 1e-300, 1e300, np.finfo(float).max])
@pytest.mark.parametrize("by", SPREADS)
def test_no_unit_is_too_small_or_too_large(unit, by):
    _, rows, _, _ = draw(3)
    rows[0] *= -1
    rows /= np.abs(rows).max(axis=0)
    rows[:1], rows[1:2] = -1, 1
    for scaling in (lambda values: ColumnScaling.of(values, by=by), TargetScaling.of):
        scaled = scaling(rows * unit).apply(rows * unit)
        np.testing.assert_allclose(scaled, scaling(rows).apply(rows), atol=1e-6)
    assert scaling(np.full((7, 2), unit)).apply(np.full((7, 2), unit)) == pytest.approx(0, abs=1e-12)


def test_predictions_that_overflow_are_refused():
    scaling = TargetScaling.of(np.array([[-1.0], [1.0]]) * 1.7e308)
    np.testing.assert_allclose(scaling.undo(np.array([[0.5], [-1.0]])), [[0.85e308], [-1.7e308]])
    with pytest.raises(ValueError, match=r"Predictions of targets that vary by 1.7e\+308 overflow float64: scale the"):
        scaling.undo(np.array([[1.1]]))


def test_weights_are_numbers_of_repetitions():
    generator, rows, _, _ = draw(1)
    counts = generator.integers(0, 4, 50)
    repeated = np.repeat(rows, counts, axis=0)
    for scaling in (ColumnScaling, TargetScaling):
        one, other = scaling.of(rows, weights=counts.astype(float)), scaling.of(repeated)
        np.testing.assert_allclose(one.apply(rows), other.apply(rows), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_units_of_targets_are_undone(seed):
    _, targets, units, offsets = draw(seed)
    scaling = TargetScaling.of((targets + offsets) * units)
    scaled = scaling.apply((targets + offsets) * units)
    np.testing.assert_allclose(scaled, TargetScaling.of(targets).apply(targets), atol=1e-12)
    np.testing.assert_allclose(scaling.undo(scaled), (targets + offsets) * units, rtol=1e-12, atol=0)
    uncentred = TargetScaling.of(targets, centre=False)
    np.testing.assert_allclose((uncentred.apply(targets) ** 2).mean(axis=0), 1)
    assert not uncentred.mean.any()


def test_constant_targets_are_their_mean():
    scaling = TargetScaling.of(np.full((7, 1), 0.1))
    assert scaling.scale == 1
    np.testing.assert_allclose(scaling.undo(np.zeros((2, 1))), 0.1)


def test_by_default_nothing_is_done():
    rows = np.ones((3, 2))
    assert ColumnScaling().apply(rows) is rows
    np.testing.assert_array_equal(TargetScaling().undo(rows), rows)
