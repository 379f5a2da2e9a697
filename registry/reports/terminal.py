"""What a person sees in the terminal while a run starts, trains and ends: rank 0 alone prints."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from registry.run_log import flat_numbers

EVERY = 10.0
"""Seconds between lines where the output is no terminal."""


class Screen:
    """Prints summaries and drives the progress bar; silent where `shown` is False."""

    def __init__(self, shown: bool) -> None:
        self.console = Console(quiet=not shown, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        self._last_line = 0.0

    def line(self, text: str) -> None:
        """One line of plain text."""
        self.console.print(text, markup=False)

    def summary(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """A two-column table without rules."""
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, value)
        self.console.print(table)

    def start(self, done: int, total: int) -> None:
        """Show the bar; where the output is no terminal, a line every now and then instead."""
        if self.console.is_terminal and not self.console.quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
            )
            self._progress = Progress(*columns, console=self.console)
            self._bar = self._progress.add_task("training", total=total, completed=done, values="")
            self._progress.start()

    def update(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """Move the bar to `done`; `values` are shown beside it."""
        text = "  ".join(f"{name} {short(value)}" for name, value in values.items())
        if self._progress is not None:
            self._progress.update(self._bar, completed=done, values=text)
        elif time.monotonic() - self._last_line > EVERY or done == total:
            self._last_line = time.monotonic()
            self.line(f"update {done}/{total}  {text}")

    def counter(self, what: str, total: int) -> Callable[[int], None]:
        """To be told after every batch of a pass that trains nothing how many of its `total` rows it had."""
        bar = self._progress.add_task(what, total=total, values="rows") if self._progress is not None else None
        began, done = time.monotonic(), 0

        def count(rows: int) -> None:
            nonlocal done
            done = min(done + rows, total)
            if self._progress is not None and bar is not None:
                self._progress.update(bar, completed=done)
                if done == total:
                    self._progress.remove_task(bar)
            elif time.monotonic() - max(self._last_line, began) > EVERY:
                self._last_line = time.monotonic()
                self.line(f"{what}: {done:,} of {total:,} rows")

        return count

    def stop(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def evaluation(self, split: str, update: int, metrics: Mapping[str, Any], best: bool) -> None:
        """One line for an evaluation."""
        shown = "  ".join(f"{n} {short(v)}" for n, v in flat_numbers(metrics) if "/" not in n and n != "support")
        self.line(f"update {update}: {split}  {shown}{'  (best)' if best else ''}")

    def closing(self, results: Mapping[str, Mapping[str, Any]], run: Path, plugin_file: str | None) -> None:
        """The table at the end, where everything is, and what to run next."""
        given = f"{run} --plugin-file {shlex.quote(plugin_file)}" if plugin_file else str(run)
        table = Table(title="results", title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("metric", style="cyan")
        splits = [name for name, values in results.items() if values]
        for split in splits:
            table.add_column(split, justify="right")
        flat = {split: {n: v for n, v in flat_numbers(results[split]) if "/" not in n} for split in splits}
        for name in dict.fromkeys(n for values in flat.values() for n in values):
            table.add_row(name, *(short(flat[s][name]) if name in flat[s] else "" for s in splits))
        self.console.print(table)
        self.line(f"run       {run}")
        self.line(f"report    {run / 'report.html'}")
        self.line(f"next      python scripts/predict.py {given} --text '…'")
        scored = next((split for split in splits if split != "train"), "train")
        self.line(f"          python scripts/evaluate.py {given} --split {scored}")


@contextlib.contextmanager
def counting(shown: bool, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """How many rows are done and how many a second, on standard error, so long as somebody looks.

    Args:
        total: of how many, where that is known.
    """
    rows = "{task.completed:,} rows" if total is None else "{task.completed:,} of {task.total:,} rows"
    columns = (SpinnerColumn(), TextColumn(f"{rows}, {{task.speed:,.0f}} a second"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=total is not None) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def short(value: float) -> str:
    """A number as people read it: 0.9312, 1.2e-05, 67,349."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.2e}"
