"""Charts on machines with and without fonts for Chinese."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from registry.reports import drawing, figures


@pytest.fixture
def latin_only(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drawing, "CJK_FONTS", ())
    drawing.font_families.cache_clear()
    drawing._glyphs.cache_clear()
    yield
    drawing.font_families.cache_clear()
    drawing._glyphs.cache_clear()


def test_names_without_a_glyph_become_numbers(latin_only: None) -> None:
    assert drawing.readable(["yes", "交通局", "no"]) == ["yes", "#1", "no"]


def test_a_legend_tells_names_without_a_glyph_apart(latin_only: None) -> None:
    curve = (np.array([1.0, 0.5]), np.array([0.0, 1.0]), 0.75)
    figure = figures.precision_recall_chart([("教育局", *curve), ("衛生局", *curve), ("_other", *curve)])
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["#0 (0.750)", "#1 (0.750)", "\u200b_other (0.750)"]


@pytest.mark.parametrize("label", ["$", "$$", "$_$", "$x^$"])
def test_a_label_is_no_formula(label: str) -> None:
    line = figures.Series(label, [1.0, 2.0], [0.5, 0.6])
    curve = (label, np.array([1.0, 0.5]), np.array([0.0, 1.0]), 0.75)
    for figure in (
        figures.confusion_chart(np.eye(2, dtype=int), [label, "no"]),
        figures.line_chart([line, line]),
        figures.precision_recall_chart([curve]),
        figures.point_chart([(label, 1.0, 0.5, 0)], xlabel="x", ylabel="y"),
    ):
        drawing.inline_svg(figure, "chart")
        figure.canvas.draw()  # as TensorBoard does, outside of our settings


def test_long_names_have_a_legend_beside_axes_that_keep_their_width() -> None:
    names = ["tiny epochs 3, batch_size 16, learning_rate 0.00012, warmup 0.06, weight_decay 0.02", "/a" * 40]
    charts = {
        length: figures.line_chart(
            [figures.Series(name[:length], [1, 2], [0.5, 0.6]) for name in names], size=(5.6, 3.3)
        )
        for length in (10, 80)
    }
    charts |= {
        0: figures.point_chart([(name, 10.0, 0.5, 0) for name in names], xlabel="x", ylabel="y", size=(5.6, 3.3))
    }
    widths = {}
    for length, figure in charts.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # constrained layout warns where it finds no room
            figure.canvas.draw()
        widths[length] = figure.axes[0].get_window_extent().width / figure.dpi
        legend = (figure.legends or [figure.axes[0].get_legend()])[0]
        assert all(len(line) <= figures.LABEL for text in legend.get_texts() for line in text.get_text().split("\n"))
        assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert min(widths.values()) > 3


def test_shares_of_several_magnitudes_stand_apart_and_more_groups_than_colours_have_other_markers() -> None:
    line = figures.Series("a", [0.01, 0.02, 0.05, 0.1, 1.0], [0.1, 0.2, 0.3, 0.4, 0.5])
    axes = figures.line_chart([line], percent=True).axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 %", "2 %", "5 %", "10 %", "100 %"]
    points = figures.point_chart([(str(i), 1.0 + i, 0.5, i) for i in range(16)], xlabel="x", ylabel="y").axes[0]
    looks = {(tuple(drawn.get_facecolor()[0]), drawn.get_paths()[0].vertices.tobytes()) for drawn in points.collections}
    assert len(looks) == 16


def test_names_with_a_glyph_stay() -> None:
    assert drawing.readable(["yes", "ärger"]) == ["yes", "ärger"]


def test_the_users_own_matplotlib_settings_are_left_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawing.inline_svg(figures.line_chart([figures.Series("a", [0, 1], [1, 2])]), "a line")
    assert dict(matplotlib.rcParams) == before


def test_files_are_written_as_png_and_svg(tmp_path: Path) -> None:
    drawing.save(figures.line_chart([figures.Series("a.b", [0, 1], [1, 2])]), tmp_path / "plot-0.5")
    assert (tmp_path / "plot-0.5.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "plot-0.5.svg").read_text()
