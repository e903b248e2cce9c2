"""Exact kernels of infinitely wide neural networks, on all cores.

The map, in the order in which to read it:

    kernels       ArcCosine, NNGP, NTK: what a user calls
    layers        networks as descriptions: layers and activations, one file each, and their JSON
    lower         from a description to what tiles execute: plan, instructions, row forms, tables, programs; for
                  images `window`, `positions` (which pairs of them are needed) and the modules called spatial_...
    compensated   sums and products with their rounding errors, in NumPy
    gram          checked rows -> tiles -> matrix; `validation`, `rows`, `narrowing` are its steps
    operator      KernelOperator: the same tiles multiplied with vectors and forgotten
    out_of_core   write_gram, read_gram: the same tiles in a file that is larger than memory
    products      a matrix as a factor of products, summed in an order of its own
    cluster       the blocks of both on a Dask cluster, where `client=` is given; `stored_rows`: rows by their path
    frames        data frames of pandas, polars and pyarrow as rows; `checked_rows`: in scikit-learn's check of them
    disk          files that are whole or not there; `lazy`: attributes computed when they are first asked for
    schedule      tiles, and the threads that take them: progress, interrupts, memory (a package)
    backends      who fills a tile: `cython_backend` (C, in csrc/), `numba_backend`, `numpy_backend` (the reference)
    solvers       systems with a Gram matrix: Cholesky, conjugate gradients, centres, eigenvalues
    caller        warnings that point at the line of whoever called the package
    lapack        LAPACK in place and in pieces, left by Ctrl-C: what solvers and `finite` factorise with (a package)
    derivatives   of Gram matrices, by the variances of a network
    estimators    models in scikit-learn's conventions; `model_file`: their files
    sklearn_kernel  a kernel as scikit-learn's Gaussian processes want one; `sklearn_names`: names that wait for it
    finite        networks of finite width, their linearisation and training (a package with a map of its own)
    spectrum      eigenvalues on data, and exact ones on the sphere; `power_law`: how fast they fall
    high_precision  the kernels at any number of digits: what everything above is compared with
    theory        the lecture's claims as experiments, and the page that shows them
    cli           the command line, ntk-fast
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
    from ntk_fast.sklearn_kernel import GaussianProcessKernel

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
    "GaussianProcessKernel": "ntk_fast.sklearn_kernel",
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
        if _module in ("ntk_fast.estimators", "ntk_fast.sklearn_kernel"):
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
