"""What `ntk-fast fit` says of a model and of what was done to its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntk_fast.cli.labelled_rows import LabelledRows
from ntk_fast.cli.model_errors import errors, is_classifier
from ntk_fast.cli.summary import Summary


def summary_of(
    path: Path,
    data: LabelledRows,
    encoder: Any,
    model: Any,
    results: list[tuple[str, NDArray[Any], NDArray[Any]]],
) -> Summary:
    """Return it: of the file, the model, the table, and (name, true, predicted) targets of some of its rows."""
    summary = Summary()
    size = path.stat().st_size
    summary.add("written", f"{path}: {size / 1e6:.4g} MB", model=str(path), bytes=size)
    task = "classification" if is_classifier(model) else "regression"
    words, values = _parameter(model)
    summary.add(
        "model",
        f"{task}, {model.kernel_!r}{words}",
        task=task,
        estimator=type(model).__name__,
        kernel=repr(model.kernel_),
        **values,
    )
    n_rows, n_columns = data.features.shape
    n_features = model.n_features_in_
    of_columns = f" of {n_columns} columns" if n_features != n_columns else ""
    summary.add("rows", f"{n_rows} x {n_features} features{of_columns}", rows=n_rows, features=n_features)
    if data.notes:
        summary.add("table", ", ".join(data.notes), table=data.notes)
    if encoder is not None:
        described = encoder.describe()
        for name, words in described:
            if words != "number":
                summary.add(f"  {name}", words, columns=dict(described))
    if is_classifier(model):
        classes = model.classes_.tolist()
        summary.add("classes", str(len(classes)), classes=classes)
    for name, truth, predicted in results:
        of_rows = f" ({len(truth)} rows)" if len(results) > 1 else ""
        for kind, words, number in errors(model, truth, predicted):
            summary.add(f"{name} {kind}", words + of_rows, **{f"{name}_{kind}": number})
    score = getattr(model, "leave_one_out_score_", None)
    if score is not None:
        kind, words = ("accuracy", f"{score:.2%}") if is_classifier(model) else ("R2", f"{score:.6f}")
        estimated = ", an estimate" if model.leave_one_out_is_estimate_ else ""
        summary.add("leave-one-out", f"{kind} {words}{estimated}", **{f"leave_one_out_{kind}": score})
    summary.add("units", _units(model), columns_divided_by=model.column_scaling_.by)
    if hasattr(model, "solver_"):
        iterations = {"iterations": int(model.n_iter_)} if hasattr(model, "n_iter_") else {}
        summary.add("solver", _solver(model, len(results[0][1])), solver=model.solver_, **iterations)
    return summary


def _parameter(model: Any) -> tuple[str, dict[str, float]]:
    """Return what was chosen besides the kernel."""
    if hasattr(model, "ridge_"):
        words = f", ridge {model.ridge_:.6g} ({model.relative_ridge_:.3g} of the kernel's mean diagonal)"
        return words, {"ridge": float(model.ridge_), "relative_ridge": float(model.relative_ridge_)}
    if hasattr(model, "noise_variance_"):
        noise = float(model.noise_variance_)
        return f", noise variance {noise:.6g}", {"noise_variance": noise}
    return "", {}


def _units(model: Any) -> str:
    spread, is_scaled = model.column_scaling_.by, np.ndim(model.column_scaling_.spread) > 0
    if spread:
        columns = f"columns centred and divided by their {spread}s"
    else:
        columns = "columns divided by one number" if is_scaled else "columns as they are"
    return columns if is_classifier(model) else f"{columns}, targets centred"


def _solver(model: Any, n_rows: int) -> str:
    solver = model.solver_
    if getattr(model, "n_iter_", 0):  # Gaussian processes iterate over kernels, and not over coefficients
        solver += f", {model.n_iter_} iterations to a residual of {float(model.residuals_[-1].max()):.1e}"
    if len(model.X_fit_) < n_rows:
        solver += f", {len(model.X_fit_)} centres"
    return str(solver)
