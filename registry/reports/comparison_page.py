"""What a comparison leaves: tables, plots as PNG and SVG, and comparison.html."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from registry.reports import drawing, figures
from registry.reports.comparison import Comparison, Group
from registry.reports.comparison_epochs import epoch_tables, mean_curve
from registry.reports.comparison_table import LEGEND, build_rows, markdown_table, to_csv, to_latex, to_markdown
from registry.reports.page import write_page
from registry.reports.split_report import Chart
from registry.run_directory import file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT = (5.6, 3.3)


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write table.md, table.csv, table.tex, epochs.md, plots/ and comparison.html; returns the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    for name, text in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
        (output / f"table.{name}").write_text(text(comparison), encoding="utf-8")
    epochs = list(epoch_tables(comparison))
    (output / "epochs.md").write_text("\n\n".join(map(markdown_table, epochs)) + "\n" * bool(epochs), encoding="utf-8")
    for drawn in [*(output / "plots").glob("*.png"), *(output / "plots").glob("*.svg")]:
        drawn.unlink()  # of a comparison that stood here, which may have had other tasks
    charts = []
    for task in comparison.tasks:
        for name, title, figure in plots(comparison, task):
            path = output / "plots" / file_name(f"{task}-{name}")
            path.parent.mkdir(exist_ok=True)
            drawing.save(figure, path)
            charts.append(Chart(f"{task}: {title}", drawing.inline_svg(figure, f"{task}: {title}")))
    links = [
        (
            " · ".join(str(v) for v in compared.labels.values() if v not in (None, "")),
            _link(compared.run.directory.report, output),
        )
        for group in comparison.groups
        for compared in group.runs
    ]
    return write_page(
        output / "comparison.html",
        "comparison.html",
        comparison=comparison,
        table=build_rows(comparison),
        epochs=epochs,
        legend=LEGEND,
        charts=charts,
        links=links,
    )


def plots(comparison: Comparison, task: str) -> Iterator[tuple[str, str, Figure]]:
    """(file name, title, drawing) of every plot that the task's runs give something to draw for."""
    groups = comparison.of_task(task)
    names = list(dict.fromkeys(group.name for group in groups))
    column = comparison.headline(groups[0])
    title = column.title
    shares = {group.labels["fraction"] or 1.0 for group in groups}
    of_share = f", {100 * max(shares):g} % of the training data" if len(shares) > 1 else ""
    if len(shares) > 1:
        lines = list(_by_fraction(groups, names, comparison))
        chart = figures.line_chart(lines, xlabel="share of the training data", ylabel=title, size=PLOT, percent=True)
        yield "fractions", f"{title} by share of the training data", chart
    full = [group for group in groups if (group.labels["fraction"] or 1.0) == max(shares)]
    for split, metric in dict.fromkeys((("validation", column.metric), ("validation", "loss"), ("train", "loss"))):
        lines = [line for group in full if (line := _curve(group, split, metric, names.index(group.name)))]
        if any(len(line.x) > 1 for line in lines):
            what = f"{split} {metric.replace('_', ' ')}"
            chart = figures.line_chart(lines, xlabel="epoch", ylabel=what, size=PLOT)
            yield f"curves-{split}-{metric}", f"{what} by epoch{of_share}", chart
    for cost, file, label in (("parameters", "parameters", "parameters"), ("seconds", "time", "training time (s)")):
        points = [
            (group.name, group.cost(cost), y, names.index(group.name))
            for group in full
            if (y := group.mean(column)) is not None
        ]
        if sum(x is not None for _, x, _, _ in points) > 1:
            chart = figures.point_chart(points, xlabel=label, ylabel=title, size=PLOT)
            yield file, f"{title} by {label.partition(' (')[0]}{of_share}", chart


def _by_fraction(groups: list[Group], names: list[str], comparison: Comparison) -> Iterator[figures.Series]:
    for i, name in enumerate(names):
        own = [g for g in groups if g.name == name and g.labels["fraction"] is not None]
        own = sorted(own, key=lambda group: float(group.labels["fraction"]))
        points = [
            (g.labels["fraction"], mean, g.spread(c) or 0.0)
            for g in own
            if (mean := g.mean(c := comparison.headline(g))) is not None
        ]
        if points:
            x, y, spread = (list(values) for values in zip(*points, strict=True))
            yield figures.Series(name, x, y, spread, colour=i, marked=True)


def _curve(group: Group, split: str, metric: str, colour: int) -> figures.Series | None:
    curve = mean_curve(group, split, metric)
    if curve is None:
        return None
    marked = split != "train" and len(curve.means) <= 12
    return figures.Series(group.name, curve.epochs, curve.means, curve.spread, colour=colour, marked=marked)


def _link(report: Path, output: Path) -> str | None:
    """The report's address relative to the page, where there is one."""
    if not report.is_file():
        return None
    import os

    return Path(os.path.relpath(report, output)).as_posix()
