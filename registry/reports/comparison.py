"""Runs side by side: grouped over seeds, the best marked, differences tested on the saved predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from registry.options import fields
from registry.reports.contributions import row_metric
from registry.reports.resampling import RowMetric, common_rows, holm, mcnemar, paired_difference
from registry.reports.run_record import RunRecord
from registry.reports.tables import flat_metrics

LABELS = ("task", "model", "variant", "fraction")
UNTOLD = {"seed", "train_fraction", "task", "model"} | {
    name for _, name, item in fields() if not item.metadata["affects_training"]
}
"""Options that make no variant: a column of the table tells them, or they change no training."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Column:
    """A metric on a split; on another task than the run's own where `task` is given."""

    split: str
    metric: str
    task: str = ""

    @property
    def title(self) -> str:
        """Its heading in a table."""
        place = f"{self.task} {self.split}" if self.task else self.split
        return f"{place} {self.metric.replace('_', ' ')}"


@dataclass(frozen=True)
class Compared:
    """A run with its name in the table, and its scores on other tasks by task and split."""

    run: RunRecord
    labels: dict[str, Any]
    elsewhere: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    published: float | None = None

    def value(self, column: Column) -> float | None:
        """The run's number in a column; None where it has none."""
        found = self.elsewhere.get(column.task, {}) if column.task else self.run.metrics
        number = flat_metrics(found.get(column.split) or {}).get(column.metric)
        return None if number is None else float(number)

    def row_metric(self, column: Column) -> RowMetric | None:
        """The number in a column by the rows that make it; None where saved predictions do not give it."""
        predictions, reported = self.run.predictions(column.split), self.value(column)
        if predictions is None or reported is None:
            return None
        return row_metric(column.metric, predictions, reported)


@dataclass
class Group:
    """Runs that differ by seed only: one row of the table."""

    labels: dict[str, Any]
    runs: list[Compared]
    p: float | None = None
    best: set[Column] = field(default_factory=set)

    def values(self, column: Column) -> list[float]:
        """The number of every run that has one."""
        return [value for run in self.runs if (value := run.value(column)) is not None]

    def mean(self, column: Column) -> float | None:
        """Mean over seeds."""
        values = self.values(column)
        return fmean(values) if values else None

    def spread(self, column: Column) -> float | None:
        """Standard deviation over seeds (n - 1); None for a single run."""
        values = self.values(column)
        return stdev(values) if len(values) > 1 else None

    def cost(self, name: str) -> float | None:
        """Mean of one of the training's costs; "seconds_per_update" is derived. None where nothing was trained."""
        trained = [c.run for c in self.runs if c.run.metrics.get("updates")]
        if name == "seconds_per_update":
            found = [run.cost["seconds"] / run.metrics["updates"] for run in trained if "seconds" in run.cost]
        else:
            found = [run.cost[name] for run in trained if run.cost.get(name) is not None]
        return fmean(found) if found else None

    @property
    def published(self) -> float | None:
        """What others report for the same, where the grid names it."""
        return next((c.published for c in self.runs if c.published is not None), None)

    @property
    def name(self) -> str:
        """Model and variant, as legends and charts call it."""
        return " ".join(str(self.labels[k]) for k in ("model", "variant") if self.labels.get(k))

    def row_metrics(self, column: Column) -> list[RowMetric]:
        """A column's number of each run by its rows; empty where the saved predictions of one do not give it."""
        found = [compared.row_metric(column) for compared in self.runs]
        return [metric for metric in found if metric is not None] if None not in found else []


@dataclass(frozen=True)
class Comparison:
    """Groups in the order given, the columns that they are compared by, and what did not work."""

    groups: list[Group]
    columns: list[Column]
    title: str = ""
    note: str = ""
    failures: list[tuple[str, str]] = field(default_factory=list)
    metrics: Sequence[str] = ()
    """Asked for in place of each task's primary one."""

    @property
    def tasks(self) -> list[str]:
        """Tasks in order of appearance."""
        return list(dict.fromkeys(str(group.labels["task"]) for group in self.groups))

    def of_task(self, task: str) -> list[Group]:
        """The groups of one task."""
        return [group for group in self.groups if group.labels["task"] == task]

    def varies(self, label: str) -> bool:
        """Whether a label tells groups apart."""
        return len({group.labels.get(label) for group in self.groups}) > 1

    def headline(self, group: Group) -> Column:
        """The column that the group's contest is decided by: of the first metric asked for that its runs have."""
        run = group.runs[0].run
        known = flat_metrics(run.metrics.get(run.headline_split) or {})
        return Column(run.headline_split, next((m for m in self.metrics if m in known), run.primary_metric))


