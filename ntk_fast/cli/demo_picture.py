"""The demo's picture: profiles by depth, the Gram matrix sorted by class, time against depth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

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


def draw(path: Path, kernel: Kernel, gram: NDArray[np.float64], labels: NDArray[np.int64], timings: Timings) -> None:
    """Draw the three panels into a PNG file; the kernel and the classes of the rows are those of the Gram matrix."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14.4, 4.9))
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.08, wspace=0.04)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.08, 1))
        _draw_profiles(left)
        _draw_gram(figure, middle, kernel, gram, labels)
        _draw_times(right, timings)
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


def _draw_gram(figure: Figure, axes: Any, kernel: Kernel, gram: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
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
    axes.set(title=f"{kernel} of {len(labels)} digits by class", xticks=middles, yticks=middles)
    axes.set_xticklabels(range(10))
    axes.set_yticklabels(range(10))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
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
