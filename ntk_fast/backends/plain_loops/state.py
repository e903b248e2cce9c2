"""Where the plain loops keep what they know of a row against some columns.

A state is one line of `N_STATES` parts, each for `RUN` columns; a register is the first `N_KEPT` of them. One line, as
vectors of columns ask for few pointers, and for distances between parts that are known.
"""

from __future__ import annotations

import numpy as np

#: m, p, the tangent and what rounding took from it, and from m (`rests`); D; scratch.
M, P, TANGENT, REST, M_REST, SLOPE, SCRATCH, CHORD, ODD, EVEN, ODD_SLOPE, EVEN_SLOPE, OFFSET, PIECE, AT_ZERO, VALUE = (
    range(16)
)
N_KEPT = 5
N_STATES = 16
#: Columns at a time.
RUN = 128
#: Columns of all the vectors that a compiler may take at a time: four of eight.
VECTORS = 32
#: Numbers as constants that leave the dtype of what they meet: a literal would make float64 of float32.
ZERO, HALF, ONE, TWO = (np.float32(number) for number in (0, 0.5, 1, 2))
