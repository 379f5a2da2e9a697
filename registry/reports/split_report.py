"""What a report says of one evaluated split, computed from its metrics and its saved predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from registry.reports import drawing, figures, tables
from registry.reports.contributions import row_metric
from registry.reports.mistakes import Mistakes, likely_label_errors, worst_mistakes
from registry.reports.predictions import Predictions
from registry.reports.resampling import bootstrap, interval
from registry.reports.run_record import RunRecord

SHOWN_CLASSES = 20
"""Confusion matrices up to this size are tables; larger ones are a heatmap and the most confused pairs."""


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and what it tells, as SVG."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True)
class SplitReport:
    """One split's part of the page.

    Args:
        interval: 95 % bootstrap interval of the primary metric; None where it cannot be made.
        before: metrics before fine-tuning (validation only).
    """

    name: str
    metrics: dict[str, float]
    before: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    interval: tuple[float, float] | None = None
    classes: list[tables.ClassRow] = field(default_factory=list)
    kind: str = ""
    matrix: np.ndarray | None = None
    names: tuple[str, ...] = ()
    pairs: list[tuple[str, str, int, float]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    mistakes: Mistakes = Mistakes(0)
    label_errors: Mistakes = Mistakes(0)


def build_split_report(run: RunRecord, split: str) -> SplitReport:
    """Everything about a split; without saved predictions only its metrics."""
    metrics = tables.flat_metrics(run.metrics[split])
    before = {k: v for k, v in tables.flat_metrics(run.before()).items() if split == "validation" and k in metrics}
    predictions = run.predictions(split)
    scored = predictions.labelled() if predictions is not None else None
    if scored is None or not len(scored.items):
        return SplitReport(split, metrics, before)
    single = scored.kind == "single"
    matrix = tables.confusion(scored) if single and len(scored.classes) <= figures.MOST_IN_HEATMAP else None
    return SplitReport(
        name=split,
        metrics=metrics,
        before=before,
        rows=len(scored.items),
        interval=primary_interval(run, split, scored),
        classes=[] if scored.kind == "regression" else tables.class_table(scored),
        kind=scored.kind,
        matrix=matrix if matrix is not None and len(matrix) <= SHOWN_CLASSES else None,
        names=scored.classes,
        pairs=tables.confused_pairs(scored) if single and len(scored.classes) > 2 else [],
        charts=list(_charts(scored, matrix)),
        mistakes=worst_mistakes(scored),
        label_errors=likely_label_errors(scored),
    )


def primary_interval(run: RunRecord, split: str, predictions: Predictions | None = None) -> tuple[float, float] | None:
    """95 % bootstrap interval of the primary metric; None where saved predictions do not give it.

    None, too, where all resamples agree: twelve right answers of twelve make nothing certain.
    """
    predictions = predictions or run.predictions(split)
    reported = run.metrics[split].get(run.primary_metric)
    if predictions is None or reported is None:
        return None
    metric = row_metric(run.primary_metric, predictions, reported)
    if metric is None:
        return None
    low, high = interval(bootstrap(metric))
    return (low, high) if low < high else None


def _charts(scored: Predictions, matrix: np.ndarray | None) -> Iterator[Chart]:
    if scored.kind == "regression":
        truth, guess = np.asarray(scored.truths, dtype=float), np.asarray(scored.guesses, dtype=float)
        yield Chart("Predictions", drawing.inline_svg(figures.scatter_chart(truth, guess), "prediction by label"))
    if matrix is not None and len(matrix) > SHOWN_CLASSES:
        heatmap = figures.confusion_chart(matrix, scored.classes)
        yield Chart(
            "Confusion", drawing.inline_svg(heatmap, "confusion matrix"), "Rows are labels, columns predictions."
        )
    confidence = scored.confidence()
    if confidence is not None:
        correct = tables.correctness(scored)
        found = tables.calibration(confidence, correct)
        yield Chart(
            "Calibration",
            drawing.inline_svg(figures.reliability_chart(found), "reliability diagram"),
            "Below the diagonal the model is surer than it is right.",
        )
        coverage, accuracy = tables.coverage_curve(confidence, correct)
        line = figures.Series("accuracy", coverage.tolist(), accuracy.tolist())
        drawn = figures.line_chart([line], xlabel="share of rows answered", ylabel="accuracy")
        yield Chart(
            "Coverage",
            drawing.inline_svg(drawn, "accuracy by coverage"),
            "Accuracy when only the surest rows are answered and the model abstains on the rest.",
        )
