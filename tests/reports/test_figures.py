"""Charts on machines with and without fonts for Chinese."""

from __future__ import annotations

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
