"""How the runs of a comparison came to their results: mean curves over seeds, and what stood after each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from registry.reports import format
from registry.reports.comparison_table import Field, Rows, share_text

if TYPE_CHECKING:
    from registry.reports.comparison import Comparison, Group

MOST_EPOCHS = 12
"""Columns of a table by epoch; of longer runs every second, third, … epoch is shown."""


@dataclass(frozen=True)
class Curve:
    """A metric at moments of training: epochs, means over seeds and, with several seeds, their standard deviations."""

    epochs: list[float]
    means: list[float]
    spread: list[float] | None

    def after(self, epoch: int) -> tuple[float, float | None] | None:
        """(mean, spread) when that many whole epochs were done; None where nothing was scored then."""
        near = [i for i, at in enumerate(self.epochs) if abs(at - epoch) < 1e-3]
        return (self.means[near[0]], self.spread[near[0]] if self.spread else None) if near else None


def mean_curve(group: Group, split: str, metric: str) -> Curve | None:
    """Mean over seeds at the moments that all of them logged; None where there are none."""
    curves = []
    for compared in group.runs:
        updates, values = compared.run.curve(split, metric)
        per_epoch = float(compared.run.metrics.get("updates") or 0) / float(compared.run.metrics.get("epochs") or 1)
        if values and per_epoch:
            epochs = np.round(np.array(updates) / per_epoch, 6).tolist()
            curves.append(dict(zip(epochs, values, strict=True)))
    common = sorted(set.intersection(*map(set, curves))) if curves else []
    if not common:
        return None
    stacked = np.array([[curve[epoch] for epoch in common] for curve in curves])
    spread = stacked.std(axis=0, ddof=1).tolist() if len(stacked) > 1 else None
    return Curve(common, stacked.mean(axis=0).tolist(), spread)


def epoch_tables(comparison: Comparison) -> Iterator[Rows]:
    """The primary metric and the loss on validation after each epoch, for tasks with runs of several."""
    for task in comparison.tasks:
        groups = comparison.of_task(task)
        for metric in dict.fromkeys((comparison.headline(groups[0]).metric, "loss")):
            curves = [(group, curve) for group in groups if (curve := mean_curve(group, "validation", metric))]
            last = max((int(curve.epochs[-1] + 1e-3) for _, curve in curves), default=0)
            if last > 1:
                epochs = range(0, last + 1, -(-last // MOST_EPOCHS))
                headings = [f"{task}: validation {metric.replace('_', ' ')}", "untrained", *map(_heading, epochs[1:])]
                yield Rows(headings, [_row(group, curve, epochs) for group, curve in curves])


def _row(group: Group, curve: Curve, epochs: range) -> list[Field]:
    fraction = group.labels.get("fraction")
    name = group.name if fraction is None else f"{group.name}, {share_text(fraction)}"
    found = [curve.after(epoch) for epoch in epochs]
    return [Field(name, number=False), *[Field(format.mean_spread(*at) if at else "") for at in found]]


def _heading(epoch: int) -> str:
    return f"epoch {epoch}"
