"""How the pictures look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ntk_fast.power_law import PowerLaw

COLOURS = ("#2563a8", "#c2410c", "#2f855a", "#7c4dab", "#8a6d1f", "#c2185b")
STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.markersize": 4.5,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "ntk_fast",
}
PANEL_WIDTH, HEIGHT = 5.2, 4.1


@contextmanager
def saved_figure(path: Path, n_panels: int) -> Iterator[Any]:
    """Yield a matplotlib Figure that is saved at the end, with no date in it: the same figures give the same file."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PANEL_WIDTH * n_panels, HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path, format="png", dpi=130, metadata={"Software": None})


def log_log(axes: Any, y: str, title: str, *, x: str = "", widths: Sequence[int] = ()) -> None:
    """Logarithmic axes with labels and a legend; either `widths` on the first one, or whatever `x` is."""
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)
    if widths:
        width_axis(axes, widths)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def width_axis(axes: Any, widths: Sequence[int]) -> None:
    """Widths on a logarithmic axis, powers of two marked."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths[:: max(1, len(widths) // 5)])
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:.0f}")
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set_xlabel("width")


def law_line(axes: Any, x: Sequence[float], y: ArrayLike, law: PowerLaw, colour: str, label: str) -> None:
    """Points, and the power law through them with its exponent in the legend."""
    axes.plot(x, y, "o", color=colour)
    ends = np.array([min(x), max(x)], dtype=np.float64)
    axes.plot(ends, law.amplitude * ends**law.exponent, "-", color=colour, label=f"{label}: slope {law.exponent:.2f}")
