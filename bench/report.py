"""What a run leaves behind: a table of ratios on the screen, JSON, and three pictures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from bench.targets import Row

COLOURS = {"numpy": "#999999", "numba": "#d98c21", "cython-avx512": "#1f5fa8", "cython-avx2": "#4f93d2"}
COLOURS |= {"cython-baseline": "#9cc4e8", "matmul": "#55aa77", "fill": "#bb5566"}


def print_targets(console: Console, rows: list[Row]) -> None:
    table = Table(title="Targets: ratios of the best times of both, timed in turn, unless a line says otherwise")
    for column, justify in (("what", "left"), ("measured", "right"), ("of medians", "right"), ("target", "right")):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    table.add_column("")
    table.add_column("absolute", justify="right")
    for row in rows:
        medians = "" if row.of_medians is None else number(row.of_medians)
        mark = "[green]met[/]" if row.is_met else "[red]missed[/]"
        bound = f"{'<=' if row.at_most else '>='} {row.bound:g}"
        table.add_row(row.what, number(row.value), medians, bound, mark, row.absolute)
    console.print(table)


def number(value: float) -> str:
    return (
        f"{value:.0f}" if abs(value) >= 100 or value == 0 else f"{value:.1e}" if abs(value) < 1e-2 else f"{value:.2f}"
    )


def print_grid(console: Console, results: list[dict[str, Any]]) -> None:
    """One line a group: milliseconds of each engine, and the best engine against the reference and the rooflines."""
    groups: dict[str, dict[str, float]] = {}
    for result in results:
        groups.setdefault(result["group"], {})[result["extra_info"]["engine"]] = result["stats"]["min"]
    engines = list(dict.fromkeys(engine for times in groups.values() for engine in times))
    table = Table(title="Milliseconds, best of several; then ratios to the fastest engine")
    for column in ("case", *engines, "numpy /", "matmul /", "fill /"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for group, times in groups.items():
        ours = [seconds for engine, seconds in times.items() if engine not in ("numpy", "matmul", "fill")]
        if not ours:
            continue
        cells = [f"{times[engine] * 1e3:.3g}" if engine in times else "" for engine in engines]
        ratios = [f"{times[name] / min(ours):.2f}" if name in times else "" for name in ("numpy", "matmul", "fill")]
        table.add_row(group, *cells, *ratios)
    console.print(table)


def draw(results: list[dict[str, Any]], test: str, key: str, title: str, path: Path) -> None:
    """Draw time against one of the parameters, a line an engine."""
    lines: dict[str, dict[float, float]] = {}
    for result in results:
        info = result["extra_info"]
        drawn = result["name"].startswith(test) or (test == "test_size" and result["name"].startswith("test_rooflines"))
        if drawn and (test != "test_size" or (info["p"] == 64 and info["dtype"] == "float64")):
            lines.setdefault(info["engine"], {})[info[key]] = result["stats"]["min"]
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for engine, points in lines.items():
        dashed = "--" if engine in ("matmul", "fill") else "-"
        x = sorted(points)
        axes.plot(x, [points[v] * 1e3 for v in x], dashed, marker="o", label=engine, color=COLOURS.get(engine))
    axes.set(xlabel=key, ylabel="milliseconds", title=title, yscale="log")
    if key != "threads":
        axes.set_xscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write(folder: Path, machine: dict[str, Any], rows: list[Row], results: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    grid = [{"group": r["group"], "name": r["name"], **r["extra_info"], "stats": r["stats"]} for r in results]
    for entry in grid:
        entry["stats"] = {key: entry["stats"][key] for key in ("min", "median", "max", "rounds")}
    targets = [asdict(row) | {"is_met": row.is_met} for row in rows]
    text = json.dumps({"machine": machine, "targets": targets, "grid": grid}, indent=1)
    (folder / "results.json").write_text(text)
    if not results:
        return
    draw(results, "test_depth", "depth", "NTK, n = 1000, p = 64, float64", folder / "depth.png")
    draw(results, "test_size", "n", "NTK, depth 3, p = 64, float64", folder / "size.png")
    draw(results, "test_threads", "threads", "NTK, depth 3, p = 64, float64", folder / "threads.png")
