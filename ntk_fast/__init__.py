"""Exact kernels of infinitely wide neural networks, on all cores.

The map, in the order in which to read it:

    kernels         ArcCosine, NNGP, NTK: what a user calls
    layers          networks as descriptions: layers and activations, one file each, and their JSON
    lower           from a description to what tiles execute: a plan of few steps, row forms, tables, programs
    gram            checked rows -> tiles -> matrix; `validation`, `rows`, `narrowing` are its steps
    backends        who fills a tile: C (csrc/), Numba, NumPy (the reference); `engines`: with which instruction set
    schedule        tiles, and the threads that take them: progress, interrupts, memory
    operator        KernelOperator: the same tiles multiplied with vectors and forgotten
    out_of_core     write_gram, read_gram: the same tiles in a file that is larger than memory
    cluster         the blocks of both on a Dask cluster, where `client=` is given
    solvers         systems with a Gram matrix: Cholesky, conjugate gradients, centres, eigenvalues
    lapack          LAPACK in place and in pieces, left by Ctrl-C: what solvers and `finite` factorise with
    derivatives     of Gram matrices, by the variances of a network
    estimators      models in scikit-learn's conventions, and their files
    finite          networks of finite width, their linearisation and training
    spectrum        eigenvalues on data, and exact ones on the sphere; `power_law`: how fast they fall
    theory          the lecture's claims as experiments, and the page that shows them
    high_precision  the kernels at any number of digits: what everything is compared with
    cli             the command line, ntk-fast

Packages have maps of their own. What all of them use: `compensated`, sums with their rounding errors; `disk`, files
that are whole or not there; `caller`, warnings from the line of whoever called; `lazy`, attributes computed when they
are first asked for; `sklearn_names`, names that wait for scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ntk_fast.backends import available_backends
from ntk_fast.gram import gram
from ntk_fast.kernels import NNGP, NTK, ArcCosine
from ntk_fast.layers.relu import LeakyRelu as leaky_relu
from ntk_fast.schedule import forks as _forks  # noqa: F401  it registers what a fork waits for
from ntk_fast.sklearn_names import has_sklearn, import_for
from ntk_fast.version import __version__

if TYPE_CHECKING:
    from ntk_fast import finite, spectrum
    from ntk_fast.estimators import (
        ChannelScaler,
        GaussianProcessKernel,
        GradientFlowRegressor,
        NTKClassifier,
        NTKGaussianProcessClassifier,
        NTKGaussianProcessRegressor,
        NTKRegressor,
        TableEncoder,
        ZCAWhitener,
        load_model,
        save_model,
    )
    from ntk_fast.operator import KernelOperator
    from ntk_fast.out_of_core import read_gram, write_gram

__all__ = [
    "NNGP",
    "NTK",
    "ArcCosine",
    "ChannelScaler",
    "GaussianProcessKernel",
    "GradientFlowRegressor",
    "KernelOperator",
    "NTKClassifier",
    "NTKGaussianProcessClassifier",
    "NTKGaussianProcessRegressor",
    "NTKRegressor",
    "TableEncoder",
    "ZCAWhitener",
    "__version__",
    "available_backends",
    "finite",
    "gram",
    "leaky_relu",
    "load_model",
    "read_gram",
    "save_model",
    "spectrum",
    "write_gram",
]

#: Names that need SciPy or an extra, imported when they are first used: `import ntk_fast` stays as light as NumPy.
_LAZY = {
    "ChannelScaler": "ntk_fast.estimators",
    "GaussianProcessKernel": "ntk_fast.estimators",
    "GradientFlowRegressor": "ntk_fast.estimators",
    "KernelOperator": "ntk_fast.operator",
    "NTKClassifier": "ntk_fast.estimators",
    "NTKGaussianProcessClassifier": "ntk_fast.estimators",
    "NTKGaussianProcessRegressor": "ntk_fast.estimators",
    "NTKRegressor": "ntk_fast.estimators",
    "TableEncoder": "ntk_fast.estimators",
    "ZCAWhitener": "ntk_fast.estimators",
    "load_model": "ntk_fast.estimators",
    "read_gram": "ntk_fast.out_of_core",
    "save_model": "ntk_fast.estimators",
    "write_gram": "ntk_fast.out_of_core",
}
#: Likewise, modules.
_MODULES = ("finite", "spectrum")

if not has_sklearn():  # `from ntk_fast import *` takes what there is
    for _name, _module in _LAZY.items():
        if _module == "ntk_fast.estimators":
            __all__.remove(_name)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"ntk_fast.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = import_for(__name__, _LAZY[name], name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_MODULES})
