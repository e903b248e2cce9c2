"""Rows and targets for solvers."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((300, 5)) * generator.uniform(0.2, 3, (300, 1))
    return rows, np.column_stack([np.sin(rows[:, 0]), rows[:, 1] * rows[:, 2], np.ones(300)])