def compare(
    runs: Iterable[Compared], metrics: Sequence[str] = (), *, title: str = "", note: str = "",
    failures: Sequence[tuple[str, str]] = (),
) -> Comparison:  # fmt: skip
    """Group runs over seeds, mark the best of each contest (task and fraction) and test the others against it."""
    groups: dict[tuple[Any, ...], Group] = {}
    for compared in runs:
        labels = {name: compared.labels.get(name) for name in LABELS}
        groups.setdefault(tuple(labels.values()), Group(labels, [])).runs.append(compared)
    comparison = Comparison(
        list(groups.values()), _columns(groups.values(), metrics), title, note, list(failures), metrics
    )
    contests: dict[tuple[Any, Any], list[Group]] = {}
    for group in comparison.groups:
        contests.setdefault((group.labels["task"], group.labels["fraction"]), []).append(group)
    for contest in contests.values():
        if len(contest) > 1:
            _mark_best(contest, comparison.columns)
            _test_against_best(contest, comparison.headline(contest[0]))
    return comparison


def labelled(runs: Sequence[RunRecord]) -> list[Compared]:
    """Runs of any origin with labels of their own: what tells those of one task and model apart is their variant."""
    options = [{k: v for k, v in run.run.get("options", {}).items() if k not in UNTOLD} for run in runs]
    names = list(dict.fromkeys(name for given in options for name in given))
    sources = {run.model: {other.model_source for other in runs if other.model == run.model} for run in runs}
    models = [run.model if len(sources[run.model]) == 1 else run.model_source for run in runs]
    families = [(run.task, model) for run, model in zip(runs, models, strict=True)]
    labels = []
    for own, family, model, run in zip(options, families, models, runs, strict=True):
        rivals = [other for other, theirs in zip(options, families, strict=True) if theirs == family]
        differing = [name for name in names if any(other.get(name) != own.get(name) for other in rivals)]
        variant = ", ".join(f"{name} {_short(own.get(name))}" for name in differing)
        labels.append({"task": run.task, "model": model, "variant": variant, "seed": run.run.get("seed")})
    fractions = [run.option("train_fraction") for run in runs]
    if len(set(fractions)) > 1:
        for label, fraction in zip(labels, fractions, strict=True):
            label["fraction"] = float(fraction or 1.0)
    seen = [tuple(label.values()) for label in labels]
    for label, values, run in zip(labels, seen, runs, strict=True):
        if seen.count(values) > 1:  # the same training twice is no second seed
            label["variant"] = ", ".join(filter(None, (label["variant"], str(run.directory.path))))
    return [Compared(run, label) for run, label in zip(runs, labels, strict=True)]


def _columns(groups: Iterable[Group], metrics: Sequence[str]) -> list[Column]:
    """The primary metric (or those asked for) on every split and foreign task that some run was scored on."""
    columns: dict[Column, None] = {}
    for group in groups:
        for compared in group.runs:
            for metric in metrics or [compared.run.primary_metric]:
                own = [Column(split, metric) for split in compared.run.evaluated()]
                other = [Column(split, metric, task) for task, found in compared.elsewhere.items() for split in found]
                columns |= {column: None for column in (*own, *other) if compared.value(column) is not None}
    return list(columns)


def _mark_best(contest: list[Group], columns: Sequence[Column]) -> None:
    for column in columns:
        means = [(mean, group) for group in contest if (mean := group.mean(column)) is not None]
        if len(means) > 1:
            less_is_better = means[0][1].runs[0].run.minimizes(column.metric)
            best = (min if less_is_better else max)(mean for mean, _ in means)
            for mean, group in means:
                if mean == best:
                    group.best.add(column)


def _test_against_best(contest: list[Group], column: Column) -> None:
    """Two-sided p-values of each group against the best one, corrected for the number of tests (Holm)."""
    best = next((group for group in contest if column in group.best), None)
    if best is None or not (of_best := best.row_metrics(column)):
        return
    p_values: dict[int, float] = {}
    for number, group in enumerate(contest):
        if group is not best and (own := group.row_metrics(column)):
            with contextlib.suppress(ValueError):  # other rows: there is nothing to test
                p_values[number] = _p_value(of_best, own, column.metric)
    for number, p in zip(p_values, holm(list(p_values.values())), strict=True):
        contest[number].p = p


def _p_value(best: list[RowMetric], other: list[RowMetric], metric: str) -> float:
    """Exact McNemar for the accuracy of two single runs on the same rows, a paired bootstrap for all else."""
    if metric == "accuracy" and len(best) == len(other) == 1:
        rows = common_rows((*best, *other))
        first, second = (found.at(rows).each() > 0.5 for found in (*best, *other))
        return mcnemar(first, second)
    return paired_difference(best, other)[1]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "off" if value in (None, {}, []) else str(value)
