"""The demo's picture: profiles by depth, Gram matrices sorted by class, time against depth, the nearest digits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from ntk_fast.cli.demo_images import N_CONVOLUTIONS, N_NEAREST, N_QUERIES, SHAPE, nearest, told_apart
from ntk_fast.kernels import NTK, Kernel

INK, FAINT = "#22262b", "#8a9099"
#: Of each backend's line: colour and label.
LINES = {
    "cython": ("#c2410c", "compiled, C"),
    "numba": ("#2563a8", "compiled, Numba"),
    "numpy": (INK, "NumPy reference"),
}
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
PROFILE_DEPTHS = (1, 2, 3, 5, 10, 30, 100)
#: Of a line of text, over that of the panel.
LABEL_HEIGHT = 0.06
#: Rows of the Gram matrix that become one pixel.
ROWS_A_PIXEL = 5
#: Colours of the PNG file: a palette makes it a third as large.
N_COLORS = 256


@dataclass(frozen=True)
class Timings:
    """Seconds of Gram matrices of n rows, by depth for each backend, and of the matrix product alone."""

    n: int
    depths: Sequence[int]
    seconds: dict[str, list[float]]
    product_seconds: float


@dataclass(frozen=True)
class Seen:
    """All digits as rows, and the convolutional kernel of the first ones."""

    rows: NDArray[np.float64]
    gram: NDArray[np.float64]


def draw(
    path: Path,
    kernel: Kernel,
    gram: NDArray[np.float64],
    labels: NDArray[np.int64],
    timings: Timings,
    seen: Seen,
) -> None:
    """Draw the five panels into a PNG file; the kernel and the classes of the rows are those of the Gram matrix."""
    n = len(seen.gram)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14.4, 9.6))
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12, wspace=0.04)
        grid = figure.add_gridspec(2, 3, width_ratios=(1, 1.08, 1))
        _draw_profiles(figure.add_subplot(grid[0, 0]))
        _draw_gram(figure, figure.add_subplot(grid[0, 1]), f"{kernel} of {len(labels)} digits by class", gram, labels)
        _draw_times(figure.add_subplot(grid[0, 2]), timings)
        _draw_nearest(figure.add_subplot(grid[1, :2]), gram[:n, :n], seen, labels[:n])
        title = f"{N_CONVOLUTIONS} convolutions, GAP: {n} digits by class"
        _draw_gram(figure, figure.add_subplot(grid[1, 2]), title, seen.gram, labels[:n])
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120)
    with Image.open(picture) as image:
        colors = image.convert("RGB").quantize(N_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colors.save(path, format="png", optimize=True)


def _draw_profiles(axes: Any) -> None:
    angle = np.linspace(0, np.pi, 400)
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(PROFILE_DEPTHS)))
    for depth, color in zip(PROFILE_DEPTHS, colors, strict=True):
        kernel = NTK(depth)
        profile = kernel.profile(np.cos(angle)) / kernel.profile(1.0)
        axes.plot(np.degrees(angle), profile, color=color, linewidth=1.8, label=str(depth))
    axes.set(
        title="The NTK by depth",
        xlabel="angle between two rows (degrees)",
        ylabel="kernel over its value at angle 0",
        xlim=(0, 180),
        ylim=(-0.08, 1.02),
        xticks=range(0, 181, 45),
    )
    axes.legend(title="hidden layers", frameon=False)


def _draw_nearest(axes: Any, gram: NDArray[np.float64], seen: Seen, labels: NDArray[np.int64]) -> None:
    """A row for each of some digits: itself, and what is nearest to it in either kernel."""
    queries = told_apart(gram, seen.gram, labels, N_QUERIES)
    gap, size, wide = 2, SHAPE[0], 14
    column = (size + gap) * N_NEAREST + wide
    canvas = np.full(((size + gap) * len(queries), 2 * column + size + wide), np.nan)
    marks = []
    for row, query in enumerate(queries):
        top = row * (size + gap)
        canvas[top : top + size, :size] = seen.rows[query].reshape(size, size)
        for side, each in enumerate((gram, seen.gram)):
            for place, found in enumerate(nearest(each, query, N_NEAREST)):
                left = size + wide + side * column + place * (size + gap)
                canvas[top : top + size, left : left + size] = seen.rows[found].reshape(size, size)
                if labels[found] != labels[query]:
                    marks.append((left, top))
    cmap = mpl.colormaps["gray_r"].with_extremes(bad="white")
    axes.imshow(canvas, cmap=cmap, vmin=0, vmax=1, interpolation="nearest")
    for left, top in marks:
        axes.add_patch(
            Rectangle((left - 1, top - 1), size + 1, size + 1, fill=False, edgecolor="#c2410c", linewidth=1.6)
        )
    starts = (0, size + wide, size + wide + column)
    for start, text in zip(starts, ("a digit", "nearest: dense kernel", "nearest: convolutional kernel"), strict=True):
        axes.text(start - 0.5, -2.5, text, fontsize=9.5)
    axes.set_ylim(len(canvas) - 0.5, -2)
    axes.set_title("Where the two kernels differ most (framed: another class)", pad=22)
    axes.set_axis_off()


def _draw_gram(figure: Figure, axes: Any, title: str, gram: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    root = np.sqrt(gram.diagonal())
    cosines = gram / np.outer(root, root)
    own = np.array([row[labels == label].mean() for row, label in zip(cosines, labels, strict=True)])
    order = np.lexsort((-own, labels))
    cosines = cosines[np.ix_(order, order)]
    n = len(labels) // ROWS_A_PIXEL
    kept = n * ROWS_A_PIXEL
    pixels = cosines[:kept, :kept].reshape(n, ROWS_A_PIXEL, n, ROWS_A_PIXEL).mean(axis=(1, 3))
    low, high = np.quantile(pixels, [0.01, 0.995])
    image = axes.imshow(pixels, cmap="magma", vmin=low, vmax=high, interpolation="nearest", extent=(0, kept, kept, 0))
    bounds = np.searchsorted(labels[order], np.arange(11))
    middles = (bounds[:-1] + bounds[1:]) / 2
    axes.set(title=title, xticks=middles, yticks=middles)
    axes.set_xticklabels(range(10))
    axes.set_yticklabels(range(10))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.05, 1.0)))
    bar.outline.set_visible(False)
    bar.set_label("cosine in feature space")


def _draw_times(axes: Any, timings: Timings) -> None:
    depths = timings.depths
    labels = [(timings.product_seconds, "X @ X.T alone", FAINT)]
    for backend, seconds in timings.seconds.items():
        color, label = LINES[backend]
        axes.plot(depths, seconds, "o-", color=color, linewidth=1.8, markersize=5)
        labels.append((seconds[-1], label, color))
    axes.axhline(timings.product_seconds, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set(
        title="Time against depth",
        xlabel="hidden layers",
        ylabel=f"seconds, {timings.n} x {timings.n} float64",
        xscale="log",
        yscale="log",
        xticks=depths,
    )
    axes.set_xticklabels(map(str, depths))
    axes.minorticks_off()
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    bottom, top = np.log(axes.get_ylim())
    heights = spread_out([float((np.log(seconds) - bottom) / (top - bottom)) for seconds, _, _ in labels], LABEL_HEIGHT)
    for height, (_, label, color) in zip(heights, labels, strict=True):
        axes.text(1.03, height, label, color=color, fontweight="bold", va="center", transform=axes.transAxes)


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Return heights that lie apart by a gap at least, in the same order, moved no further than that takes.

    Examples
    --------
    >>> spread_out([0.5, 0.5, 0.9], 0.2)
    [0.4, 0.6, 0.9]
    """
    groups: list[list[int]] = []  # of indices whose heights touch: each is centred on its members' mean
    middles: list[float] = []
    for index in np.argsort(heights, kind="stable"):
        groups.append([int(index)])
        middles.append(heights[index])
        while len(groups) > 1 and middles[-1] - middles[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last = groups.pop()
            middles.pop()
            groups[-1] += last
            middles[-1] = float(np.mean([heights[member] for member in groups[-1]]))
    result = [0.0] * len(heights)
    for members, middle in zip(groups, middles, strict=True):
        for place, member in enumerate(members):
            result[member] = round(middle + gap * (place - (len(members) - 1) / 2), 12)
    return result
