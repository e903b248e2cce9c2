"""Solvers of (K + ridge I) coefficients = targets, behind one small interface.

The map:

    base                  the interface: `Solver.solve` returns a `Solution`
    weighted              weights of rows, and errors of models that are fitted without one of them
    cholesky              exact, in the memory of K
    spectral              exact, by eigendecomposition: every ridge, and its leave-one-out error
    conjugate_gradient    exact to a tolerance, without K; `pivoted_cholesky` is its preconditioner
    nystroem              restricted to some rows as centres, for 10^5 rows and more; `streamed`: the matrix not stored
"""

from typing import TYPE_CHECKING, Any

from ntk_fast.solvers.base import Report, Solution, Solver, convergence_warning
from ntk_fast.solvers.cholesky import Cholesky
from ntk_fast.solvers.conjugate_gradient import ConjugateGradient
from ntk_fast.solvers.nystroem import Nystroem
from ntk_fast.solvers.spectral import Spectral

if TYPE_CHECKING:
    ConvergenceWarning = RuntimeWarning

__all__ = [
    "Cholesky",
    "ConjugateGradient",
    "ConvergenceWarning",
    "Nystroem",
    "Report",
    "Solution",
    "Solver",
    "Spectral",
]


def __getattr__(name: str) -> Any:
    if name == "ConvergenceWarning":
        return convergence_warning()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
