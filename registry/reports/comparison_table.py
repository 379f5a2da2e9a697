"""A comparison as a table: in the terminal, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.reports import format
from registry.reports.comparison import LABELS, SIGNIFICANT, Comparison, Group

if TYPE_CHECKING:
    from rich.table import Table

COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters", "parameters", format.number),
    ("seconds_per_update", "time/update", lambda s: f"{1000 * s:.0f} ms" if s < 10 else f"{s:.1f} s"),
    ("samples_per_second", "samples/s", format.number),
    ("peak_memory_mb", "memory", format.mebibytes),
)
LEGEND = (
    "Mean ± standard deviation over seeds. Bold: best of its task and fraction. p: two-sided, against the best, on the "
    "same rows (exact McNemar for the accuracy of single runs, else a paired bootstrap), Holm-corrected; "
    f"* marks p < {SIGNIFICANT:g}."
)


@dataclass(frozen=True)
class Field:
    """What stands in one place of the table."""

    text: str
    best: bool = False
    number: bool = True


@dataclass(frozen=True)
class Rows:
    """Headings and rows of a comparison; columns that say nothing are left out."""

    headings: list[str]
    rows: list[list[Field]]


def build_rows(comparison: Comparison) -> Rows:
    """The table that a person reads."""
    labels = [name for name in LABELS if name == "model" or comparison.varies(name)]
    seeds = any(len(group.runs) > 1 for group in comparison.groups)
    tested = {comparison.headline(group).title for group in comparison.groups if group.p is not None}
    p = f"p ({tested.pop()})" if len(tested) == 1 < len(comparison.columns) else "p" if tested else None
    published = any(group.published is not None for group in comparison.groups)
    costs = [cost for cost in COSTS if any(group.cost(cost[0]) is not None for group in comparison.groups)]
    headings = [*labels, *["runs"] * seeds, *[column.title for column in comparison.columns]]
    if len(comparison.tasks) == 1:
        headings[0] = f"model on {comparison.tasks[0]}"
    headings += ([p] if p else []) + ["published"] * published + [title for _, title, _ in costs]

    def fields(group: Group) -> Iterator[Field]:
        for name in labels:
            yield Field(_label(name, group.labels.get(name)), number=name == "fraction")
        if seeds:
            yield Field(str(len(group.runs)))
        for column in comparison.columns:
            mean = group.mean(column)
            yield Field("" if mean is None else format.mean_spread(mean, group.spread(column)), column in group.best)
        if p:
            yield Field("" if group.p is None else p_text(group.p))
        if published:
            yield Field("" if group.published is None else format.value(group.published))
        for name, _, text in costs:
            cost = group.cost(name)
            yield Field("" if cost is None else text(cost))

    return Rows(headings, [list(fields(group)) for group in comparison.groups])


def p_text(p: float) -> str:
    """0.03 *, <0.001 *, 0.41."""
    return ("<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}") + (" *" if p < SIGNIFICANT else "")


def to_terminal(comparison: Comparison) -> Table:
    """A rich table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    built = build_rows(comparison)
    table = Table(
        title=comparison.title or None,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for i, heading in enumerate(built.headings):
        numeric = bool(built.rows) and built.rows[0][i].number
        table.add_column(heading.replace(" ", "\n"), justify="right" if numeric else "left", no_wrap=True)
    for row in built.rows:
        table.add_row(*[f"[bold green]{escape(f.text)}[/]" if f.best else escape(f.text) for f in row])
    return table


def to_markdown(comparison: Comparison) -> str:
    """A Markdown table, with the fractions side by side below where there are several."""
    parts = [f"## {comparison.title}"] if comparison.title else []
    parts += [
        markdown_table(build_rows(comparison)),
        *[_by_fraction(comparison, task) for task in comparison.tasks if _fractions(comparison, task)],
    ]
    parts += [comparison.note] if comparison.note else []
    return "\n\n".join([*parts, LEGEND]) + "\n"


def markdown_table(built: Rows) -> str:
    """The table as Markdown, the best in bold."""
    lines = [_markdown_line(built.headings)]
    lines.append(_markdown_line(["---:" if f.number else "---" for f in built.rows[0]] if built.rows else []))
    lines += [_markdown_line([f"**{f.text}**" if f.best and f.text else f.text for f in row]) for row in built.rows]
    return "\n".join(lines)


def to_latex(comparison: Comparison) -> str:
    """A LaTeX tabular for booktabs."""
    built = build_rows(comparison)
    layout = "".join("r" if f.number else "l" for f in built.rows[0]) if built.rows else ""
    body = [
        " & ".join(rf"\textbf{{{_latex(f.text)}}}" if f.best and f.text else _latex(f.text) for f in row) + r" \\"
        for row in built.rows
    ]
    head = " & ".join(_latex(heading) for heading in built.headings) + r" \\"
    return "\n".join(
        [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    )


def to_csv(comparison: Comparison) -> str:
    """One line a run with its plain numbers, for spreadsheets and further statistics."""
    buffer = io.StringIO()
    costs = [
        "parameters",
        "trainable_parameters",
        "samples_per_second",
        "tokens_per_second",
        "seconds",
        "peak_memory_mb",
    ]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*LABELS, "seed", *[column.title for column in comparison.columns], "updates", *costs, "run"])
    for group in comparison.groups:
        for compared in group.runs:
            row: list[Any] = [*[group.labels.get(name) for name in LABELS], compared.labels.get("seed")]
            row += [compared.value(column) for column in comparison.columns] + [compared.run.metrics.get("updates")]
            row += [compared.run.cost.get(name) for name in costs] + [str(compared.run.directory.path)]
            writer.writerow(["" if value is None else value for value in row])
    return buffer.getvalue()


def _by_fraction(comparison: Comparison, task: str) -> str:
    """Models down, fractions across: the headline metric."""
    groups, fractions = comparison.of_task(task), _fractions(comparison, task)
    column = comparison.headline(groups[0])
    lines = [_markdown_line([f"{task}: {column.title}", *[share_text(f) for f in fractions]])]
    lines.append(_markdown_line(["---", *["---:"] * len(fractions)]))
    for name in dict.fromkeys(group.name for group in groups):
        cells = []
        for fraction in fractions:
            group = next((g for g in groups if g.name == name and g.labels["fraction"] == fraction), None)
            mean = group.mean(column) if group else None
            text = format.mean_spread(mean, group.spread(column)) if group and mean is not None else ""
            cells.append(f"**{text}**" if group and column in group.best else text)
        lines.append(_markdown_line([name, *cells]))
    return "\n".join(lines)


def _fractions(comparison: Comparison, task: str) -> list[float]:
    found = {group.labels["fraction"] for group in comparison.of_task(task)} - {None}
    return sorted(found) if len(found) > 1 else []


def _label(name: str, value: Any) -> str:
    if value in (None, ""):
        return ""
    return share_text(value) if name == "fraction" else str(value)


def share_text(fraction: float) -> str:
    """All of its digits: 0.1 % is not 0.4 %."""
    return f"{100 * fraction:g} %"


def _markdown_line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex(text: str) -> str:
    for plain, escaped in (
        ("\\", r"\textbackslash "),
        ("&", r"\&"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("#", r"\#"),
        ("$", r"\$"),
    ):
        text = text.replace(plain, escaped)
    text = text.replace("±", r"$\pm$").replace("<", r"$<$").replace("{", r"\{").replace("}", r"\}")
    return text.replace("^", r"\^{}").replace("~", r"\~{}")
