"""How charts look and how they leave: palette, fonts, matplotlib settings, files, and SVG inside a page.

Inline, text stays text (any script that the browser has a font for) and the palette's colours become
the page's CSS variables, so that charts follow its light and dark mode.
"""

from __future__ import annotations

import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

INK, MUTED, LINE = "#1d2433", "#667085", "#e1e5ec"
COLOURS = ("#2f6fdf", "#d9730d", "#2a9d62", "#8a4fd3", "#d23f74", "#0f93a6", "#a58300", "#6b7280")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", **{c: f"--c{i}" for i, c in enumerate(COLOURS)}}
SIZE = (4.0, 2.45)

LATIN_FONTS = ("Inter", "Noto Sans", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans")
CJK_FONTS = (
    "Noto Sans CJK TC", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans", "Source Han Sans TC", "PingFang TC",
    "PingFang SC", "PingFang HK", "Hiragino Sans GB", "Microsoft JhengHei", "Microsoft YaHei", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "Noto Serif CJK JP", "SimHei", "Arial Unicode MS",
)  # fmt: skip


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under the project's matplotlib settings, whatever the user's own are."""

    @functools.wraps(draw)
    def run(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib

        with matplotlib.rc_context(settings()):
            return draw(*args, **kwargs)

    return run


@functools.cache
def font_families() -> list[str]:
    """Fonts of this machine: one for Latin text, and one that has Chinese, Japanese and Korean where there is one."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    latin = next(name for name in LATIN_FONTS if name in installed)
    return [latin, *[name for name in CJK_FONTS if name in installed][:1]]


def settings() -> Any:
    """matplotlib settings of every chart."""
    return {
        "font.family": font_families(),
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 8.5,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": LINE,
        "axes.linewidth": 1.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "text.color": INK,
        "text.parse_math": False,  # a label is a text: "$$" is no formula
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
        "savefig.dpi": 200,
        "figure.facecolor": "white",
        "axes.facecolor": "none",
        "text.hinting": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "registry",
    }


def new_axes(
    size: tuple[float, float] = SIZE, title: str = "", xlabel: str = "", ylabel: str = ""
) -> tuple[Figure, Axes]:
    """A figure of its own (no pyplot, so nothing global) with one axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write the figure as `path`.png and `path`.svg, on white."""
    import matplotlib

    with matplotlib.rc_context(settings()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path.with_name(f"{path.name}.png"))
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})


def readable(names: Sequence[str]) -> list[str]:
    """Names as this machine's fonts can draw them: "#3" for the fourth where a character is in none of them.

    A legend leaves names out that begin with an underscore; a space of no width stands before these.
    """
    shown = [f"\u200b{name}" if name.startswith("_") else name for name in names]
    return [name if _drawable(name) else f"#{i}" for i, name in enumerate(shown)]


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as SVG for a page: its colours by CSS variable, its text in the page's font, its size the page's."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(settings()), warnings.catch_warnings():
        # The browser's fonts draw the text, not the ones that matplotlib misses a glyph in.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+px|bold [\d.]+px|[\w ]*[\d.]+px) [^;\"]+", r"font: \1 var(--font)", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def _drawable(name: str) -> bool:
    return all(ord(character) in _glyphs() for character in name)


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    paths = [font_manager.findfont(family) for family in font_families()]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())
