"""Charts of reports and comparisons, drawn once: for pages, for files and for TensorBoard."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.reports import format
from registry.reports.drawing import COLOURS, DASHES, INK, MARKERS, MUTED, SIZE, new_axes, readable, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from registry.reports.tables import Calibration

LABEL = 32
"""Characters in a line of a legend."""
MOST_IN_HEATMAP = 1000
"""Classes of a confusion matrix that is drawn: more than pixels show nothing, and take memory by their square."""


@dataclass(frozen=True)
class Series:
    """One line of a chart; `spread` (same length) is drawn as a band of one standard deviation."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    colour: int = 0
    marked: bool = False


@styled
def line_chart(
    lines: Sequence[Series], *, title: str = "", xlabel: str = "", ylabel: str = "", size: tuple[float, float] = SIZE,
    mark: tuple[float, str] | None = None, percent: bool = False,
) -> Figure:  # fmt: skip
    """Lines with a legend.

    Args:
        mark: a vertical line (x, name), such as the update of the best weights.
        percent: x is a share, labelled so at every point; logarithmic where shares are of several magnitudes.
    """
    figure, axes = new_axes(size, title, xlabel, ylabel)
    for name, line in zip(_labels([line.name for line in lines]), lines, strict=True):
        style: dict[str, Any] = {"color": COLOURS[line.colour % len(COLOURS)]}
        style["linestyle"] = DASHES[(line.colour // len(COLOURS)) % len(DASHES)]
        if line.marked or len(line.x) == 1:
            style |= {"marker": MARKERS[line.colour % len(MARKERS)], "markersize": 5, "markeredgecolor": "none"}
        axes.plot(line.x, line.y, label=name, **style)
        if line.spread is not None and np.any(np.asarray(line.spread) > 0):
            low, high = np.subtract(line.y, line.spread), np.add(line.y, line.spread)
            axes.fill_between(line.x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    if mark is not None:
        axes.axvline(mark[0], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), label=mark[1])
    if percent:
        shares = sorted({x for line in lines for x in line.x})
        axes.set_xscale("log" if shares[-1] >= 10 * shares[0] else "linear")
        axes.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
        axes.set_xticks([], minor=True)
    axes.margins(x=0.02)
    if len(lines) > 1 or mark is not None:
        few = len(lines) < 5 and not any("\n" in str(drawn.get_label()) for drawn in axes.lines)
        axes.legend(loc="best") if few else _legend_beside(figure)
    return figure


@styled
def reliability_chart(found: Calibration) -> Figure:
    """Accuracy by confidence, with the share of rows beneath as bars; the diagonal is perfect calibration."""
    figure, axes = new_axes(xlabel="confidence", ylabel="accuracy")
    width = float(found.edges[1] - found.edges[0])
    axes.bar(
        found.edges[:-1] + width / 2,
        found.share,
        width * 0.92,
        color=COLOURS[7],
        alpha=0.3,
        linewidth=0,
        label="share of rows",
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), label="perfect")
    seen = ~np.isnan(found.accuracy)
    axes.plot(found.confidence[seen], found.accuracy[seen], color=COLOURS[0], marker="o", markersize=4.5, label="model")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    return figure


@styled
def scatter_chart(truth: np.ndarray, guess: np.ndarray) -> Figure:
    """Predicted against labelled numbers, for regression."""
    figure, axes = new_axes(xlabel="label", ylabel="prediction")
    axes.scatter(truth, guess, s=9, color=COLOURS[0], alpha=0.35, linewidths=0)
    ends = [float(min(truth.min(), guess.min())), float(max(truth.max(), guess.max()))]
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    return figure


@styled
def confusion_chart(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Shares of each label's rows by prediction; names and counts only where they stay readable."""
    few = len(names) <= 20
    side = max(3.2, 0.55 * len(names)) if few else 3.6
    figure, axes = new_axes((side + 0.8, side), xlabel="prediction", ylabel="label")
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.grid(False)
    axes.imshow(shares, cmap=_fade(), vmin=0, vmax=1)  # one picture: a shape a cell would make a page of megabytes
    if few:
        ticks = np.arange(len(names))
        axes.set_xticks(
            ticks, readable(names), rotation=45 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center"
        )
        axes.set_yticks(ticks, readable(names))
        for (row, column), number in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.8 else INK
            axes.text(column, row, f"{number:,}", ha="center", va="center", color=colour, fontsize=8)
    return figure


@styled
def precision_recall_chart(curves: Sequence[tuple[str, np.ndarray, np.ndarray, float]]) -> Figure:
    """Precision against recall for each (name, precision, recall, average precision)."""
    figure, axes = new_axes((4.8, 3.2), xlabel="recall", ylabel="precision")
    names = readable([name for name, *_ in curves])
    for i, (_, precision, recall, average) in enumerate(curves):
        label = f"{names[i]} ({average:.3f})"
        axes.plot(recall, precision, color=COLOURS[i % len(COLOURS)], label=label, drawstyle="steps-pre")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left", title="average precision")
    return figure


@styled
def point_chart(
    points: Sequence[tuple[str, float | None, float, int]],
    *,
    xlabel: str,
    ylabel: str,
    size: tuple[float, float] = SIZE,
) -> Figure:
    """Named points (name, x, y, colour) over a logarithmic x; those without an x are lines at their height."""
    from matplotlib import ticker

    figure, axes = new_axes(size, xlabel=xlabel, ylabel=ylabel)
    for label, (_, x, y, colour) in zip(_labels([name for name, *_ in points]), points, strict=True):
        shade, marker = COLOURS[colour % len(COLOURS)], MARKERS[(colour + colour // len(COLOURS)) % len(MARKERS)]
        if x is None:
            axes.axhline(y, color=shade, linewidth=1.2, linestyle=DASHES[1], label=label)
        else:
            axes.scatter([x], [y], s=46, linewidths=0, label=label, color=shade, marker=marker)
    places = [x for _, x, _, _ in points if x is not None]
    spread = max(places) / min(places)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.12)
    # A narrow range shows too few powers of ten, a wide one too many steps between them.
    steps = ticker.LogLocator(subs=(1.0, 2.0, 5.0) if spread < 100 else (1.0,))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4) if spread < 4 else steps)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: format.number(x))
    _legend_beside(figure)
    return figure


def _labels(names: Sequence[str]) -> list[str]:
    """Names for a legend, in lines of at most LABEL characters."""
    return [textwrap.fill(name, LABEL) or name for name in readable(names)]


def _legend_beside(figure: Figure) -> None:
    """A legend to the right of the axes, which stay as wide as they are beside short names."""
    _, labels = figure.axes[0].get_legend_handles_labels()
    lines = [line for label in labels for line in label.split("\n")]
    width, height = figure.get_size_inches()
    wider = max(0.0, 0.065 * (max(map(len, lines)) - 16))
    figure.set_size_inches(width + wider, max(height, 0.4 + 0.18 * len(lines)))
    figure.legend(loc="outside right center")


def _fade() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("fade", [f"{COLOURS[0]}00", COLOURS[0]])
